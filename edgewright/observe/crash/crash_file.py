"""A crash file, as `runtime_cpp/src/crash_file.cpp` writes it and docs/formats.md specifies it.

A board sends it, so nothing in it is trusted: it is read by one pass over lines whose forms are
exact, within limits.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgewright.base.errors import TargetError

Machine = Literal["arm", "aarch64"]
FILE_CHARACTERS = 256 << 10
REGISTERS: dict[Machine, int] = {"arm": 17, "aarch64": 33}
STACK_POINTER: dict[Machine, int] = {"arm": 13, "aarch64": 31}
PROGRAM_COUNTER: dict[Machine, int] = {"arm": 15, "aarch64": 32}
TIME = "[0-9]{1,11}"  # Unix seconds that a calendar has a date for
STACK_BYTES = 24 << 10
STACK_LINE = 64  # bytes
MOST_THREADS = 17
MOST_MAPPINGS = 64
LOG_LINES = 2100
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


@dataclass(frozen=True, kw_only=True)
class CrashFile:
    """All that a crash file says; the first thread is the one that crashed."""

    machine: Machine
    command: str
    release: str
    build_id: str
    signal: int
    code: int  # si_code; 0: a process sent the signal
    address: int
    unix_s: int
    uptime_s: int
    threads: tuple[Thread, ...]
    mappings: tuple[Mapping, ...]
    log: tuple[str, ...]


class _Lines:
    """The lines of a file, one after the other, each taken by its form."""

    def __init__(self, text: str, subject: str) -> None:
        self._subject = subject
        if len(text) > FILE_CHARACTERS:
            raise self.error(f"is longer than {FILE_CHARACTERS:,} characters")
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
        return TargetError(self._subject, f"is no crash file: {problem}")


def parse_crash_file(text: str, subject: str) -> CrashFile:
    """Raises TargetError for anything but a whole crash file."""
    lines = _Lines(text, subject)
    lines.take("edgewright crash 1")
    machine: Machine = "arm" if lines.take("machine (arm|aarch64)")[1] == "arm" else "aarch64"
    command = lines.take("command ([a-z]{1,15})")[1]
    release = lines.take("release ([0-9a-f]{16})")[1]
    build_id = lines.take("build-id ([0-9a-f]{0,40})")[1]
    cause = lines.take("signal ([0-9]{1,2}) code ([0-9]{1,9}) address ([0-9a-f]{1,16})")
    times = lines.take(f"time ({TIME}) uptime ([0-9]{{1,12}})")
    threads = [_thread(lines, lines.take(THREAD), machine)]
    threads += [_thread(lines, head, machine) for head in lines.all(THREAD, MOST_THREADS - 1)]
    lines.take("maps")
    mappings = [_mapping(line) for line in lines.all(MAPPING, MOST_MAPPINGS)]
    lines.take("log")
    log = [line[1] for line in lines.all(r"\| ([ -~]*)", LOG_LINES)]
    lines.take("end")
    lines.end()
    return CrashFile(
        machine=machine,
        command=command,
        release=release,
        build_id=build_id,
        signal=int(cause[1]),
        code=int(cause[2]),
        address=int(cause[3], 16),
        unix_s=int(times[1]),
        uptime_s=int(times[2]),
        threads=tuple(threads),
        mappings=tuple(mappings),
        log=tuple(log),
    )


def _thread(lines: _Lines, head: re.Match[str], machine: Machine) -> Thread:
    count = REGISTERS[machine]
    digits = 8 if machine == "arm" else 16
    registers = lines.take(f"registers((?: [0-9a-f]{{{digits}}}){{{count}}})")[1].split()
    address = int(lines.take(f"stack ([0-9a-f]{{{digits}}})")[1], 16)
    rows = lines.all(f"([0-9a-f]{{{2 * STACK_LINE}}})", STACK_BYTES // STACK_LINE)
    return Thread(
        id=int(head[1]),
        registers=tuple(int(value, 16) for value in registers),
        stack_address=address,
        stack=b"".join(bytes.fromhex(row[1]) for row in rows),
    )


def _mapping(line: re.Match[str]) -> Mapping:
    start, end, offset = (int(line[group], 16) for group in (1, 2, 3))
    return Mapping(start=start, end=end, offset=offset, path=line[4] or "")
