"""Files of one line in a board's /proc and /sys: many of them in one round trip.

The script is plain POSIX shell without any applet. What comes back is not trusted: it is cut to
limits, and numbers are parsed strictly.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgewright.deploy.remote import Board
from edgewright.deploy.survey import limited_lines, printable

PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9/._:,@+-]{0,299}")

# `$1` is the folder that stands for `/`, the rest are patterns. A sensor that is switched off
# answers with an error: its file is left out.
READ = r"""
cd "${1:-/}" || exit 0
shift
for pattern in "$@"; do
    for file in $pattern; do
        line=
        IFS= read -r line <"$file" || [ -n "$line" ] || continue
        printf '%s %s\n' "$file" "$line"
    done
done 2>/dev/null
exit 0
"""


@dataclass(frozen=True)
class BoardFiles:
    """First lines of a board's files, by their paths without the leading `/`."""

    lines: Mapping[str, str]

    def text(self, path: str) -> str | None:
        """Printable and short; None for a file that is not there, or that holds nothing."""
        return printable(self.lines.get(path, "").strip()) or None

    def number(self, path: str, least: int = 0, most: int = 1 << 53) -> int | None:
        """None, too, for anything but a decimal number within the limits."""
        text = self.lines.get(path, "").strip()
        value = int(text) if re.fullmatch(r"-?[0-9]{1,16}", text) else None
        return value if value is not None and least <= value <= most else None

    def matches(self, pattern: str) -> Iterator[re.Match[str]]:
        """Those paths that match as a whole, in the order of the board."""
        for path in self.lines:
            if match := re.fullmatch(pattern, path):
                yield match


def parse_files(text: str) -> BoardFiles:
    """The answer of `READ`."""
    pairs = (line.partition(" ")[::2] for line in limited_lines(text))
    return BoardFiles({path: line for path, line in pairs if PATH.fullmatch(path)})


def read_files(board: Board, patterns: Sequence[str], tree: str = "/") -> BoardFiles:
    """Files that shell patterns like `sys/class/thermal/*/temp` match below `tree`.

    Raises ConnectionLostError, and TargetError for an endless answer.
    """
    return parse_files(board.script(READ, tree, *patterns).stdout)
