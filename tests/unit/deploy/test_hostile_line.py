"""A board that sends for ever, too slowly, too much or nothing: every command and login ends."""

import contextlib
import gc
import io
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import paramiko
import pytest
from paramiko.common import cMSG_CHANNEL_DATA, cMSG_IGNORE
from ssh2.channel import Channel
from ssh2.session import Session

from edgewright.base.errors import TargetError
from edgewright.deploy import line
from edgewright.deploy.line import WatchedLine
from edgewright.deploy.remote import Board, Timeouts, connect, scan_host_key
from edgewright.deploy.target import Target
from tests.hostile import Answer, end, hostile_board, listening
from tests.memory import Memory

QUICK = Timeouts(connect=1, banner=1, login=1, idle=0.5)
PATIENT = Timeouts(connect=10, banner=10, login=20, idle=30)
# Boards that fall silent, and those that do only where a busy machine makes them: 3 s in all.
SILENT, TALKATIVE = replace(PATIENT, idle=0.5), replace(PATIENT, idle=2)
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
def board(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Board]]:
    """Logs in to a board; a command may take a second longer than be silent."""
    monkeypatch.setattr(line, "LONGEST", 1)
    with ExitStack() as stack:

        def connected(
            answer: Answer, *, silent: bool = False, timeouts: Timeouts = TALKATIVE
        ) -> Board:
            target = stack.enter_context(hostile_board(tmp_path / "board", answer, silent=silent))
            login = connect(target, timeouts=timeouts, brief=request.param)
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
    board: Callable[..., Board], answer: Answer
) -> None:
    connected = board(answer, timeouts=SILENT)
    with bounded(6), pytest.raises(TargetError, match=r"no answer for 0\.5 s|ended by a signal"):
        connected.check(["edgectl", "status"])


def test_a_command_that_is_never_taken_has_an_end(board: Callable[..., Board]) -> None:
    """Paramiko waits for the answer to this request without a limit of its own."""
    connected = board(trickle, silent=True, timeouts=SILENT)
    with bounded(6), pytest.raises(TargetError, match=r"no end after 1\.5 s|no answer for 0\.5 s"):
        connected.run(["edgectl", "status"])


def test_an_upload_that_is_taken_byte_by_byte_has_an_end(board: Callable[..., Board]) -> None:
    def sip(channel: paramiko.Channel, command: str) -> None:
        while channel.recv(4096):
            time.sleep(0.4)
            channel.sendall_stderr(b".")

    connected = board(sip, timeouts=SILENT)
    with bounded(20), pytest.raises(TargetError):
        connected.run(["cat"], input=b"x" * (32 << 20))


def test_an_honest_answer_of_the_same_size_arrives(board: Callable[..., Board]) -> None:
    content = b"x" * (3 << 20)
    connected = board(lambda channel, _: end(channel, content, code=3), timeouts=PATIENT)
    for _ in range(3):  # the budget is each command's own
        result = connected.run(["cat"])
        assert (result.returncode, len(result.stdout)) == (3, len(content))


def test_both_streams_arrive_in_small_parts(board: Callable[..., Board]) -> None:
    """What one call of libssh2 reads may belong to another: nobody waits for it then."""

    def alternate(channel: paramiko.Channel, command: str) -> None:
        for number in range(300):
            channel.sendall_stderr(b"e%d\n" % number)
            channel.sendall(b"o%d\n" % number)
        end(channel)

    result = board(alternate, timeouts=PATIENT).run(["status"])

    assert result.stdout.split() == [f"o{number}" for number in range(300)]
    assert result.stderr.split()[:300] == [f"e{number}" for number in range(300)]


# The end of a line that libssh2 reads from


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("answer", [trickle, flood])
def test_a_line_and_its_answer_go_without_the_collector(tmp_path: Path, answer: Answer) -> None:
    def ended(target: Target) -> "weakref.ref[Any]":
        with (
            contextlib.suppress(TargetError),
            connect(target, timeouts=SILENT, brief=True) as connected,
        ):
            watched: weakref.ref[Any] = weakref.ref(connected._session.line)
            connected.run(["edgectl", "status"])
        return watched

    with hostile_board(tmp_path / "board", answer) as target:
        watched = ended(target)
        time.sleep(2 * line.WATCH_SECONDS)  # the watch may be about to leave it
        assert watched() is None


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("lets_in", [True, False])
def test_a_socket_closes_after_all_that_writes_to_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lets_in: bool
) -> None:
    monkeypatch.setattr("tests.hostile.LETS_IN", lets_in)
    writers, close = list[int](), WatchedLine.close

    def counted(watched: WatchedLine) -> None:
        writers.append(sum(type(each) in (Session, Channel) for each in gc.get_objects()))
        close(watched)

    monkeypatch.setattr(WatchedLine, "close", counted)
    with hostile_board(tmp_path / "board", flood) as target:
        # The exception holds the frames of what failed, as a caller may.
        with pytest.raises(TargetError), connect(target, timeouts=PATIENT, brief=True) as connected:
            connected.run(["edgectl", "status"])
        assert writers == [0]


@pytest.fixture
def overdue() -> Iterator[Callable[..., WatchedLine]]:
    """Makes lines whose time is over."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def late(kind: type[WatchedLine] = WatchedLine) -> WatchedLine:
            tcp = socket.create_connection(server.getsockname(), timeout=20)
            return stack.enter_context(contextlib.closing(kind(tcp, 0)))

        yield late


def has_ended(watched: WatchedLine) -> bool:
    """Waits for the end; nothing else comes."""
    return watched._tcp.recv(1) == b""


def test_a_watch_that_could_not_start_begins_with_the_next_line(
    overdue: Callable[..., WatchedLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    watch = line.Watch()
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="new thread"), watch.over(overdue()):
            pass

    with watch.over(watched := overdue()):
        assert has_ended(watched)


def test_a_line_that_cannot_be_watched_ends_and_the_others_are_watched(
    overdue: Callable[..., WatchedLine],
) -> None:
    class Unwatchable(WatchedLine):
        def end_at_limit(self) -> None:
            raise MemoryError

    watch = line.Watch()
    with watch.over(unwatchable := overdue(Unwatchable)):
        assert has_ended(unwatchable)
        with watch.over(watched := overdue()):
            assert has_ended(watched)


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
    budget = line.Budget(100, 0)
    budget.add_sent(40 << 10)
    budget.take(10)
    budget.end_sending()
    with pytest.raises(line.EndlessAnswerError, match="no end after 0 s"):
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
        login(target, timeouts=PATIENT)
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 2000
