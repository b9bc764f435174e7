"""Pixels of an image file, as docs/formats.md has it; `edge-infer` reads the same files alike."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from edgewright.base.errors import UserError
from edgewright.base.files import read_file

Pixels = NDArray[np.uint8]

MAX_BYTES = 64 << 20  # of a file
MAX_SIDE = 16384  # pixels
MAX_PIXELS = 64 << 20
# A 16-bit picture within so few bits is dark, or that of a camera with fewer.
UNSAID_BITS = 14

UNREADABLE = "is not a readable PNG, JPEG, PGM or PPM"

# Pillow's names of pixel formats.
_GRAY_MODES = {"1", "L", "LA", "La"}
_COLOR_MODES = {"RGB", "RGBA", "RGBX", "RGBa", "P", "PA"}
# Numbers of a PGM or PPM header, comments between them; one line end, or one other blank, is last.
_BLANK = rb"(?:[ \t\n\v\f\r]|#[^\n]*(?:\n|\Z))*"
_PNM = re.compile(rb"P[56]" + (_BLANK + rb"(\d{1,7})(?!\d)") * 3 + rb"(?:\r\n|[ \t\n\v\f\r])")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image, turned upright, or one reduced in size."""

    pixels: Pixels  # (H, W) or (H, W, 3)
    height: int  # of the image itself
    width: int
    reduction: int = 1  # sides of the image by those of the pixels, which are rounded up
    # By that rounding, pixels of the image that would fit in before its first row and column:
    # where the stored picture was mirrored, its last ones come first.
    margin: tuple[int, int] = (0, 0)

    @staticmethod
    def of(pixels: Pixels) -> "Picture":
        return Picture(pixels=pixels, height=pixels.shape[0], width=pixels.shape[1])


def decode(path: Path, significant_bits: int | None = None, *, for_gray: bool = False) -> Pixels:
    """The pixels of `read_picture`, in the image's own size."""
    return read_picture(path, significant_bits, for_gray=for_gray).pixels


def read_picture(
    path: Path,
    significant_bits: int | None = None,
    *,
    for_gray: bool = False,
    reduction: Callable[[int, int], int] = lambda _height, _width: 1,
) -> Picture:
    """A PNG, JPEG, PGM (P5) or PPM (P6), turned as EXIF says, 8 bits a channel.

    `significant_bits` are those of samples with 16 bits, of which the upper 8 are taken; without it
    the values must need 16 bits. Of a JPEG in colour the luma is decoded alone, `for_gray`; by how
    much its sides are divided (1, 2, 4 or 8) `reduction` says, from the height and width of the
    upright image. Raises UserError.
    """
    content = read_file(path, limit=MAX_BYTES)  # a file of /dev has no size and no end
    if content[:2] in (b"P5", b"P6"):
        return Picture.of(_decode_pnm(content, path))
    try:
        # These formats only, as edge-infer has; the other decoders of Pillow are not needed.
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            _require_size(*image.size, path)
            _require_end(image, content, path)
            width, height = image.size
            if isinstance(image, JpegImageFile):  # of several pictures too, which are "MPO"
                is_turned = _orientation_of(image) >= 5
                divisor = reduction(*((width, height) if is_turned else (height, width)))
                image.draft("L" if for_gray else None, (width // divisor, height // divisor))
            else:
                divisor = 1
            image.load()  # a PNG may tell its orientation after its pixels
            pixels = _eight_bits(image, content, path, significant_bits)
            turn = _orientation_of(image)
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:
        facts = [str(error)]
        raise UserError(str(path), UNREADABLE, facts=facts) from error
    size = (width, height) if turn >= 5 else (height, width)
    return _upright(_turned(pixels, turn), size, turn, divisor)


def _upright(pixels: Pixels, size: tuple[int, int], turn: int, reduction: int) -> Picture:
    """The picture of turned pixels; `size` is the upright image's height and width."""
    surplus = [reduction * side - full for side, full in zip(pixels.shape[:2], size, strict=True)]
    return Picture(
        pixels=pixels,
        height=size[0],
        width=size[1],
        reduction=reduction,
        margin=(surplus[0] * (turn in (3, 4, 7, 8)), surplus[1] * (turn in (2, 3, 6, 7))),
    )


def _orientation_of(image: Image.Image) -> int:
    return orientation(image.info.get("exif", b"").removeprefix(b"Exif\0\0"))


def orientation(tiff: bytes) -> int:
    """Orientation in an EXIF block, which is a TIFF: 1 where it says none, or is malformed.

    Read here, since Pillow looks for it in other places too, where a board does not.
    """
    order: Literal["big", "little"] = "big" if tiff[:1] == b"M" else "little"

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order) if at + size <= len(tiff) else 0

    directory = number(4, 4)
    for entry in range(number(directory, 2)):
        at = directory + 2 + 12 * entry
        if number(at, 2) == 0x112:  # a SHORT, and one of it
            value = number(at + 8, 2)
            is_short = number(at + 2, 2) == 3 and number(at + 4, 4) == 1
            return value if is_short and 1 <= value <= 8 else 1
    return 1


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    if orientation in (2, 3, 7, 8):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 6, 7):
        pixels = pixels[::-1]
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels)


