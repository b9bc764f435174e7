"""From an image file to the network's input: the reference of docs/formats.md.

`edge-infer` does the same in C++; both agree to 1e-3 in every value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgewright.base.errors import UserError
from edgewright.model.contract.card import (
    Filter,
    ImageCard,
    Letterbox,
    MeanStd,
    Normalize,
    Region,
    Scale,
)
from edgewright.model.contract.geometry import (
    Geometry,
    Span,
    geometry_of,
    reduction_of,
    region_of,
)
from edgewright.model.contract.pixels import Picture, Pixels, read_picture
from edgewright.model.contract.placement import Placement
from edgewright.model.contract.tiles import TilePlan, plan_tiles

Floats = NDArray[np.float32]
Exact = NDArray[np.float64]

# Weights are whole numbers: of so many bits that they fit into 16, and sums into a double's 53.
LEAST_BITS, MOST_BITS = 14, 22
LARGEST_WEIGHT = 16384  # of an axis whose weights have more than the least bits


def load_input(path: Path, card: ImageCard) -> Floats:
    """The network's input for one image file: float32, shape (1, C, H, W).

    Of an image that is cut into tiles it is that of the one in the middle.
    """
    return load_placed(path, card)[0]


def load_placed(path: Path, card: ImageCard) -> tuple[Floats, Placement]:
    """The network's input as `load_input` has it, and where the image lies in it."""
    return place(*load_region(path, card), card)


def load_region(path: Path, card: ImageCard) -> tuple[Picture, Region | None]:
    """The picture of one image file, and the part of it that `load_input` is of; None: all."""
    picture, plan = load_frame(path, card)
    return picture, plan.tiles[plan.middle] if plan else _of_image(path, picture, card)


def load_frame(path: Path, card: ImageCard) -> tuple[Picture, TilePlan | None]:
    """The picture of one image file, and how it is cut into tiles, if the card does so."""
    rules = card.preprocess
    picture = read_picture(
        path,
        rules.significant_bits,
        for_gray=rules.color == "gray",
        reduction=partial(reduction_of, card=card),
    )
    if card.tiling is None:
        return picture, None
    everything = Region(x=0, y=0, width=picture.width, height=picture.height)
    try:
        return picture, plan_tiles(_of_image(path, picture, card) or everything, card.tiling)
    except ValueError as too_many:
        raise UserError(str(path), str(too_many), next="state larger tiles in the card") from (
            too_many
        )


def _of_image(path: Path, picture: Picture, card: ImageCard) -> Region | None:
    """The card's region of an image. Raises UserError if it reaches beyond."""
    try:
        return region_of(picture.height, picture.width, card)
    except ValueError as too_small:
        next = "take an image of the camera that the card is for"
        raise UserError(str(path), str(too_small), next=next) from too_small


def preprocess(pixels: Pixels, card: ImageCard) -> Floats:
    """Pixels of any size, uint8 (H, W) or (H, W, 3) -> float32 (1, C, H, W).

    Raises ValueError if the card's region reaches beyond them.
    """
    region = region_of(pixels.shape[0], pixels.shape[1], card)
    return place(Picture.of(pixels), region, card)[0]


def place(picture: Picture, region: Region | None, card: ImageCard) -> tuple[Floats, Placement]:
    """The input that a region of an image, or all of it, becomes; where the image lies in it."""
    canvas, geometry = resized(picture.pixels, region, card)
    size = (picture.height, picture.width)
    placement = geometry.placement.enlarged(picture.reduction, size, picture.margin)
    return normalize(canvas, card.preprocess.normalize)[np.newaxis], placement


def resized(pixels: Pixels, region: Region | None, card: ImageCard) -> tuple[Floats, Geometry]:
    """The same before it is normalized: (C, H, W), values 0 to 255, with the border if any."""
    rules = card.preprocess
    geometry = geometry_of(pixels.shape[0], pixels.shape[1], region, card)
    y, x = geometry.y, geometry.x
    part = pixels[y.start : y.start + y.length, x.start : x.start + x.length]
    planes = to_planes(part, rules.color)
    border = rules.fit.pad_value if isinstance(rules.fit, Letterbox) else 0
    canvas = np.full((len(planes), *card.input.shape[2:]), border, np.float32)
    for plane, padded in zip(planes, canvas, strict=True):
        resized = resample(plane, y, x, rules.resize)
        padded[y.before : y.before + y.count, x.before : x.before + x.count] = resized
    return canvas, geometry


def to_planes(pixels: Pixels, color: str) -> Floats:
    """Planes of the channels the network wants: float32 (C, H, W), values 0 to 255."""
    if color == "gray":
        gray = luma(pixels) if pixels.ndim == 3 else pixels
        return gray[np.newaxis].astype(np.float32)
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., np.newaxis], 3, axis=2)
    planes = rgb.transpose(2, 0, 1)
    return np.ascontiguousarray(planes[::-1] if color == "bgr" else planes, dtype=np.float32)


