"""A board that sends for ever, too slowly, too much or nothing: every command and login ends."""

import io
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import paramiko
import pytest
from paramiko.common import cMSG_CHANNEL_DATA, cMSG_IGNORE

from edgewright.base.errors import TargetError
from edgewright.deploy import line
from edgewright.deploy.remote import Board, Timeouts, connect, scan_host_key
from edgewright.deploy.target import Target
from tests.hostile import Answer, end, hostile_board, listening
from tests.memory import Memory

QUICK = Timeouts(connect=1, banner=1, login=1, idle=0.5)
MEMORY = 60 << 20  # that a command may take: its answer, in the forms in which it is held


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """What is in it takes no more than so long, and `MEMORY`."""
    with Memory() as memory:
        begin = time.monotonic()
        yield
        assert time.monotonic() - begin < seconds
    assert memory.grown < MEMORY


@pytest.fixture(params=[False, True], ids=["paramiko", "libssh2"])
def board(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[Answer], Board]]:
    with ExitStack() as stack:

        def connected(answer: Answer, *, silent: bool = False) -> Board:
            target = stack.enter_context(hostile_board(tmp_path / "board", answer, silent=silent))
            login = connect(target, timeouts=QUICK, brief=request.param)
            return stack.enter_context(login)

        yield connected


def flood(channel: paramiko.Channel, command: str) -> None:
    while True:
        channel.sendall(b"x" * 32768)


def flood_errors(channel: paramiko.Channel, command: str) -> None:
    while True:
        channel.sendall_stderr(b"x" * 32768)


def flood_beyond_the_window(channel: paramiko.Channel, command: str) -> None:
    transport: Any = channel.get_transport()
    while True:
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_DATA)
        message.add_int(channel.remote_chanid)
        message.add_string(b"x" * 32768)
        transport._send_user_message(message)


def flood_of_nothing(channel: paramiko.Channel, command: str) -> None:
    transport: Any = channel.get_transport()
    while True:
        message = paramiko.Message()
        message.add_byte(cMSG_IGNORE)
        message.add_string(b"x" * 32768)
        transport._send_user_message(message)


def trickle(channel: paramiko.Channel, command: str) -> None:
    while True:
        channel.sendall(b"x")
        time.sleep(0.1)


def trickle_after_the_end(channel: paramiko.Channel, command: str) -> None:
    """The output ends, the exit code never comes."""
    channel.shutdown_write()
    while True:
        channel.sendall_stderr(b"x")
        time.sleep(0.1)


def no_exit_code(channel: paramiko.Channel, command: str) -> None:
    channel.shutdown_write()
    time.sleep(60)


FLOODS = [flood, flood_errors, flood_beyond_the_window, flood_of_nothing]


@pytest.mark.parametrize("answer", FLOODS)
def test_an_answer_is_cut_by_its_size(board: Callable[[Answer], Board], answer: Answer) -> None:
    connected = board(answer)
    with bounded(20), pytest.raises(TargetError, match=r"more than 4 MiB|no end after 3 s"):
        connected.run(["edgectl", "status"])


@pytest.mark.parametrize("answer", FLOODS)
def test_an_upload_to_a_board_that_only_talks_is_cut(
    board: Callable[[Answer], Board], answer: Answer
) -> None:
    connected = board(answer)
    with bounded(20), pytest.raises(TargetError):
        connected.run(["cat"], input=b"x" * (8 << 20))


def test_a_trickling_answer_has_an_end(board: Callable[[Answer], Board]) -> None:
    connected = board(trickle)
    with bounded(6), pytest.raises(TargetError, match="its answer has no end after 3 s"):
        connected.run(["edgectl", "status"])


@pytest.mark.parametrize("answer", [no_exit_code, trickle_after_the_end])
def test_an_answer_without_exit_code_has_an_end(
    board: Callable[[Answer], Board], answer: Answer
) -> None:
    connected = board(answer)
    with bounded(6), pytest.raises(TargetError, match=r"no answer for 0\.5 s|ended by a signal"):
        connected.check(["edgectl", "status"])


