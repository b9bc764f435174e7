"""Registers and stacks of threads as text, as `runtime_cpp/src/stack_dump.cpp` writes them and
docs/formats.md specifies it: a crash file has them, and so have samples.

A board sends them, so nothing in them is trusted: they are read by one pass over lines whose forms
are exact, within limits.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgewright.base.errors import TargetError

Machine = Literal["arm", "aarch64"]
MACHINE = "machine (arm|aarch64)"
BUILD_ID = "build-id ([0-9a-f]{0,40})"
COMMAND = "command ([a-z]{1,15})"
REGISTERS: dict[Machine, int] = {"arm": 17, "aarch64": 33}
STACK_POINTER: dict[Machine, int] = {"arm": 13, "aarch64": 31}
PROGRAM_COUNTER: dict[Machine, int] = {"arm": 15, "aarch64": 32}
STACK_BYTES = 24 << 10
STACK_LINE = 64  # bytes
MOST_MAPPINGS = 64
THREAD = "thread ([0-9]{1,9})"
# As the kernel writes it; the rest of a long line may be cut.
MAPPING = "([0-9a-f]{1,16})-([0-9a-f]{1,16}) r-xp ([0-9a-f]{1,16}) [0-9a-f:]+ [0-9]+(?: +(.*))?"


@dataclass(frozen=True, kw_only=True)
class Thread:
    """Where a thread was: registers in the order of docs/formats.md, and its stack from there."""

    id: int
    registers: tuple[int, ...]
    stack_address: int
    stack: bytes


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """Code of a file in the memory of the process."""

    start: int
    end: int
    offset: int  # in the file
    path: str


class DumpLines:
    """The lines of a dump, one after the other, each taken by its form."""

    def __init__(self, text: str, subject: str, *, kind: str, limit: int) -> None:
        self._subject, self._kind = subject, kind
        if len(text) > limit:
            raise self.error(f"is longer than {limit:,} characters")
        self._lines = text.rstrip("\n").split("\n")
        self._at = 0

    def take(self, form: str) -> re.Match[str]:
        match = self.take_if(form)
        if match is None:
            raise self.error(f"line {self._at + 1}: expected {form}")
        return match

    def take_if(self, form: str) -> re.Match[str] | None:
        line = self._lines[self._at] if self._at < len(self._lines) else ""
        match = re.fullmatch(form, line, re.ASCII)
        if match is not None:
            self._at += 1
        return match

    def all(self, form: str, most: int) -> Iterator[re.Match[str]]:
        """The lines of this form that follow, at most so many; one more is one out of place."""
        for _ in range(most):
            match = self.take_if(form)
            if match is None:
                return
            yield match

    def end(self) -> None:
        if self._at < len(self._lines):
            raise self.error(f"line {self._at + 1}: expected the end of the file")

    def error(self, problem: str) -> TargetError:
        return TargetError(self._subject, f"is no {self._kind}: {problem}")

    def machine(self) -> Machine:
        return "arm" if self.take(MACHINE)[1] == "arm" else "aarch64"

    def thread(self, head: re.Match[str], machine: Machine) -> Thread:
        """The thread whose first line was `head`."""
        count = REGISTERS[machine]
        digits = 8 if machine == "arm" else 16
        registers = self.take(f"registers((?: [0-9a-f]{{{digits}}}){{{count}}})")[1].split()
        address = int(self.take(f"stack ([0-9a-f]{{{digits}}})")[1], 16)
        rows = self.all(f"([0-9a-f]{{{2 * STACK_LINE}}})", STACK_BYTES // STACK_LINE)
        return Thread(
            id=int(head[1]),
            registers=tuple(int(value, 16) for value in registers),
            stack_address=address,
            stack=b"".join(bytes.fromhex(row[1]) for row in rows),
        )

    def mappings(self) -> tuple[Mapping, ...]:
        self.take("maps")
        return tuple(map(_mapping, self.all(MAPPING, MOST_MAPPINGS)))


def _mapping(line: re.Match[str]) -> Mapping:
    start, end, offset = (int(line[group], 16) for group in (1, 2, 3))
    return Mapping(start=start, end=end, offset=offset, path=line[4] or "")
