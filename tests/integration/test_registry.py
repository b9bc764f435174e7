"""Releases in Debian's registry, and behind a line to it that breaks."""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import EdgewrightError, TargetError, UserError
from edgewright.base.files import unique_name
from edgewright.release import channels, evidence, oci_store, order, published, web
from edgewright.release.manifest import Release
from edgewright.release.minisign import PublicKey
from edgewright.release.oci_store import OciStore
from edgewright.release.registry import EMPTY, EMPTY_TYPE, artifact, descriptor, digest_of
from tests.registry import running_registry
from tests.signing import signer
from tests.unit.release.test_evidence import signed_release

BOARD = "board"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(web, "WAIT", 0.0)
    return tmp_path / "config"


def trusted() -> list[PublicKey]:
    return [signer().public]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running_registry(tmp_path_factory.mktemp("registry") / "registry") as port:
        yield port


def store_at(port: int, repository: str) -> OciStore:
    address = f"oci://127.0.0.1:{port}/{repository}"
    return oci_store.oci_store(address, None, Path("no such configuration"))


@pytest.fixture
def store(registry: int) -> OciStore:
    return store_at(registry, f"boards/{unique_name('of')}")


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Release]:
    def signed(model: str) -> Release:
        return signed_release(tmp_path / f"made-{model}", model=model.encode())

    return signed


def point(store: OciStore, config: Path, release: str) -> None:
    place = channels.channel(store, BOARD, "stable", config)
    published.point(place, release, signer(), trusted())


def document(store: OciStore, tag: str) -> dict[str, Any]:
    raw = store.registry.manifest(tag)
    assert raw is not None
    table: dict[str, Any] = json.loads(raw)
    return table


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_release_is_pulled_and_verified_on_the_other_side(
    store: OciStore, make: Callable[[str], Release], tmp_path: Path, config: Path
) -> None:
    release = make("one")
    assert published.listed(store) == []

    assert published.publish(release, store, trusted()).has_evidence
    point(store, config, release.id)

    other = store_at(store_port(store), store.registry.repository)
    assert [item.release for item in published.listed(other, BOARD)] == [release.id]
    pointer = channels.channel(other, BOARD, "stable", tmp_path / "of-another-user").read(trusted())
    assert pointer is not None
    pulled = published.pull(other, BOARD, pointer.release, tmp_path / "out", trusted())
    assert files(pulled.folder) == files(release.folder)
    assert files(evidence.beside(pulled).folder) == files(evidence.beside(release).folder)
    assert published.publish(release, store, trusted()).sent == 0


def store_port(store: OciStore) -> int:
    return int(store.registry.url.rpartition(":")[2])


def test_bill_provenance_and_licences_refer_to_the_release(
    store: OciStore, make: Callable[[str], Release]
) -> None:
    release = make("one")
    published.publish(release, store, trusted())

    tag = f"{BOARD}.{release.id}"
    raw = store.registry.manifest(tag)
    assert raw is not None
    manifest = document(store, tag)
    assert manifest["artifactType"] == oci_store.RELEASE_TYPE
    titles = [layer["annotations"][oci_store.TITLE] for layer in manifest["layers"]]
    assert titles[:3] == [f"{release.id}.json", *beside(release)]
    index = document(store, digest_of(raw).replace(":", "-"))  # the fallback of 1.1
    kinds = {entry["artifactType"] for entry in index["manifests"]}
    assert kinds == {*oci_store.REFERRERS}
    for entry in index["manifests"]:
        referrer = document(store, entry["digest"])
        assert referrer["subject"]["digest"] == digest_of(raw)
        digests = {layer["digest"] for layer in referrer["layers"]}
        assert digests <= {layer["digest"] for layer in manifest["layers"]}


def beside(release: Release) -> list[str]:
    return [release.archive.name, order.beside(release.archive).name]


def test_what_others_attached_stays(store: OciStore, make: Callable[[str], Release]) -> None:
    release = make("one")
    published.publish(release, store, trusted())
    raw = store.registry.manifest(f"{BOARD}.{release.id}")
    assert raw is not None
    tag = digest_of(raw).replace(":", "-")
    index = document(store, tag)
    foreign = {**index["manifests"][0], "annotations": {"by": "somebody else"}}
    others = {**index, "manifests": [foreign, *index["manifests"][1:2]]}
    foreign["digest"] = others_manifest(store, raw)
    store.registry.put_manifest(tag, json.dumps(others).encode(), index["mediaType"])

    published.publish(release, store, trusted())

    assert document(store, tag)["manifests"][0]["annotations"] == {"by": "somebody else"}
    assert len(document(store, tag)["manifests"]) == 4
    name = f"releases/{BOARD}/{release.id}.json"
    store.remove(name)
    assert not store.exists(name)
    assert [entry["digest"] for entry in document(store, tag)["manifests"]] == [foreign["digest"]]


def others_manifest(store: OciStore, subject: bytes) -> str:
    layer = descriptor(EMPTY_TYPE, EMPTY)
    manifest = artifact("application/vnd.example.signature", [layer], subject=subject)
    store.registry.put_manifest(digest_of(manifest), manifest)
    return digest_of(manifest)


def test_retain_removes_releases_and_what_refers_to_them(
    store: OciStore, make: Callable[[str], Release], config: Path, tmp_path: Path
) -> None:
    old, stable, new = make("old"), make("stable"), make("new")
    for release in (old, stable, new):
        published.publish(release, store, trusted())
    point(store, config, stable.id)

    done = published.retain(store, config, trusted(), 1)

    assert [item.release for item in done.removed] == [old.id]
    assert {item.release for item in published.listed(store)} == {stable.id, new.id}
    assert len([*store.registry.tags()]) == 2 * 2 + 1  # releases, their indexes, a channel
    for release in (stable, new):
        published.pull(store, BOARD, release.id, tmp_path / release.id, trusted())
    published.publish(old, store, trusted())
    published.pull(store, BOARD, old.id, tmp_path / "again", trusted())


