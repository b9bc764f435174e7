"""One part of the data, as training takes it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from edgewright.model.contract.pixels import decode
from edgewright.model.contract.preprocess import resize, to_planes
from edgewright.model.judge.data import DEFECTIVE, Sample
from edgewright.model.train.augment import augment, inspection_views, standardize
from edgewright.model.train.config import TrainConfig
from edgewright.model.train.network import Network, Outputs, device_of


@dataclass(frozen=True, kw_only=True)
class Views:
    """Of each image one view, and what a teacher makes of it, where there is one."""

    values: torch.Tensor
    teacher: Outputs | None


class Inputs(Protocol):
    """What the trained stages of a network get of each image."""

    def views(self, rows: torch.Tensor) -> Views:
        """A random view of each of these images."""

    def plain(self, batch: int) -> Iterator[torch.Tensor]:
        """All images as the board sees them."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """Pixels in memory, of which each step draws new views."""

    values: torch.Tensor  # (N, 1, size, size), 0 to 1
    augment: Callable[[torch.Tensor], torch.Tensor]
    teacher: Network | None = None

    def views(self, rows: torch.Tensor) -> Views:
        # Channels last: see FrozenActivations.
        values = self.augment(self.values[rows]).contiguous(memory_format=torch.channels_last)
        if self.teacher is None:
            return Views(values=values, teacher=None)
        values = values.to(device_of(self.teacher))
        with torch.no_grad():
            return Views(values=values, teacher=self.teacher.outputs(self.teacher.frozen(values)))

    def plain(self, batch: int) -> Iterator[torch.Tensor]:
        return map(standardize, self.values.split(batch))


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """One part of the data at one resolution."""

    inputs: Inputs
    target: torch.Tensor  # (N, labels), probabilities
    weight: torch.Tensor  # (N,)
    poly: torch.Tensor  # (N,): 1 poly, 0 mono, NaN not known
    labels: torch.Tensor  # (N,)


def load(
    samples: Sequence[Sample],
    size: int,
    labels: int,
    config: TrainConfig,
    teacher: Network | None = None,
) -> Arrays:
    """Decode and resize as the board does; standardisation comes after augmentation."""
    gray = (to_planes(decode(s.path, for_gray=True), "gray")[0] for s in samples)
    images = np.stack([resize(plane, size, size) for plane in gray])
    values = torch.from_numpy(images)[:, None] / 255
    soft = torch.stack([_target(sample, labels, config.smoothing) for sample in samples])
    sure = torch.tensor([s.is_sure for s in samples])
    types = {"mono": 0.0, "poly": 1.0}
    return Arrays(
        inputs=Images(
            values=values,
            augment=inspection_views if config.fine_tunes else augment,
            teacher=teacher,
        ),
        target=soft,
        weight=torch.where(sure, 1.0, config.unsure_weight),
        poly=torch.tensor([types.get(s.cell_type, math.nan) for s in samples]),
        labels=torch.tensor([s.label for s in samples]),
    )


def _target(sample: Sample, labels: int, smoothing: float) -> torch.Tensor:
    """Soft labels: the shares of those who judged, or the expert's probability, where given."""
    exact = torch.zeros(labels)
    if sample.shares:
        exact[:] = torch.tensor(sample.shares)
    elif sample.category is None:
        exact[DEFECTIVE], exact[1 - DEFECTIVE] = sample.probability, 1 - sample.probability
    else:
        exact[sample.category] = 1.0
    return smoothing / labels + (1 - smoothing) * exact
