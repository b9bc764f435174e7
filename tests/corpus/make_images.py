"""Writes tests/corpus/images: small pictures, good ones and ones with one defect each.

Usage: python tests/corpus/make_images.py

`manifest.txt` beside them says what `edge-infer` must make of each: `ok WIDTHxHEIGHTxCHANNELS`
or the code of the error. It is read by the C++ tests and by the tests on host and board.
The content is the same in every run, except that JPEG data may differ between Pillow's versions.
"""

import io
import struct
import zlib
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent / "images"
WIDTH, HEIGHT = 40, 30
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def color() -> Image.Image:
    pixels = bytes(
        value
        for y in range(HEIGHT)
        for x in range(WIDTH)
        for value in (x * 6, y * 8, (x * x + 3 * y * y) % 256)
    )
    return Image.frombytes("RGB", (WIDTH, HEIGHT), pixels)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """A PNG of our own making. Kinds: 0 grey, 2 RGB, 4 grey and alpha."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows))
    return SIGNATURE + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def gray16(step: int = 1600) -> bytes:
    """A ramp in 16 bits a sample; the highest value is 39 * step + 29."""
    rows = b"".join(
        b"\0" + b"".join(struct.pack(">H", x * step + y) for x in range(WIDTH))
        for y in range(HEIGHT)
    )
    return png(WIDTH, HEIGHT, 16, 0, rows)


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = value
    return exif


def interlaced(plain: bytes) -> bytes:
    """Seven passes of a grey picture (Adam7); Pillow reads such files but does not write them."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2))  # fmt: skip
    rows = b"".join(
        b"\0" + plain[y * WIDTH + x0 : (y + 1) * WIDTH : dx]
        for x0, y0, dx, dy in passes
        for y in range(y0, HEIGHT, dy)
    )
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 1)
    data = chunk(b"IDAT", zlib.compress(rows))
    return SIGNATURE + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def with_byte(data: bytes, at: int, change: int) -> bytes:
    """The same data with one byte changed."""
    return data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]


def with_size(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG that announces another size than its data has."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def good() -> dict[str, tuple[str, bytes]]:
    """File name -> what is expected, content."""
    rgb = color()
    gray = rgb.convert("L")
    grey, three = f"ok {WIDTH}x{HEIGHT}x1", f"ok {WIDTH}x{HEIGHT}x3"
    return {
        "good-gray.png": (grey, encoded(gray, "PNG")),
        "good-gray-interlaced.png": (grey, interlaced(gray.tobytes())),
        "good-bilevel.png": (grey, encoded(gray.convert("1"), "PNG")),
        "good-gray16.png": (grey, gray16()),
        "good-rgb16.png": ("ok 2x1x3", png(2, 1, 16, 2, b"\0" + bytes(6) + b"\xff" * 6)),
        "good-gray-alpha16.png": ("ok 2x1x1", png(2, 1, 16, 4, b"\0\x80\0\0\0\xff\xff\0\0")),
        "good-orientation.jpg": (three, encoded(rgb, "JPEG", quality=90, exif=orientation(6))),
        "good-orientation.png": (three, encoded(rgb, "PNG", exif=orientation(8))),
        "good-surplus.jpg": (grey, encoded(gray, "JPEG", quality=90) + bytes(500)),
        "good-crlf.pgm": ("ok 2x1x1", b"P5\r\n2 1\r\n255\r\n\x0a\xff"),
        "good-gray-alpha.png": (three, encoded(gray.convert("LA"), "PNG")),
        "good-rgb.png": (three, encoded(rgb, "PNG")),
        "good-rgba.png": (three, encoded(rgb.convert("RGBA"), "PNG")),
        "good-palette.png": (three, encoded(rgb.quantize(16), "PNG")),
        "good-gray.jpg": (grey, encoded(gray, "JPEG", quality=90)),
        "good-rgb.jpg": (three, encoded(rgb, "JPEG", quality=90)),
        "good-progressive.jpg": (three, encoded(rgb, "JPEG", quality=90, progressive=True)),
        "good.pgm": (grey, encoded(gray, "PPM")),
        "good.ppm": (three, encoded(rgb, "PPM")),
        "good-comment.pgm": ("ok 2x1x1", b"P5 # made by hand\n2 # wide\n1\n255\n\x00\xff"),
    }


def bad_png() -> dict[str, tuple[str, bytes]]:
    data = encoded(color(), "PNG")
    idat = data.index(b"IDAT")
    return {
        "truncated.png": ("image_truncated", data[: len(data) * 2 // 3]),
        "truncated-header.png": ("image_truncated", data[:20]),
        "truncated-end.png": ("image_truncated", data[:-12]),
        "sparse.png": ("image_truncated", png(16384, 4096, 8, 0, b"\0")),
        "dark-gray16.png": ("image_format", gray16(100)),
        "wrong-crc.png": ("image_corrupt", with_byte(data, idat + 40, 0x10)),
        "wrong-stream.png": ("image_corrupt", png(WIDTH, HEIGHT, 8, 0, b"\x09" * 1230)),
        "no-pixels.png": ("image_corrupt", png(0, 0, 8, 0, b"")),
        "bomb.png": ("image_too_large", png(100000, 100000, 8, 0, b"\0" * 1000)),
    }


def bad_jpeg() -> dict[str, tuple[str, bytes]]:
    data = encoded(color(), "JPEG", quality=90)
    scan = data.index(b"\xff\xda")
    return {
        "truncated.jpg": ("image_truncated", data[: (scan + len(data)) // 2]),
        "truncated-header.jpg": ("image_truncated", data[:100]),
        "truncated-end.jpg": ("image_truncated", data[:-2]),
        "wrong-scan.jpg": ("image_corrupt", data[: scan + 60] + b"\xaa" * 90 + data[scan + 150 :]),
        "wrong-table.jpg": ("image_corrupt", with_byte(data, data.index(b"\xff\xc4") + 8, 0xFF)),
        "cmyk.jpg": ("image_format", encoded(color().convert("CMYK"), "JPEG")),
        "bomb.jpg": ("image_too_large", with_size(data, 65500, 65500)),
    }


def bad_others() -> dict[str, tuple[str, bytes]]:
    gray = color().convert("L")
    plain = encoded(gray, "PPM")
    return {
        "empty.png": ("image_truncated", b""),
        "text.png": ("image_format", b"This is a text with the name of a picture.\n"),
        "picture.bmp": ("image_format", encoded(gray, "BMP")),
        "truncated.pgm": ("image_truncated", plain[:-100]),
        "truncated-header.pgm": ("image_truncated", plain[:6]),
        "malformed.ppm": ("image_corrupt", b"P6\nforty 30\n255\n" + b"\0" * 3600),
        "surplus.pgm": ("image_corrupt", plain + b"\n"),
        "deep.pgm": ("image_format", b"P5\n2 1\n65535\n\0\0\0\0"),
        "bomb.ppm": ("image_too_large", b"P6\n99999 99999\n255\n" + b"\0" * 100),
        "overflow.ppm": ("image_corrupt", b"P6\n4294967297 4294967297\n255\n" + b"\0" * 100),
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    lines = []
    for name, (expected, data) in (good() | bad_png() | bad_jpeg() | bad_others()).items():
        (FOLDER / name).write_bytes(data)
        lines.append(f"{name} {expected}\n")
    (FOLDER / "manifest.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
