from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.contract.card import (
    Card,
    CenterCrop,
    Filter,
    Fit,
    Input,
    Letterbox,
    MeanStd,
    PerImage,
    Preprocess,
    Region,
    RegionShare,
    Scale,
    Stretch,
)
from edgewright.model.contract.geometry import Span, geometry_of, region_of
from edgewright.model.contract.preprocess import (
    load_frame,
    load_input,
    load_placed,
    luma,
    normalize,
    preprocess,
    resample,
    resize,
    to_planes,
)
from tests.unit.model.conftest import draw_cell, make_card

Exact = NDArray[np.float64]

# Of 255, what whole weights are off by where neighbours differ as noise does. In 2,500 random sizes
# it was 0.015 at most with the triangle, and 0.028 with bicubic weights, which are larger in sum.
ROUNDING = 0.05


def triangle_matrix(size: int, out: int) -> Exact:
    """The resize of docs/formats.md along one axis, written from its words: (out, size)."""
    scale = size / out
    support = max(scale, 1.0)
    centres = (np.arange(out) + 0.5) * scale
    distance = np.abs(np.arange(size) + 0.5 - centres[:, None]) / support
    weights = np.clip(1 - distance, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(1, 90)] * 4), st.integers(0, 9))
def test_resize_is_the_triangle_filter(sizes: tuple[int, int, int, int], seed: int) -> None:
    height, width, new_height, new_width = sizes
    plane = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)
    rows, columns = triangle_matrix(height, new_height), triangle_matrix(width, new_width)
    expected = rows @ plane.astype(np.float64) @ columns.T
    np.testing.assert_allclose(resize(plane, new_height, new_width), expected, atol=ROUNDING)


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.integers(1, 90)] * 4),
    st.sampled_from(["triangle", "bicubic"]),
    st.integers(0, 9),
)
def test_antialiased_filters_are_pillows(
    sizes: tuple[int, int, int, int], kernel: Filter, seed: int
) -> None:
    height, width, new_height, new_width = sizes
    plane = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)
    pillows = {"triangle": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[kernel]
    expected = np.asarray(Image.fromarray(plane).resize((new_width, new_height), pillows))
    resized = resample(plane, full_span(height, new_height), full_span(width, new_width), kernel)
    np.testing.assert_allclose(resized, expected.clip(0, 255), atol=ROUNDING)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(1, 90)] * 4), st.integers(0, 9))
def test_bilinear_is_numpys_interpolation(sizes: tuple[int, int, int, int], seed: int) -> None:
    height, width, new_height, new_width = sizes
    plane = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)

    def places(length: int, resized: int) -> Exact:
        return (np.arange(resized) + 0.5) * length / resized - 0.5

    across = np.stack([np.interp(places(width, new_width), np.arange(width), row) for row in plane])
    expected = np.stack(
        [np.interp(places(height, new_height), np.arange(height), column) for column in across.T]
    ).T
    resized = resample(
        plane, full_span(height, new_height), full_span(width, new_width), "bilinear"
    )
    np.testing.assert_allclose(resized, expected, atol=ROUNDING)


def full_span(length: int, resized: int) -> Span:
    return Span(start=0, length=length, resized=resized, first=0, count=resized, before=0)


def test_a_plane_that_fits_is_not_touched() -> None:
    plane = np.random.default_rng(0).uniform(0, 255, (5, 7)).astype(np.float32)
    np.testing.assert_array_equal(resize(plane, 5, 7), plane)


def test_luma_is_exact_for_grey_and_for_primaries() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    np.testing.assert_array_equal(luma(grey)[:, 0], np.arange(256))
    primaries = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_array_equal(luma(primaries), [[76, 150, 29]])


def test_rgb_networks_get_grey_three_times() -> None:
    planes = to_planes(np.array([[1, 2]], np.uint8), "rgb")
    np.testing.assert_array_equal(planes, [[[1, 2]]] * 3)


def test_per_image_standardises_over_all_values() -> None:
    planes = np.random.default_rng(0).uniform(0, 255, (3, 8, 8)).astype(np.float32)
    out = normalize(planes, PerImage())
    assert out.dtype == np.float32
    assert abs(float(out.mean())) < 1e-6
    assert float(out.std()) == pytest.approx(1, abs=1e-6)


def test_a_flat_image_becomes_zeros() -> None:
    assert not normalize(np.full((1, 4, 4), 77, np.float32), PerImage()).any()


def test_mean_std_is_per_channel() -> None:
    planes = np.full((3, 1, 1), 255, np.float32)
    out = normalize(planes, MeanStd(mean=(0, 0.5, 1), std=(1, 0.5, 0.1)))
    np.testing.assert_allclose(out.ravel(), [1, 1, 0])


