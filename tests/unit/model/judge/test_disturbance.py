"""What a line does to images, and what networks make of it."""

import numpy as np
import pytest

from edgewright.model.contract.pixels import Pixels
from edgewright.model.judge.disturbance import DISTURBANCES, Disturbance

BY_NAME = {disturbance.name: disturbance for disturbance in DISTURBANCES}


def cell(*, channels: int = 0) -> Pixels:
    """A bright square with a dark bar, 270 x 180."""
    pixels = np.full((180, 270), 40, np.uint8)
    pixels[30:150, 60:210] = 190
    pixels[84:96, 60:210] = 90
    return np.repeat(pixels[..., None], channels, axis=2) if channels else pixels


def apply(name: str, strength: float, pixels: Pixels) -> Pixels:
    return BY_NAME[name].apply(pixels, strength, np.random.default_rng(0))


@pytest.mark.parametrize("disturbance", DISTURBANCES, ids=lambda item: item.name)
@pytest.mark.parametrize("channels", [0, 3])
def test_a_stronger_one_changes_more_and_repeats_itself(
    disturbance: Disturbance, channels: int
) -> None:
    pixels = cell(channels=channels)
    changes = []
    for strength in disturbance.strengths:
        disturbed = apply(disturbance.name, strength, pixels)
        assert disturbed.shape == pixels.shape
        assert np.array_equal(disturbed, apply(disturbance.name, strength, pixels))
        changes.append(float(np.abs(disturbed.astype(int) - pixels).mean()))
    assert changes == sorted(changes)
    assert 0 < changes[0] < changes[-1]


def test_each_does_what_its_name_says() -> None:
    pixels = cell()
    assert apply("less light", 50, pixels).max() == 95
    flat = apply("less contrast", 50, pixels)
    assert flat.mean() == pytest.approx(pixels.mean(), abs=0.5)
    assert flat.std() == pytest.approx(pixels.std() / 2, rel=0.02)
    assert np.array_equal(apply("shift", 10, pixels)[18:, 27:], pixels[:-18, :-27])
    turned = apply("rotation", 10, pixels)
    assert turned[90, 135] == pixels[90, 135], "around the middle"
    assert turned[0, 0] == 40, "what comes in repeats the border"
