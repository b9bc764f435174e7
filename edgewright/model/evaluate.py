"""How good a network is: accuracy, AUC and defect recall with bootstrap intervals."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from edgewright.model.data import DEFECTIVE

DRAWS = 2000


Labels = NDArray[np.int64]
Scores = NDArray[np.float64]
Metric = Callable[[Labels, Scores], float]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value and its 95 % interval (percentile bootstrap over images)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Quality on `count` images; `confusion[truth][answer]` counts them."""

    count: int
    accuracy: Estimate
    auc: Estimate
    defect_recall: Estimate
    confusion: tuple[tuple[int, int], tuple[int, int]]

    def as_json(self) -> dict[str, JsonValue]:
        """Plain values, rounded to four digits."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def evaluate(probabilities: Sequence[float] | Scores, labels: Sequence[int] | Labels) -> Metrics:
    """Judge probabilities of a defect (N,) by labels (N,): 1 is defective."""
    scores, truth = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    return Metrics(
        count=len(truth),
        accuracy=bootstrap(accuracy, truth, scores),
        auc=bootstrap(auc, truth, scores),
        defect_recall=bootstrap(recall, truth, scores),
        confusion=_confusion(truth, scores),
    )


def accuracy(truth: Labels, scores: Scores) -> float:
    return float((_answers(scores) == truth).mean())


def recall(truth: Labels, scores: Scores) -> float:
    """Share of the defective images that were found."""
    return float((_answers(scores)[truth == DEFECTIVE] == DEFECTIVE).mean())


def auc(truth: Labels, scores: Scores) -> float:
    """Area under the ROC curve, by ranks (Mann-Whitney U), ties counted half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = int((truth == DEFECTIVE).sum())
    negatives = len(truth) - positives
    wins = ranks[truth == DEFECTIVE].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))


def bootstrap(metric: Metric, truth: Labels, scores: Scores, seed: int = 0) -> Estimate:
    """The metric with its interval; images are redrawn within each class, so both are present."""
    random = np.random.default_rng(seed)
    groups = [np.flatnonzero(truth == label) for label in np.unique(truth)]
    draws = (
        np.concatenate([random.choice(group, len(group)) for group in groups]) for _ in range(DRAWS)
    )
    values = [metric(truth[rows], scores[rows]) for rows in draws]
    low, high = np.percentile(values, [2.5, 97.5])
    return Estimate(value=metric(truth, scores), low=float(low), high=float(high))


def _answers(scores: Scores) -> Labels:
    return (scores > 0.5).astype(np.int64)


def _confusion(truth: Labels, scores: Scores) -> tuple[tuple[int, int], tuple[int, int]]:
    answers = _answers(scores)
    cell = [[int(((truth == t) & (answers == a)).sum()) for a in (0, 1)] for t in (0, 1)]
    return (cell[0][0], cell[0][1]), (cell[1][0], cell[1][1])


def _plain(value: object) -> JsonValue:
    if isinstance(value, dict):
        return {key: round(number, 4) for key, number in value.items()}
    if isinstance(value, tuple):
        return [list(row) for row in value]
    return int(str(value))