def test_the_input_has_the_shape_of_the_card(card: Card, tmp_path: Path) -> None:
    draw_cell(1, cracked=False).save(tmp_path / "cell.jpg")
    out = load_input(tmp_path / "cell.jpg", card)
    assert (out.shape, out.dtype) == ((1, 1, 48, 64), np.dtype(np.float32))


def test_channels_are_planes() -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[..., 2] = 255
    rules = Preprocess(color="rgb", normalize=MeanStd(mean=(0, 0, 0), std=(1, 1, 1)))
    card = make_card(input=Input(shape=(1, 3, 2, 2)), preprocess=rules)
    np.testing.assert_array_equal(preprocess(pixels, card)[0, :, 0, 0], [0, 0, 1])


def fitted(fit: Fit, height: int, width: int) -> Card:
    """A card that leaves pixels as they are."""
    rules = Preprocess(fit=fit, normalize=Scale(factor=1))
    return make_card(input=Input(shape=(1, 1, height, width)), preprocess=rules)


def test_bgr_is_rgb_the_other_way_round() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(to_planes(pixels, "bgr"), to_planes(pixels, "rgb")[::-1])


@pytest.mark.parametrize(("surplus", "cut"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 2)])
def test_the_middle_is_kept_half_a_pixel_to_the_even_side(surplus: int, cut: int) -> None:
    card = fitted(CenterCrop(resize_shorter=8), 8, 8)
    pixels = np.tile(np.arange(8 + surplus, dtype=np.uint8), (8, 1))
    values = preprocess(pixels, card)[0, 0]
    np.testing.assert_array_equal(values, pixels[:, cut : cut + 8])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 40))
def test_a_center_crop_is_the_middle_of_the_whole_resized_image(
    height: int, width: int, shorter: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    values = preprocess(pixels, fitted(CenterCrop(resize_shorter=shorter), 8, 8))[0, 0]
    sides = [shorter * side // min(height, width) for side in (height, width)]
    resized = resize(pixels.astype(np.float32), *sides)
    top, left = (round((side - 8) / 2) for side in sides)
    np.testing.assert_allclose(values, resized[top : top + 8, left : left + 8], atol=ROUNDING)


def test_a_stretch_to_a_larger_size_keeps_the_middle() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    values = preprocess(pixels, fitted(Stretch(size=(10, 12)), 8, 8))[0, 0]
    resized = resize(pixels.astype(np.float32), 10, 12)
    np.testing.assert_allclose(values, resized[1:9, 2:10], atol=ROUNDING)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2000), st.integers(1, 2000))
def test_a_letterbox_has_the_geometry_of_ultralytics(height: int, width: int) -> None:
    target = (48, 64)
    geometry = geometry_of(height, width, None, fitted(Letterbox(), *target))
    # ultralytics.data.augment.LetterBox(new_shape, auto=False, center=True)
    ratio = min(target[0] / height, target[1] / width)
    size = (round(height * ratio), round(width * ratio))
    halves = [(full - side) / 2 for full, side in zip(target, size, strict=True)]
    for span, side, half in zip((geometry.y, geometry.x), size, halves, strict=True):
        if side:  # it has no picture as thin as that
            assert (span.count, span.before) == (side, round(half - 0.1))


@pytest.mark.parametrize("fit", [Stretch(), CenterCrop(resize_shorter=20), Letterbox()])
def test_a_region_is_as_if_the_image_were_it_alone(fit: Fit, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60), dtype=np.uint8)
    whole_card = fitted(fit, 8, 12)
    region = Region(x=7, y=11, width=31, height=22)
    rules = whole_card.preprocess.model_copy(update={"roi": region})
    card = whole_card.model_copy(update={"preprocess": rules})
    part = np.ascontiguousarray(pixels[11:33, 7:38])
    np.testing.assert_array_equal(preprocess(pixels, card), preprocess(part, whole_card))
    values = geometry_of(50, 60, region_of(50, 60, card), card).placement
    alone = geometry_of(22, 31, None, whole_card).placement
    middle = np.array([6.0, 4.0])
    np.testing.assert_allclose(values.to_image(middle), alone.to_image(middle) + [7, 11])

    Image.fromarray(part).save(tmp_path / "small.png")
    with pytest.raises(UserError, match="is 31 x 22 pixels, the card's region reaches to 38 x 33"):
        load_input(tmp_path / "small.png", card)


@pytest.mark.parametrize(
    ("size", "region"),
    [
        ((60, 50), {"x": 15, "y": 13, "width": 30, "height": 12}),
        ((1, 3), {"x": 0, "y": 1, "width": 1, "height": 1}),
    ],
)
def test_a_region_in_shares_is_one_in_pixels(size: tuple[int, int], region: dict[str, int]) -> None:
    share = RegionShare(unit="fraction", x=0.25, y=0.25, width=0.5, height=0.25)
    assert share.of(*size) == Region.model_validate(region)


