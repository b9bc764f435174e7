"""Answers as they are drawn on images."""

import numpy as np
from PIL import Image

from edgewright.model.tasks.drawing import COLOURS, draw_box, draw_mask, draw_point


def white() -> Image.Image:
    return Image.new("RGB", (80, 40), "white")


def changed(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """The pixels that are no longer white (H, W)."""
    return np.asarray((np.asarray(image) != 255).any(axis=2))


def test_a_mask_of_another_size_covers_its_share_of_the_image() -> None:
    image, mask = white(), np.array([[True, False], [False, False]])
    draw_mask(image, mask, COLOURS[0])
    assert changed(image)[:20, :40].all()
    assert changed(image).sum() == 20 * 40


def test_a_box_is_drawn_around_what_it_holds() -> None:
    image = white()
    draw_box(image, (10, 5, 50, 25), COLOURS[1])
    lines = changed(image)
    assert lines[5, 10:61].all()
    assert lines[5:31, 60].all()
    assert not lines[8:28, 13:58].any(), "what is in the box stays visible"
    assert not lines[:4].any()


def test_a_box_may_reach_beyond_the_image() -> None:
    image = white()
    draw_box(image, (-5, -5, 200, 100), COLOURS[2], "crack 0.91")
    assert changed(image).any()


def test_a_point_is_marked_by_a_ring() -> None:
    image = white()
    draw_point(image, 40, 20, COLOURS[0])
    assert not changed(image)[20, 40]
    assert changed(image)[15:26, 35:46].any()


def test_words_are_read_on_an_image_as_dark_as_the_boxs_colour() -> None:
    image = Image.new("RGB", (80, 40), COLOURS[0])
    draw_box(image, (0, 0, 80, 40), COLOURS[0], "crack")
    assert (np.asarray(image) > 200).all(axis=2).any()
