"""Whether probabilities mean what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.model.judge.calibration import (
    BINS,
    calibration,
    expected_error,
    fit_temperature,
    reliability,
    with_temperature,
)


def drawn(temperature: float, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Labels that were drawn by probabilities, which are then stated too surely by so much."""
    random = np.random.default_rng(3)
    positive = random.uniform(0.02, 0.98, count)
    truth = (random.uniform(size=count) < positive).astype(np.int64)
    honest = np.stack([1 - positive, positive], axis=1)
    return with_temperature(honest, 1 / temperature), truth


@pytest.mark.parametrize(("temperature", "verdict"), [(3, "too sure"), (0.4, "not sure enough")])
def test_the_temperature_is_what_the_logits_were_multiplied_by(
    temperature: float, verdict: str
) -> None:
    probabilities, truth = drawn(temperature)
    curve = calibration(probabilities, truth, positive=1)
    assert curve.temperature == pytest.approx(temperature, rel=0.08)
    assert curve.verdict == verdict
    assert curve.error_with_temperature < curve.error / 3
    assert curve.error > 0.05


def test_honest_probabilities_have_little_error() -> None:
    probabilities, truth = drawn(1)
    curve = calibration(probabilities, truth, positive=1)
    assert curve.error < 0.02
    assert curve.temperature == pytest.approx(1, abs=0.08)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
def test_every_image_is_in_one_bin_and_the_error_is_a_share(rows: list[tuple[float, bool]]) -> None:
    scores, truth = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    bins = reliability(scores, truth)
    assert len(bins) == BINS
    assert sum(bin_.count for bin_ in bins) == len(rows)
    assert 0 <= expected_error(bins) <= 1


def test_certain_and_wrong_answers_have_a_temperature_too() -> None:
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(probabilities, np.array([0, 1, 1, 0])) > 5