@pytest.mark.parametrize(
    ("size", "reduction"),
    [
        ((64, 48), 1),
        ((127, 96), 1),
        ((128, 95), 1),
        ((128, 96), 2),
        ((300, 387), 4),
        ((999, 384), 8),
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_decoded_no_smaller_than_what_it_becomes(
    size: tuple[int, int], reduction: int, orientation: int, tmp_path: Path
) -> None:
    """Width and height of the upright image, which becomes 64 x 48 pixels."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    shades = Image.fromarray((rows * 100 // size[1] + columns * 150 // size[0]).astype(np.uint8))
    stored = shades if orientation == 1 else shades.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x112] = orientation
    stored.save(tmp_path / "shades.jpg", exif=exif, quality=95)
    card = fitted(Stretch(), 48, 64)
    scaled_card = card.model_copy(
        update={"preprocess": card.preprocess.model_copy(update={"jpeg": "scaled"})}
    )

    picture, _ = load_frame(tmp_path / "shades.jpg", scaled_card)
    values, placement = load_placed(tmp_path / "shades.jpg", scaled_card)

    assert picture.reduction == reduction
    assert picture.pixels.shape == (-(-size[1] // reduction), -(-size[0] // reduction))
    np.testing.assert_allclose(values, load_input(tmp_path / "shades.jpg", card), atol=4)
    assert placement.part == Region(x=0, y=0, width=size[0], height=size[1])
    middle = placement.to_image(np.array([32.0, 24.0]))
    np.testing.assert_allclose(middle, [size[0] / 2, size[1] / 2], atol=reduction / 2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_a_scaled_jpeg_shows_is_where_it_is_in_the_image(
    orientation: int, tmp_path: Path
) -> None:
    """An edge across and one down; sides that an eighth does not divide, so one end is padded."""
    upright = np.zeros((329, 321), np.uint8)
    upright[200:, 160:] = 255
    image = tmp_path / "edges.jpg"
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(stored_as(upright, orientation)).save(image, exif=exif, quality=95)
    card = fitted(Stretch(), 40, 40)
    rules = card.preprocess.model_copy(update={"jpeg": "scaled"})
    card = card.model_copy(update={"preprocess": rules})

    values, placement = load_placed(image, card)

    bright = values[0, 0] > 127
    corner = np.array([bright[-1].argmax(), bright[:, -1].argmax()], np.float64)
    np.testing.assert_allclose(placement.to_image(corner), [160, 200], atol=5)
    ends = placement.to_image(np.array([[0.0, 0.0], [40.0, 40.0]]))
    np.testing.assert_allclose(ends, [[0, 0], [321, 329]], atol=1e-9)


def stored_as(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The picture that is `upright` once it is turned by that orientation."""
    stored = upright.swapaxes(0, 1) if orientation >= 5 else upright
    if orientation in (3, 4, 6, 7):
        stored = stored[::-1]
    if orientation in (2, 3, 7, 8):
        stored = stored[:, ::-1]
    return np.ascontiguousarray(stored)


def test_a_letterbox_has_a_border_of_its_value_before_it_is_normalised() -> None:
    rules = Preprocess(fit=Letterbox(pad_value=51), normalize=Scale(factor=1 / 255))
    card = make_card(input=Input(shape=(1, 1, 5, 4)), preprocess=rules)
    values = preprocess(np.full((8, 16), 255, np.uint8), card)[0, 0]
    np.testing.assert_allclose(values[:, 0], [0.2, 1, 1, 0.2, 0.2], atol=1e-6)


@pytest.mark.parametrize(
    "fit",
    [Stretch(), Stretch(size=(60, 70)), CenterCrop(resize_shorter=70), Letterbox(pad_value=0)],
)
def test_points_of_the_input_are_found_again_in_the_image(fit: Fit) -> None:
    """A bright dot: its place in the input, mapped back, is where it was drawn."""
    height, width, x, y = 120, 200, 90, 55
    pixels = np.zeros((height, width), np.uint8)
    pixels[y : y + 5, x : x + 5] = 255
    card = fitted(fit, 48, 64)
    values = preprocess(pixels, card)[0, 0].astype(np.float64)
    rows, columns = np.mgrid[0:48, 0:64] + 0.5
    center = np.array([(columns * values).sum(), (rows * values).sum()]) / values.sum()
    placement = geometry_of(height, width, None, card).placement
    np.testing.assert_allclose(placement.to_image(center), [x + 2.5, y + 2.5], atol=0.3)
    corners = placement.to_image(np.array([[-99.0, -99.0], [999.0, 999.0]]))
    np.testing.assert_array_equal(corners, [[0, 0], [width, height]])
