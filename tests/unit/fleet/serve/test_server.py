"""The server of rollouts: who gets what, and who may change what."""

import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edgewright.base.errors import UserError
from edgewright.base.schema import Document
from edgewright.fleet.documents import RolloutList, RolloutStatus, SiteReport
from edgewright.fleet.rollout.database import open_database
from edgewright.fleet.rollout.ledger import Ledger
from edgewright.fleet.rollout.people import People, Role
from edgewright.fleet.serve import server, site_api
from edgewright.fleet.serve.authority import open_authority
from edgewright.fleet.serve.live import Live
from edgewright.fleet.serve.server import MOST_LINES, listener
from tests.certificates import Authority
from tests.schemas import require_valid
from tests.serving import WAIT_SECONDS, Client, judge_bread, plan_bread, serving, token_of

REFUSED = (ssl.SSLError, ConnectionError)  # TLS 1.3 refuses after the client's handshake
DOCUMENT = {"Content_Type": "application/json"}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(open_database(str(tmp_path / "ledger.sqlite")), time.time)
    plan_bread(ledger, 20)
    return ledger


@pytest.fixture
def client(ledger: Ledger) -> Iterator[Client]:
    with serving(ledger) as url:
        yield Client(url)


def of(role: Role, ledger: Ledger) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_of(ledger, role)}"}


def session(client: Client, token: str) -> str:
    answer = client.ask("POST", "/login", f"token={token}", Origin=client.url,
                        Content_Type="application/x-www-form-urlencoded")  # fmt: skip
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    return answer.headers["Set-Cookie"]


def test_nothing_is_told_without_a_login(client: Client) -> None:
    for path in ("/v1/rollouts", "/v1/rollouts/bread", "/v1/live?rollout=bread", "/page.js"):
        answer = client.get(path)
        assert answer.status == 401, path
        require_valid("serve-refusal", answer.text)
        assert "oven" not in answer.text
    assert client.get("/v1/rollouts", Authorization="Bearer x").status == 401
    assert client.get("/v1/rollouts", Cookie="edgewright=x").status == 401
    assert (client.get("/").status, client.get("/").headers["Location"]) == (303, "/login")


def test_whoever_has_a_token_reads_the_documents_of_the_command_line(
    client: Client, ledger: Ledger
) -> None:
    viewer = of(Role.VIEWER, ledger)
    for path, schema in (
        ("/v1/rollouts", "rollout.list"),
        ("/v1/rollouts/bread", "rollout.status"),
        ("/v1/login", "serve-login"),
    ):
        answer = client.get(path, **viewer)
        assert answer.status == 200
        require_valid(schema, answer.text)
    unknown = client.get("/v1/rollouts/cake", **viewer)
    assert unknown.status == 409
    assert unknown.document["message"] == "rollout 'cake': is unknown"


def test_a_token_begins_a_session_that_no_script_and_no_other_site_has(
    client: Client, ledger: Ledger
) -> None:
    cookie = session(client, token_of(ledger, Role.VIEWER))
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie

    value = cookie.split(";")[0]
    assert client.get("/", Cookie=value).status == 200
    assert client.ask("POST", "/logout", Cookie=value, Origin=client.url).status == 303
    assert client.get("/v1/rollouts", Cookie=value).status == 401


def test_a_removed_person_and_an_old_token_are_out_at_once(client: Client, ledger: Ledger) -> None:
    token = token_of(ledger, Role.OPERATOR)
    cookie = session(client, token).split(";")[0]
    assert People(ledger.database, time.time).remove("anna")
    for header in ({"Cookie": cookie}, {"Authorization": f"Bearer {token}"}):
        assert client.get("/v1/rollouts", **header).status == 401

    late = People(ledger.database, lambda: time.time() - 7200).add("bert", Role.VIEWER, 3600)
    assert client.get("/v1/rollouts", Authorization=f"Bearer {late}").status == 401


