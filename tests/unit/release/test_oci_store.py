"""A store in a registry, of which anything may be expected; its login."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from edgewright.base.errors import EdgewrightError, TargetError, UserError
from edgewright.release import oci_store, published, registry, web
from edgewright.release.manifest import Release
from edgewright.release.oci_store import OciStore
from edgewright.release.registry_login import docker_credentials
from tests.signing import signer
from tests.unit.release.test_evidence import signed_release
from tests.unit.release.test_http_store import pull_to_a_full_disk
from tests.web_server import AnsweringHandler, serving

BOARD = "board"
PAIR = f"Basic {base64.b64encode(b'ci:hunter2').decode()}"


@dataclass
class Server:
    """What the registry of a test holds, and how it behaves."""

    port: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)  # by tag and by digest
    lists_referrers: bool = True
    scheme: str = ""  # of the challenge to whoever shows no login
    realm: str = ""
    page: int = 1000  # tags
    next_page: str = ""
    blobs_at: str = ""  # where contents are kept
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)


class Handler(AnsweringHandler):
    server_state: Server

    def handle_any(self) -> None:
        server, url = self.server_state, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        authorization = self.headers.get("Authorization")
        server.requests.append((self.command, self.path, authorization))
        if url.path == "/token":
            scope = parse_qs(url.query)["scope"][0]
            is_let_in = authorization == PAIR and scope == "repository:boards:pull,push"
            self.answer(200 if is_let_in else 401, json.dumps({"token": "T"}).encode())
        elif server.scheme == "Bearer" and authorization != "Bearer T":
            realm = server.realm or f"http://127.0.0.1:{server.port}/token"
            challenge = f'realm="{realm}",service="of test",scope="repository:boards:pull,push"'
            self.answer(401, header=("WWW-Authenticate", f"Bearer {challenge}"))
        elif server.scheme == "Basic" and authorization != PAIR:
            self.answer(401, header=("WWW-Authenticate", 'Basic realm="of test"'))
        elif url.path.endswith("/tags/list"):
            self.list_tags(url.query)
        elif self.command in ("GET", "HEAD"):
            self.hand_out(url.path)
        elif self.command == "POST":
            self.answer(202, header=("Location", f"{url.path}1?state=x"))
        elif "/blobs/uploads/" in url.path:
            digest = parse_qs(url.query)["digest"][0]
            assert digest == f"sha256:{hashlib.sha256(body).hexdigest()}"
            server.blobs[digest] = body
            self.answer(201)
        else:
            server.manifests[url.path.rpartition("/")[2]] = body
            subject = json.loads(body).get("subject")
            header = ("OCI-Subject", subject["digest"]) if subject else None
            self.answer(201, header=header if server.lists_referrers else None)

    def hand_out(self, path: str) -> None:
        server, name = self.server_state, path.rpartition("/")[2]
        if "/blobs/" in path and server.blobs_at and self.command == "GET":
            self.answer(307, header=("Location", f"{server.blobs_at}/{name}"))
            return
        content = (server.blobs if "/blobs/" in path else server.manifests).get(name)
        self.answer(404) if content is None else self.answer(200, content)

    def list_tags(self, query: str) -> None:
        server = self.server_state
        tags = sorted(tag for tag in server.manifests if ":" not in tag)
        start = int(parse_qs(query).get("start", ["0"])[0])
        stop = start + server.page
        header = None
        if stop < len(tags) or server.next_page:
            following = server.next_page or f"/v2/boards/tags/list?start={stop}"
            header = ("Link", f'<{following}>; rel="next"')
        self.answer(200, json.dumps({"tags": tags[start:stop]}).encode(), header=header)

    do_GET = do_HEAD = do_PUT = do_POST = handle_any  # noqa: N815


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(web, "WAIT", 0.0)
    return tmp_path / "config"


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    with serving(Handler, state) as port:
        state.port = port
        yield state


def store_of(server: Server, authorization: str | None = None) -> OciStore:
    address = f"oci://127.0.0.1:{server.port}/boards"
    return oci_store.oci_store(address, authorization, Path("no such configuration"))


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return signed_release(tmp_path / "one")


def publish(release: Release, store: OciStore) -> published.Publication:
    return published.publish(release, store, [signer().public])


def test_a_registry_that_lists_referrers_gets_no_index_of_them(
    server: Server, release: Release, tmp_path: Path
) -> None:
    store = store_of(server)
    publish(release, store)

    assert [tag for tag in server.manifests if ":" not in tag] == [f"{BOARD}.{release.id}"]
    pulled = published.pull(store, BOARD, release.id, tmp_path / "out", [signer().public])
    assert pulled.id == release.id


def test_a_full_disk_is_named_and_no_registry_is_blamed(
    server: Server, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(server)
    publish(release, store)
    server.requests.clear()
    pull_to_a_full_disk(store, release, tmp_path / "out", monkeypatch)
    fetched = [path for method, path, _ in server.requests if method == "GET" and "/blobs/" in path]
    assert len(fetched) == len(set(fetched))  # none is sent three times


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_the_login_of_docker_is_let_in(
    server: Server, release: Release, tmp_path: Path, scheme: str
) -> None:
    server.scheme = scheme
    config = tmp_path / "config.json"
    auth = {"auth": PAIR.removeprefix("Basic ")}
    config.write_text(json.dumps({"auths": {f"127.0.0.1:{server.port}": auth}}))
    store = oci_store.oci_store(f"oci://127.0.0.1:{server.port}/boards", None, config)

    publish(release, store)

    assert [item.release for item in published.listed(store)] == [release.id]
    if scheme == "Bearer":
        assert {path for _, path, shown in server.requests if shown == PAIR} == {
            "/token?service=of+test&scope=repository%3Aboards%3Apull%2Cpush"
        }


@pytest.mark.parametrize("authorization", [None, "Bearer of another one"])
def test_nobody_is_let_in_without_a_login(server: Server, authorization: str | None) -> None:
    server.scheme = "Bearer"

    with pytest.raises(UserError, match=r"no token|does not let this user in"):
        published.listed(store_of(server, authorization))


def test_a_token_of_the_environment_is_shown_as_it_is(server: Server) -> None:
    server.scheme = "Bearer"

    assert published.listed(store_of(server, "Bearer T")) == []


def test_no_server_of_tokens_gets_the_login_in_clear(server: Server) -> None:
    server.scheme, server.realm = "Bearer", "http://192.0.2.7/token"

    with pytest.raises(UserError, match=r"192\.0\.2\.7.*in clear"):
        published.listed(store_of(server, PAIR))


def test_a_redirect_leads_to_no_other_server_in_clear(server: Server, release: Release) -> None:
    store = store_of(server)
    publish(release, store)
    server.blobs_at = "http://192.0.2.7/kept"

    with pytest.raises(TargetError, match=r"leads elsewhere: http://192\.0\.2\.7"):
        published.listed(store)


def test_a_redirect_is_followed_without_the_login(
    server: Server, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(server, "Bearer T")
    publish(release, store)
    server.blobs_at = "https://192.0.2.7/kept"
    request = web.request
    elsewhere: list[Mapping[str, str]] = []

    def answered(method: str, url: str, **options: Any) -> web.Answer:
        if url.startswith("https://192.0.2.7/kept/"):
            elsewhere.append(options["headers"])
            url = f"http://127.0.0.1:{server.port}/{url.rpartition('/')[2]}"
            server.blobs_at = ""
        return request(method, url, **options)

    monkeypatch.setattr(web, "request", answered)
    with pytest.raises(UserError):  # it is not there
        published.listed(store)
    assert len(elsewhere) == 1
    assert "Authorization" not in elsewhere[0]


def test_a_redirect_without_end_is_left(server: Server, release: Release) -> None:
    store = store_of(server)
    publish(release, store)
    server.blobs_at = f"http://127.0.0.1:{server.port}/v2/boards/blobs"
    requests = len(server.requests)

    with pytest.raises(TargetError, match="is not served"):
        published.listed(store)
    assert len(server.requests) - requests < 10


def test_tags_are_listed_page_by_page(server: Server, release: Release) -> None:
    store = store_of(server)
    publish(release, store)
    for number in range(7):
        server.manifests[f"a-tag-of-others-{number}"] = b"{}"
    server.page = 2

    assert [item.release for item in published.listed(store)] == [release.id]


@pytest.mark.parametrize("following", ["/v2/boards/tags/list?n=1", "https://192.0.2.7/v2/"])
def test_tags_without_end_are_not_listed(
    server: Server, following: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "MOST_RELEASES", 20)
    server.next_page = following

    with pytest.raises(EdgewrightError, match=r"more than 20 tags|lists its tags elsewhere"):
        published.listed(store_of(server))


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"layers":[]}', b'{"layers":[{"digest":"sha256:../x","size":1}]}'],
)
def test_what_is_no_manifest_is_refused(server: Server, content: bytes) -> None:
    server.manifests[f"{BOARD}.{'0' * 16}"] = content

    with pytest.raises(UserError, match=r"no manifest"):
        published.listed(store_of(server))


def test_a_content_that_was_exchanged_is_refused(
    server: Server, release: Release, tmp_path: Path
) -> None:
    store = store_of(server)
    publish(release, store)
    digest = f"sha256:{hashlib.sha256(release.archive.read_bytes()).hexdigest()}"
    server.blobs[digest] = b"x" * len(server.blobs[digest])

    with pytest.raises(UserError, match="is not what its name says"):
        published.pull(store, BOARD, release.id, tmp_path / "out", [signer().public])
    assert publish(release, store).sent == 1


def test_a_fallback_tag_that_is_no_index_is_left_alone(server: Server, release: Release) -> None:
    """Whoever may only tag could have another release deleted by its digest."""
    server.lists_referrers = False
    store = store_of(server)
    publish(release, store)
    tag = next(tag for tag in server.manifests if tag.startswith("sha256-"))
    server.manifests[tag] = server.manifests[f"{BOARD}.{release.id}"]
    requests = len(server.requests)

    with pytest.raises(UserError, match="no index of referrers"):
        store.remove(f"releases/{BOARD}/{release.id}.json")
    assert {method for method, _, _ in server.requests[requests:]} == {"GET"}


@pytest.mark.parametrize(
    ("address", "secret", "problem"),
    [
        ("oci+http://192.0.2.7/boards", "Bearer x", "would get the login in clear"),
        ("oci://user:hunter2@192.0.2.7/boards", None, "is no address of a registry's repository"),
        ("oci://192.0.2.7", None, "is no address of a registry's repository"),
        ("oci://192.0.2.7/Boards", None, "is no address of a registry's repository"),
        ("oci://192.0.2.7/boards:latest", None, "is no address of a registry's repository"),
        ("oci://192.0.2.7:port/boards", None, "is no address"),
        ("oci://192.0.2.7/boards", "x\r\ny", "has control characters"),
    ],
)
def test_what_is_no_address_is_refused(address: str, secret: str | None, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as refused:
        oci_store.oci_store(address, secret, Path("no such configuration"))
    assert "hunter2" not in str(refused.value)


def test_a_registry_has_tls_unless_it_is_local_or_said_to_have_none() -> None:
    urls = [
        oci_store.oci_store(address, None, Path("no such configuration")).registry.url
        for address in ("oci://192.0.2.7/a/b", "oci+http://192.0.2.7/a", "oci://127.0.0.1:5000/a")
    ]
    assert urls == ["https://192.0.2.7", "http://192.0.2.7", "http://127.0.0.1:5000"]


def test_what_is_no_release_is_not_asked_for(server: Server) -> None:
    with pytest.raises(UserError, match="is no name of a release"):
        published.find(store_of(server), "board", "../../x")
    assert server.requests == []


# Docker's configuration

HELPER = """#!/bin/sh
read -r registry
test "$1 $registry" = "get registry.example" || { echo credentials not found in store; exit 1; }
echo '{"ServerURL":"registry.example","Username":"ci","Secret":"hunter2"}'
"""


def test_a_credential_helper_of_docker_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    config = tmp_path / "config.json"
    config.write_text('{"credsStore": "test", "auths": {"registry.example": {}}}')

    assert docker_credentials("registry.example", config) == PAIR
    assert docker_credentials("another.example", config) is None
    helper.write_text("#!/bin/sh\necho hunter2; exit 2\n")
    with pytest.raises(UserError, match=r"(?s)has no login for.*exit code 2") as refused:
        docker_credentials("registry.example", config)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", '{"credsStore": "../x"}', '{"auths": 1}'])
def test_what_is_no_configuration_of_docker_is_refused(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.json"
    config.write_text(text)

    with pytest.raises(UserError, match="not a configuration of Docker"):
        docker_credentials("registry.example", config)
