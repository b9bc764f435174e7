"""The answers of a network to labelled images, and how they compare with another network's."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Card
from edgewright.model.contract.session import class_probabilities, open_session
from edgewright.model.judge.data import Dataset, Sample
from edgewright.model.judge.evaluate import (
    Border,
    Interval,
    Metrics,
    Scores,
    accuracy_difference,
    chosen_labels,
    evaluate_classes,
)
from edgewright.model.judge.images import Inputs, truth


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Probabilities (N, labels) for the images of a dataset; `positive` is the defect's label, and
    `border` what the card decides by."""

    dataset: Dataset
    probabilities: Scores
    positive: int
    border: Border | None = None

    @cached_property
    def metrics(self) -> Metrics:
        labels = truth(self.dataset)
        return evaluate_classes(self.probabilities, labels, self.positive, self.border)

    @property
    def defect(self) -> Scores:
        """Probability of a defect (N,)."""
        return self.probabilities[:, self.positive]

    @property
    def truth(self) -> NDArray[np.int64]:
        """1 where the image is defective (N,)."""
        return np.asarray(np.array(truth(self.dataset)) == self.positive, np.int64)

    @property
    def labels(self) -> list[str]:
        """The answer to each image."""
        answers = chosen_labels(self.probabilities, self.positive, self.border)
        return [self.dataset.labels[index] for index in answers]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Where the answer is the image's label (N,)."""
        names = self.dataset.labels
        pairs = zip(self.labels, truth(self.dataset), strict=True)
        return np.array([answer == names[label] for answer, label in pairs])

    def more_accurate(self, other: "Answers") -> Interval:
        """Accuracy above that of another network on the same images."""
        return accuracy_difference(self.right, other.right, truth(self.dataset))

    def distance(self, other: "Answers") -> float:
        """Mean total variation between the probabilities: 0 to 1."""
        return float(np.abs(self.probabilities - other.probabilities).sum(axis=1).mean() / 2)

    def agreement(self, other: "Answers") -> float:
        """Share of the images that both give the same label."""
        return float(np.mean([a == b for a, b in zip(self.labels, other.labels, strict=True)]))


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """An image that got another label than its own."""

    sample: Sample
    truth: str
    answer: str
    probability: float  # of the true label


def judge(model: Path, dataset: Dataset, card: Card, positive: int) -> Answers:
    """Run a network over the images of a dataset. Raises UserError if an answer is not finite."""
    session = open_session(model)
    name = session.get_inputs()[0].name
    inputs = Inputs(samples=dataset.samples, card=card)
    rows = np.concatenate([session.run(None, {name: image})[0] for image in inputs])
    answers = class_probabilities(rows, card)
    if (broken := np.flatnonzero(~np.isfinite(answers).all(axis=1))).size:
        raise UserError(
            card.name,
            f"its answers to {broken.size} of {len(answers)} images are not finite (NaN, infinite)",
            facts=[f"{dataset.samples[at].key}: {rows[at]}" for at in broken[:3]],
            next="look for a logarithm, a root or a division, or train it again",
        )
    return Answers(
        dataset=dataset, probabilities=answers, positive=positive, border=Border.of(card)
    )


def worst(answers: Answers, count: int) -> list[Mistake]:
    """The images whose true label got the lowest probability, wrong answers only."""
    names = answers.dataset.labels
    mistakes = [
        Mistake(
            sample=sample,
            truth=names[sample.label],
            answer=answer,
            probability=float(row[sample.label]),
        )
        for sample, answer, row in zip(
            answers.dataset.samples, answers.labels, answers.probabilities, strict=True
        )
        if names[sample.label] != answer
    ]
    return sorted(mistakes, key=lambda mistake: mistake.probability)[:count]
