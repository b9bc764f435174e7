"""Quality of a network's answers: accuracy, AUC and defect recall, with bootstrap intervals."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from edgewright.model.contract.card import Card
from edgewright.model.judge.data import DEFECTIVE, LABELS

DRAWS = 2000
_CHUNK = 100
DEFECT = LABELS[DEFECTIVE]


Labels = NDArray[np.int64]
Scores = NDArray[np.float64]
Statistic = Callable[[Scores], Scores]  # how often each image was drawn -> one value a draw


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A statistic and its 95 % interval (percentile bootstrap over images)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Quality on `count` images; `confusion[truth][answer]` counts them."""

    count: int
    accuracy: Interval
    auc: Interval
    defect_recall: Interval
    confusion: tuple[tuple[int, ...], ...]

    def as_json(self) -> dict[str, JsonValue]:
        """Plain values, rounded to four digits."""

        def interval(value: Interval) -> JsonValue:
            return {key: round(number, 4) for key, number in asdict(value).items()}

        return {
            "count": self.count,
            "accuracy": interval(self.accuracy),
            "auc": interval(self.auc),
            "defect_recall": interval(self.defect_recall),
            "confusion": [list(row) for row in self.confusion],
        }


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What a mistake costs, in any unit."""

    miss: float = 1.0  # a defect that passes
    false_alarm: float = 1.0  # a good one that is rejected


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """What happens if images with a probability of `value` or more are called defective."""

    value: float
    misses: int
    false_alarms: int
    cost: float  # of all mistakes on these images

    def __str__(self) -> str:
        return f"{self.value:.3f}: {self.misses} missed, {self.false_alarms} false alarms"


@dataclass(frozen=True, kw_only=True)
class Border:
    """An image has the label of this index where its probability is `threshold` or more."""

    label: int
    threshold: float

    @classmethod
    def of(cls, card: Card) -> "Border | None":
        """None where the likeliest label is the answer."""
        if card.decision is None:
            return None
        return cls(label=card.labels.index(card.decision.label), threshold=card.decision.threshold)


def evaluate_classes(
    probabilities: Scores,
    labels: Sequence[int] | Labels,
    positive: int,
    border: Border | None = None,
) -> Metrics:
    """Judge probabilities (N, labels) by labels (N,); AUC and recall are those of one label."""
    truth = np.asarray(labels, np.int64)
    answers = chosen_labels(probabilities, positive, border)
    is_positive = truth == positive
    ranking = _auc(is_positive.astype(np.int64), probabilities[:, positive])
    confusion = np.zeros((probabilities.shape[1],) * 2, np.int64)
    np.add.at(confusion, (truth, answers), 1)  # unlike `confusion[…] += 1`, counts repeats
    recalled = answers[is_positive] == positive
    return Metrics(
        count=len(truth),
        accuracy=bootstrap(_share(answers == truth), truth),
        auc=bootstrap(ranking, truth),
        defect_recall=bootstrap(_share(recalled), truth[is_positive]),
        confusion=tuple(tuple(map(int, row)) for row in confusion),
    )


def accuracy_difference(
    right: NDArray[np.bool_], right_other: NDArray[np.bool_], labels: Sequence[int] | Labels
) -> Interval:
    """Accuracy of one network minus that of another, from which images (N,) each has right.

    Paired: images that both have right, or both wrong, do not widen the interval.
    """
    return bootstrap(_share(right.astype(np.float64) - right_other), np.asarray(labels, np.int64))


def positive_label(labels: Sequence[str], name: str = "") -> int:
    """The index of the label whose recall is measured: `name`, else `defective`, else the last."""
    return list(labels).index(name or (DEFECT if DEFECT in labels else labels[-1]))


def thresholds(
    probabilities: Scores, labels: Sequence[int] | Labels, prices: Prices, highest: float = 1.0
) -> tuple[Threshold, ...]:
    """Every threshold at which an answer changes, the highest first.

    Probabilities (N,) of a defect, labels (N,) with 1 for defective. The first threshold
    rejects nothing: it is `highest`, which scores that are no probabilities have elsewhere.
    """
    scores, truth = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    # Between two neighbouring probabilities nothing changes, so those that occur are enough.
    cuts = np.append(np.unique(scores), np.inf)[::-1]
    defects, sound = np.sort(scores[truth == DEFECTIVE]), np.sort(scores[truth != DEFECTIVE])
    misses = np.searchsorted(defects, cuts)
    alarms = len(sound) - np.searchsorted(sound, cuts)
    return tuple(
        Threshold(
            value=float(min(cut, highest)),
            misses=int(missed),
            false_alarms=int(alarmed),
            cost=float(missed * prices.miss + alarmed * prices.false_alarm),
        )
        for cut, missed, alarmed in zip(cuts, misses, alarms, strict=True)
    )


def cheapest(candidates: Sequence[Threshold], near: float = 0.5) -> Threshold:
    """The cheapest threshold; of those that cost alike, the nearest to `near`."""
    return min(candidates, key=lambda t: (t.cost, abs(t.value - near)))


def auc(truth: Labels, scores: Scores) -> float:
    """Area under the ROC curve (Mann-Whitney U), ties counted half."""
    return float(_auc(truth, scores)(np.ones((1, len(truth))))[0])


def bootstrap_auc(truth: Labels, scores: Scores) -> Interval:
    """`auc` with its interval."""
    return bootstrap(_auc(truth, scores), truth)


def bootstrap(statistic: Statistic, groups: Labels, seed: int = 0) -> Interval:
    """A statistic with its interval; images (N,) are redrawn within each group.

    `statistic` takes how often each image was drawn (draws, N) and gives values (draws,).
    """
    random = np.random.default_rng(seed)
    rows_of = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    values = []
    for _ in range(0, DRAWS, _CHUNK):  # in chunks: draws by images, all at once, fill memory
        counts = np.zeros((_CHUNK, len(groups)))
        # Within each group, so that a draw never lacks a rare class, whose recall it asks for.
        for rows in rows_of:
            counts[:, rows] = random.multinomial(len(rows), [1 / len(rows)] * len(rows), _CHUNK)
        values.append(statistic(counts))
    low, high = np.percentile(np.concatenate(values), [2.5, 97.5])
    value = float(statistic(np.ones((1, len(groups))))[0])
    return Interval(value=value, low=float(low), high=float(high))


def _share(right: NDArray[np.bool_] | Scores) -> Statistic:
    return lambda counts: np.asarray(counts @ right / counts.sum(axis=1))


def _auc(truth: Labels, scores: Scores) -> Statistic:
    """How many pairs of a positive and a negative image are in the right order."""
    order = np.argsort(scores, kind="stable")
    ranked, positive = scores[order], truth[order] == DEFECTIVE
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))  # of runs of equal scores

    def statistic(counts: Scores) -> Scores:
        drawn = counts[:, order]
        wins = np.add.reduceat(drawn * positive, starts, axis=1)
        losses = np.add.reduceat(drawn * ~positive, starts, axis=1)
        below = losses.cumsum(axis=1) - losses / 2
        return np.asarray((wins * below).sum(axis=1) / (wins.sum(axis=1) * losses.sum(axis=1)))

    return statistic


def chosen_labels(probabilities: Scores, positive: int, border: Border | None = None) -> Labels:
    """The label of each row (N, labels): by the border, else the likeliest; of two that are equal
    then, it is not `positive`."""
    if border is not None:
        return decided(probabilities, border)
    if probabilities.shape[1] == 2:
        is_positive = probabilities[:, positive] > probabilities[:, 1 - positive]
        return np.where(is_positive, positive, 1 - positive)
    return decided(probabilities, None)


def decided(probabilities: Scores, border: Border | None) -> Labels:
    """The label of each row (N, labels) that `edge-infer` answers; the first of equals."""
    if border is None:
        return np.asarray(probabilities.argmax(axis=1))
    others = probabilities.copy()
    others[:, border.label] = -np.inf
    has_label = probabilities[:, border.label] >= border.threshold
    return np.where(has_label, border.label, others.argmax(axis=1))
