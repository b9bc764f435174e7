"""Whether probabilities mean what they say: reliability, and the temperature that mends it."""

from typing import Literal

import numpy as np

from edgewright.base.schema import Part
from edgewright.model.judge.evaluate import Labels, Scores

BINS = 10
_TEMPERATURES = np.geomspace(0.1, 10, 461)  # steps of 1 %
_LEAST = 1e-12  # of a probability, whose logarithm is taken


class ReliabilityBin(Part):
    """Images whose probability of the positive label lies between `low` and `high`."""

    low: float
    high: float
    count: int
    probability: float | None  # mean; null: there are none
    share: float | None  # that have the label


class Calibration(Part):
    """Of the positive label's probabilities.

    `error` is the expected calibration error (Naeini et al., AAAI 2015): the mean distance of
    probability and share over the bins, each weighed by its images. The temperature (Guo et al.,
    ICML 2017) is fitted to all images; `error_with_temperature` has each half of them judged with
    the temperature of the other half.
    """

    bins: tuple[ReliabilityBin, ...]
    error: float
    temperature: float
    error_with_temperature: float
    verdict: Literal["too sure", "not sure enough", "no temperature helps"]


def calibration(probabilities: Scores, truth: Labels, positive: int) -> Calibration:
    """Of probabilities (N, labels) and labels (N,)."""
    temperature = fit_temperature(probabilities, truth)
    is_first = _alternating(truth)
    judged = np.empty_like(probabilities)
    for part in (is_first, ~is_first):
        others = fit_temperature(probabilities[~part], truth[~part])
        judged[part] = with_temperature(probabilities[part], others)
    is_positive = truth == positive
    bins = reliability(probabilities[:, positive], is_positive)
    error = expected_error(bins)
    mended = expected_error(reliability(judged[:, positive], is_positive))
    if mended >= error:
        verdict: Literal["too sure", "not sure enough", "no temperature helps"] = (
            "no temperature helps"
        )
    else:
        verdict = "too sure" if temperature > 1 else "not sure enough"
    return Calibration(
        bins=bins,
        error=round(error, 4),
        temperature=round(temperature, 3),
        error_with_temperature=round(mended, 4),
        verdict=verdict,
    )


def reliability(scores: Scores, is_positive: np.ndarray) -> tuple[ReliabilityBin, ...]:
    """Scores (N,) in bins of equal width; 1 is in the last."""
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    bins = []
    for place in range(BINS):
        inside = places == place
        count = int(inside.sum())
        bins.append(
            ReliabilityBin(
                low=place / BINS,
                high=(place + 1) / BINS,
                count=count,
                probability=round(float(scores[inside].mean()), 6) if count else None,
                share=round(float(is_positive[inside].mean()), 6) if count else None,
            )
        )
    return tuple(bins)


def expected_error(bins: tuple[ReliabilityBin, ...]) -> float:
    total = sum(bin_.count for bin_ in bins)
    return sum(
        bin_.count / total * abs(bin_.probability - bin_.share)
        for bin_ in bins
        if bin_.probability is not None and bin_.share is not None
    )


def fit_temperature(probabilities: Scores, truth: Labels) -> float:
    """What logits are to be divided by so that the labels are likeliest; 1 % exact."""
    rows = np.arange(len(truth))

    def surprise(temperature: float) -> float:
        scaled = with_temperature(probabilities, temperature)
        return float(-np.log(np.maximum(scaled[rows, truth], _LEAST)).mean())

    return float(min(_TEMPERATURES, key=surprise))


def with_temperature(probabilities: Scores, temperature: float) -> Scores:
    """Probabilities (N, labels) of logits that were divided by a temperature."""
    logits = np.log(np.maximum(probabilities, _LEAST)) / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _alternating(truth: Labels) -> np.ndarray:
    """Every second image of each label."""
    is_first = np.zeros(len(truth), bool)
    for label in np.unique(truth):
        is_first[np.flatnonzero(truth == label)[::2]] = True
    return is_first