def luma(rgb: Pixels) -> Pixels:
    """ITU-R 601 luma in 16-bit fixed point, as Pillow computes it: (H, W, 3) -> (H, W)."""
    weighted = rgb.astype(np.uint32) @ np.array([19595, 38470, 7471], dtype=np.uint32)
    return ((weighted + 32768) >> 16).astype(np.uint8)


def resize(plane: Floats, height: int, width: int) -> Floats:
    """Separable triangle filter of whole numbers; a plane that fits is returned as it is."""

    def full_span(length: int, resized: int) -> Span:
        return Span(start=0, length=length, resized=resized, first=0, count=resized, before=0)

    return resample(
        plane, full_span(plane.shape[0], height), full_span(plane.shape[1], width), "triangle"
    )


def resample(plane: Floats, y: Span, x: Span, kernel: Filter) -> Floats:
    """The pixels that are kept of the resized plane of whole numbers, each rounded once.

    Sums are exact, so neither the order of the passes nor a processor makes a difference.
    """
    if plane.shape == (y.resized, x.resized):
        return plane[y.first : y.first + y.count, x.first : x.first + x.count]
    across, down = _weights(x, kernel), _weights(y, kernel)
    narrow = _along_rows(np.ascontiguousarray(plane.T, np.float64), across).T
    sums = _along_rows(np.ascontiguousarray(narrow), down)
    resized = sums * 2.0 ** -(across.bits + down.bits)
    # The bicubic curve overshoots at edges.
    exact = np.clip(resized, 0, 255) if kernel == "bicubic" else resized
    return exact.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """Those of one axis; the weights of each pixel add up to 2^bits."""

    bits: int
    taps: tuple[tuple[int, Exact], ...]  # of each pixel that is kept the first one, and the weights


def _along_rows(rows: Exact, weights: _Weights) -> Exact:
    """Rows (length, N) -> (count, N)."""
    out = np.empty((len(weights.taps), rows.shape[1]), np.float64)
    for index, (first, values) in enumerate(weights.taps):
        out[index] = values @ rows[first : first + len(values)]
    return out


@lru_cache(maxsize=32)  # images of a set are of few sizes, and weights cost more than a small one
def _weights(span: Span, kernel: Filter) -> _Weights:
    kernels: dict[Filter, Callable[[Span, int], tuple[int, Exact]]] = {
        "triangle": partial(_antialiased, reach=1, curve=_triangle),
        "bicubic": partial(_antialiased, reach=2, curve=_bicubic),
        "bilinear": _bilinear,
    }
    weigh = kernels[kernel]
    curves = [weigh(span, span.first + index) for index in range(span.count)]
    sums = [np.cumsum(curve) for _, curve in curves]
    most = max(
        float(np.abs(curve).max() / each[-1]) for (_, curve), each in zip(curves, sums, strict=True)
    )
    bits = LEAST_BITS
    while bits < MOST_BITS and most * (2 << bits) <= LARGEST_WEIGHT:
        bits += 1
    taps = tuple(
        # The sums are rounded, not the weights: so the rounded ones add up to 2^bits.
        (first, np.diff(np.floor(each / each[-1] * (1 << bits) + 0.5), prepend=0))
        for (first, _), each in zip(curves, sums, strict=True)
    )
    return _Weights(bits=bits, taps=taps)


def _antialiased(
    span: Span, index: int, *, reach: float, curve: Callable[[Exact], Exact]
) -> tuple[int, Exact]:
    """A filter of Pillow's `Image.resize`, whose curve ends at `reach`; the sum is any number."""
    ratio = span.length / span.resized
    stretch = max(ratio, 1.0)
    center = (index + 0.5) * ratio
    first = int(max(center - reach * stretch + 0.5, 0))
    end = min(int(center + reach * stretch + 0.5), span.length)
    return first, curve(np.abs((np.arange(first, end) - center + 0.5) / stretch))


def _triangle(distance: Exact) -> Exact:
    return np.maximum(1 - distance, 0)


def _bicubic(distance: Exact) -> Exact:
    """Keys' curve with a = -0.5."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


def _bilinear(span: Span, index: int) -> tuple[int, Exact]:
    """OpenCV's INTER_LINEAR: the two neighbours of the place, however far the next ones are."""
    at = max((index + 0.5) * (span.length / span.resized) - 0.5, 0)
    first = int(at)
    if first >= span.length - 1:
        return span.length - 1, np.ones(1)
    return first, np.array([1 - (at - first), at - first])


def normalize(planes: Floats, rule: Normalize) -> Floats:
    """Centre and scale planes of values 0 to 255: (C, H, W) -> (C, H, W)."""
    if isinstance(rule, Scale):
        return planes * np.float32(rule.factor)
    if isinstance(rule, MeanStd):
        mean, std = _per_channel(rule.mean), _per_channel(rule.std)
        return (planes / np.float32(255) - mean) / std
    # In double: C++ sums in double too, and float32 loses digits over 65,536 pixels.
    exact = planes.astype(np.float64)
    scale = max(float(exact.std()), rule.epsilon * 255)
    standard: Floats = ((exact - exact.mean()) / scale).astype(np.float32)
    return standard


def _per_channel(values: tuple[float, ...]) -> Floats:
    return np.array(values, np.float32).reshape(-1, 1, 1)
