"""The labelled images that a network is calibrated and judged on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Card
from edgewright.model.contract.preprocess import Floats, load_input
from edgewright.model.judge.data import ELPV, LABELS, Dataset, Sample, load_elpv, load_folder, split

CALIBRATION_IMAGES = 100
Part = str  # train, validation or test


def load_part(name: str, part: Part) -> Dataset:
    """A part of ELPV, or all images of a folder, as `load_folder` takes it."""
    if name != ELPV:
        return load_folder(Path(name))
    return Dataset(
        name=f"{ELPV}, {part} part", labels=LABELS, samples=getattr(split(load_elpv()), part)
    )


def relabel(dataset: Dataset, labels: Sequence[str]) -> Dataset:
    """The same images with their labels in another order, that of a network's answers.

    Raises UserError if a class is none of the labels.
    """
    if tuple(labels) == dataset.labels:
        return dataset
    if strange := sorted(set(dataset.labels) - set(labels)):
        raise UserError(
            dataset.name,
            f"has classes that are no labels of the model: {', '.join(strange)}",
            facts=[f"labels: {', '.join(labels)}"],
            next="name the folders as the model's card names its labels",
        )
    places = [tuple(labels).index(name) for name in dataset.labels]
    samples = tuple(
        replace(
            sample,
            category=places[sample.label],
            shares=_moved(sample.shares, places, len(labels)),
        )
        for sample in dataset.samples
    )
    return Dataset(name=dataset.name, labels=tuple(labels), samples=samples)


def _moved(shares: Sequence[float], places: Sequence[int], labels: int) -> tuple[float, ...]:
    """The shares of each label in another order; none where nobody was asked."""
    if not shares:
        return ()
    moved = [0.0] * labels
    for share, place in zip(shares, places, strict=True):
        moved[place] = share
    return tuple(moved)


def spread(dataset: Dataset, count: int) -> Dataset:
    """At most `count` images of the same mixture of labels, evenly spread over all."""
    if count >= len(dataset.samples):
        return dataset
    ordered = sorted(range(len(dataset.samples)), key=lambda index: dataset.samples[index].label)
    # Sorted by label first, so that even steps over the list keep the mixture of labels.
    places = np.linspace(0, len(ordered) - 1, count).round().astype(int)
    chosen = sorted(ordered[place] for place in places)
    return replace(dataset, samples=tuple(dataset.samples[at] for at in chosen))


def halves(dataset: Dataset, calibration: int) -> tuple[Dataset, Dataset]:
    """Two datasets: `calibration` images, at most half of all, and those that remain."""
    first = spread(dataset, min(calibration, len(dataset.samples) // 2))
    calibration_paths = {sample.path for sample in first.samples}
    remaining = tuple(sample for sample in dataset.samples if sample.path not in calibration_paths)
    return first, replace(dataset, samples=remaining)


def paths(dataset: Dataset) -> list[Path]:
    return [sample.path for sample in dataset.samples]


def truth(dataset: Dataset) -> list[int]:
    return [sample.label for sample in dataset.samples]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Network inputs of images, loaded anew in each pass: memory holds one at a time."""

    samples: tuple[Sample, ...]
    card: Card

    def __iter__(self) -> Iterator[Floats]:
        return (load_input(sample.path, self.card) for sample in self.samples)

    def __len__(self) -> int:
        return len(self.samples)
