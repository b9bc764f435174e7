"""One picture as cameras, phones and editors write it: Python and C++ see the same, or refuse."""

import io
import json
import struct
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from edgewright.base.errors import UserError
from edgewright.model.contract.card import read_card, write_card
from edgewright.model.contract.preprocess import load_input
from tests.integration.toy_model import toy_model

EdgeInfer = Callable[[list[str]], subprocess.CompletedProcess[bytes]]

pytestmark = pytest.mark.docker

AGREEMENT = 1e-3  # of C++ and Python in every input value (docs/formats.md)
JPEG_LOSS = 0.25  # of a standardised value, at the quality used here
MEMORY_KB = 2 << 10  # a picture of any size may cost, above a small one


@dataclass(frozen=True)
class Case:
    """A file, and the bits that the card says are significant; `refused` is part of the reason."""

    content: bytes
    bits: int | None = None
    refused: str | None = None


def picture() -> Image.Image:
    """Gray, 90 by 70, with neither axis nor diagonal of symmetry; no value is 0 or 255."""
    y, x = np.mgrid[0:70, 0:90]
    waves = 110 + 60 * np.sin(x / 9 + y / 31) + 50 * np.cos((y * y) / 500 - x / 40)
    return Image.fromarray(waves.clip(1, 254).astype(np.uint8))


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def turned(tag: int) -> tuple[Image.Image, Image.Exif]:
    """The picture as it is stored so that EXIF's orientation turns it back."""
    back = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270}  # fmt: skip
    exif = Image.Exif()
    exif[0x112] = tag
    return (picture().transpose(back[tag]) if tag in back else picture()), exif


