"""Labelled images, and their fixed split into train, validation and test part.

Two sources: ELPV, 2,624 electroluminescence images of solar cells (CC BY-NC-SA 4.0), and
any folder with one folder of images for each class.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from edgewright.base.errors import UserError
from edgewright.base.files import write_file
from edgewright.model.contract.pixels import decode

ELPV = "elpv"
LABELS = ("ok", "defective")
DEFECTIVE = LABELS.index("defective")
CITATION = (
    "Deitsch et al., Automatic classification of defective photovoltaic module cells in "
    "electroluminescence images, Solar Energy 185 (2019) 455-468"
)
SEED = 2019
SPLIT_NAME = "split.json"
TRAIN, VALIDATION = 0.60, 0.15  # the rest is test
FEWEST = 8  # images of a class, so that each part has some
SUFFIXES = {".png", ".jpg", ".jpeg"}
_PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One labelled image."""

    path: Path
    probability: float = 0.0  # of being defective, as judged by an expert: 0, 1/3, 2/3 or 1
    cell_type: str = ""  # mono or poly; empty where it is not known
    category: int | None = None  # the class, where there is no probability

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def label(self) -> int:
        return int(self.probability > 0.5) if self.category is None else self.category

    @property
    def key(self) -> str:
        """The name that the split knows it by: classes may have files of the same name."""
        return self.name if self.category is None else f"{self.path.parent.name}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """`name` is `elpv` or the folder's path; `labels[sample.label]` is a sample's class."""

    name: str
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which images train a network, which choose among networks, and which judge it at the end."""

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(getattr(self, name)) for name in _PARTS}

    @property
    def keys(self) -> dict[str, list[str]]:
        return {name: [sample.key for sample in getattr(self, name)] for name in _PARTS}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the names in each part: the same text, the same split."""
        text = "\n".join(" ".join(keys) for keys in self.keys.values())
        return hashlib.sha256(text.encode()).hexdigest()


def load_dataset(name: str) -> Dataset:
    """ELPV, or the folder of that path."""
    if name == ELPV:
        return Dataset(name=ELPV, labels=LABELS, samples=load_elpv())
    return load_folder(Path(name))


def load_elpv(folder: Path | None = None) -> tuple[Sample, ...]:
    """All samples listed in `labels.csv`; without a folder, those of package elpv-dataset."""
    if folder is None:
        spec = find_spec("elpv_dataset")
        if spec is None or spec.origin is None:
            raise UserError(
                "elpv-dataset", "is not installed", next="pip install 'edgewright[model]'"
            )
        folder = Path(spec.origin).parent / "data"
    lines = (folder / "labels.csv").read_text().splitlines()
    rows = (line.split() for line in lines if line)
    return tuple(
        Sample(path=folder / path, probability=float(probability), cell_type=cell_type)
        for path, probability, cell_type in rows
    )


def load_folder(folder: Path) -> Dataset:
    """Images as `folder/<class>/<name>.png` (or JPEG); classes in alphabetical order.

    Every image is decoded once, so that a broken one is reported before hours of training.
    Raises UserError for a folder without images or classes, with a single class, with
    too few images of one, or with images that cannot be read (all of them at once).
    """
    classes = _classes(folder)
    samples = tuple(
        Sample(path=path, category=category)
        for category, paths in enumerate(classes.values())
        for path in paths
    )
    _refuse_unreadable(folder, samples)
    return Dataset(name=str(folder.resolve()), labels=tuple(classes), samples=samples)


def split(samples: Iterable[Sample], seed: int = SEED) -> Split:
    """60 % / 15 % / 25 %, alike in class, defect probability and cell type.

    The order inside a stratum comes from a hash of seed and name: it depends neither on
    a random number generator's version nor on the order of the samples.
    """

    def rank(sample: Sample) -> bytes:
        return hashlib.sha256(f"{seed}:{sample.key}".encode()).digest()

    train: list[Sample] = []
    validation: list[Sample] = []
    test: list[Sample] = []
    for _, stratum in groupby(sorted(samples, key=_stratum), key=_stratum):
        ordered = sorted(stratum, key=rank)
        # Rounded in each stratum: shares of classes stay alike in all parts, to one image.
        train_end = round(len(ordered) * TRAIN)
        validation_end = round(len(ordered) * (TRAIN + VALIDATION))
        train.extend(ordered[:train_end])
        validation.extend(ordered[train_end:validation_end])
        test.extend(ordered[validation_end:])
    return Split(train=_by_key(train), validation=_by_key(validation), test=_by_key(test))


def write_split(parts: Split, path: Path) -> None:
    """Record which image is in which part; written aside, then renamed."""
    # Names, not the seed alone: the folder may hold other images when the run is resumed.
    content = {"schema": 1, "sha256": parts.fingerprint, **parts.keys}
    write_file(path, json.dumps(content, indent=1) + "\n")


def read_split(path: Path, dataset: Dataset) -> Split:
    """The recorded split. Raises UserError if the dataset has other images now."""
    recorded = json.loads(path.read_text())
    by_key = {sample.key: sample for sample in dataset.samples}
    listed = {key for name in _PARTS for key in recorded[name]}
    if changed := sorted(listed ^ set(by_key)):
        raise UserError(
            str(path),
            f"records another set of images than {dataset.name} has now",
            facts=[f"{len(listed)} recorded, {len(by_key)} found", *changed[:5]],
            next="restore the images, or start a new run with another --run",
        )
    return Split(**{name: tuple(by_key[key] for key in recorded[name]) for name in _PARTS})


def refuse_overlap(
    chosen: Sequence[Path], forbidden: Sequence[Path], purpose: str, kind: str = "test images"
) -> None:
    """Raise UserError if an image of `forbidden` is among the chosen ones, under any name."""
    # By content: copies under other names would make the judgement too good as well.
    excluded = {_digest(path) for path in forbidden}
    leaked = [path.name for path in chosen if _digest(path) in excluded]
    if leaked:
        raise UserError(
            purpose,
            f"{len(leaked)} of its images are {kind}",
            facts=leaked[:5],
            next="take other images",
        )


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Class name -> its image files, both in alphabetical order."""
    if not folder.is_dir():
        raise UserError(str(folder), "no such folder", facts=_EXPECTED)
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    classes = {path.name: paths for path in inside if (paths := _images(path))}
    if not classes:
        loose = len(_images(folder))
        problem = f"has {loose} images without a class" if loose else "has no images"
        raise UserError(str(folder), problem, facts=_EXPECTED)
    if len(classes) == 1:
        raise UserError(str(folder), f"has one class only: {next(iter(classes))}", facts=_EXPECTED)
    if few := [f"{name}: {len(paths)}" for name, paths in classes.items() if len(paths) < FEWEST]:
        raise UserError(str(folder), f"has classes with fewer than {FEWEST} images", facts=few)
    return classes


_EXPECTED = [f"expected: <class>/<name>.png or .jpg, two classes or more, {FEWEST} images each"]


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _refuse_unreadable(folder: Path, samples: Sequence[Sample]) -> None:
    problems = []
    for path in (sample.path for sample in samples):
        try:
            decode(path, 16)  # how many bits are significant the card says, later
        except UserError as fault:
            problems.append(f"{path.parent.name}/{path.name}: {fault.problem}")
    if problems:
        raise UserError(
            str(folder),
            f"{len(problems)} of {len(samples)} images cannot be read",
            facts=problems[:5] + [f"and {len(problems) - 5} more"] * (len(problems) > 5),
            next="repair them or take them away",
        )


def _by_key(samples: list[Sample]) -> tuple[Sample, ...]:
    return tuple(sorted(samples, key=lambda sample: sample.key))


def _stratum(sample: Sample) -> tuple[int, float, str]:
    return sample.label, sample.probability, sample.cell_type


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
