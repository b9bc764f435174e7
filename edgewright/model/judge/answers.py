"""What a network answers for labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgewright.model.contract.card import Card
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.session import open_session, softmax
from edgewright.model.judge.data import Dataset, Sample
from edgewright.model.judge.evaluate import (
    Estimate,
    Metrics,
    Scores,
    accuracy_difference,
    evaluate_classes,
)
from edgewright.model.judge.images import Inputs, truth


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Probabilities (N, labels) for the images of a dataset; `positive` is the defect's label."""

    dataset: Dataset
    probabilities: Scores
    positive: int

    @cached_property
    def metrics(self) -> Metrics:
        return evaluate_classes(self.probabilities, truth(self.dataset), self.positive)

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
        """The answer to each image; see `evaluate_classes`."""
        names = self.dataset.labels
        if len(names) == 2:
            other = names[1 - self.positive]
            return [names[self.positive] if p > 0.5 else other for p in self.defect]
        return [names[at] for at in self.probabilities.argmax(axis=1)]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Where the answer is the image's label (N,)."""
        names = self.dataset.labels
        pairs = zip(self.labels, truth(self.dataset), strict=True)
        return np.array([answer == names[label] for answer, label in pairs])

    def more_accurate(self, other: "Answers") -> Estimate:
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
    sample: Sample
    truth: str
    answer: str
    probability: float  # of the true label


def judge(model: Path, dataset: Dataset, card: Card, positive: int) -> Answers:
    """Run a network over the images of a dataset."""
    session = open_session(model)
    name = session.get_inputs()[0].name
    inputs = Inputs(samples=dataset.samples, card=card)
    rows = [session.run(None, {name: one})[0] for one in inputs]
    return Answers(
        dataset=dataset, probabilities=probabilities(np.concatenate(rows)), positive=positive
    )


def probabilities(outputs: Floats) -> Scores:
    """Outputs (N, labels), logits or probabilities already -> probabilities."""
    exact = outputs.astype(np.float64)
    sums_to_one = np.abs(exact.sum(axis=1) - 1).max(initial=0) < 1e-2
    return exact if sums_to_one and (exact >= 0).all() else softmax(outputs)


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
        for sample, answer, row in _rows(answers)
        if names[sample.label] != answer
    ]
    return sorted(mistakes, key=lambda one: one.probability)[:count]


def _rows(answers: Answers) -> Sequence[tuple[Sample, str, Scores]]:
    return list(zip(answers.dataset.samples, answers.labels, answers.probabilities, strict=True))
