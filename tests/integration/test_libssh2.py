"""Logins by libssh2 against real dropbear and OpenSSH: keys, host keys, limits, silence."""

import io
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import TargetError, UserError
from edgewright.deploy import libssh2, remote
from edgewright.deploy.remote import Board, ConnectionLostError, Timeouts, connect
from edgewright.fleet.bench import servers
from edgewright.fleet.bench.servers import Kind, Server
from edgewright.lab import board_keys
from tests.integration.conftest import wait_until

pytestmark = pytest.mark.docker
PATIENT = Timeouts(connect=5, banner=5, login=20, idle=30)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without keys, agent or configuration."""
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def identity(folder: Path) -> Path:
    """The key that every server lets in."""
    board_keys.key(folder / board_keys.USER)
    return folder / board_keys.USER


def start(
    kind: Kind, name: str, folder: Path, unpacked: Path, settings: tuple[str, ...] = ()
) -> Iterator[Server]:
    if os.getuid() != 0:
        pytest.skip("needs root")
    login = board_keys.public(board_keys.key(folder / board_keys.USER))
    server = servers.start(name, kind, folder / name, unpacked, login, settings=settings)
    try:
        servers.wait(server)
        yield server
    finally:
        servers.stop(server)


@pytest.fixture(scope="module", params=["dropbear", "openssh"])
def server(request: pytest.FixtureRequest, folder: Path, ssh_servers: Path) -> Iterator[Server]:
    yield from start(request.param, request.param, folder, ssh_servers, ("LogLevel DEBUG2",))


@pytest.fixture
def board(server: Server, identity: Path) -> Iterator[Board]:
    with connect(server.target(identity), timeouts=PATIENT, brief=True) as connected:
        assert isinstance(connected._session, libssh2.Session)
        yield connected


# Commands


def test_arguments_streams_and_exit_code_arrive_as_they_are(board: Board) -> None:
    odd = ["a b", "$HOME", "'", '"', "*", "", "new\nline", "ümlaut", "-n", "\\"]
    script = 'for word in "$@"; do printf "[%s]" "$word"; done; cat; echo err >&2; exit 7'

    result = board.run(["sh", "-c", script, "_", *odd], input=b"in")

    assert result.stdout == "".join(f"[{word}]" for word in odd) + "in"
    assert (result.stderr.splitlines()[-1], result.returncode) == ("err", 7)


def test_commands_follow_each_other_at_once(board: Board) -> None:
    for number in range(50):
        assert board.run(["echo", str(number)], input=b"unread").stdout == f"{number}\n"


def test_much_goes_both_ways_at_once(board: Board) -> None:
    data, sent = os.urandom(3_000_000), list[int]()

    result = board.run(["sh", "-c", "tee /root/copy | wc -c; cat /root/copy >&2"], input=data)
    board.run(["cat"], input=bytes(1_000_000), on_bytes=sent.append)

    assert (result.stdout.strip(), sum(sent)) == ("3000000", 1_000_000)
    assert len(result.stderr) > 2_000_000


def test_a_command_that_reads_nothing_ends(board: Board) -> None:
    result = board.run(["sh", "-c", "echo full; exit 3"], input=io.BytesIO(bytes(10**7)))
    assert (result.stdout, result.returncode) == ("full\n", 3)


def test_what_a_signal_ended_is_no_success(board: Board) -> None:
    assert board.run(["sh", "-c", "kill -9 $$"]).returncode == 128 + signal.SIGKILL


def test_a_shell_that_a_signal_ended_is_no_success(board: Board) -> None:
    with pytest.raises(remote.CommandError, match="ended by a signal"):
        board.check(["sh", "-c", "kill -9 $PPID"])


# Keys


@pytest.mark.parametrize(
    "options",
    [
        ("-t", "ed25519"),
        ("-t", "rsa", "-b", "3072"),
        ("-t", "rsa", "-b", "2048", "-m", "PEM"),
        ("-t", "ecdsa", "-b", "256"),
        ("-t", "ecdsa", "-b", "521"),
    ],
    ids=" ".join,
)
def test_every_kind_of_key_lets_in(server: Server, home: Path, options: tuple[str, ...]) -> None:
    key = generated(server, home / "key", *options)
    with connect(server.target(key), timeouts=PATIENT, brief=True) as board:
        assert isinstance(board._session, libssh2.Session)
        assert board.run(["echo", "in"]).stdout == "in\n"


def test_a_key_with_a_passphrase_lets_in_by_the_agent_alone(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = generated(server, home / ".ssh" / "id_ed25519", "-t", "ed25519", passphrase="secret")
    # The user's own target: no identity of its own, and the pin in the user's file.
    target = remote.parse_host(f"root@127.0.0.1:{server.port}")
    pins = (server.folder / board_keys.KNOWN_HOSTS,)
    login: dict[str, Any] = {"known_hosts": pins, "timeouts": PATIENT, "brief": True}

    with pytest.raises(TargetError, match="a private key is locked by a passphrase"):
        connect(target, **login).__enter__()

    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(home / "agent")])
    try:
        ask = home / "ask"
        ask.write_text("#!/bin/sh\necho secret\n")
        ask.chmod(0o755)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "agent"))
        env = os.environ | {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        wait_until(lambda: answers(home / "agent"))
        subprocess.run(["ssh-add", str(key)], env=env, check=True, capture_output=True)
        with connect(target, **login) as board:
            assert isinstance(board._session, libssh2.Session)
            assert board.run(["echo", "in"]).stdout == "in\n"
    finally:
        agent.kill()
        agent.wait()


def answers(agent: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as link:
        return link.connect_ex(str(agent)) == 0


def generated(server: Server, path: Path, *options: str, passphrase: str = "") -> Path:
    """A new key that the server lets in."""
    subprocess.run(["ssh-keygen", "-q", *options, "-N", passphrase, "-f", str(path)], check=True)
    with (server.folder / "root" / ".ssh" / "authorized_keys").open("a") as file:
        file.write(path.with_name(f"{path.name}.pub").read_text())
    return path


# Host keys


def test_no_login_is_tried_where_another_key_is_pinned(
    server: Server, identity: Path, home: Path
) -> None:
    attempt = {"dropbear": "'root'", "openssh": "userauth-request for user root"}[server.kind]
    right, before = server.target(identity), server.log.stat().st_size
    other = board_keys.public(board_keys.key(home / "other"))
    (home / "pins").write_text(f"[127.0.0.1]:{server.port} {other}\n")

    with pytest.raises(TargetError) as refused:
        connect(wrongly_pinned(right, home / "pins"), timeouts=PATIENT, brief=True).__enter__()

    assert "host key is not the one that was pinned" in str(refused.value)
    settle(server)
    log = server.log.read_bytes()[before:].decode()
    assert "127.0.0.1" in log  # it was reached
    assert attempt not in log
    with connect(right, timeouts=PATIENT, brief=True) as board:
        board.run(["true"])
    settle(server)
    assert attempt in server.log.read_text()  # which is what an attempt looks like


def wrongly_pinned(target: remote.Target, pins: Path) -> remote.Target:
    return remote.Target(
        address=target.address,
        user=target.user,
        port=target.port,
        identity=target.identity,
        known_hosts=pins,
    )


def settle(server: Server) -> None:
    """Until the server has served those who went, and logged it."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    wait_until(lambda: not children.read_text())


