"""From a camera's memory to pixels of 8 bits, by docs/formats.md: in whole numbers."""

import numpy as np
from numpy.typing import NDArray

from edgewright.client import Format

Bytes = NDArray[np.uint8]
BITS = 13
# Black, then the weights of luma, V for red, U and V for green, U for blue.
LIMITED = (16, 9539, 13075, -3209, -6660, 16525)
FULL = (0, 8192, 11485, -2819, -5850, 14516)
RED = {  # column and row of the first red pixel
    Format.BAYER_RGGB: (0, 0),
    Format.BAYER_GRBG: (1, 0),
    Format.BAYER_GBRG: (0, 1),
    Format.BAYER_BGGR: (1, 1),
}


def converted(
    memory: bytes, format: Format, width: int, height: int, stride: int, *, gray: bool
) -> Bytes:
    """Height x width x channels."""
    lines = format.rows(height)
    padded = memory.ljust(lines * stride, b"\0")
    rows = np.frombuffer(padded, np.uint8)[: lines * stride].reshape(lines, stride)
    if format in RED:
        return _demosaiced(rows[:, :width].astype(np.int32), *RED[format])
    if format in (Format.GRAY, Format.RGB, Format.BGR):
        pixels = rows[:, : format.row_bytes(width)].reshape(height, width, -1)
        return pixels[..., ::-1] if format is Format.BGR else pixels
    even = width + width % 2
    if format in (Format.NV12, Format.NV12_FULL):
        luma, chroma = rows[:height, :width], rows[height:, :even].repeat(2, axis=0)[:height]
    else:
        pairs = rows[:, : 2 * even]
        luma, chroma = pairs[:, ::2][:, :width], pairs[:, 1::2]
    u = chroma[:, ::2].repeat(2, axis=1)[:, :width].astype(np.int64) - 128
    v = chroma[:, 1::2].repeat(2, axis=1)[:, :width].astype(np.int64) - 128
    is_full = format in (Format.NV12_FULL, Format.YUYV_FULL)
    black, of_luma, red_v, green_u, green_v, blue_u = FULL if is_full else LIMITED
    y = (luma.astype(np.int64) - black) * of_luma
    sums = [y] if gray else [y + red_v * v, y + green_u * u + green_v * v, y + blue_u * u]
    return _cut(np.stack(sums, axis=-1))


def _cut(sums: NDArray[np.int64]) -> Bytes:
    return ((sums + (1 << (BITS - 1))) >> BITS).clip(0, 255).astype(np.uint8)


def _demosaiced(mosaic: NDArray[np.int32], red_x: int, red_y: int) -> Bytes:
    height, width = mosaic.shape
    wide = np.pad(mosaic, 1, mode="reflect")
    left, right = wide[1:-1, :-2], wide[1:-1, 2:]
    above, below = wide[:-2, 1:-1], wide[2:, 1:-1]
    corners = (wide[:-2, :-2] + wide[:-2, 2:] + wide[2:, :-2] + wide[2:, 2:] + 2) // 4
    cross = (left + right + above + below + 2) // 4
    y, x = np.indices((height, width))
    in_red_row, in_red_column = y % 2 == red_y, x % 2 == red_x
    across, down = (left + right + 1) // 2, (above + below + 1) // 2

    def color(own_row: NDArray[np.bool_], own_column: NDArray[np.bool_]) -> NDArray[np.int32]:
        in_row = np.where(own_column, mosaic, across)
        return np.where(own_row, in_row, np.where(own_column, down, corners))

    green = np.where(in_red_row == in_red_column, cross, mosaic)
    pixels = [color(in_red_row, in_red_column), green, color(~in_red_row, ~in_red_column)]
    return np.stack(pixels, axis=-1).astype(np.uint8)
