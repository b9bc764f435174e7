"""Maps of a network over the image it saw, and masks as run lengths (docs/formats.md)."""

from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgewright.model.contract.card import ImageCard
from edgewright.model.contract.placement import Placement
from edgewright.model.contract.preprocess import Floats

FORGIVEN = 0.001  # of all pixels: masks that differ in no more agree, however small they are
MOST_RUNS = 20_000  # of a mask; one with more is noise, and its text as long as a picture
_SLACK = 1e-6  # pixels of the input: on a border, C++ and Python round to the same side

Mask = NDArray[np.bool_]
# What a map in an answer is of, in pixels of the upright image: x, y, width, height; none: all.
MapRegion = Annotated[
    tuple[int, int, int, int] | None, Field(default=None, exclude_if=lambda part: part is None)
]
Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The pixels `first` to `end` of a map's axis show the image."""

    first: int
    end: int
    step: float  # pixels of the input to one of the map
    offset: float  # of the image's corner, in pixels of the input
    scale: float  # pixels of the input to one of the image
    start: int  # pixel of the image, the first that the network sees
    length: int  # pixels of the image that it sees

    @classmethod
    def of(
        cls, size: int, input_size: int, offset: float, scale: float, start: int, length: int
    ) -> "Axis":
        centres = (np.arange(size) + 0.5) * input_size / size
        low, border = offset + start * scale, offset + (start + length) * scale
        first = int(np.searchsorted(centres, low - _SLACK))
        end = int(np.searchsorted(centres, border - _SLACK))
        if first >= end:  # the image is thinner than a pixel of the map: the one it lies in
            middle = (low + border) / 2
            first = min(max(int(middle * size / input_size), 0), size - 1)
            end = first + 1
        return cls(
            first=first,
            end=end,
            step=input_size / size,
            offset=offset,
            scale=scale,
            start=start,
            length=length,
        )

    @classmethod
    def stitched(cls, start: int, length: int, tile: int, size: int) -> "Axis":
        """Of a map over all tiles, of which each has `tile` pixels of the image and `size` of its
        own map; as dense as these."""
        count = max(1, (length * size + tile // 2) // tile)
        return cls(
            first=0,
            end=count,
            step=length / count,
            offset=-float(start),
            scale=1.0,
            start=start,
            length=length,
        )

    @property
    def centres(self) -> NDArray[np.float64]:
        """Of the pixels of a stitched map, in pixels of the image."""
        return (np.arange(self.end) + 0.5) * self.length / self.end + self.start

    @property
    def middles(self) -> NDArray[np.float64]:
        """Of the part's pixels, in pixels of the image."""
        places = np.arange(self.first, self.end) + 0.5
        return np.asarray((places * self.step - self.offset) / self.scale, np.float64)

    def places(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """For each point of the image the pixel of the part that it lies in."""
        places = np.floor((points * self.scale + self.offset) / self.step + _SLACK)
        return np.clip(places.astype(np.int64) - self.first, 0, self.end - self.first - 1)

    @property
    def pixels(self) -> slice:
        """Those of the image that the network sees."""
        return slice(self.start, self.start + self.length)

    def to_image(self, place: float) -> float:
        """A place on the part that shows the image -> in pixels of the image, within it."""
        inside = ((self.first + place) * self.step - self.offset) / self.scale
        return round(min(max(inside, float(self.start)), float(self.start + self.length)), 6)


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
        p, part = placement, placement.part
        height, width = input_size
        return cls(
            rows=Axis.of(map_size[0], height, p.top, p.scale_y, part.y, part.height),
            columns=Axis.of(map_size[1], width, p.left, p.scale_x, part.x, part.width),
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the part."""
        return self.rows.end - self.rows.first, self.columns.end - self.columns.first

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the network sees."""
        return self.rows.pixels, self.columns.pixels

    def cut(self, values: Floats) -> Floats:
        """The part of values (…, H, W) that shows the image."""
        rows, columns = self.rows, self.columns
        return values[..., rows.first : rows.end, columns.first : columns.end]

    def spread(self, part: NDArray[Value]) -> NDArray[Value]:
        """The part (…, H, W) over the pixels of the image that the network sees."""
        return self.at(part, *(np.arange(axis.start, axis.stop) + 0.5 for axis in self.pixels))

    def at(
        self, part: NDArray[Value], rows: NDArray[np.float64], columns: NDArray[np.float64]
    ) -> NDArray[Value]:
        """Values of the part (…, H, W) at points of the image: (…, rows, columns)."""
        return part[..., self.rows.places(rows)[:, np.newaxis], self.columns.places(columns)]

    def box(self, mask: Mask) -> tuple[float, float, float, float]:
        """The corner of a mask that is not empty, its width and height, in pixels of the image."""
        x, y = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        columns, rows = self.columns, self.rows
        left, right = columns.to_image(float(x[0])), columns.to_image(float(x[-1] + 1))
        top, bottom = rows.to_image(float(y[0])), rows.to_image(float(y[-1] + 1))
        return left, top, round(right - left, 6), round(bottom - top, 6)


@dataclass(frozen=True)
class MaskPart:
    """A mask of a map that is empty beyond these rows and columns."""

    mask: Mask  # of these alone
    rows: slice
    columns: slice

    def within(self, size: tuple[int, int]) -> Mask:
        """The whole mask, of a map of this height and width."""
        mask = np.zeros(size, bool)
        mask[self.rows, self.columns] = self.mask
        return mask

    def count_runs(self, size: tuple[int, int]) -> int:
        """Number of runs of the whole mask, which is not made for it."""
        # A pixel without, where the whole has any, parts the runs as all of them do.
        borders = [
            (int(part.start > 0), int(part.stop < length))
            for part, length in zip((self.rows, self.columns), size, strict=True)
        ]
        return len(runs_of(np.pad(self.mask, borders)))


def part_of(card: ImageCard, window: Window) -> tuple[int, int, int, int] | None:
    """What a map of the card's network is of, as an answer tells it."""
    if card.preprocess.roi is None:
        return None
    rows, columns = window.rows, window.columns
    return columns.start, rows.start, columns.length, rows.length


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


def overlap(first: Mask, second: Mask) -> float:
    """Intersection over union; 1 if both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0
