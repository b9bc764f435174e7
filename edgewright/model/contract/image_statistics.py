"""What is measured of an image as the network sees it: the reference of docs/formats.md.

`edge-infer` measures the same in C++ before it normalizes an image; both agree to 1e-3.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgewright.model.contract.card import ImageCard
from edgewright.model.contract.preprocess import Floats, load_region, resized

GRID = 64  # at most so many rows and columns are looked at


@dataclass(frozen=True, kw_only=True)
class ImageStatistics:
    """Of planes with values 0 to 255; what cannot be measured is None."""

    brightness: float  # mean
    contrast: float  # standard deviation
    sharpness: float | None  # root of 1 less the correlation of neighbours; None: no contrast
    direction: float | None  # share of the steps between neighbours that goes across; likewise
    saturation: float | None  # of colours, 0 to 1; None: the network takes grey


def measure_file(path: Path, card: ImageCard) -> ImageStatistics:
    """Of what the network sees of an image; of one that is cut into tiles, of the middle one.

    Raises UserError as `load_input` does.
    """
    picture, region = load_region(path, card)
    canvas, geometry = resized(picture.pixels, region, card)
    y, x = geometry.y, geometry.x
    return measure(canvas[:, y.before : y.before + y.count, x.before : x.before + x.count])


def measure(planes: Floats) -> ImageStatistics:
    """Of planes (C, H, W), every so many rows and columns: it costs the same at any size."""
    rows, columns = (np.arange(0, max(side - 1, 1), -(-side // GRID)) for side in planes.shape[1:])
    exact = planes.astype(np.float64)
    gray = exact.mean(axis=0)
    below = np.minimum(rows + 1, planes.shape[1] - 1)
    beside = np.minimum(columns + 1, planes.shape[2] - 1)
    values = gray[np.ix_(rows, columns)]
    across = float(np.square(gray[np.ix_(rows, beside)] - values).sum())
    down = float(np.square(gray[np.ix_(below, columns)] - values).sum())
    deviation = float(values.std())
    has_contrast = deviation > 0 and across + down > 0
    return ImageStatistics(
        brightness=float(values.mean()),
        contrast=deviation,
        sharpness=math.sqrt((across + down) / (4 * values.size)) / deviation
        if has_contrast
        else None,
        direction=across / (across + down) if has_contrast else None,
        saturation=_saturation(exact[:, rows][:, :, columns]) if len(planes) == 3 else None,
    )


def _saturation(samples: np.ndarray) -> float:
    """The mean of HSV's S over samples (3, H, W); black has none."""
    largest, least = samples.max(axis=0), samples.min(axis=0)
    return float(((largest - least) / np.maximum(largest, 1e-9)).mean())
