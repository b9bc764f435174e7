"""strace on a board, whose lines come to this machine while they are written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

from edgewright.base.errors import TargetError
from edgewright.base.schema import Document, Shown
from edgewright.base.text import visible
from edgewright.deploy.remote import Board
from edgewright.observe.board_stream import MOST_BYTES, Ending, board_stream, stream_command
from edgewright.observe.leaks.soak import SAMPLE, parse_samples
from edgewright.observe.trace.calls import LINE_BYTES, SystemCall, Tally

# Threads and children too; the time of each call, and how long it took; texts of 256 characters.
OPTIONS = ("-f", "-ttt", "-T", "-s", "256")
# Through a pipe to descriptor 3, which strace would not heed SIGTERM with, unless told to.
OUTPUT = ("-I2", "-o", "|exec cat >&3")


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
    return stream_command(folder, [*strace, *OPTIONS, *OUTPUT, *traced])


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
    tally, room = Tally(), MOST_BYTES
    with board_stream(pipe, seconds=seconds) as stream:
        while room > 0 and (raw := stream.output.readline(LINE_BYTES)):
            room -= len(raw)
            line = visible(raw.decode(errors="replace").rstrip("\r\n"))
            tally.add(line)
            out.write(line.encode() + b"\n")
            on_line(line)
        ended = stream.ending(is_too_much=room <= 0)
    calls = tally.calls()
    if not calls and ended is Ending.BY_ITSELF:
        raise stream.nothing(
            subject,
            "nothing was traced",
            next="the same as a user of the board who may trace there, e.g. root",
        )
    code = stream.exit_code(ended)
    return Trace(ended=ended, exit_code=code, lines=tally.lines, calls=calls)
