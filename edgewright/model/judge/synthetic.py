"""Defects that are drawn on images of sound cells, so that every pixel's label is known.

They are no real defects: a network that finds them shows that the way from masks to the board
works, not how well it does on a production line.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edgewright.model.contract.pixels import Pixels

SYNTHETIC_LABELS = ("sound", "crack", "dark area")
_CRACK, _AREA = 1, 2


def draw_defects(cell: Pixels, random: np.random.Generator) -> tuple[Pixels, NDArray[np.uint8]]:
    """A grey cell (H, W) with up to two cracks and one dark area, and the label of each pixel.

    A crack is a line of two to four pieces, 1.5 to 2.5 % of the cell wide, that lets 15 to 50 % of
    the light through; a dark area is cut off by such a line, as where a finger is interrupted, and
    lets 35 to 70 % through.
    """
    height, width = cell.shape
    labels = Image.new("L", (width, height), 0)
    light = np.ones((height, width))
    draw = ImageDraw.Draw(labels)
    if random.random() < 0.5:
        corner = _points(random, 4, height, width, reach=0.2)
        draw.polygon(corner, fill=_AREA)
        light[np.asarray(labels) == _AREA] = random.uniform(0.35, 0.7)
    for _ in range(random.integers(0, 3)):
        thickness = max(1, round(random.uniform(0.015, 0.025) * width))
        crack = Image.new("L", (width, height), 0)
        points = _points(random, int(random.integers(3, 6)), height, width, reach=0.25)
        for target, value in ((draw, _CRACK), (ImageDraw.Draw(crack), 1)):
            target.line(points, fill=value, width=thickness, joint="curve")
        light[np.asarray(crack) == 1] *= random.uniform(0.15, 0.5)
    noisy = cell * light + random.normal(0, 1.5, cell.shape)
    return noisy.clip(0, 255).astype(np.uint8), np.array(labels)


def _points(
    random: np.random.Generator, count: int, height: int, width: int, reach: float
) -> list[tuple[float, float]]:
    """A path from a random place; each step goes as far as `reach` of the cell at most."""
    place = random.uniform(0.1, 0.9, 2)
    points = []
    for _ in range(count):
        points.append((float(place[0] * width), float(place[1] * height)))
        place = (place + random.uniform(-reach, reach, 2)).clip(0, 1)
    return points
