"""From an image file to the network's input: the reference of docs/formats.md.

`edge-infer` does the same in C++; both agree to 1e-3 in every value.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgewright.model.contract.card import ImageCard, MeanStd, PerImage
from edgewright.model.contract.pixels import Pixels, decode
from edgewright.model.contract.placement import Placement

Floats = NDArray[np.float32]


def load_input(path: Path, card: ImageCard) -> Floats:
    """The network's input for one image file: float32, shape (1, C, H, W)."""
    return load_placed(path, card)[0]


def load_placed(path: Path, card: ImageCard) -> tuple[Floats, Placement]:
    """The network's input for one image file, and where the image lies in it."""
    pixels = decode(path, card.preprocess.significant_bits)
    (height, width), (_, _, rows, columns) = pixels.shape[:2], card.input.shape
    placement = Placement(
        width=width, height=height, scale_x=columns / width, scale_y=rows / height
    )
    return preprocess(pixels, card), placement


def preprocess(pixels: Pixels, card: ImageCard) -> Floats:
    """Pixels of any size, uint8 (H, W) or (H, W, 3) -> float32 (1, C, H, W)."""
    _, _, height, width = card.input.shape
    planes = to_planes(pixels, card.preprocess.color)
    resized = np.stack([resize(plane, height, width) for plane in planes])
    return normalize(resized, card.preprocess.normalize)[np.newaxis]


def to_planes(pixels: Pixels, color: str) -> Floats:
    """Planes of the channels the network wants: float32 (C, H, W), values 0 to 255."""
    if color == "rgb":
        rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., np.newaxis], 3, axis=2)
        return np.ascontiguousarray(rgb.transpose(2, 0, 1), dtype=np.float32)
    gray = luma(pixels) if pixels.ndim == 3 else pixels
    return gray[np.newaxis].astype(np.float32)


def luma(rgb: Pixels) -> Pixels:
    """ITU-R 601 luma in 16-bit fixed point, as Pillow computes it: (H, W, 3) -> (H, W)."""
    weighted = rgb.astype(np.uint32) @ np.array([19595, 38470, 7471], dtype=np.uint32)
    return ((weighted + 32768) >> 16).astype(np.uint8)


def resize(plane: Floats, height: int, width: int) -> Floats:
    """Separable triangle filter in float32; a plane that fits is returned as it is."""
    if plane.shape == (height, width):
        return plane
    image = Image.fromarray(plane)  # float32 makes it mode F
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)


def normalize(planes: Floats, rule: PerImage | MeanStd) -> Floats:
    """Centre and scale planes of values 0 to 255: (C, H, W) -> (C, H, W)."""
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
