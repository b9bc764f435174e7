from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgewright.model.contract.card import Card, Input, MeanStd, PerImage, Preprocess
from edgewright.model.contract.preprocess import (
    load_input,
    luma,
    normalize,
    preprocess,
    resize,
    to_planes,
)
from tests.unit.model.conftest import draw_cell, make_card

Exact = NDArray[np.float64]


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
    np.testing.assert_allclose(resize(plane, new_height, new_width), expected, atol=1e-3)


def test_a_plane_that_fits_is_not_touched() -> None:
    plane = np.random.default_rng(0).uniform(0, 255, (5, 7)).astype(np.float32)
    assert resize(plane, 5, 7) is plane


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
    how = Preprocess(color="rgb", normalize=MeanStd(mean=(0, 0, 0), std=(1, 1, 1)))
    card = make_card(input=Input(shape=(1, 3, 2, 2)), preprocess=how)
    np.testing.assert_array_equal(preprocess(pixels, card)[0, :, 0, 0], [0, 0, 1])
