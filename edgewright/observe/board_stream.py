"""A command on a board whose output comes to this machine while it is written."""

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO

from edgewright.base.errors import TargetError
from edgewright.base.process import end_group
from edgewright.base.text import last_lines

MOST_BYTES = 64 << 20
ERROR_BYTES = 64 << 10  # of what is said beside the output
TAIL_LINES = 20
JOIN_SECONDS = 5.0

# In the folder `$1`. Descriptor 3 is what comes to this machine; standard output goes beside it.
# Standard input ends when the line does: then the command is asked to end.
STREAM = r"""
cd "$1" && shift
exec 3>&1 1>&2 4<&0
"$@" </dev/null 4<&- &
child=$!
{ while read -r _; do :; done; kill "$child"; } <&4 >/dev/null 2>&1 3>&- 4<&- &
waiter=$!
wait "$child"
code=$?
kill "$waiter" 2>/dev/null
exit "$code"
"""


class Ending(StrEnum):
    """Why a stream ended."""

    BY_ITSELF = "by itself"
    IN_TIME = "after its time"
    TOO_MUCH = "after 64 MiB"


def stream_command(folder: str, command: Sequence[str]) -> list[str]:
    """The command on the board, whose descriptor 3 is what is read here."""
    return ["sh", "-c", STREAM, "_", folder, *command]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A command line that leads to the board, at work."""

    child: "subprocess.Popen[bytes]"
    output: IO[bytes]
    errors: bytearray = field(default_factory=bytearray)  # the last of what it says beside
    is_late: threading.Event = field(default_factory=threading.Event)

    def ending(self, *, is_too_much: bool) -> Ending:
        """Why there is nothing more to read; waits for a child that ended by itself."""
        if is_too_much:
            return Ending.TOO_MUCH
        if self.is_late.is_set():
            return Ending.IN_TIME
        self.child.wait()
        return Ending.BY_ITSELF

    def exit_code(self, ended: Ending) -> int | None:
        """None of a child that was made to end."""
        return self.child.returncode if ended is Ending.BY_ITSELF else None

    def nothing(self, subject: str, problem: str, next: str) -> TargetError:
        """The error of a command that ended by itself and wrote nothing."""
        facts = last_lines(self.errors.decode(errors="replace"), TAIL_LINES)
        facts = [f"exit code: {self.child.returncode}", *facts]
        return TargetError(subject, problem, facts=facts, next=next)


@contextmanager
def board_stream(pipe: Sequence[str], *, seconds: float) -> Iterator[Stream]:
    """Run a command line that leads to the board; after `seconds`, or with the block, it is cut,
    which ends it on the board too."""
    child = subprocess.Popen(
        pipe,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C ends us, and we the line
    )
    assert child.stdout
    stream = Stream(child=child, output=child.stdout)

    def cut() -> None:
        stream.is_late.set()
        end_group(child)

    timer = threading.Timer(seconds, cut)
    beside = threading.Thread(target=_keep_last, args=(child.stderr, stream.errors), daemon=True)
    beside.start()
    timer.start()
    try:
        yield stream
    finally:
        timer.cancel()
        end_group(child)
        beside.join(timeout=JOIN_SECONDS)


def _keep_last(stream: IO[bytes], into: bytearray) -> None:
    """Read to the end, and keep no more than the last of it."""
    while chunk := stream.read1(ERROR_BYTES):  # type: ignore[attr-defined]
        into += chunk
        del into[:-ERROR_BYTES]