def _eight_bits(image: Image.Image, content: bytes, path: Path, bits: int | None) -> Pixels:
    if image.mode.startswith("I"):  # 16-bit grey; the mode's name depends on Pillow's version
        samples = np.asarray(image).astype(np.uint32)
        _require_bits(int(samples.max()), path, bits)
        return (samples >> ((bits or 16) - 8)).astype(np.uint8)
    if image.mode in _GRAY_MODES:
        pixels = np.asarray(image.convert("L"))
    elif image.mode in _COLOR_MODES:
        pixels = np.asarray(image.convert("RGB"))
    else:
        raise UserError(str(path), f"has {image.mode} pixels", facts=["expected: grey or RGB"])
    # Of 16 bits with colour or alpha Pillow gives the upper 8 alone; byte 24 of a PNG is its depth.
    if image.format == "PNG" and content[24] == 16:
        if bits not in (None, 16):
            raise UserError(
                str(path),
                f"has 16 bits and colour or alpha, of which {bits} significant bits are not read",
            )
        _require_bits(int(pixels.max()) << 8 | 0xFF, path, bits)
    return pixels


def _require_bits(highest: int, path: Path, bits: int | None) -> None:
    """Raise UserError for values that are not as the card says.

    Without a word in the card they must need 16 bits: a camera's 10 or 12 bits read as 16 are a
    picture that is nearly black.
    """
    if bits is None and not highest >> UNSAID_BITS:
        problem = f"has 16 bits and no value above {highest}, and the card does not say how many"
        problem += " are significant"
    elif bits is not None and highest >> bits:
        problem = f"has a value of {highest}, the card says that {bits} bits are significant"
    else:
        return
    hint = "set preprocess.significant_bits of the model's card to what the camera gives"
    raise UserError(str(path), problem, next=hint)


def _require_size(width: int, height: int, path: Path) -> None:
    if width * height == 0:
        raise UserError(str(path), "has no pixels")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        limit = f"the limit is {MAX_SIDE} a side and {MAX_PIXELS} in all"
        raise UserError(str(path), f"is {width} x {height} pixels, {limit}")


def _require_end(image: Image.Image, content: bytes, path: Path) -> None:
    """Raise UserError for a PNG that is cut behind its pixels, which Pillow takes."""
    at = 8
    while image.format == "PNG" and content[at + 4 : at + 8] != b"IEND":
        at += 12 + int.from_bytes(content[at : at + 4], "big")
        if at + 12 > len(content):
            raise UserError(str(path), UNREADABLE, facts=["the PNG data ends early"])


def _decode_pnm(content: bytes, path: Path) -> Pixels:
    header = _PNM.match(content)
    if header is None:
        raise UserError(str(path), UNREADABLE, facts=["its header"])
    width, height, maximum = map(int, header.groups())
    if maximum != 255:
        raise UserError(str(path), f"has a maximum of {maximum}, only 255 is read")
    _require_size(width, height, path)
    shape = (height, width, 3) if content[:2] == b"P6" else (height, width)
    expected, actual = int(np.prod(shape)), len(content) - header.end()
    if actual != expected:  # more, too: a transfer that changed line ends has changed the pixels
        raise UserError(str(path), f"has {actual} bytes of pixels, its header says {expected}")
    return np.frombuffer(content, np.uint8, offset=header.end()).reshape(shape)
