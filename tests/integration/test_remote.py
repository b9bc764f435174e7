"""Real dropbear: keys, passwords, host keys, jump hosts, silence and death."""

import base64
import hashlib
import io
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgewright.base.errors import TargetError
from edgewright.deploy import openssh, remote
from edgewright.deploy.known_hosts import fingerprint
from edgewright.deploy.remote import (
    Board,
    CommandError,
    ConnectionLostError,
    Timeouts,
    connect,
    pin,
    scan_host_key,
)
from edgewright.deploy.target import Target, parse_host
from edgewright.lab import board_keys, emulate
from edgewright.lab.emulate import EmulatedBoard
from tests.integration.conftest import instance_of, kill_sessions, shell

pytestmark = pytest.mark.board
PATIENT = Timeouts(connect=5, banner=5, login=20, idle=30)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without keys, agent or configuration."""
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.delenv(remote.PASSWORD, raising=False)
    return tmp_path


@pytest.fixture
def plain(emulated: EmulatedBoard) -> Target:
    """The board as a user would name it: no key, no pins."""
    return parse_host(f"root@127.0.0.1:{emulated.port}")


def refusal(target: Target, *, password: str | None = None) -> str:
    with (
        pytest.raises(TargetError) as failed,
        connect(target, timeouts=PATIENT, password=password),
    ):
        pass
    return str(failed.value)


# Commands


def test_arguments_arrive_as_they_are(board: Board) -> None:
    odd = ["a b", "$HOME", "'", '"', "*", "", "new\nline", "ümlaut", "-n", "\\"]
    script = 'for word in "$@"; do printf "[%s]" "$word"; done'
    assert board.script(script, *odd).stdout == "".join(f"[{word}]" for word in odd)


def test_both_streams_and_the_exit_code(board: Board) -> None:
    result = board.run(["sh", "-c", "cat; echo err >&2; exit 7"], input=b"in")
    assert (result.stdout, result.stderr, result.returncode) == ("in", "err\n", 7)


def test_much_output_on_both_streams(board: Board) -> None:
    script = "head -c 2000000 /dev/zero >&2; head -c 2000000 /dev/zero"
    result = board.run(["sh", "-c", script])
    assert (len(result.stdout), len(result.stderr)) == (2000000, 2000000)


def test_failed_command_shows_what_it_said(board: Board) -> None:
    with pytest.raises(CommandError) as failed:
        board.check(["ls", "/nosuch"])
    assert str(failed.value) == (
        f"{board.target}: exit code 1\n"
        "  command: ls /nosuch\n"
        "  | ls: /nosuch: No such file or directory"
    )


def test_signal_is_no_exit_code(board: Board) -> None:
    with pytest.raises(CommandError, match="ended by a signal"):
        board.check(["sh", "-c", "kill -9 $$"])


def test_file_arrives_whole(board: Board, emulated: EmulatedBoard) -> None:
    data = bytes(range(256)) * 10000
    sizes: list[int] = []
    board.put(io.BytesIO(data), "/tmp/a file", on_bytes=sizes.append)
    assert shell(emulated, "wc -c < '/tmp/a file'") == str(len(data))
    assert sum(sizes) == len(data)


def test_file_that_cannot_be_written(board: Board) -> None:
    with pytest.raises(CommandError, match="can't create /nosuch/x"):
        board.put(io.BytesIO(bytes(10**7)), "/nosuch/x")


# Large inputs

LINE = 'cat > "$1"; echo "$SSH_CONNECTION"; exit 7'


def test_large_input_takes_a_login_of_its_own(board: Board, emulated: EmulatedBoard) -> None:
    first = board.run(["sh", "-c", 'echo "$SSH_CONNECTION"']).stdout
    data, sent = os.urandom(300_000), list[int]()
    board.prepare()
    argv = ["sh", "-c", LINE, "_", "/tmp/large"]
    result = board.send(argv, io.BytesIO(data), on_bytes=sent.append)
    assert result.returncode == 7
    assert result.stdout not in ("", first)
    assert sum(sent) == len(data)
    digest = shell(emulated, "sha256sum /tmp/large; rm /tmp/large")
    assert digest.startswith(hashlib.sha256(data).hexdigest())
    killed = board.send(["sh", "-c", "kill -9 $$"], io.BytesIO(data))
    assert killed.returncode == -1


def test_large_input_without_a_second_login_takes_the_first(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    first = board.run(["sh", "-c", 'echo "$SSH_CONNECTION"']).stdout
    board.prepare()
    assert board.send(["sh", "-c", LINE, "_", "/dev/null"], io.BytesIO(b"x")).stdout == first


def test_second_login_accepts_no_other_host_key(emulated: EmulatedBoard) -> None:
    _, other = board_keys.public(Ed25519PrivateKey.generate()).split()
    login = openssh.Login(emulated.target, "ssh-ed25519", base64.b64decode(other))
    try:
        assert not login.succeeds(30)
    finally:
        login.close()


def test_board_that_falls_silent(board: Board) -> None:
    with pytest.raises(ConnectionLostError) as lost:
        board.run(["sleep", "60"], timeout=1)
    assert str(lost.value) == (
        f"{board.target}: no answer for 1 s\n"
        "next: check power and network, then run the same command again"
    )


def test_answer_without_end_is_cut_by_its_size(board: Board) -> None:
    with pytest.raises(TargetError) as refused:
        board.run(["yes"])

    assert str(refused.value) == (
        f"{board.target}: its answer has more than 4 MiB\n"
        "next: look at what runs on this board: edgewright's own commands end by themselves"
    )


def test_answer_without_end_is_cut_by_its_time(board: Board) -> None:
    with pytest.raises(TargetError, match="its answer has no end after 12 s"):
        board.run(["sh", "-c", "while sleep 0.2; do echo; done"], timeout=2)


def test_answer_without_end_to_a_large_input(board: Board) -> None:
    board.prepare()
    with pytest.raises(TargetError, match="its answer has more than 4 MiB"):
        board.send(["yes"], io.BytesIO(b"x"))


def test_session_that_is_killed(emulated: EmulatedBoard) -> None:
    with connect(emulated.target) as board:
        threading.Timer(0.5, kill_sessions, (emulated,)).start()
        with pytest.raises(ConnectionLostError, match="connection lost"):
            board.run(["sleep", "60"])


# Logins


def test_wrong_key(emulated: EmulatedBoard, home: Path) -> None:
    paramiko.ECDSAKey.generate().write_private_key_file(str(home / "other"))
    target = replace(emulated.target, identity=home / "other")
    assert refusal(target) == (
        f"{target}: login as 'root' refused\n"
        f"  tried: key {home / 'other'}\n"
        "next: put your public key on the board, or set EDGEWRIGHT_PASSWORD"
    )


def test_no_key_at_all(plain: Target) -> None:
    pin(scan_host_key(plain))
    text = refusal(plain)
    assert text.startswith(f"{plain}: login as 'root' refused\n  tried: keys of the agent")


def test_wrong_password_is_refused_and_not_shown(plain: Target) -> None:
    pin(scan_host_key(plain))
    text = refusal(plain, password="hunter2-secret")
    assert text.startswith(
        f"{plain}: login as 'root' refused\n"
        "  tried: keys of the agent and of ~/.ssh, the password\n"
    )
    assert "hunter2" not in text


def test_password(emulated: EmulatedBoard, plain: Target) -> None:
    pin(scan_host_key(plain))
    script = 'h=$(mkpasswd -m sha512 right) && sed -i "s#^root:[^:]*:#root:$h:#" /etc/shadow'
    shell(emulated, script)
    try:
        with connect(plain, password="right") as board:
            assert board.run(["id", "-u"]).stdout == "0\n"
    finally:
        shell(emulated, "sed -i 's#^root:[^:]*:#root:*:#' /etc/shadow")


# Host keys


def test_unknown_key_is_refused(emulated: EmulatedBoard, plain: Target) -> None:
    offered = scan_host_key(plain)
    assert refusal(plain) == (
        f"{plain}: host key is not known\n"
        f"  offered: {offered.fingerprint}\n"
        f"next: compare it with the board's, then invoke trust --host={plain}"
    )
    script = "dropbearkey -y -f /etc/dropbear/host_key | grep -o 'SHA256:.*'"
    assert shell(emulated, script).split()[0] == offered.fingerprint


def test_refused_connections_are_closed(emulated: EmulatedBoard, plain: Target) -> None:
    """Dropbear serves five that are not logged in from one address, and no more."""
    for _ in range(7):
        assert "host key is not known" in refusal(plain)


def test_trusted_key_lets_the_user_s_own_key_in(
    emulated: EmulatedBoard, plain: Target, home: Path
) -> None:
    (home / ".ssh" / "id_ed25519").write_bytes((emulated.folder / "id_ed25519").read_bytes())
    assert pin(scan_host_key(plain))
    assert scan_host_key(plain).is_pinned
    with connect(plain) as board:
        assert board.run(["true"]).returncode == 0


def test_changed_key_is_refused_until_it_is_replaced(
    emulated: EmulatedBoard, plain: Target, home: Path
) -> None:
    (home / ".ssh" / "id_ed25519").write_bytes((emulated.folder / "id_ed25519").read_bytes())
    former = paramiko.ECDSAKey.generate()
    line = f"[127.0.0.1]:{emulated.port} {former.get_name()} {former.get_base64()}\n"
    (home / ".ssh" / "known_hosts").write_text(line)
    offered = scan_host_key(plain)
    assert refusal(plain) == (
        f"{plain}: host key is not the one that was pinned\n"
        f"  expected: {fingerprint(former.asbytes())}\n"
        f"  found: {offered.fingerprint}\n"
        "next: find out why; if the board was set up anew, "
        f"invoke trust --host={plain}"
    )
    pin(offered, expected=offered.fingerprint)
    with connect(plain) as board:
        assert board.run(["true"]).returncode == 0
    assert (home / ".ssh" / "known_hosts").read_text() == line


# Hosts


def test_board_that_hangs(own_board: EmulatedBoard) -> None:
    """Something accepts the connection, as a gateway would, and nothing answers."""
    subprocess.run(["docker", "pause", own_board.container], check=True, capture_output=True)
    try:
        limits = Timeouts(connect=2, banner=1, login=2, idle=2)
        with pytest.raises(TargetError) as failed, connect(own_board.target, timeouts=limits):
            pass
    finally:
        subprocess.run(["docker", "unpause", own_board.container], check=True, capture_output=True)
    assert f"{own_board.target}: does not answer as an SSH server\n" in str(failed.value)


def test_board_that_is_off(own_board: EmulatedBoard) -> None:
    subprocess.run(["docker", "kill", own_board.container], check=True, capture_output=True)
    assert refusal(own_board.target).startswith(f"{own_board.target}: connection refused\n")


def test_pulled_cable_is_noticed_long_before_a_long_command_ends(
    own_board: EmulatedBoard, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "KEEPALIVE_SECONDS", 1)
    monkeypatch.setattr(remote, "DEAD_SECONDS", 3.0)
    address = address_of(own_board)
    known_hosts = home / "known"
    known_hosts.write_text(f"{address} {' '.join(host_key(own_board))}\n")
    target = replace(own_board.target, address=address, port=22, known_hosts=known_hosts)
    pull = ["docker", "network", "disconnect", "bridge", own_board.container]
    with connect(target) as board:
        threading.Timer(1, subprocess.run, (pull,)).start()
        started = time.monotonic()
        with pytest.raises(ConnectionLostError, match="connection lost"):
            board.run(["sleep", "900"], timeout=900)
        assert time.monotonic() - started < 60


def host_key(board: EmulatedBoard) -> list[str]:
    return (board.folder / "known_hosts").read_text().split()[1:]


def address_of(board: EmulatedBoard) -> str:
    argv = ["docker", "inspect", "--format", "{{.NetworkSettings.IPAddress}}", board.container]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def behind(emulated: EmulatedBoard, tmp_path: Path, home: Path) -> Iterator[EmulatedBoard]:
    """A second board, reached through the first one by an alias of ~/.ssh/config."""
    instance = instance_of("a53-som", tmp_path / "behind")
    try:
        second = emulate.up(instance)
        (home / ".ssh" / "config").write_text(
            f"Host gate\n  HostName 127.0.0.1\n  Port {emulated.port}\n  User root\n"
            f"  IdentityFile {emulated.folder / 'id_ed25519'}\n"
            f"Host far\n  HostName {address_of(second)}\n  User root\n  ProxyJump gate\n"
            f"  IdentityFile {second.folder / 'id_ed25519'}\n"
        )
        yield second
    finally:
        emulate.down(instance)


def test_jump_host(emulated: EmulatedBoard, behind: EmulatedBoard, plain: Target) -> None:
    far = parse_host("far")
    assert refusal(far).startswith(f"root@127.0.0.1:{emulated.port}: host key is not known\n")
    pin(scan_host_key(plain))
    assert refusal(far).startswith("far: host key is not known\n")
    pin(scan_host_key(far))
    assert remote.pins().read_text().splitlines()[-1].startswith("far ssh-ed25519 ")
    with connect(far) as board:
        assert board.run(["hostname"]).stdout == "a53-som\n"
        started = time.monotonic()
        board.put(io.BytesIO(bytes(10**6)), "/tmp/far")
        assert time.monotonic() - started < 60
    assert shell(behind, "wc -c < /tmp/far") == str(10**6)


def test_an_address_behind_a_jump_host_is_no_board_by_itself(
    behind: EmulatedBoard, plain: Target
) -> None:
    pin(scan_host_key(plain))
    address = address_of(behind)
    another = paramiko.ECDSAKey.generate()  # of the board at this address behind another gate
    with remote.pins().open("a") as pins:
        pins.write(f"{address} {another.get_name()} {another.get_base64()}\n")

    assert refusal(parse_host("far")).startswith("far: host key is not known\n")
    offered = scan_host_key(parse_host("far"))
    assert offered.pinned == ()

    with remote.pins().open("a") as pins:  # as 0.1.0 and OpenSSH pin it
        pins.write(f"{address} {offered.kind} {base64.b64encode(offered.blob).decode()}\n")
    assert scan_host_key(parse_host("far")).is_pinned
    with connect(parse_host("far")) as board:
        assert board.run(["true"]).returncode == 0


def test_jump_host_that_does_not_reach_the_board(
    emulated: EmulatedBoard, behind: EmulatedBoard, plain: Target, home: Path
) -> None:
    pin(scan_host_key(plain))
    # Its server is not ended for it: another container would soon have its address.
    config = home / ".ssh" / "config"
    config.write_text(config.read_text().replace("Host far\n", "Host far\n  Port 9\n"))
    text = refusal(parse_host("far"))
    assert text.startswith("far: not reached by its jump host\n")
    assert f"  through: root@127.0.0.1:{emulated.port}\n" in text
