"""What is kept of images and answers to notice drift: the reference of docs/formats.md.

`edge-infer watch` counts the same on a board (`runtime_cpp/src/observation.cpp`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgewright.base.schema import Foreign, Many, Part
from edgewright.model.contract.anomaly_card import AnomalyCard
from edgewright.model.contract.card import Card
from edgewright.model.contract.image_statistics import measure_file
from edgewright.model.contract.preprocess import load_input
from edgewright.model.contract.session import class_probabilities, open_session, outputs
from edgewright.model.contract.task_cards import ImageTaskCard
from edgewright.model.judge.evaluate import Border, Scores, decided
from edgewright.model.tasks.anomaly import AnomalyAnswer
from edgewright.model.tasks.detect import DetectAnswer
from edgewright.model.tasks.inference import Engine
from edgewright.model.tasks.segment import SegmentAnswer

BINS = 64
Name = Literal[
    "brightness",  # these five of the image
    "contrast",
    "sharpness",
    "direction",
    "saturation",
    "score",  # these four of the answer
    "class",
    "boxes",
    "covered",
]
NAMES: tuple[Name, ...] = get_args(Name)
# From the first bin to the last; values beyond are counted in these.
RANGES: Mapping[Name, tuple[float, float]] = {
    "brightness": (0, 256),
    "contrast": (0, 128),
    "sharpness": (0, 0.64),
    "direction": (0, 1),
    "saturation": (0, 1),
    "score": (0, 1),
    "class": (0, 64),
    "boxes": (0, 64),
    "covered": (0, 1),
}
Observation = Mapping[Name, float]
Count = Annotated[int, Field(ge=0, lt=1 << 32)]


class Histogram(Foreign):
    """How often values of one statistic came."""

    sum: float
    squares: Annotated[float, Field(ge=0)]  # their sum
    counts: Annotated[Many[Count], Field(min_length=BINS, max_length=BINS)]  # of each bin


class Histograms(Foreign):
    """Those of images and answers; no task has all of them."""

    brightness: Histogram | None = None
    contrast: Histogram | None = None
    sharpness: Histogram | None = None
    direction: Histogram | None = None
    saturation: Histogram | None = None
    score: Histogram | None = None
    class_: Histogram | None = None
    boxes: Histogram | None = None
    covered: Histogram | None = None

    def of(self, name: Name) -> Histogram | None:
        histogram: Histogram | None = getattr(self, "class_" if name == "class" else name)
        return histogram


def histograms_of(observations: Sequence[Observation]) -> Histograms:
    """Of what was observed of images; a statistic that none of them has is left out."""
    histograms = {}
    for name in NAMES:
        values = np.array([values[name] for values in observations if name in values])
        if len(values):
            histograms["class_" if name == "class" else name] = _histogram(values, *RANGES[name])
    return Histograms(**histograms)


def _histogram(values: NDArray[np.float64], low: float, high: float) -> Histogram:
    places = np.clip((values - low) / (high - low) * BINS, 0, BINS - 1).astype(int)
    return Histogram(
        sum=float(values.sum()),
        squares=float(np.square(values).sum()),
        counts=tuple(np.bincount(places, minlength=BINS).tolist()),
    )


def observe(network: Path, card: ImageTaskCard, images: Sequence[Path]) -> list[Observation]:
    """What `edge-infer` observes of these images. Raises UserError for one that cannot be read."""
    if isinstance(card, Card):
        answers = _classes(network, card, images)
    else:
        engine = Engine(network, card)
        answers = [_answer(engine.infer((path,)).answer, card) for path in images]
    return [_of_image(path, card) | answer for path, answer in zip(images, answers, strict=True)]


def _of_image(path: Path, card: ImageTaskCard) -> dict[Name, float]:
    measured = asdict(measure_file(path, card))
    return {name: measured[name] for name in NAMES if measured.get(name) is not None}


def _classes(network: Path, card: Card, images: Sequence[Path]) -> list[dict[Name, float]]:
    session = open_session(network)
    rows: list[Scores] = [
        class_probabilities(outputs(session, load_input(path, card)), card) for path in images
    ]
    labels = [int(decided(row, Border.of(card))[0]) for row in rows]
    return [
        {"score": float(row[0, label]), "class": float(label)}
        for row, label in zip(rows, labels, strict=True)
    ]


def _answer(answer: Part, card: ImageTaskCard) -> dict[Name, float]:
    if isinstance(answer, AnomalyAnswer):
        assert isinstance(card, AnomalyCard)
        return {"score": _bounded(answer.score, card)}
    if isinstance(answer, DetectAnswer):
        scores = [detection.score for detection in answer.detections]
        return {"score": scores[0] if scores else 0.0, "boxes": float(len(scores))}
    assert isinstance(answer, SegmentAnswer)
    return {"covered": sum(segment.area for segment in answer.segments)}


def _bounded(score: float, card: AnomalyCard) -> float:
    """0 to 1, with the threshold at 0.5, of scores that have no normalization too."""
    if card.anomaly.normalization is not None:
        return score
    threshold = card.anomaly.threshold
    above = (score - threshold) / max(abs(threshold), 1e-9)
    return 0.5 + 0.5 * above / (1 + abs(above))
