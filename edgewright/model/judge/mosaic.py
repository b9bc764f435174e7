"""Pictures of several solar cells, with a box around each defective one: data for detectors.

ELPV labels whole cells. Its cells, put together as in a module, are what a camera sees of one,
and the boxes are as sure as the experts were.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from edgewright.model.contract.pixels import Pixels, decode
from edgewright.model.judge.data import DEFECTIVE, Sample, Split

SIDE = 384  # pixels of a picture
ROWS = (2, 3)  # of cells in a picture, as many as columns: 191 or 127 pixels a cell, at most
GAPS = range(2, 7)  # pixels between two cells
GAP_VALUE = 12  # how bright they are: as what lies between the cells of ELPV
LABEL = "defective"
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Mosaic:
    pixels: Pixels
    boxes: tuple[tuple[int, int, int, int], ...]  # of defective cells: x, y, width, height


def write_mosaics(parts: Split, folder: Path, *, passes: int) -> dict[str, int]:
    """Write PART/NNNN.png and PART.json in COCO's form; return how many pictures each part has.

    Each cell of the validation and the test part is in one picture, those of the train part are
    in `passes` pictures, with other neighbours. The same split makes the same pixels.
    """
    counts = {}
    for part in PARTS:
        (folder / part).mkdir(parents=True)
        mosaics = [
            mosaic
            for turn in range(passes if part == "train" else 1)
            for mosaic in draw_mosaics(getattr(parts, part), f"{part} {turn}")
        ]
        names = [f"{part}/{number:04}.png" for number in range(len(mosaics))]
        for name, mosaic in zip(names, mosaics, strict=True):
            Image.fromarray(mosaic.pixels).save(folder / name)
        content = _coco(names, mosaics)
        (folder / f"{part}.json").write_text(json.dumps(content, indent=1) + "\n")
        counts[part] = len(mosaics)
    return counts


def draw_mosaics(samples: Sequence[Sample], seed: str) -> Iterator[Mosaic]:
    """Every sample once. A module has cells of one type, and so has a picture."""
    random = Random(seed)

    def type_of(sample: Sample) -> str:
        return sample.cell_type

    for _, cells in groupby(sorted(samples, key=type_of), key=type_of):
        # By `random()` alone: Python promises the same numbers of it for ever.
        waiting = sorted(cells, key=lambda cell: random.random())
        while waiting:
            rows = ROWS[int(random.random() * len(ROWS))]
            used, waiting = waiting[: rows**2], waiting[rows**2 :]
            yield _draw(used, rows, random)


def _draw(cells: Sequence[Sample], rows: int, random: Random) -> Mosaic:
    """The cells row by row; where there are too few, the last places stay empty."""
    gap = GAPS[int(random.random() * len(GAPS))]
    side = (SIDE - (rows - 1) * gap) // rows
    canvas = np.full((SIDE, SIDE), GAP_VALUE, np.uint8)
    boxes = []
    for place, cell in enumerate(cells):
        row, column = divmod(place, rows)
        x, y = column * (side + gap), row * (side + gap)
        picture = Image.fromarray(decode(cell.path)).convert("L").resize((side, side))
        canvas[y : y + side, x : x + side] = np.asarray(picture)
        if cell.label == DEFECTIVE:
            boxes.append((x, y, side, side))
    return Mosaic(pixels=canvas, boxes=tuple(boxes))


def _coco(names: Sequence[str], mosaics: Sequence[Mosaic]) -> dict[str, Any]:
    boxes = [(image, box) for image, mosaic in enumerate(mosaics) for box in mosaic.boxes]
    return {
        "info": {"description": "mosaics of ELPV's cells, CC BY-NC-SA 4.0"},
        "categories": [{"id": 1, "name": LABEL}],
        "images": [
            {"id": number, "file_name": name, "width": SIDE, "height": SIDE}
            for number, name in enumerate(names)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for number, (image, box) in enumerate(boxes, 1)
        ],
    }
