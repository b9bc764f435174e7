"""How answers get better with the number of images, which tells how many to label.

The network keeps ImageNet's weights, and its last layer alone is fitted to some of the images
that train: seconds for each number, where fine-tuning takes hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgewright.base.errors import UserError
from edgewright.model.judge.data import Dataset, Split
from edgewright.model.judge.documents import LearningCurve, LearningPoint, Spread
from edgewright.model.train.architectures import full_name, new_network
from edgewright.model.train.arrays import Arrays, load
from edgewright.model.train.config import TrainConfig, fine_tuning
from edgewright.model.train.head_fit import features_of, fit_layer
from edgewright.model.train.network import Network
from edgewright.model.train.scores import accuracy_and_auc
from edgewright.model.train.weights import first_weights

FEWEST = 10


@dataclass(frozen=True, kw_only=True)
class CurveRequest:
    """Raises UserError for numbers that no curve can have."""

    arch: str
    counts: tuple[int, ...]  # of images that train
    draws: int  # random choices of each number of images
    resolution: int
    threads: int

    def __post_init__(self) -> None:
        fewest = min(self.counts)
        if fewest < FEWEST:
            raise UserError(f"{fewest} images", f"are too few to train on, expected {FEWEST}")
        for name in ("draws", "threads"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)}", "must be above 0")


def learning_curve(dataset: Dataset, data: Split, request: CurveRequest) -> LearningCurve:
    """Judged on the validation part: nothing but the last judgement looks at the test part.

    A number above that of all images that train stands for all of them. Raises UserError if the
    package with the weights is not installed.
    """
    torch.set_num_threads(request.threads)
    arch = full_name(request.arch)
    base = TrainConfig(
        checkpoint=Path("none"), arch=arch, pretrained=True, resolution=request.resolution
    )
    config = fine_tuning(base, frozen=0)  # nothing learns, so no stage needs to be set apart
    network = new_network(arch, len(dataset.labels), config.frozen)
    first_weights(network, config)
    network.to(memory_format=torch.channels_last)
    train, judging = (
        _featured(load(samples, config.resolution, len(dataset.labels), config), network)
        for samples in (data.train, data.validation)
    )
    counts = sorted({min(count, len(data.train)) for count in request.counts})
    return LearningCurve(
        dataset=dataset.name,
        architecture=arch,
        judged_by=len(data.validation),
        points=tuple(_point(count, request.draws, train, judging) for count in counts),
    )


@dataclass(frozen=True, kw_only=True)
class _Featured:
    """A part of the data, and what the last layer gets of its images (N, width)."""

    part: Arrays
    features: torch.Tensor


def _featured(part: Arrays, network: Network) -> _Featured:
    return _Featured(part=part, features=features_of(network, part))


def _point(count: int, draws: int, train: _Featured, judging: _Featured) -> LearningPoint:
    total = len(train.features)
    draws = draws if count < total else 1  # all images can be chosen in one way alone
    figures = []
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(total)
        # In the order of the data: all images give the same layer as they give `model.train`.
        rows = torch.from_numpy(np.sort(order[:count]))
        part = train.part
        layer = fit_layer(train.features[rows], part.target[rows], part.weight[rows])
        with torch.inference_mode():
            scores = layer(judging.features).softmax(1).double().numpy()
        figures.append(accuracy_and_auc(scores, judging.part.labels.numpy()))
    accuracy, area = (_spread(values) for values in zip(*figures, strict=True))
    return LearningPoint(images=count, draws=draws, accuracy=accuracy, auc=area)


def _spread(values: Sequence[float]) -> Spread:
    mean, lowest, highest = (round(float(of(values)), 4) for of in (np.mean, min, max))
    return Spread(mean=mean, lowest=lowest, highest=highest)