def test_a_pointer_that_was_set_back_is_refused(
    store: OciStore, make: Callable[[str], Release], config: Path
) -> None:
    first, two = make("one"), make("two")
    for release in (first, two):
        published.publish(release, store, trusted())
    point(store, config, first.id)
    tag = f"{BOARD}.stable"
    older = store.registry.manifest(tag)
    assert older is not None
    point(store, config, two.id)

    store.registry.put_manifest(tag, older)

    with pytest.raises(UserError, match="was set back"):
        channels.channel(store, BOARD, "stable", config).read(trusted())
    with pytest.raises(UserError, match="was set back"):
        published.retain(store, config, trusted(), 1)


def test_a_registry_that_deletes_nothing_says_so(
    make: Callable[[str], Release], config: Path, tmp_path: Path
) -> None:
    with running_registry(tmp_path / "registry", deletes=False) as port:
        store = store_at(port, "boards")
        for release in (make("one"), make("two")):
            published.publish(release, store, trusted())

        with pytest.raises(UserError, match=r"(?s)deletes nothing.*storage\.delete\.enabled"):
            published.retain(store, config, trusted(), 1)
        assert len(published.listed(store)) == 2


# A line that breaks


@dataclass
class Line:
    """What leads to a registry, until its `writes`-th request that writes."""

    registry: int
    port: int = 0
    writes: int = 0
    fault: str = ""


class Proxy(BaseHTTPRequestHandler):
    """Hands on to the registry; afterwards each request that writes fails."""

    line: Line
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        line = self.line
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.command in ("POST", "PUT"):
            line.writes -= 1
            if line.writes < 0 and line.fault == "500":
                self.answer(500, {}, b"")
                return
            if line.writes < 0 and line.fault == "cut":
                self.cut(body)
                return
        connection = http.client.HTTPConnection("127.0.0.1", line.registry)
        connection.request(self.command, self.path, body=body, headers=dict(self.headers))
        response = connection.getresponse()
        content = response.read()
        connection.close()
        self.close_connection = line.writes < 0 and line.fault == "lost"
        if not self.close_connection:
            self.answer(response.status, dict(response.headers), content)

    def cut(self, body: bytes) -> None:
        """Half of a request reaches the registry, and no answer comes back."""
        head = f"{self.command} {self.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        kind = self.headers.get("Content-Type", "")
        with socket.create_connection(("127.0.0.1", self.line.registry)) as registry:
            registry.sendall(
                f"{head}Content-Type: {kind}\r\n\r\n".encode() + body[: len(body) // 2]
            )
            registry.shutdown(socket.SHUT_WR)
            registry.settimeout(5)
            with suppress(OSError):
                registry.recv(1)  # it has noticed
        self.close_connection = True

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        length = headers.get("Content-Length", str(len(content)))
        for name, value in {**headers, "Content-Length": length}.items():
            if name not in ("Date", "Transfer-Encoding"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def line(registry: int) -> Iterator[Line]:
    state = Line(registry=registry)
    handler = type("OfTest", (Proxy,), {"line": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        state.port = server.server_port
        yield state
        server.shutdown()
        thread.join()


def break_push(line: Line, release: Release, fault: str, at: int, out: Path) -> None:
    """Asserts what is published where the request `at` of those that write fails, and all after."""
    repository = unique_name("broken")
    direct = store_at(line.registry, repository)
    line.fault, line.writes = fault, at
    with pytest.raises(TargetError):
        published.publish(release, store_at(line.port, repository), trusted())
    for item in published.listed(direct):
        assert fault == "lost", "where an answer was lost, the release may be there: whole"
        published.pull(direct, BOARD, item.release, out / "broken", trusted())
    published.publish(release, direct, trusted())
    published.pull(direct, BOARD, release.id, out / "next", trusted())


def writes_of(line: Line, release: Release) -> int:
    """How many requests that write a release takes."""
    line.fault, line.writes = "", 0
    published.publish(release, store_at(line.port, unique_name("counted")), trusted())
    return -line.writes


FAULTS = pytest.mark.parametrize("fault", ["500", "cut", "lost"])


@FAULTS
def test_a_broken_push_publishes_nothing_and_the_next_one_converges(
    line: Line, make: Callable[[str], Release], tmp_path: Path, fault: str
) -> None:
    release = make("one")
    last = writes_of(line, release) - 1
    for at in (1, last - 1, last):  # a content, the index of what refers to it, the tag
        break_push(line, release, fault, at, tmp_path / str(at))


@pytest.mark.nightly
@FAULTS
def test_a_push_may_break_anywhere(
    line: Line, make: Callable[[str], Release], tmp_path: Path, fault: str
) -> None:
    release = make("one")
    for at in range(writes_of(line, release)):
        break_push(line, release, fault, at, tmp_path / str(at))


@pytest.mark.parametrize("fault", ["500", "cut"])
def test_a_promotion_that_breaks_leaves_the_channel(
    line: Line, make: Callable[[str], Release], config: Path, fault: str
) -> None:
    first, two = make("one"), make("two")
    repository = unique_name("promoted")
    direct = store_at(line.registry, repository)
    for release in (first, two):
        published.publish(release, direct, trusted())
    point(direct, config, first.id)
    line.fault = fault
    for at in range(3):
        line.writes = at
        with pytest.raises(EdgewrightError):
            point(store_at(line.port, repository), config, two.id)
        pointer = channels.channel(direct, BOARD, "stable", config).read(trusted())
        assert pointer is not None
        assert pointer.release == first.id
    point(direct, config, two.id)
