"""What becomes of the files that cameras, phones and editors write."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.contract.pixels import decode, orientation
from edgewright.model.contract.preprocess import to_planes
from tests.checkout import ROOT
from tests.unit.model.conftest import draw_cell

# Pillow reads it with grey in the place of what is damaged, and tells nobody.
UNSEEN = {"wrong-scan.jpg"}
CORPUS = ROOT / "tests" / "corpus" / "images"
EXPECTED = dict(line.split(" ", 1) for line in (CORPUS / "manifest.txt").read_text().splitlines())


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
def test_every_kind_of_png_becomes_eight_bits(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "cell.png"
    cell = draw_cell(0, cracked=True)
    cell.convert(mode).save(path)
    plane = to_planes(decode(path), "gray")
    assert plane.shape == (1, 60, 60)
    np.testing.assert_array_equal(plane[0], np.asarray(cell.convert(mode).convert("L")))


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 4), 200, np.uint8)
    pixels[..., 3] = 0
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    assert (decode(tmp_path / "clear.png") == 200).all()


def test_sixteen_bits_are_scaled_down(tmp_path: Path) -> None:
    deep = (np.arange(256, dtype=np.uint16).reshape(16, 16) << 8) | 0x7F
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(decode(tmp_path / "deep.png").ravel(), np.arange(256))


def test_a_missing_image_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        decode(tmp_path / "none.png")
    assert str(caught.value) == f"{tmp_path / 'none.png'}: no such file"


@pytest.mark.parametrize("keep", [0, 20, 400])
def test_a_damaged_image_is_told(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "cell.png"
    draw_cell(0, cracked=False).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"cell\.png: is not a readable PNG, JPEG, PGM or PPM"):
        decode(path)


def test_cmyk_is_refused(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4)).save(tmp_path / "print.jpg")
    with pytest.raises(UserError, match=r"print\.jpg: has CMYK pixels"):
        decode(tmp_path / "print.jpg")


def refusal(path: Path, significant_bits: int | None = None) -> str:
    with pytest.raises(UserError) as refused:
        decode(path, significant_bits)
    return str(refused.value)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_the_card_says_how_many_of_16_bits_are_significant(bits: int, tmp_path: Path) -> None:
    path = tmp_path / "camera.png"
    pixels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(pixels << (bits - 8)).save(path)

    np.testing.assert_array_equal(decode(path, bits), pixels)
    if bits < 16:
        problem = "and the card does not say how many are significant"
        assert problem in refusal(path)
        assert f"the card says that {bits - 1} bits are significant" in refusal(path, bits - 1)
        assert "next: set preprocess.significant_bits of the model's card" in refusal(path)


def test_16_bits_in_colour_are_read_where_all_are_significant(tmp_path: Path) -> None:
    deep = CORPUS / "good-rgb16.png"
    assert decode(deep).max() == 255
    assert "of which 12 significant bits are not read" in refusal(deep, 12)


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("name", ["cell.png", "cell.jpg"])
def test_an_image_is_turned_as_exif_says(name: str, tag: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = tag
    cell = draw_cell(0, cracked=True).crop((0, 0, 60, 40))
    cell.save(tmp_path / name, exif=exif)
    cell.save(tmp_path / f"plain-{name}")
    plain = decode(tmp_path / f"plain-{name}")
    turns = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
             4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
             6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
             8: Image.Transpose.ROTATE_90}  # fmt: skip
    expected = Image.fromarray(plain)
    if tag in turns:
        expected = expected.transpose(turns[tag])
    np.testing.assert_array_equal(decode(tmp_path / name), np.asarray(expected))


@given(st.binary(max_size=200))
def test_any_exif_block_has_an_orientation(block: bytes) -> None:
    assert 1 <= orientation(block) <= 8


PIXELS = bytes([10, 13, 35, 200, 0, 255])


@pytest.mark.parametrize(
    "header",
    [
        b"P5\n3 2\n255\n",
        b"P5\r\n3 2\r\n255\r\n",
        b"P5\n# line camera 3\n3 2\n255\n",
        b"P5 3\t2 # wide\n255 ",
    ],
)
def test_a_graymap_of_any_system_is_read(header: bytes, tmp_path: Path) -> None:
    (tmp_path / "cell.pgm").write_bytes(header + PIXELS)
    assert decode(tmp_path / "cell.pgm").tobytes() == PIXELS


def test_a_pixmap_is_read(tmp_path: Path) -> None:
    (tmp_path / "cell.ppm").write_bytes(b"P6\n1 2\n255\n" + PIXELS)
    assert decode(tmp_path / "cell.ppm").tolist() == [[[10, 13, 35]], [[200, 0, 255]]]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"P5\n3 2\n255\n" + PIXELS + b"\n", "has 7 bytes of pixels, its header says 6"),
        (b"P5\n3 2\n255\n" + PIXELS[:-1], "has 5 bytes of pixels, its header says 6"),
        (b"P5\n3 2\n100\n" + PIXELS, "has a maximum of 100, only 255 is read"),
        (b"P5\n32 255\n" + PIXELS, "is not a readable PNG, JPEG, PGM or PPM"),
        (b"P5\n0 2\n255\n", "has no pixels"),
        (b"P5\n99999 2\n255\n", "is 99999 x 2 pixels, the limit is 16384 a side"),
    ],
)
def test_a_graymap_that_is_wrong_is_told(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "cell.pgm").write_bytes(content)
    assert f"cell.pgm: {problem}" in refusal(tmp_path / "cell.pgm")


def test_bytes_after_a_jpeg_are_not_of_it(tmp_path: Path) -> None:
    content = io.BytesIO()
    draw_cell(0, cracked=True).save(content, "JPEG")
    (tmp_path / "plain.jpg").write_bytes(content.getvalue())
    (tmp_path / "surplus.jpg").write_bytes(content.getvalue() + bytes(4096))
    np.testing.assert_array_equal(decode(tmp_path / "plain.jpg"), decode(tmp_path / "surplus.jpg"))


@pytest.mark.parametrize("name", sorted(EXPECTED.keys() - UNSEEN))
def test_the_corpus_is_read_and_refused_as_by_edge_infer(name: str) -> None:
    if not EXPECTED[name].startswith("ok "):
        refusal(CORPUS / name)
        return
    width, height, _ = map(int, EXPECTED[name].removeprefix("ok ").split("x"))
    shown = (width, height) if name.startswith("good-orientation") else (height, width)
    assert decode(CORPUS / name).shape[:2] == shown


def test_a_picture_without_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="is no regular file"):
        decode(tmp_path / "endless.png")


def test_for_a_gray_network_the_luma_of_a_jpeg_is_decoded_alone(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    path = tmp_path / "colors.jpg"
    Image.fromarray(colors).resize((112, 80)).save(path, quality=80)
    with Image.open(path) as image:
        image.draft("YCbCr", None)
        luma = np.asarray(image)[..., 0]
    np.testing.assert_array_equal(decode(path, for_gray=True), luma)
    assert decode(path).shape == (80, 112, 3)


def test_for_a_gray_network_other_files_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "colors.png"
    draw_cell(0, cracked=True).convert("RGB").save(path)
    np.testing.assert_array_equal(decode(path, for_gray=True), decode(path))
