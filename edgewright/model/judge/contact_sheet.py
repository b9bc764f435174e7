"""Small pictures with captions: many in one PNG, or each as text inside an HTML page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from edgewright.base.files import replacing
from edgewright.model.contract.pixels import decode

SIDE = 160  # pixels of a picture
GAP = 12
LINE = 16
PAPER, INK = (250, 250, 250), (30, 30, 30)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A picture and the lines below it."""

    path: Path
    caption: tuple[str, ...]  # lines, the same number in each tile of a sheet


def write_sheet(tiles: Sequence[Tile], out: Path, columns: int = 6) -> Path:
    """A PNG with all tiles, row by row; written aside, then renamed."""
    columns = max(1, min(columns, len(tiles)))
    lines = max((len(tile.caption) for tile in tiles), default=0)
    width, height = SIDE + GAP, SIDE + GAP + lines * LINE
    rows = -(-len(tiles) // columns)  # rounded up
    sheet = Image.new("RGB", (columns * width + GAP, max(rows, 1) * height + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)  # Pillow's own, so that every machine draws alike
    for place, tile in enumerate(tiles):
        x, y = GAP + place % columns * width, GAP + place // columns * height
        sheet.paste(thumbnail(tile.path), (x, y))
        for number, line in enumerate(tile.caption):
            place_of_line = (x, y + SIDE + 2 + number * LINE)
            draw.text(place_of_line, _fitting(draw, line, font), INK, font)
    with replacing(out) as aside:
        sheet.save(aside, format="PNG")
    return out


def data_uri(image: Path) -> str:
    """A small picture as text: a page that holds it needs no other file."""
    return picture_uri(thumbnail(image))


def picture_uri(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


def thumbnail(image: Path) -> Image.Image:
    """The picture in a square of `SIDE` pixels."""
    # All 16 bits: a picture of fewer is shown dark, rather than not at all.
    return shrunk(Image.fromarray(decode(image, 16)).convert("RGB"))


def shrunk(picture: Image.Image) -> Image.Image:
    picture.thumbnail((SIDE, SIDE))
    return picture


def _fitting(
    draw: ImageDraw.ImageDraw, line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> str:
    """As much of a line as fits below its picture."""
    while draw.textlength(line, font) > SIDE:
        line = line.rstrip("…")[:-1] + "…"
    return line
