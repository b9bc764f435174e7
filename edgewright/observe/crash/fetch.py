"""The crash files that a board keeps, read over SSH."""

import re
from dataclasses import dataclass

from edgewright.base.errors import TargetError
from edgewright.deploy.remote import Board
from edgewright.observe.crash.crash_file import FILE_CHARACTERS, CrashFile, parse_crash_file

MOST_FILES = 12  # `edge-infer` keeps 8, and one more for each process that crashes at that moment
FILE = re.compile(r"file ([0-9]{9}\.crash)", re.ASCII)

# `$1` is the deploy root, `$2` the most bytes of a file, `$3` the most files. A service's user owns
# that folder, so a link there, or a device, is not followed.
FETCH = r"""
cd "$1/crashes" 2>/dev/null || {
    if [ -e "$1" ] && [ ! -x "$1" ] || [ -e "$1/crashes" ]; then echo denied; fi
    exit 0
}
[ -r . ] || { echo denied; exit 0; }
most=$2 files=$3
set -- *.crash
while [ $# -gt "$files" ]; do shift; done
for file in "$@"; do
    [ -f "$file" ] && [ ! -L "$file" ] || continue
    printf 'file %s\n' "$file"
    head -c "$most" <"$file"
    printf '\n'
done 2>/dev/null
exit 0
"""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """One file: its name on the board, its text, and what it says or why it is not read."""

    name: str
    text: str
    crash: CrashFile | None
    problem: str | None


def fetch_crashes(board: Board, root: str) -> list[Fetched]:
    """The newest crash files of a deploy root, in order. Raises TargetError."""
    answer = board.script(FETCH, root, str(FILE_CHARACTERS), str(MOST_FILES)).stdout
    if answer.startswith("denied"):
        raise TargetError(
            str(board.target),
            f"{root}/crashes: is not for this login to read",
            next="log in as the owner of the deploy root, or with --sudo",
        )
    return [_fetched(name, text) for name, text in parse_fetched(answer)]


def parse_fetched(answer: str) -> list[tuple[str, str]]:
    """Names and texts of the answer of `FETCH`; what stands before the first name is nobody's."""
    files: list[tuple[str, list[str]]] = []
    for line in answer.split("\n"):
        if match := FILE.fullmatch(line):
            if len(files) == MOST_FILES:
                break
            files.append((match[1], []))
        elif files:
            files[-1][1].append(line)
    return [(name, "\n".join(lines)) for name, lines in files]


def _fetched(name: str, text: str) -> Fetched:
    try:
        return Fetched(name=name, text=text, crash=parse_crash_file(text, name), problem=None)
    except TargetError as damaged:
        return Fetched(name=name, text=text, crash=None, problem=damaged.problem)
