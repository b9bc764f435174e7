"""What `edge-infer` keeps on a board to notice drift, read over SSH and not trusted."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from edgewright.base.errors import TargetError
from edgewright.base.schema import Excerpt, parse_json
from edgewright.deploy.edge_infer import Answer
from edgewright.deploy.remote import Board
from edgewright.model.judge.observed import Histograms
from edgewright.model.pack.reference import (
    REFERENCE,
    REFERENCE_BYTES,
    Reference,
    parse_reference,
)

FILE = "histograms.jsonl"
FILE_BYTES = 1 << 20  # as edge-infer itself reads it
CARD_BYTES = 1 << 20
MOST_WINDOWS = 72
MOST_SECONDS = 99_999_999_999  # Unix seconds that a calendar has a date for
UnixSeconds = Annotated[int, Field(ge=0, le=MOST_SECONDS)]
RELEASE = r"[0-9a-f]{16}"
# Margin in millionths, Unix seconds, and of the image's own name what is plain.
UNSURE = re.compile(r"([0-9]{7})-([0-9]{1,11})-([A-Za-z0-9._-]{1,100})", re.ASCII)
MOST_UNSURE = 10_000

# `$1` is a folder, `$2` a file in it, `$3` the most bytes. A service's user owns that folder: a
# link there, or a device, is not followed.
READ = r"""
cd "$1" 2>/dev/null || {
    parent=${1%/*}
    if [ -e "$1" ] || [ -e "$parent" ] && [ ! -x "$parent" ]; then echo denied >&2; fi
    exit 0
}
[ -r . ] || { echo denied >&2; exit 0; }
[ -f "$2" ] && [ ! -L "$2" ] || exit 0
head -c "$3" <"$2"
"""
LIST = r"""
cd "$1" 2>/dev/null && [ -r . ] || exit 0
for file in *; do [ -f "$file" ] && [ ! -L "$file" ] && printf '%s\n' "$file"; done | head -n "$2"
exit 0
"""


class Window(Answer):
    """What came in one hour to one run of the program: a line of `drift/histograms.jsonl`."""

    command: Literal["watch", "serve"]
    release: Annotated[str, Field(pattern=f"^{RELEASE}$")]
    start: UnixSeconds  # by the board's clock, of the first image and of the last
    end: UnixSeconds
    images: Annotated[int, Field(ge=1, lt=1 << 32)]
    statistics: Histograms


class ReleasedCard(Excerpt):
    """What labelling has to know of a release's card."""

    task: str = "classify"
    labels: Annotated[tuple[str, ...], Field(max_length=10_000)] = ()


@dataclass(frozen=True, kw_only=True)
class UnsureImage:
    """An image that a board keeps for whoever labels it."""

    name: str  # its file there
    margin: float  # how far its answer was from another one, 0 to 1
    unix_s: int  # by the board's clock


def fetch_windows(board: Board, root: str) -> tuple[Window, ...]:
    """The windows of a deploy root, the newest last; none where nothing was kept.

    Raises TargetError for a file that is not what `edge-infer` writes, or not for this login.
    """
    text = _read(board, f"{root}/drift", FILE, FILE_BYTES)
    subject = f"{board.target}: {root}/drift/{FILE}"
    lines = text.splitlines()
    if len(text) > FILE_BYTES or len(lines) > MOST_WINDOWS:
        raise TargetError(subject, f"has more than {MOST_WINDOWS} lines or {FILE_BYTES:,} bytes")
    problem = "is no line of edge-infer's histograms"
    return tuple(
        parse_json(Window, line, f"{subject}:{number}", problem, blame=TargetError)
        for number, line in enumerate(lines, 1)
    )


def fetch_reference(board: Board, root: str, release: str) -> Reference | None:
    """That of a release on the board; None where it has none. Raises TargetError."""
    folder = f"{root}/releases/{release}/model"
    text = _read(board, folder, REFERENCE, REFERENCE_BYTES)
    subject = f"{board.target}: {folder}/{REFERENCE}"
    return parse_reference(text, subject, TargetError) if text else None


def fetch_card(board: Board, root: str, release: str) -> ReleasedCard:
    """Raises TargetError where the board does not have that release."""
    folder = f"{root}/releases/{release}/model"
    text = _read(board, folder, "card.json", CARD_BYTES)
    subject = f"{board.target}: {folder}/card.json"
    return parse_json(
        ReleasedCard, text, subject, "is no card", blame=TargetError, limit=CARD_BYTES
    )


def list_unsure(board: Board, root: str) -> list[UnsureImage]:
    """The images that a board keeps, the least certain first. Raises TargetError."""
    return parse_unsure(board.script(LIST, f"{root}/unsure", str(MOST_UNSURE)).stdout.split("\n"))


def parse_unsure(names: Sequence[str]) -> list[UnsureImage]:
    """Those whose names are exactly what `edge-infer` gives them."""
    matches = [match for name in names[:MOST_UNSURE] if (match := UNSURE.fullmatch(name))]
    return sorted(
        (
            UnsureImage(name=match[0], margin=int(match[1]) / 1e6, unix_s=int(match[2]))
            for match in matches
        ),
        key=lambda image: image.name,
    )


def _read(board: Board, folder: str, name: str, most: int) -> bytes:
    """Empty where there is no such file; one byte beyond the limit where it is larger."""
    result = board.script(READ, folder, name, str(most + 1))
    if result.stderr.startswith("denied"):
        raise TargetError(
            str(board.target),
            f"{folder}: is not for this login to read",
            next="log in as the owner of the deploy root, or with --sudo",
        )
    return result.raw
