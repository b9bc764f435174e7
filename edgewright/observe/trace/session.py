"""strace on a board, whose lines come to this machine while they are written."""

import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Literal

from edgewright.base.errors import TargetError
from edgewright.base.process import end_group
from edgewright.base.schema import Document, Shown
from edgewright.base.text import last_lines, visible
from edgewright.deploy.remote import Board
from edgewright.observe.leaks.soak import SAMPLE, parse_samples
from edgewright.observe.trace.calls import LINE_BYTES, SystemCall, Tally

MOST_BYTES = 64 << 20  # of a trace
ERROR_BYTES = 64 << 10  # of what strace and the program say beside it
TAIL_LINES = 20
JOIN_SECONDS = 5.0

# Descriptor 3 is what comes to this machine; what the program says goes beside it. Standard input
# ends when the line does: then strace goes, and with it what it started. Where it was attached, it
# lets go. Nothing here reads from it by a child of its own, which would keep the line open.
TRACE = r"""
cd "$1" && shift
exec 3>&1 1>&2 4<&0
"$@" </dev/null 4<&- &
tracer=$!
{ while read -r _; do :; done; kill "$tracer"; } <&4 >/dev/null 2>&1 3>&- 4<&- &
waiter=$!
wait "$tracer"
code=$?
kill "$waiter" 2>/dev/null
exit "$code"
"""
# Threads and children too; the time of each call, and how long it took; texts of 256 characters.
OPTIONS = ("-f", "-ttt", "-T", "-s", "256")
# Through a pipe to descriptor 3, which strace would not heed SIGTERM with, unless told to.
OUTPUT = ("-I2", "-o", "|exec cat >&3")


class Ending(StrEnum):
    """Why a trace ended."""

    BY_ITSELF = "by itself"
    IN_TIME = "after its time"
    TOO_MUCH = "after 64 MiB"


class TraceReport(Shown, Document):
    """`invoke trace --json`."""

    version: Literal[1] = 1
    board: str
    target: str
    emulated: bool
    release: str
    run: tuple[str, ...]  # arguments of the edge-infer that was started; empty: it ran already
    processes: tuple[int, ...]  # ids of those that ran already
    ended: Ending
    exit_code: int | None  # of what was started; null where it did not end by itself
    lines: int
    file: str  # all lines, on this machine
    calls: tuple[SystemCall, ...]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What came of one."""

    ended: Ending
    exit_code: int | None
    lines: int
    calls: tuple[SystemCall, ...]


def running(board: Board) -> tuple[int, ...]:
    """Ids of the `edge-infer` that run on a board. Raises TargetError if there is none."""
    processes = tuple(sample.pid for sample in parse_samples(board.script(SAMPLE).stdout))
    if not processes:
        raise TargetError(
            str(board.target),
            "no edge-infer runs",
            next="invoke service.status, or the same command without --attach",
        )
    return processes


def started(strace: Sequence[str], folder: str, arguments: Sequence[str]) -> list[str]:
    """The command on the board that traces the `edge-infer` of the release in `folder`."""
    return _command(strace, folder, ["bin/edge-infer", *arguments])


def attached(strace: Sequence[str], folder: str, processes: Sequence[int]) -> list[str]:
    """The command on the board that traces what runs already."""
    return _command(strace, folder, [word for pid in processes for word in ("-p", str(pid))])


def _command(strace: Sequence[str], folder: str, traced: Sequence[str]) -> list[str]:
    return ["sh", "-c", TRACE, "_", folder, *strace, *OPTIONS, *OUTPUT, *traced]


def follow(
    pipe: Sequence[str],
    out: BinaryIO,
    *,
    seconds: float,
    subject: str,
    on_line: Callable[[str], None],
) -> Trace:
    """Run a command line that leads to the board, and take what it writes, until it ends.

    After `seconds` the line is cut, which ends it on the board. Lines are written to `out`, made
    visible, as `on_line` gets them. Raises TargetError where strace ended and had traced nothing.
    """
    tally, ended, errors, room = Tally(), Ending.BY_ITSELF, bytearray(), MOST_BYTES
    with _running(pipe, errors) as child, _cut_after(seconds, child) as is_late:
        assert child.stdout
        while room > 0 and (raw := child.stdout.readline(LINE_BYTES)):
            room -= len(raw)
            line = visible(raw.decode(errors="replace").rstrip("\r\n"))
            tally.add(line)
            out.write(line.encode() + b"\n")
            on_line(line)
        if room <= 0:
            ended = Ending.TOO_MUCH
        elif is_late.is_set():
            ended = Ending.IN_TIME
        else:
            child.wait()
    calls = tally.calls()
    if not calls and ended is Ending.BY_ITSELF:
        facts = last_lines(errors.decode(errors="replace"), TAIL_LINES)
        raise TargetError(
            subject,
            "nothing was traced",
            facts=[f"exit code: {child.returncode}", *facts],
            next="the same as a user of the board who may trace there, e.g. root",
        )
    code = child.returncode if ended is Ending.BY_ITSELF else None
    return Trace(ended=ended, exit_code=code, lines=tally.lines, calls=calls)


@contextmanager
def _running(pipe: Sequence[str], errors: bytearray) -> "Iterator[subprocess.Popen[bytes]]":
    """A child that ends with the block; `errors` has the last of what it says beside."""
    child = subprocess.Popen(
        pipe,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C ends us, and we the line
    )
    beside = threading.Thread(target=_keep_last, args=(child.stderr, errors), daemon=True)
    beside.start()
    try:
        yield child
    finally:
        end_group(child)
        beside.join(timeout=JOIN_SECONDS)


@contextmanager
def _cut_after(seconds: float, child: "subprocess.Popen[bytes]") -> Iterator[threading.Event]:
    """Ends the child in time; the event tells whether it had to."""
    is_late = threading.Event()

    def cut() -> None:
        is_late.set()
        end_group(child)

    timer = threading.Timer(seconds, cut)
    timer.start()
    try:
        yield is_late
    finally:
        timer.cancel()


def _keep_last(stream: BinaryIO, into: bytearray) -> None:
    """Read to the end, and keep no more than the last of it."""
    while chunk := stream.read1(ERROR_BYTES):  # type: ignore[attr-defined]
        into += chunk
        del into[:-ERROR_BYTES]
