"""What an inspector asks of a network before it decides about parts: the page's content."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgewright.base.schema import Document, Part
from edgewright.model.judge.answers import Answers
from edgewright.model.judge.calibration import Calibration, calibration
from edgewright.model.judge.disturbance import DisturbedQuality
from edgewright.model.judge.evaluate import (
    Interval,
    Prices,
    Scores,
    Threshold,
    cheapest,
    evaluate_classes,
    thresholds,
)
from edgewright.model.judge.images import truth

SHOWN = 12  # misses and false alarms, each


class PrecisionRecall(Part):
    threshold: float
    precision: float
    recall: float


class NetworkReport(Part):
    """One network on all images."""

    name: str
    accuracy: Interval
    auc: Interval
    defect_recall: Interval
    confusion: tuple[tuple[int, ...], ...]  # [truth][answer]
    calibration: Calibration
    curve: tuple[PrecisionRecall, ...]  # the highest threshold first
    costs: tuple[Threshold, ...]  # likewise
    cheapest: Threshold
    accuracy_gain: Interval | None  # against the first network, paired; null: it is the first


class KindReport(Part):
    """The first network on one kind of part, such as mono- and polycrystalline cells."""

    kind: str
    count: int
    accuracy: Interval
    defect_recall: Interval
    confusion: tuple[tuple[int, ...], ...]


class ShownMistake(Part):
    name: str
    kind: Literal["missed", "false alarm"]
    defect: float  # probability of the positive label


class EvaluationReport(Document):
    """`model.evaluate --page … --json`: networks judged as an inspector would."""

    version: Literal[1] = 1
    images: str
    labels: tuple[str, ...]
    positive: str
    count: int
    prices: Prices
    networks: tuple[NetworkReport, ...]
    kinds: tuple[KindReport, ...]  # empty where nobody said which kind an image is of
    disturbed: tuple[DisturbedQuality, ...]
    disturbed_images: int
    mistakes: tuple[ShownMistake, ...]  # of the first network, the surest first
    heat: str | None  # why there are no heat maps; null: there are
    page: str


@dataclass(frozen=True, kw_only=True)
class JudgedNetwork:
    name: str
    answers: Answers


def report_network(
    network: JudgedNetwork, prices: Prices, first: JudgedNetwork | None
) -> NetworkReport:
    """`first` is the network that it is compared with."""
    answers = network.answers
    metrics, labels = answers.metrics, np.array(truth(answers.dataset))
    cuts = thresholds(answers.defect, answers.truth, prices)
    return NetworkReport(
        name=network.name,
        accuracy=metrics.accuracy,
        auc=metrics.auc,
        defect_recall=metrics.defect_recall,
        confusion=metrics.confusion,
        calibration=calibration(answers.probabilities, labels, answers.positive),
        curve=_curve(cuts, answers.truth),
        costs=cuts,
        cheapest=cheapest(cuts),
        accuracy_gain=answers.more_accurate(first.answers) if first else None,
    )


def _curve(cuts: Sequence[Threshold], is_positive: np.ndarray) -> tuple[PrecisionRecall, ...]:
    """Thresholds that reject nothing have no precision, and are left out."""
    defects = int(is_positive.sum())
    points = []
    for cut in cuts:
        hits = defects - cut.misses
        if hits + cut.false_alarms:
            points.append(
                PrecisionRecall(
                    threshold=cut.value,
                    precision=hits / (hits + cut.false_alarms),
                    recall=hits / defects,
                )
            )
    return tuple(points)


def report_kinds(answers: Answers) -> tuple[KindReport, ...]:
    """Images of each kind of part, and those whose judges agree or not: where some images are of
    the kind and others are not, and both defective and sound ones are."""
    samples = answers.dataset.samples
    kinds: dict[str, list[bool]] = {
        name: [sample.cell_type == name for sample in samples]
        for name in sorted({sample.cell_type for sample in samples} - {""})
    }
    kinds["judges agree"] = [sample.is_sure for sample in samples]
    kinds["judges disagree"] = [not sample.is_sure for sample in samples]
    labels = np.array(truth(answers.dataset))
    reports = []
    for name, members in kinds.items():
        inside = np.array(members)
        if inside.all() or len(set(answers.truth[inside])) < 2:
            continue
        metrics = evaluate_classes(
            answers.probabilities[inside], labels[inside], answers.positive, answers.border
        )
        reports.append(
            KindReport(
                kind=name,
                count=metrics.count,
                accuracy=metrics.accuracy,
                defect_recall=metrics.defect_recall,
                confusion=metrics.confusion,
            )
        )
    return tuple(reports)


def worst_mistakes(answers: Answers) -> list[tuple[int, ShownMistake]]:
    """The surest misses, then the surest false alarms, with the image's place in the dataset."""
    chosen = np.array(answers.labels) == answers.dataset.labels[answers.positive]
    is_positive = answers.truth == 1
    missed = _ranked(answers.defect, is_positive & ~chosen)
    alarms = _ranked(-answers.defect, ~is_positive & chosen)
    kinds: list[tuple[Literal["missed", "false alarm"], list[int]]] = [
        ("missed", missed),
        ("false alarm", alarms),
    ]
    return [
        (
            place,
            ShownMistake(
                name=answers.dataset.samples[place].key,
                kind=kind,
                defect=round(float(answers.defect[place]), 6),
            ),
        )
        for kind, places in kinds
        for place in places
    ]


def _ranked(scores: Scores, chosen: np.ndarray) -> list[int]:
    places = np.flatnonzero(chosen)
    return [int(place) for place in places[np.argsort(scores[places], kind="stable")][:SHOWN]]
