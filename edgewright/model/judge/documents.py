"""The JSON document of `model.evaluate`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from edgewright.base.schema import Document, Part
from edgewright.model.judge.answers import Answers
from edgewright.model.judge.evaluate import Interval, Prices, Threshold


class Quality(Document):
    """`model.evaluate --json`: a network judged on labelled images."""

    version: Literal[1] = 1
    images: str
    labels: tuple[str, ...]
    positive: str  # the label of a defect
    count: int
    accuracy: Interval
    auc: Interval
    defect_recall: Interval
    confusion: tuple[tuple[int, ...], ...]  # [truth][answer]
    prices: Prices
    cheapest: Threshold
    thresholds: tuple[Threshold, ...]
    worst: str | None  # the PNG that was written; null where there is no mistake


class Spread(Part):
    """A statistic over several random choices of images."""

    mean: float
    lowest: float
    highest: float


class LearningPoint(Part):
    """What so many images to train on are good for."""

    images: int
    draws: int  # random choices of that many
    accuracy: Spread
    auc: Spread


class LearningCurve(Document):
    """`model.curve --json`: quality on the validation part by number of images to train on."""

    version: Literal[1] = 1
    dataset: str
    architecture: str
    judged_by: int  # images of the validation part
    points: tuple[LearningPoint, ...]


def quality(
    answers: Answers,
    prices: Prices,
    thresholds: Sequence[Threshold],
    cheapest: Threshold,
    worst: Path | None,
) -> Quality:
    metrics = answers.metrics
    return Quality(
        images=answers.dataset.name,
        labels=tuple(answers.dataset.labels),
        positive=answers.dataset.labels[answers.positive],
        count=metrics.count,
        accuracy=_four_digits(metrics.accuracy),
        auc=_four_digits(metrics.auc),
        defect_recall=_four_digits(metrics.defect_recall),
        confusion=metrics.confusion,
        prices=prices,
        cheapest=_six_digits(cheapest),
        thresholds=tuple(map(_six_digits, thresholds)),
        worst=str(worst) if worst else None,
    )


def _four_digits(interval: Interval) -> Interval:
    return Interval(
        value=round(interval.value, 4), low=round(interval.low, 4), high=round(interval.high, 4)
    )


def _six_digits(threshold: Threshold) -> Threshold:
    return replace(threshold, value=round(threshold.value, 6))