def test_a_wrong_token_is_told_on_the_page(client: Client) -> None:
    answer = client.ask("POST", "/login", "token=<b>", Origin=client.url,
                        Content_Type="application/x-www-form-urlencoded")  # fmt: skip
    assert answer.status == 403
    assert '<p role="alert">This token does not count' in answer.text
    assert "Set-Cookie" not in answer.headers
    assert "alert" not in client.get("/login").text


def test_the_ledger_holds_no_token(ledger: Ledger, tmp_path: Path) -> None:
    token = token_of(ledger, Role.OPERATOR)
    ledger.database.engine.dispose()
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert not any(token.encode() in content for content in files)


def test_a_viewer_changes_nothing(client: Client, ledger: Ledger) -> None:
    judge_bread(ledger)
    viewer = of(Role.VIEWER, ledger)
    for change in ("pause", "resume", "abort", "approve"):
        path = f"/v1/rollouts/bread/{change}"
        answer = client.ask("POST", path, '{"reason": "so"}', **DOCUMENT, **viewer)
        assert answer.status == 403
    assert ledger.rollout("bread").wish == "run"
    assert ledger.approval("bread", 1) is None


def test_another_sites_page_cannot_use_an_operators_session(client: Client, ledger: Ledger) -> None:
    """A browser adds the cookie by itself; `SameSite` keeps it back, and so does this."""
    cookie = session(client, token_of(ledger, Role.OPERATOR)).split(";")[0]
    path = "/v1/rollouts/bread/pause"
    for origin in ({"Origin": "https://elsewhere.example"}, {"Origin": "null"}, {}):
        answer = client.ask("POST", path, "{}", Cookie=cookie, **DOCUMENT, **origin)
        assert answer.status == 403
    assert ledger.rollout("bread").wish == "run"

    answer = client.ask("POST", path, "{}", Cookie=cookie, Origin=client.url, **DOCUMENT)
    assert answer.status == 200
    require_valid("rollout.pause", answer.text)
    assert ledger.rollout("bread").wish == "pause"
    assert client.ask("POST", "/login", "token=x", Origin="https://elsewhere.example").status == 403


def test_what_an_operator_does_is_kept_with_name_and_reason(client: Client, ledger: Ledger) -> None:
    operator = {**DOCUMENT, **of(Role.OPERATOR, ledger)}

    def change(word: str, reason: str) -> tuple[int, str]:
        body = f'{{"reason": "{reason}"}}'
        answer = client.ask("POST", f"/v1/rollouts/bread/{word}", body, **operator)
        return answer.status, answer.document.get("message", "")

    assert change("approve", "fine") == (409, "rollout 'bread': does not wait for approval")
    judge_bread(ledger)
    assert change("approve", " ") == (409, "--reason: is empty")
    assert change("approve", "fine") == (200, "")
    approval = ledger.approval("bread", 1)
    assert approval is not None
    assert (approval.who, approval.reason) == ("anna", "fine")

    assert change("resume", "") == (409, "rollout 'bread': no process conducts it")
    with ledger.database.only_one("bread"):
        assert change("pause", "a fire") == (200, "")
        assert change("resume", "it is out") == (200, "")
    assert change("abort", "enough") == (200, "")
    assert ledger.rollout("bread").state == "aborted"
    assert change("pause", "") == (409, "rollout 'bread': is over: aborted")
    reasons = [event.text for event in ledger.events("bread") if event.text.startswith("by anna")]
    assert reasons == ["by anna: a fire", "by anna: it is out", "by anna: enough"]


def test_a_reason_holds_nothing_that_a_terminal_obeys(client: Client, ledger: Ledger) -> None:
    ledger.enter("bread", "wave 1 waits for approval")
    path, body = "/v1/rollouts/bread/approve", r'{"reason": "fine\u0000\u001b[2J"}'

    assert client.ask("POST", path, body, **DOCUMENT, **of(Role.OPERATOR, ledger)).status == 200

    approval = ledger.approval("bread", ledger.rollout("bread").wave)
    assert approval is not None
    assert approval.reason == r"fine\x00\x1b[2J"


