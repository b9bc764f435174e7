"""Hours of a line, made of real images of solar cells: as they are, and with something changed."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

from edgewright.model.contract.image_statistics import measure
from edgewright.model.contract.preprocess import resize
from edgewright.model.judge.data import load_elpv
from edgewright.model.judge.observed import NAMES, Observation, histograms_of
from edgewright.observe.drift.board_file import Window

RELEASE = "0123456789abcdef"
HOUR = 3600
START = 1_795_964_400
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "brighter": lambda image: image.point(lambda value: min(255, int(value * 1.25))),
    "darker": lambda image: image.point(lambda value: int(value * 0.75)),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    "turned": lambda image: image.rotate(4, Image.Resampling.BILINEAR),
}


@cache
def cells(kind: str = "mono", change: str = "") -> tuple[Observation, ...]:
    """Of images of one kind of cell, spread over all, as a network of 256 x 256 sees them."""
    samples = [sample for sample in load_elpv() if sample.cell_type == kind]
    count = 220 if change else 420
    chosen = np.random.default_rng(0).permutation(len(samples))[:count]
    return tuple(_observed(Image.open(samples[at].path), change) for at in chosen)


def _observed(image: Image.Image, change: str) -> Observation:
    shown = CHANGES[change](image) if change else image
    plane = resize(np.asarray(shown.convert("L"), np.float32), 256, 256)
    values = asdict(measure(plane[np.newaxis]))
    return {name: values[name] for name in NAMES if values.get(name) is not None}


def hours(*parts: Sequence[Observation], release: str = RELEASE) -> tuple[Window, ...]:
    """A window an hour, of these observations each."""
    return tuple(
        Window(
            version=1,
            command="watch",
            release=release,
            start=START + HOUR * number,
            end=START + HOUR * number + 3599,
            images=len(part),
            statistics=histograms_of(part),
        )
        for number, part in enumerate(parts)
    )
