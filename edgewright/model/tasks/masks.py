"""Maps of a network over the image it saw, and masks as run lengths (docs/formats.md)."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgewright.model.contract.placement import Placement
from edgewright.model.contract.preprocess import Floats

MOST_RUNS = 20_000  # of a mask; one with more is noise, and its text as long as a picture
_SLACK = 1e-6  # pixels of the input: on a border, C++ and Python round to the same side

Mask = NDArray[np.bool_]
Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The pixels `first` to `end` of a map's axis show the image."""

    first: int
    end: int
    step: float  # pixels of the input to one of the map
    offset: float  # of the image's corner, in pixels of the input
    scale: float  # pixels of the input to one of the image
    length: int  # pixels of the image

    @classmethod
    def of(cls, size: int, input_size: int, offset: float, scale: float, length: int) -> "Axis":
        centres = (np.arange(size) + 0.5) * input_size / size
        border = offset + length * scale
        first = int(np.searchsorted(centres, offset - _SLACK))
        end = int(np.searchsorted(centres, border - _SLACK))
        if first >= end:  # the image is thinner than a pixel of the map: the one it lies in
            middle = offset + length * scale / 2
            first = min(max(int(middle * size / input_size), 0), size - 1)
            end = first + 1
        return cls(
            first=first,
            end=end,
            step=input_size / size,
            offset=offset,
            scale=scale,
            length=length,
        )

    def places(self, count: int) -> NDArray[np.int64]:
        """For each of the image's `count` pixels the one of the part that its middle lies in."""
        middles = ((np.arange(count) + 0.5) * self.scale + self.offset) / self.step
        return np.clip(middles.astype(np.int64) - self.first, 0, self.end - self.first - 1)

    def to_image(self, place: float) -> float:
        """A place on the part that shows the image -> in pixels of the image, within it."""
        inside = ((self.first + place) * self.step - self.offset) / self.scale
        return round(min(max(inside, 0.0), float(self.length)), 6)


@dataclass(frozen=True, kw_only=True)
class Window:
    """The part of a map that shows the image: what borders the input is left out."""

    rows: Axis
    columns: Axis

    @classmethod
    def of(
        cls, map_size: tuple[int, int], input_size: tuple[int, int], placement: Placement
    ) -> "Window":
        """Of a map of this height and width, which covers the input of this height and width."""
        return cls(
            rows=Axis.of(
                map_size[0], input_size[0], placement.top, placement.scale_y, placement.height
            ),
            columns=Axis.of(
                map_size[1], input_size[1], placement.left, placement.scale_x, placement.width
            ),
        )

    def cut(self, values: Floats) -> Floats:
        """The part of values (…, H, W) that shows the image."""
        rows, columns = self.rows, self.columns
        return values[..., rows.first : rows.end, columns.first : columns.end]

    def spread(self, part: NDArray[Value], size: tuple[int, int]) -> NDArray[Value]:
        """The part (…, H, W) over the pixels of an image of this height and width."""
        rows, columns = self.rows.places(size[0]), self.columns.places(size[1])
        return part[..., rows[:, np.newaxis], columns]

    def box(self, mask: Mask) -> tuple[float, float, float, float]:
        """The corner of a mask that is not empty, its width and height, in pixels of the image."""
        x, y = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        columns, rows = self.columns, self.rows
        left, right = columns.to_image(float(x[0])), columns.to_image(float(x[-1] + 1))
        top, bottom = rows.to_image(float(y[0])), rows.to_image(float(y[-1] + 1))
        return left, top, round(right - left, 6), round(bottom - top, 6)


def runs_of(mask: Mask) -> list[int]:
    """Lengths of the runs, column by column: of False, of True, of False, …; the first may be 0.

    >>> runs_of(np.array([[True, False], [True, True]]))
    [0, 2, 1, 1]
    """
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], starts, [flat.size]]))
    return [0] * bool(flat[0]) + [int(length) for length in lengths]


def encode(mask: Mask) -> str | None:
    """The text of a mask, as COCO's `counts`; none if it has more than `MOST_RUNS` runs.

    >>> encode(np.array([[True, False], [True, True]]))
    '021O'
    """
    runs = runs_of(mask)
    if len(runs) > MOST_RUNS:
        return None
    # Each run from the fourth on as its difference from the one two before, as pycocotools does.
    text = []
    for place, run in enumerate(runs):
        value, more = (run - runs[place - 2] if place > 2 else run), True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr(48 + (bits | 32 * more)))
    return "".join(text)


def decode(text: str, height: int, width: int) -> Mask:
    """The mask of a text. Raises ValueError if it is not one of this size.

    >>> decode("021O", 2, 2).tolist()
    [[True, False], [True, True]]
    """
    runs: list[int] = []
    value, shift = 0, 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError(f"is no mask: {letter!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    if shift or sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(f"is no mask of {height} x {width} pixels")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape((height, width), order="F")


def overlap(one: Mask, other: Mask) -> float:
    """Intersection over union; 1 if both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0
