"""A store on a web server, of which anything may be expected."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

import pytest

from edgewright.base.errors import EdgewrightError, TargetError, UserError
from edgewright.base.files import HashedFile
from edgewright.release import channels, http_store, published, web
from edgewright.release.http_store import HttpStore
from edgewright.release.manifest import Release
from edgewright.release.store import Contents
from tests.signing import signer
from tests.unit.release.test_evidence import signed_release
from tests.web_server import AnsweringHandler, serving

BOARD = "board"


@dataclass
class Server:
    """What the server of a test holds, and how it misbehaves."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    folders: set[str] = field(default_factory=lambda: {"/store"})
    failures: int = 0  # requests that are answered with 500
    cut: str = ""  # method whose line is cut, every time
    halves: int = 0  # contents of which half is sent before the line is cut
    listing: bytes | None = None
    drips: bool = False  # interim answers without end
    missing: bytes = b""  # the page of what is not there
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)


class Handler(AnsweringHandler):
    server_state: Server

    def handle_any(self) -> None:
        server, path = self.server_state, unquote(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.requests.append((self.command, path, self.headers.get("Authorization")))
        if server.cut == self.command:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            self.close_connection = True
        elif server.drips:
            with suppress(OSError):
                while server.drips:
                    self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    time.sleep(0.01)
            self.close_connection = True
        elif server.failures > 0:
            server.failures -= 1
            self.answer(500)
        elif self.command == "GET" and server.halves and path in server.files:
            server.halves -= 1
            whole = server.files[path]
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole))
            self.wfile.write(whole[: len(whole) // 2])
            self.close_connection = True
        elif self.command in ("GET", "HEAD"):
            content = server.files.get(path)
            self.answer(404, server.missing) if content is None else self.answer(200, content)
        elif self.command == "MKCOL":
            status = 405 if path.rstrip("/") in server.folders else 201
            server.folders.add(
                path.rstrip("/")
            )  # before its answer: the next request may be faster
            self.answer(status)
        elif self.command == "PROPFIND":
            self.answer(*self.listed(path))
        elif path.rpartition("/")[0] not in server.folders:
            self.answer(409)
        else:
            server.files[path] = body
            self.answer(201)

    def listed(self, folder: str) -> tuple[int, bytes]:
        server = self.server_state
        if server.listing is not None:
            return 207, server.listing
        if folder.rstrip("/") not in server.folders:
            return 404, b""
        rows = f"<response><href>{folder}</href></response>"
        for path in sorted({*server.files, *server.folders}):
            if path.rpartition("/")[0] == folder.rstrip("/"):
                kind = "<resourcetype><collection/></resourcetype>" * (path in server.folders)
                rows += f"<response><href>{path}</href>{kind}</response>"
        return 207, f'<multistatus xmlns="DAV:">{rows}</multistatus>'.encode()

    do_GET = do_HEAD = do_PUT = do_MKCOL = do_PROPFIND = handle_any  # noqa: N815


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(web, "WAIT", 0.0)
    return tmp_path / "config"


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    with serving(Handler, state) as port:
        state.url = f"http://127.0.0.1:{port}/store"
        yield state


@pytest.fixture
def store(server: Server) -> HttpStore:
    return http_store.http_store(server.url, None)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return signed_release(tmp_path / "one")


def publish(release: Release, store: HttpStore) -> published.Publication:
    return published.publish(release, store, [signer().public])


def test_a_release_goes_over_http_and_comes_back(
    store: HttpStore, release: Release, tmp_path: Path, config: Path
) -> None:
    trusted = [signer().public]
    publish(release, store)
    channel = channels.channel(store, BOARD, "stable", config)

    channel.point(release.id, signer(), trusted)
    pointer = channel.read(trusted)
    assert pointer is not None
    pulled = published.pull(store, BOARD, pointer.release, tmp_path / "out", trusted)

    assert pulled.archive.read_bytes() == release.archive.read_bytes()
    assert [item.release for item in published.listed(store)] == [release.id]
    assert [item.name for item in published.all_channels(store, config)] == ["stable"]
    assert publish(release, store).sent == 0


def test_a_content_that_breaks_off_is_fetched_anew(
    store: HttpStore, server: Server, release: Release, tmp_path: Path
) -> None:
    """Nothing of the first half stays in the file."""
    publish(release, store)
    server.halves = 2

    pulled = published.pull(store, BOARD, release.id, tmp_path / "out", [signer().public])

    assert server.halves == 0
    assert pulled.archive.read_bytes() == release.archive.read_bytes()


class FullFile(BytesIO):
    """A file on a full disk, as the kernel says it: by no name."""

    def write(self, _: object, /) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def pull_to_a_full_disk(
    store: Contents, release: Release, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the disk's folder, and is no server's."""
    monkeypatch.setattr(published, "HashedFile", lambda _: HashedFile(FullFile()))
    with pytest.raises(OSError, match="No space left") as full:
        published.pull(store, BOARD, release.id, out, [signer().public])
    assert full.value.filename == str(out / release.id)


def test_a_full_disk_is_named_and_no_server_is_blamed(
    store: HttpStore,
    server: Server,
    release: Release,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(release, store)
    server.requests.clear()
    pull_to_a_full_disk(store, release, tmp_path / "out", monkeypatch)
    blobs = [path for method, path, _ in server.requests if method == "GET" and "/blobs/" in path]
    assert len(blobs) == 1  # it is not sent three times


def test_a_server_that_fails_now_and_then_is_asked_again(
    store: HttpStore, server: Server, release: Release
) -> None:
    server.failures = 2

    assert publish(release, store).sent > 0


def test_a_server_that_fails_publishes_nothing_and_the_next_run_converges(
    store: HttpStore, server: Server, release: Release, tmp_path: Path
) -> None:
    server.failures = 1000
    with pytest.raises(TargetError, match="is not served") as refused:
        publish(release, store)
    assert refused.value.facts[0].endswith("HTTP 500 Internal Server Error")
    server.failures = 0
    assert published.listed(store) == []

    publish(release, store)

    published.pull(store, BOARD, release.id, tmp_path / "out", [signer().public])


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_line_that_is_cut_publishes_nothing(
    store: HttpStore, server: Server, release: Release, method: str
) -> None:
    server.cut = method
    with pytest.raises(TargetError):
        publish(release, store)
    server.cut = ""

    assert published.listed(store) == []
    publish(release, store)
    assert [item.release for item in published.listed(store)] == [release.id]


def test_a_content_that_was_cut_is_sent_again(
    store: HttpStore, server: Server, release: Release
) -> None:
    publish(release, store)
    blob = next(path for path in server.files if "/blobs/" in path)
    server.files[blob] = server.files[blob][:1]

    assert publish(release, store).sent == 1


BILLION = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    b'<multistatus xmlns="DAV:"><response><href>&b;</href></response></multistatus>'
)


@pytest.mark.parametrize("listing", [BILLION, b"<multistatus", b"", b"\xff\xfe"])
def test_a_hostile_listing_is_refused(store: HttpStore, server: Server, listing: bytes) -> None:
    server.listing = listing

    with pytest.raises(TargetError, match="no listing of WebDAV"):
        published.listed(store)


@pytest.mark.parametrize("href", ["/etc/passwd", "/store/releases/../../x", "/store/releases/.."])
def test_a_listing_that_leads_elsewhere_lists_nothing(
    store: HttpStore, server: Server, href: str
) -> None:
    row = f"<response><href>{href}</href></response>"
    server.listing = f'<multistatus xmlns="DAV:">{row}</multistatus>'.encode()

    assert published.listed(store) == []


def test_folders_without_end_are_not_walked(
    store: HttpStore, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_store, "MOST_RELEASES", 50)
    kind = "<resourcetype><collection/></resourcetype>"
    rows = "".join(
        f"<response><href>/store/releases/{at}{n}/</href>{kind}</response>"
        for at in ("", *(f"{m}/" for m in range(20)))
        for n in range(20)
    )
    server.listing = f'<multistatus xmlns="DAV:">{rows}</multistatus>'.encode()

    with pytest.raises(UserError, match="more than 50 files"):
        published.listed(store)
    assert len(server.requests) < 50


def test_a_long_page_of_what_is_missing_is_no_cut_line(store: HttpStore, server: Server) -> None:
    server.missing = b"<html>no such page</html>" * 100

    with pytest.raises(UserError, match="no such file"):
        store.read("blobs/0", limit=10)


def test_an_answer_that_drips_for_ever_is_cut(
    store: HttpStore, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "LONGEST", 0.1)
    server.drips = True

    began = time.monotonic()
    with pytest.raises(TargetError, match="cannot be reached"):
        store.exists("releases/board/0.json")
    server.drips = False
    assert time.monotonic() - began < 10


def test_an_answer_without_end_is_read_to_its_limit(store: HttpStore, server: Server) -> None:
    server.files["/store/releases/board/0.json"] = bytes(2 << 20)

    with pytest.raises(UserError, match="is too large"):
        store.read("releases/board/0.json", limit=1 << 20)


def test_a_server_without_webdav_only_hands_out(release: Release) -> None:
    handler = type("Plain", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as plain:
        threading.Thread(target=plain.serve_forever, daemon=True).start()
        store = http_store.http_store(f"http://127.0.0.1:{plain.server_port}", None)
        for use in (lambda: publish(release, store), lambda: published.listed(store)):
            with pytest.raises(UserError, match="the server knows no WebDAV"):
                use()
        plain.shutdown()


def test_nothing_is_removed_over_http(store: HttpStore, release: Release, config: Path) -> None:
    publish(release, store)
    store.put(b"left over")

    with pytest.raises(UserError, match="nothing is removed over HTTP"):
        published.retain(store, config, [signer().public], 1)


def test_the_authorization_goes_to_the_server(server: Server, release: Release) -> None:
    publish(release, http_store.http_store(server.url, "Bearer token"))

    assert {secret for _, _, secret in server.requests} == {"Bearer token"}


@pytest.mark.parametrize(
    ("url", "secret", "problem"),
    [
        ("http://192.0.2.7/store", "Bearer x", "would get the authorization in clear"),
        ("https://user:word@192.0.2.7/store", None, "is no URL of a store"),
        ("ftp://192.0.2.7/store", None, "is no URL of a store"),
        ("https://192.0.2.7:port/store", None, "is no URL"),
        ("https://192.0.2.7/store", "x\r\ny", "has control characters"),
        ("https://192.0.2.7/store", "Bearer ключ", "letters beyond ASCII"),
    ],
)
def test_what_is_no_store_is_refused(url: str, secret: str | None, problem: str) -> None:
    with pytest.raises(EdgewrightError, match=problem) as refused:
        http_store.http_store(url, secret)
    assert "word" not in refused.value.subject