def test_what_a_site_says_holds_nothing_that_a_terminal_obeys() -> None:
    report_of_site = {"attempt": 1, "fence": 1, "outcome": "failed", "reason": "\x1b[2J\0"}

    report = SiteReport.model_validate(report_of_site)

    assert (report.reason, report.outcome) == (r"\x1b[2J\x00", "failed")


@pytest.mark.parametrize("body", ["", "[]", '{"reason": 1}', '{"who": "bert"}', "{" * 9999])
def test_a_request_that_means_nothing_changes_nothing(
    body: str, client: Client, ledger: Ledger
) -> None:
    answer = client.ask("POST", "/v1/rollouts/bread/pause", body, **of(Role.OPERATOR, ledger))
    assert answer.status == 409
    assert ledger.rollout("bread").wish == "run"


def test_every_answer_has_the_strict_policy(client: Client, ledger: Ledger) -> None:
    viewer = of(Role.VIEWER, ledger)
    for path in ("/", "/login", "/page.css", "/v1/rollouts", "/v1/rollouts/cake", "/nothing"):
        for headers in (viewer, {}):
            policy = client.get(path, **headers).headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
            assert "unsafe" not in policy


def test_a_person_looks_from_so_many_pages_and_others_are_not_kept_out(
    client: Client, ledger: Ledger
) -> None:
    viewer, other = (
        {"Authorization": f"Bearer {token_of(ledger, Role.VIEWER, name)}"}
        for name in ("ann", "ben")
    )

    def look(headers: dict[str, str]) -> tuple[HTTPConnection, HTTPResponse]:
        connection = client.connect()
        connection.request("GET", "/v1/live", headers=headers)
        return connection, connection.getresponse()

    lines = [look(viewer) for _ in range(MOST_LINES)]
    assert {answer.status for _, answer in lines} == {200}
    _, refused = look(viewer)
    assert refused.status == 429
    assert "ann looks from 8 pages already" in refused.read().decode()
    assert look(other)[1].status == 200

    lines[0][1].close()
    lines[0][0].close()
    deadline = time.monotonic() + 20
    while look(viewer)[1].status != 200:  # the server notices at its next word
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_line_tells_what_has_changed_and_nothing_else(client: Client, ledger: Ledger) -> None:
    connection = client.connect()
    connection.request("GET", "/v1/live?rollout=bread", headers=of(Role.VIEWER, ledger))
    stream = connection.getresponse()

    def message() -> tuple[str, str]:
        name, data = stream.readline().decode(), stream.readline().decode()
        assert stream.readline() == b"\n"
        return name.removeprefix("event: ").strip(), data.removeprefix("data: ").strip()

    kind, text = message()
    assert kind == "rollouts"
    require_valid("rollout.list", text)
    kind, text = message()
    assert kind == "status"
    require_valid("rollout.status", text)
    assert text.count('"board":') == 20

    ledger.quarantine("oven-3", "a fire")
    kind, text = message()
    assert kind == "status"
    waits = next(m for m in ledger.members("bread") if m.board == "oven-3").state == "excluded"
    assert text.count('"board":') == int(waits)
    connection.close()


