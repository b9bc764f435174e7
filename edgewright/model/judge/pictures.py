"""Pictures that are drawn, for networks that come without images of their own.

Shades, rectangles, words and noise: enough to tell them apart, and free of anybody's licence.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgewright.model.contract.pixels import Pixels
from edgewright.model.contract.preprocess import Floats

SHAPES = 6  # rectangles of one picture
WORDS = 2  # lines of text


def draw_pictures(count: int, side: int, seed: int = 0) -> list[Pixels]:
    """Pictures (side, side, 3), uint8; the same ones for the same seed."""
    random = np.random.default_rng(seed)
    return [_draw(side, random) for _ in range(count)]


def write_pictures(folder: Path, count: int, side: int, seed: int = 0) -> list[Path]:
    """The same as PNG files."""
    paths = []
    for number, picture in enumerate(draw_pictures(count, side, seed)):
        paths.append(folder / f"{number:03}.png")
        Image.fromarray(picture).save(paths[-1])
    return paths


def _draw(side: int, random: np.random.Generator) -> Pixels:
    rows, columns = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    waves = random.uniform(-12, 12, (2, 3))
    phases = random.uniform(0, 6, 3)
    shades = np.sin(rows[..., None] * waves[0] + columns[..., None] * waves[1] + phases)
    picture = 128 + random.uniform(20, 100, 3) * shades
    for _ in range(SHAPES):
        top, left = random.integers(0, side - side // 8, 2)
        height, width = random.integers(side // 16, side // 2, 2)
        picture[top : top + height, left : left + width] = random.uniform(0, 255, 3)
    picture = _with_words(np.clip(picture, 0, 255), random)
    picture += random.normal(0, random.uniform(0, 25), picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _with_words(picture: Floats, random: np.random.Generator) -> Floats:
    image = Image.fromarray(picture.astype(np.uint8))
    draw, side = ImageDraw.Draw(image), picture.shape[0]
    for _ in range(WORDS):
        place = tuple(random.integers(0, side // 2, 2).tolist())
        ink = tuple(random.integers(0, 256, 3).tolist())
        font = ImageFont.load_default(size=int(random.integers(side // 12, side // 4)))
        draw.text(place, f"{random.integers(1000, 9999)} KM", fill=ink, font=font)
    return np.asarray(image, np.float32)
