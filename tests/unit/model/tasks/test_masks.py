from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.model.contract.placement import Placement
from edgewright.model.tasks import masks
from edgewright.model.tasks.masks import Window, decode, encode, overlap, runs_of

# As pycocotools encodes them.
PUBLISHED = [
    ([[1, 0], [1, 1]], "021O"),
    ([[0, 1, 1, 0], [1, 1, 0, 0], [1, 1, 0, 1]], "164K"),
    ([[0] * 9] * 9, "a2"),
    ([[1] * 9] * 9, "0a2"),
]


@pytest.mark.parametrize(("pixels", "text"), PUBLISHED)
def test_a_mask_is_cocos_text(pixels: list[list[int]], text: str) -> None:
    mask = np.array(pixels, bool)
    assert encode(mask) == text
    assert (decode(text, *mask.shape) == mask).all()


@st.composite
def some_mask(draw: st.DrawFn) -> masks.Mask:
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    cuts = sorted(draw(st.lists(st.integers(0, height * width), max_size=12)))
    flat = np.zeros(height * width, bool)
    for start, end in list(pairwise(cuts))[::2]:
        flat[start:end] = True
    return flat.reshape(height, width)


@given(some_mask())
def test_every_mask_comes_back(mask: masks.Mask) -> None:
    text = encode(mask)
    assert text is not None
    assert (decode(text, *mask.shape) == mask).all()
    assert sum(runs_of(mask)[1::2]) == mask.sum()


@given(st.text(max_size=30), st.integers(1, 20), st.integers(1, 20))
def test_any_text_is_a_mask_or_refused(text: str, height: int, width: int) -> None:
    with suppress(ValueError):
        assert decode(text, height, width).shape == (height, width)


def test_noise_has_no_text() -> None:
    noise = np.indices((200, 200)).sum(axis=0) % 2 == 1
    assert encode(noise) is None


def test_overlap_is_intersection_over_union() -> None:
    first, second = np.array([[1, 1, 0]], bool), np.array([[0, 1, 1]], bool)
    assert overlap(first, second) == pytest.approx(1 / 3)
    assert overlap(first & False, second & False) == 1.0


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 500),
    st.integers(1, 500),
)
def test_a_letterboxed_image_is_cut_out_of_the_map(
    rows: int, columns: int, width: int, height: int
) -> None:
    scale = min(96 / width, 64 / height)
    placement = Placement(
        width=width,
        height=height,
        scale_x=scale,
        scale_y=scale,
        left=(96 - width * scale) / 2,
        top=(64 - height * scale) / 2,
    )
    window = Window.of((rows, columns), (64, 96), placement)
    part = window.cut(np.zeros((1, rows, columns), np.float32))
    assert part.shape[1] >= 1
    assert part.shape[2] >= 1
    left, top, across, down = window.box(np.ones(part.shape[1:], bool))
    # From edge to edge, but for less than a pixel of the map on each side.
    assert left <= 96 / columns / scale
    assert top <= 64 / rows / scale
    assert left + across >= width - 96 / columns / scale
    assert top + down >= height - 64 / rows / scale


def test_a_map_of_the_inputs_size_shows_the_image_alone() -> None:
    placement = Placement(width=200, height=100, scale_x=0.5, scale_y=0.5, left=0, top=25)
    window = Window.of((100, 100), (100, 100), placement)
    assert (window.rows.first, window.rows.end) == (25, 75)
    mask = np.zeros((50, 100), bool)
    mask[0, 10:20] = True
    assert window.box(mask) == (20, 0, 20, 2)