def deep(bits: int) -> bytes:
    """16-bit words with fewer significant bits, right-aligned, as machine vision cameras write."""
    pixels = np.asarray(picture()).astype(np.uint32)
    return encoded(Image.fromarray((pixels * (2**bits - 1) // 255).astype(np.uint16)))


def cases() -> dict[str, Case]:
    gray = picture()
    rgb = gray.convert("RGB")
    raw, size = gray.tobytes(), b"%d %d" % gray.size
    jpeg = encoded(gray, "JPEG", quality=100)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    clear = Image.merge("RGBA", (*rgb.split(), Image.new("L", gray.size, 0)))
    unsaid, wrong = "the card does not say", "the card says that"
    cases = {
        "mono16.png": Case(deep(16)),
        "mono16-said.png": Case(deep(16), bits=16),
        "cmyk.jpg": Case(encoded(rgb.convert("CMYK"), "JPEG"), refused="CMYK"),
        "icc.jpg": Case(encoded(rgb, "JPEG", quality=100, icc_profile=srgb)),
        "odd-icc.png": Case(encoded(gray, icc_profile=lab)),
        "broken-icc.jpg": Case(encoded(gray, "JPEG", quality=100, icc_profile=b"no profile")),
        "transparent.png": Case(encoded(clear)),
        "palette.png": Case(encoded(gray.convert("P"))),
        "gamma.png": Case(gamma(encoded(gray))),
        "progressive.jpg": Case(encoded(gray, "JPEG", quality=100, progressive=True)),
        "crlf.pgm": Case(b"P5\r\n" + size + b"\r\n255\r\n" + raw),
        "comment.pgm": Case(b"P5\n# line camera 3\n" + size + b"\n255\n" + raw),
        "plain.ppm": Case(b"P6\n" + size + b"\n255\n" + rgb.tobytes()),
        "maxval100.pgm": Case(b"P5\n" + size + b"\n100\n" + raw, refused="a maximum of 100"),
        "surplus.pgm": Case(b"P5\n" + size + b"\n255\n" + raw + b"\0", refused="pixels"),
        "changed-line-ends.pgm": Case(
            b"P5\r\n" + size + b"\r\n255\r\n" + raw.replace(b"\n", b"\r\n"), refused="pixels"
        ),
        "surplus.jpg": Case(jpeg + bytes(4096)),
        "surplus.png": Case(encoded(gray) + bytes(4096)),
        "cut.jpg": Case(jpeg[: len(jpeg) * 2 // 3], refused=""),
        "cut.png": Case(encoded(gray)[:-20], refused=""),
    }
    for tag in range(1, 9):
        stored, exif = turned(tag)
        cases[f"orientation-{tag}.png"] = Case(encoded(stored, exif=exif))
        cases[f"orientation-{tag}.jpg"] = Case(encoded(stored, "JPEG", quality=100, exif=exif))
    for bits in (10, 12, 14):
        cases[f"mono{bits}in16.png"] = Case(deep(bits), bits=bits)
        cases[f"mono{bits}in16-unsaid.png"] = Case(deep(bits), refused=unsaid)
        cases[f"mono16-as-{bits}.png"] = Case(deep(16), bits=bits, refused=wrong)
    return cases


def gamma(png: bytes) -> bytes:
    """The PNG with a gamma of 1.0, which no one here applies."""
    chunk = b"gAMA" + struct.pack(">I", 100000)
    return png[:33] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]


CASES = cases()


def model_for(scratch: Path, bits: int | None) -> Path:
    """A network of an odd shape whose card says how many bits are significant."""
    model = toy_model(scratch / f"bits-{bits}", channels=1, height=40, width=56)
    path = model.parent / "card.json"
    card = read_card(path)
    preprocess = card.preprocess.model_copy(update={"significant_bits": bits})
    write_card(card.model_copy(update={"preprocess": preprocess}), path)
    return model


@pytest.mark.parametrize("name", CASES)
def test_a_picture_is_seen_alike_or_refused_on_both_sides(
    host_edge_infer: EdgeInfer, scratch: Path, name: str
) -> None:
    case = CASES[name]
    image, dump = scratch / name, scratch / "input.bin"
    image.write_bytes(case.content)
    model = model_for(scratch, case.bits)
    card = read_card(model.parent / "card.json")
    argv = ["run", "--model", str(model), "--dump-input", str(dump), str(image)]
    ended = host_edge_infer(argv)
    (result,) = json.loads(ended.stdout)["results"]
    if case.refused is not None:
        assert ended.returncode == 3
        assert case.refused in result["error"]["message"]
        with pytest.raises(UserError) as refused:
            load_input(image, card)
        assert case.refused in str(refused.value)
        return
    assert ended.returncode == 0, ended.stderr
    reference = scratch / "reference.png"
    picture().save(reference)
    expected, python = load_input(reference, card), load_input(image, card)
    pixels = np.fromfile(dump, dtype="<f4").reshape(python.shape)
    assert np.abs(pixels - python).max() <= AGREEMENT
    loss = JPEG_LOSS if name.endswith(".jpg") else AGREEMENT
    assert np.abs(pixels - expected).max() <= loss


def test_pixels_cost_time_and_no_memory(host_edge_infer: EdgeInfer, scratch: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (1920, 2560), np.uint8)
    large = Image.fromarray(noise).resize((5120, 3840)).convert("RGB")
    model = model_for(scratch, None)

    def peak_kb(name: str, content: bytes) -> int:
        (scratch / name).write_bytes(content)
        argv = ["bench", "--model", str(model), "--runs", "1", "--image", str(scratch / name)]
        ended = host_edge_infer(argv)
        assert ended.returncode == 0, ended.stderr
        return int(json.loads(ended.stdout)["peak_rss_kb"])

    least = peak_kb("small.png", encoded(picture()))
    assert peak_kb("64mp.png", encoded(Image.new("L", (8000, 8000), 90))) < least + MEMORY_KB
    assert peak_kb("20mp.jpg", encoded(large, "JPEG", quality=85)) < least + MEMORY_KB
    assert peak_kb("1x4000.png", encoded(picture().resize((1, 4000)))) < least + MEMORY_KB


def test_a_picture_that_must_be_held_whole_is_refused_where_it_is_too_large(
    host_edge_infer: EdgeInfer, scratch: Path
) -> None:
    (scratch / "large.jpg").write_bytes(
        encoded(Image.new("RGB", (8000, 8000)), "JPEG", progressive=True)
    )
    (scratch / "small.png").write_bytes(encoded(picture()))
    images = [str(scratch / "large.jpg"), str(scratch / "small.png")]
    ended = host_edge_infer(["run", "--model", str(model_for(scratch, None)), *images])
    refused, good = json.loads(ended.stdout)["results"]
    assert refused["error"] == {
        "code": "image_too_large",
        "message": f"{images[0]}: is progressive or of several scans, and needs more than the "
        "67108864 bytes of memory that an image may take",
        "next": "crop it or scale it down",
    }
    assert "class" in good
