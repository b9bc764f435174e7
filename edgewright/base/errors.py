"""Whose fault it is: the user's input, the target's, a check's that says no, or ours (a bug).

Every message has one shape: subject and problem, then facts, then the next command.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum

from edgewright.base.text import message


class ExitCode(IntEnum):
    """Exit codes of every task."""

    OK = 0
    BUG = 1
    USER = 2
    TARGET = 3
    CHECK = 4
    INTERRUPTED = 130
    NO_READER = 141  # of standard output: what a shell shows for a program that SIGPIPE ended


class EdgewrightError(Exception):
    """A fault that is told in words, without a traceback.

    Its text may hold a board's or a file's: whatever controls a terminal is shown as an escape.
    """

    exit_code = ExitCode.BUG
    code = "bug"  # the word for it under --json; what a board refuses has the board's own

    def __init__(
        self,
        subject: str,
        problem: str,
        *,
        facts: Sequence[str] = (),
        next: str | None = None,
    ) -> None:
        self.subject = message(subject)
        self.problem = message(problem, allowed="\n")
        self.facts = tuple(message(fact, allowed="\n\t") for fact in facts)
        self.next = None if next is None else message(next)
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [f"{self.subject}: {self.problem}"]
        lines += [f"  {line}" for fact in self.facts for line in fact.splitlines()]
        if self.next:
            lines.append(f"next: {self.next}")
        return "\n".join(lines)


class UserError(EdgewrightError):
    """Something in the user's hands: a file, an option, a missing tool."""

    exit_code = ExitCode.USER
    code = "user"


class TargetError(EdgewrightError):
    """Something on the other side: a board that is down, full, changed or unfit."""

    exit_code = ExitCode.TARGET
    code = "target"


class CheckError(EdgewrightError):
    """A measurement or a check that ran to its end and says no."""

    exit_code = ExitCode.CHECK
    code = "check"


class InterruptedWorkError(EdgewrightError):
    """Ctrl-C, at a moment when something can be said of what it leaves."""

    exit_code = ExitCode.INTERRUPTED
    code = "interrupted"


# The worst code is the first of these that any of several works ended with.
WORST = (ExitCode.INTERRUPTED, ExitCode.BUG, ExitCode.USER, ExitCode.TARGET, ExitCode.CHECK)
FAULTS: Mapping[ExitCode, type[EdgewrightError]] = {
    ExitCode.INTERRUPTED: InterruptedWorkError,
    ExitCode.BUG: EdgewrightError,
    ExitCode.USER: UserError,
    ExitCode.TARGET: TargetError,
    ExitCode.CHECK: CheckError,
}


def worst(codes: Iterable[int]) -> ExitCode:
    """The one code for many: interrupted, a bug, your hands, a board, a check; 0 for none."""
    present = {*codes}
    return next((code for code in WORST if code in present), ExitCode.OK)


def near_miss(word: str, vocabulary: Iterable[str]) -> str:
    """The end of a message about an unknown word: the known one that it resembles, if any."""
    near = difflib.get_close_matches(word, [*vocabulary], n=1)
    return f"; did you mean '{near[0]}'?" if near else ""