def test_a_command_that_is_never_taken_has_an_end(board: Callable[..., Board]) -> None:
    """Paramiko waits for the answer to this request without a limit of its own."""
    connected = board(trickle, silent=True)
    with bounded(6), pytest.raises(TargetError, match=r"no end after 3 s|no answer for 0\.5 s"):
        connected.run(["edgectl", "status"])


def test_an_upload_that_is_taken_byte_by_byte_has_an_end(
    board: Callable[[Answer], Board],
) -> None:
    def sip(channel: paramiko.Channel, command: str) -> None:
        while channel.recv(4096):
            time.sleep(0.4)
            channel.sendall_stderr(b".")

    connected = board(sip)
    with bounded(20), pytest.raises(TargetError):
        connected.run(["cat"], input=b"x" * (32 << 20))


def test_an_honest_answer_of_the_same_size_arrives(board: Callable[[Answer], Board]) -> None:
    content = b"x" * (3 << 20)
    connected = board(lambda channel, _: end(channel, content, code=3))
    for _ in range(3):  # the budget is each command's own
        result = connected.run(["cat"])
        assert (result.returncode, len(result.stdout)) == (3, len(content))


def test_both_streams_arrive_in_small_parts(board: Callable[[Answer], Board]) -> None:
    """What one call of libssh2 reads may belong to another: nobody waits for it then."""

    def alternate(channel: paramiko.Channel, command: str) -> None:
        for number in range(300):
            channel.sendall_stderr(b"e%d\n" % number)
            channel.sendall(b"o%d\n" % number)
        end(channel)

    result = board(alternate).run(["status"])

    assert result.stdout.split() == [f"o{number}" for number in range(300)]
    assert result.stderr.split()[:300] == [f"e{number}" for number in range(300)]


# The second login, by OpenSSH


@pytest.mark.parametrize("answer", [flood, flood_errors, trickle])
def test_the_second_login_has_the_same_limits(
    board: Callable[[Answer], Board], answer: Answer
) -> None:
    connected = board(answer)
    connected.prepare()
    with bounded(20), pytest.raises(TargetError, match=r"more than 4 MiB|no end after 3 s"):
        connected.send(["edgectl", "receive"], io.BytesIO(b"x"))


# Before and during the login


def forever(text: bytes, pause: float = 0) -> Callable[[socket.socket], None]:
    def serve(link: socket.socket) -> None:
        while True:
            link.sendall(text)
            time.sleep(pause)

    return serve


BANNERS = [
    forever(b"x" * 65536),
    forever(b"x" * 1000 + b"\n"),
    forever(b"x", 0.1),
    forever(b"x\n", 0.1),
    forever(b"SSH-2.0-x\r\n" + b"\0\0\x80\0" * 9999),
    forever(b"SSH-2.0-\x1b]0;owned\x07\r\n", 0.1),
]


def login(target: Target, *, timeouts: Timeouts, brief: bool = False) -> None:
    with connect(target, timeouts=timeouts, brief=brief):
        pass


@pytest.mark.parametrize("serve", BANNERS)
@pytest.mark.parametrize("reach", [scan_host_key, login, partial(login, brief=True)])
def test_a_banner_without_end_ends(
    serve: Callable[[socket.socket], None], reach: Callable[..., object]
) -> None:
    with listening(serve) as port:
        target = Target(address="127.0.0.1", user="root", port=port)
        with bounded(8), pytest.raises(TargetError) as refused:
            reach(target, timeouts=QUICK)
        assert "\x1b" not in str(refused.value)


def test_limits_of_time_grow_with_what_is_sent() -> None:
    budget = line.Budget(10, 0)
    budget.add_sent(40 << 10)
    budget.take(10)
    budget.end_sending()
    with pytest.raises(line.EndlessAnswerError):
        budget.take(1)


def test_ways_to_log_in_that_a_board_makes_up_are_quoted_in_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = "\x1b[2J," * 10_000
    monkeypatch.setattr("tests.hostile.WAYS", ways)
    monkeypatch.setattr("tests.hostile.LETS_IN", False)
    with (
        hostile_board(tmp_path / "board", flood) as target,
        pytest.raises(TargetError, match="login as 'root' refused") as refused,
    ):
        login(target, timeouts=QUICK)
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 2000