@pytest.mark.parametrize(
    ("listen", "problem"),
    [
        ("0.0.0.0:8443", "tokens would cross the network in clear"),
        ("192.0.2.1:8443", "tokens would cross the network in clear"),
        ("hall", "expected an address"),
        ("127.0.0.1:x", "expected an address"),
        ("127.0.0.1:65536", "expected an address"),
    ],
)
def test_no_token_crosses_a_network_in_clear(listen: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        listener(listen, certificate=None, key=None)


def test_a_certificate_is_a_login_of_a_known_name_alone(ledger: Ledger, tmp_path: Path) -> None:
    own, stranger = Authority("own", tmp_path), Authority("stranger", tmp_path)
    server, server_key = own.issue("localhost")
    where = listener("127.0.0.1:0", certificate=server, key=server_key, client_cas=[own.file])
    token_of(ledger, Role.VIEWER, "anna")
    with serving(ledger, where) as url:

        def login(certificate: tuple[Path, Path] | None) -> int:
            context = ssl.create_default_context(cafile=own.file)
            if certificate is not None:
                context.load_cert_chain(*certificate)
            return Client(url, tls=context).get("/v1/login").status

        assert login(own.issue("anna")) == 200
        assert login(own.issue("bert")) == 401
        assert login(None) == 401
        with pytest.raises(REFUSED):
            login(stranger.issue("anna"))
        with pytest.raises(REFUSED):
            login(own.issue("anna", days=-1))


def test_files_that_tls_does_not_take(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("no certificate")
    with pytest.raises(UserError, match="TLS does not take these files"):
        listener("[::1]:0", certificate=tmp_path / "x.pem", key=None)


@pytest.mark.parametrize("option", ["--tls-key", "--client-ca"])
def test_what_counts_over_tls_alone_is_not_ignored(option: str, tmp_path: Path) -> None:
    file = tmp_path / "x.pem"
    key, authorities = (file, []) if option == "--tls-key" else (None, [file])

    with pytest.raises(UserError, match=f"{option}: counts over TLS alone"):
        listener("127.0.0.1:0", certificate=None, key=key, client_cas=authorities)


@pytest.mark.parametrize("name", ["https://fleet.example", "fleet.example:8443", "höhle", ""])
def test_a_name_that_no_certificate_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no name of a host, and no address"):
        open_authority(tmp_path).server_files([name])


def connected(url: str, sent: bytes) -> socket.socket:
    place = urlsplit(url)
    line = socket.create_connection((str(place.hostname), place.port or 0), timeout=WAIT_SECONDS)
    line.sendall(sent)
    return line


@pytest.mark.parametrize("sent", [b"", b"GET /login HT", b"GET /login HTTP/1.1\r\nHost: x\r\n"])
def test_a_connection_without_a_request_is_closed(
    sent: bytes, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reaches the port could keep all others from it."""
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.1)
    with serving(ledger) as url, connected(url, sent) as line:
        assert line.recv(1) == b""


def test_a_body_that_does_not_end_is_not_waited_for(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_api, "BODY_SECONDS", 0.1)
    with serving(ledger) as url:
        sent = b"POST /login HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nContent-Length: 9\r\n\r\nto"
        with connected(url, sent) as line:
            assert line.recv(64).startswith(b"HTTP/1.1 408 ")


def test_a_line_that_nobody_reads_is_cut(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    class Watched(Live):
        async def watch(self, name: str) -> AsyncIterator[RolloutList | RolloutStatus | None]:
            try:
                async for news in super().watch(name):
                    yield news
            finally:
                ended.set()

    def more_than_buffers_take(news: Document) -> bytes:
        return bytes(64 << 20)

    monkeypatch.setattr(server, "Live", Watched)
    monkeypatch.setattr(server, "_event", more_than_buffers_take)
    monkeypatch.setattr(server, "STALLED_SECONDS", 0.1)
    token = token_of(ledger, Role.VIEWER)
    head = f"GET /v1/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    with serving(ledger) as url, connected(url, head.encode()):
        assert ended.wait(WAIT_SECONDS)


def test_a_form_in_no_charset_is_a_wrong_token(client: Client) -> None:
    kind = "application/x-www-form-urlencoded; charset=none-such"
    answer = client.ask("POST", "/login", "token=x", Origin=client.url, Content_Type=kind)
    assert answer.status == 403
    assert "This token does not count" in answer.text
