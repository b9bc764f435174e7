"""The images that a board keeps for labelling, fetched as a folder to label."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from edgewright.base.errors import TargetError, UserError
from edgewright.base.files import read_file, update_file
from edgewright.base.progress import LineSink
from edgewright.deploy.remote import Board
from edgewright.model.contract.pixels import decode
from edgewright.model.judge.data import LABELS_NAME, SUFFIXES
from edgewright.observe.drift.board_file import ReleasedCard, UnsureImage, list_unsure

IMAGES = "unlabelled"  # folder of the images, beside labels.csv
IMAGE_BYTES = 64 << 20  # as edge-infer takes them
CHUNK = 2 << 20  # less than the answer of one command may have
CSV_BYTES = 1 << 20
SUFFIX_OF = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg"}  # by the first bytes
# Only plain names come here. `$3` counts from 1.
READ_CHUNK = r"""
cd "$1" && [ -f "$2" ] && [ ! -L "$2" ] || exit 0
tail -c "+$3" <"$2" | head -c "$4"
"""
REMOVE = r"""
cd "$1" || exit 0
shift
rm -f -- "$@"
"""
REMOVED_AT_ONCE = 200  # names in one command


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What was fetched."""

    written: tuple[Path, ...]
    names: tuple[str, ...]  # of all that was looked at, on the board
    refused: tuple[str, ...]  # name and why


def collect(board: Board, root: str, card: ReleasedCard, out: Path, say: LineSink) -> Collected:
    """Fetch the images, the least certain first, into `out`; with a line for each in `labels.csv`
    where the card is a classifier's. What lies there already stays, labels too.

    Raises TargetError for a board that does not answer, UserError for another kind of folder.
    """
    images = list_unsure(board, root)
    written, refused = [], []
    for image in images:
        content = b"".join(_chunks(board, f"{root}/unsure", image.name))
        try:
            path = _write(content, image, out / IMAGES)
        except (UserError, TargetError) as fault:
            refused.append(f"{image.name}: {fault.problem}")
            continue
        written.append(path)
        say(f"{path.name}, {len(content):,} bytes")
    if written and card.task == "classify":
        _list(out / LABELS_NAME, card.labels, [f"{IMAGES}/{path.name}" for path in written])
    names = tuple(image.name for image in images)
    return Collected(written=tuple(written), names=names, refused=tuple(refused))


def remove(board: Board, root: str, names: Sequence[str]) -> None:
    """Remove these from the board, so that it keeps others. Raises TargetError."""
    for at in range(0, len(names), REMOVED_AT_ONCE):
        board.script(REMOVE, f"{root}/unsure", *names[at : at + REMOVED_AT_ONCE])


def _chunks(board: Board, folder: str, name: str) -> Iterator[bytes]:
    """At most one more than `IMAGE_BYTES`, in all."""
    for offset in range(0, IMAGE_BYTES + 1, CHUNK):
        chunk = board.script(READ_CHUNK, folder, name, str(offset + 1), str(CHUNK)).raw
        yield chunk
        if len(chunk) < CHUNK:
            return


def _write(content: bytes, image: UnsureImage, folder: Path) -> Path:
    """As PNG or JPEG, which training takes. Raises UserError for what is no image."""
    if len(content) > IMAGE_BYTES:
        raise TargetError(image.name, f"has more than {IMAGE_BYTES:,} bytes")
    suffix = next((end for start, end in SUFFIX_OF.items() if content.startswith(start)), "")
    stem = image.name
    if Path(stem).suffix.lower() in SUFFIXES | {".pgm", ".ppm"}:
        stem = stem[: stem.rindex(".")]
    path = folder / f"{stem}{suffix or '.pnm'}"
    update_file(path, content)
    try:
        pixels = decode(path, 16)
    except UserError:
        path.unlink()
        raise
    if not suffix:  # PGM or PPM: the same pixels as PNG
        path.unlink()
        path = path.with_suffix(".png")
        Image.fromarray(pixels).save(path)
    return path


def _list(path: Path, labels: Sequence[str], images: Sequence[str]) -> None:
    """Add a line without votes for each image that has none. Raises UserError for other labels."""
    header = ["image", *labels]
    rows = [header]
    if path.is_file() and path.stat().st_size:
        text = read_file(path, limit=CSV_BYTES).decode(errors="replace")
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
        if rows[:1] != [header]:
            raise UserError(
                str(path),
                "has other labels than the board's release",
                facts=[
                    f"expected: {','.join(header)}",
                    f"found: {','.join(rows[0] if rows else [])}",
                ],
                next="the same command with another --out",
            )
    listed = {row[0] for row in rows}
    rows += [[image, *[""] * len(labels)] for image in images if image not in listed]
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    update_file(path, table.getvalue())
