"""Hours of a line, made of real images of solar cells: as they are, and with something changed."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cache

import numpy as np
from PIL import Image

from edgewright.model.contract.image_statistics import measure
from edgewright.model.contract.preprocess import resize
from edgewright.model.judge.data import load_elpv
from edgewright.model.judge.observed import NAMES, Observation
from edgewright.observe.drift.board_file import Window
from edgewright.observe.drift.played import CHANGES
from edgewright.observe.drift.trial import hourly

RELEASE = "0123456789abcdef"
HOUR = 3600
START = 1_795_964_400
APPLY = {change.name: change.apply for change in CHANGES}


@cache
def cells(kind: str = "mono", change: str = "") -> tuple[Observation, ...]:
    """Of images of one kind of cell, spread over all, as a network of 256 x 256 sees them."""
    samples = [sample for sample in load_elpv() if sample.cell_type == kind]
    count = 220 if change else 420
    chosen = np.random.default_rng(0).permutation(len(samples))[:count]
    return tuple(_observed(Image.open(samples[at].path), change) for at in chosen)


def _observed(image: Image.Image, change: str) -> Observation:
    shown = APPLY[change](image) if change else image
    plane = resize(np.asarray(shown.convert("L"), np.float32), 256, 256)
    values = asdict(measure(plane[np.newaxis]))
    return {name: values[name] for name in NAMES if values.get(name) is not None}


def hours(*parts: Sequence[Observation], release: str = RELEASE) -> tuple[Window, ...]:
    """A window an hour, of these observations each."""
    return hourly(parts, release, START)