# Boards that are not well


@pytest.mark.parametrize("kind", ["dropbear", "openssh"])
def test_a_server_whose_port_another_program_has_ends_with_its_own_words(
    kind: Kind, folder: Path, ssh_servers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(servers, "reserve_port", lambda: other)
        with pytest.raises(UserError, match="does not start") as refused:
            list(start(kind, f"late-{kind}", folder, ssh_servers))
    assert "Address already in use" in str(refused.value)


def test_a_server_without_what_libssh2_has_is_paramiko_s(
    folder: Path, identity: Path, ssh_servers: Path
) -> None:
    old = ("MACs hmac-sha1", "Ciphers aes128-ctr")
    for server in start("openssh", "old", folder, ssh_servers, old):
        with connect(server.target(identity), timeouts=PATIENT, brief=True) as board:
            assert not isinstance(board._session, libssh2.Session)
            assert board.run(["echo", "in"]).stdout == "in\n"


def test_a_board_that_hangs_is_given_up(board: Board) -> None:
    with pytest.raises(ConnectionLostError, match="no answer for 1 s"):
        board.run(["sleep", "100"], timeout=1)


def test_a_session_that_is_cut_is_lost(board: Board) -> None:
    with pytest.raises(ConnectionLostError, match="connection lost"):
        board.run(["sh", "-c", "kill -9 $(cut -d ' ' -f 4 /proc/$PPID/stat); sleep 9"])


def test_an_answer_without_end_is_cut(board: Board) -> None:
    with pytest.raises(TargetError, match="its answer has more than 4 MiB"):
        board.run(["cat", "/dev/zero"])


def test_a_server_that_asks_whether_we_live_is_answered_while_openssh_sends(
    folder: Path, identity: Path, ssh_servers: Path
) -> None:
    asks = ("ClientAliveInterval 1", "ClientAliveCountMax 2")
    for server in start("openssh", "asks", folder, ssh_servers, asks):
        with connect(server.target(identity), timeouts=PATIENT, brief=True) as board:
            line = board.run(["sh", "-c", 'echo "$SSH_CONNECTION"']).stdout
            board.prepare()
            sent = board.send(
                ["sh", "-c", 'wc -c; sleep 5; echo "$SSH_CONNECTION"'], io.BytesIO(bytes(10**6))
            )
            assert sent.stdout.split()[0] == "1000000"
            assert not sent.stdout.endswith(line)  # by OpenSSH
            assert board.run(["sh", "-c", 'echo "$SSH_CONNECTION"']).stdout == line
