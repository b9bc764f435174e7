"""What strace writes, added up by system call."""

import re
from dataclasses import dataclass, field

from edgewright.base.schema import Part, Shown

LINE_BYTES = 4096  # of one line that is read; strace cuts texts to 256 characters
MOST_CALLS = 600  # names; Linux has some 450
# `812  1700000000.123456 openat(AT_FDCWD, "x", O_RDONLY) = -1 ENOENT (No such file) <0.000123>`,
# and the end of a call that others came between: `<... read resumed>"", 8) = 8 <0.5>`.
BEGIN = re.compile(r"(?:[0-9]+ +)?[0-9]+\.[0-9]+ (?:<\.\.\. ([a-z0-9_]+) resumed>|([a-z0-9_]+)\()")
END = re.compile(
    r"\) += (?:-?[0-9]+|0x[0-9a-f]+|\?)( E[A-Z0-9]+)?(?: [^<>]*)? <([0-9]{1,9}\.[0-9]{1,9})>$"
)


class SystemCall(Shown, Part):
    """All calls of one name that came to their end."""

    name: str
    calls: int
    errors: int
    seconds: float  # in the calls together, by the board's clock; waiting is in it
    longest_s: float


@dataclass(kw_only=True)
class _Sum:
    calls: int = 0
    errors: int = 0
    seconds: float = 0.0
    longest_s: float = 0.0


@dataclass(kw_only=True)
class Tally:
    """Adds up line by line."""

    lines: int = 0
    _sums: dict[str, _Sum] = field(default_factory=dict)

    def add(self, line: str) -> None:
        """A line that tells no whole call (a signal, the first half of a call) only counts."""
        self.lines += 1
        begin, end = BEGIN.match(line), END.search(line)
        name = (begin[1] or begin[2]) if begin else ""
        if not end or not name or (name not in self._sums and len(self._sums) >= MOST_CALLS):
            return
        total, seconds = self._sums.setdefault(name, _Sum()), float(end[2])
        total.calls += 1
        total.errors += end[1] is not None
        total.seconds += seconds
        total.longest_s = max(total.longest_s, seconds)

    def calls(self) -> tuple[SystemCall, ...]:
        """Those that took longest first."""
        rows = (SystemCall(name=name, **vars(total)) for name, total in self._sums.items())
        return tuple(sorted(rows, key=lambda row: (-row.seconds, row.name)))
