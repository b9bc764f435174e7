"""Compare two networks on the same real images: where they disagree, and from which layer on."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from edgewright.base.errors import UserError
from edgewright.base.schema import Document, Part
from edgewright.model.contract.card import Card
from edgewright.model.importer.classifier import Classifier
from edgewright.model.judge.answers import Answers, judge
from edgewright.model.judge.data import Dataset, Sample
from edgewright.model.judge.evaluate import Interval
from edgewright.model.judge.images import Inputs, spread
from edgewright.model.quantize.recipe import prepare
from edgewright.model.quantize.sqnr import TensorNoise, measure_noise

NOISE_IMAGES = 8


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """An image that the networks give different labels."""

    sample: Sample
    truth: str
    first: str
    second: str
    first_defect: float  # probability of a defect
    second_defect: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Answers of two networks to the same images, and the noise of one against the other."""

    first: Answers
    second: Answers
    disagreements: tuple[Disagreement, ...]  # the largest change of probability first
    noise: tuple[TensorNoise, ...]  # tensors that both have, in the order of execution

    @property
    def agreement(self) -> float:
        return self.first.agreement(self.second)

    @property
    def distance(self) -> float:
        return self.first.distance(self.second)

    def falls(self, count: int) -> list[tuple[TensorNoise, float]]:
        """Where the total SQNR falls most from one layer to the next, with the fall in dB."""
        pairs = zip(self.noise, self.noise[1:], strict=False)
        steps = [(after, before.total - after.total) for before, after in pairs]
        return sorted(steps, key=lambda step: -step[1])[:count]


class DisputedImage(Part):
    """An image that the networks give different labels; probabilities are those of a defect."""

    image: str
    truth: str
    first: str
    second: str
    first_defect: float
    second_defect: float


class ComparedTensor(Part):
    """A tensor of both networks: signal over noise, in decibels."""

    tensor: str
    node: str
    operator: str
    own_db: float | None  # null where the tensor is not quantized
    all_db: float


class NetworkQuality(Part):
    """One of the two networks on these images."""

    count: int
    accuracy: Interval
    auc: Interval
    defect_recall: Interval
    confusion: tuple[tuple[int, ...], ...]  # [truth][answer]


class DifferenceReport(Document):
    """`model.diff --json`."""

    version: Literal[1] = 1
    images: str
    agreement: float  # share of images with one answer
    distance: float  # mean total variation of the probabilities
    first: NetworkQuality
    second: NetworkQuality
    disagreements: tuple[DisputedImage, ...]
    tensors: tuple[ComparedTensor, ...]


def difference_report(difference: Difference) -> DifferenceReport:
    return DifferenceReport(
        images=difference.first.dataset.name,
        agreement=round(difference.agreement, 4),
        distance=round(difference.distance, 5),
        first=NetworkQuality.model_validate(difference.first.metrics.as_json()),
        second=NetworkQuality.model_validate(difference.second.metrics.as_json()),
        disagreements=tuple(
            DisputedImage(
                image=disagreement.sample.name,
                truth=disagreement.truth,
                first=disagreement.first,
                second=disagreement.second,
                first_defect=round(disagreement.first_defect, 4),
                second_defect=round(disagreement.second_defect, 4),
            )
            for disagreement in difference.disagreements
        ),
        tensors=tuple(
            ComparedTensor(
                tensor=noise.tensor,
                node=noise.node,
                operator=noise.operator,
                own_db=None if noise.local is None else round(noise.local, 2),
                all_db=round(noise.total, 2),
            )
            for noise in difference.noise
        ),
    )


def diff(
    first: Classifier, second: Classifier, dataset: Dataset, card: Card, positive: int
) -> Difference:
    """Compare two networks of one card; noise is that of the second against the first.

    Raises UserError if they have no tensor in common, so that no layers can be compared.
    """
    first_answers = judge(first.path, dataset, card, positive)
    second_answers = judge(second.path, dataset, card, positive)
    return Difference(
        first=first_answers,
        second=second_answers,
        disagreements=tuple(disagreements(first_answers, second_answers)),
        noise=tuple(_noise(first.path, second.path, dataset, card)),
    )


def disagreements(first: Answers, second: Answers) -> list[Disagreement]:
    """Images that get different labels, the largest change of probability first."""
    names = first.dataset.labels
    rows = zip(
        first.dataset.samples, first.labels, second.labels, first.defect, second.defect, strict=True
    )
    differing = [
        Disagreement(
            sample=sample,
            truth=names[sample.label],
            first=a,
            second=b,
            first_defect=float(p),
            second_defect=float(q),
        )
        for sample, a, b, p, q in rows
        if a != b
    ]
    return sorted(differing, key=lambda d: -abs(d.first_defect - d.second_defect))


def _noise(first: Path, second: Path, dataset: Dataset, card: Card) -> list[TensorNoise]:
    """Noise of the second network against the first.

    The first is prepared as for quantization, so that its tensors have the same names.
    """
    if ".ort" in {first.suffix, second.suffix}:
        return []  # a converted network is fused: its tensors are no longer there
    images = Inputs(samples=spread(dataset, NOISE_IMAGES).samples, card=card)
    with TemporaryDirectory() as scratch:
        prepared = prepare(first, Path(scratch) / "first.onnx")
        noise = measure_noise(prepared, second, images)
    if not noise:
        raise UserError(
            f"{first}, {second}",
            "have no tensor of the same name: their layers cannot be compared",
            next="compare an INT8 network with the FP32 one that it was made of",
        )
    return noise
