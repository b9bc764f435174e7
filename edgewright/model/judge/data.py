"""Labelled images, and their fixed split into train, validation and test part.

Three sources: ELPV, 2,624 electroluminescence images of solar cells (CC BY-NC-SA 4.0), any folder
with one folder of images for each class, and any folder whose `labels.csv` says how many of the
people who looked at an image gave it each label.
"""

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.base.files import read_file, write_file
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
LABELS_NAME = "labels.csv"
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
    # Of the people who looked at it, who gave it each label; empty where nobody was asked.
    shares: tuple[float, ...] = ()

    @property
    def is_sure(self) -> bool:
        """Whether all who judged it agree."""
        return max(self.shares) == 1 if self.shares else self.probability in (0.0, 1.0)

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
    """ELPV, or the folder of that path. Raises UserError as `load_folder` does."""
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
    """Images as `folder/<class>/<name>.png` (or JPEG), classes in alphabetical order; or those
    that `folder/labels.csv` lists, classes in the order of its columns.

    Every image is decoded once, so that a broken one is reported before hours of training.
    Raises UserError for a folder without images or classes, with a single class, with
    too few images of one, or with images that cannot be read (all of them at once).
    """
    if (folder / LABELS_NAME).is_file():
        return _load_judged(folder)
    classes = _classes(folder)
    samples = tuple(
        Sample(path=path, category=category)
        for category, paths in enumerate(classes.values())
        for path in paths
    )
    _refuse_unreadable(folder, samples)
    return Dataset(name=str(folder.resolve()), labels=tuple(classes), samples=samples)


def _load_judged(folder: Path) -> Dataset:
    """The images of `labels.csv`: a column `image`, and for each class one of votes or shares."""
    path = folder / LABELS_NAME
    rows = csv.reader(io.StringIO(read_file(path, limit=_CSV_BYTES).decode(errors="replace")))
    header, *lines = [row for row in rows if row] or [[]]
    labels = tuple(name.strip() for name in header[1:])
    if not header or header[0].strip() != "image" or len(set(labels)) < max(2, len(labels)):
        raise UserError(str(path), "has no header of images and classes", facts=_EXPECTED_CSV)
    samples = [
        _judged(folder, f"{path}:{number}", row, labels) for number, row in enumerate(lines, 2)
    ]
    _refuse_repeated(path, samples)
    counts = [sum(sample.category == place for sample in samples) for place in range(len(labels))]
    if few := [
        f"{name}: {count}" for name, count in zip(labels, counts, strict=True) if count < FEWEST
    ]:
        raise UserError(str(path), f"has classes with fewer than {FEWEST} images", facts=few)
    _refuse_unreadable(folder, samples)
    return Dataset(name=str(folder.resolve()), labels=labels, samples=tuple(samples))


def _judged(folder: Path, place: str, row: Sequence[str], labels: Sequence[str]) -> Sample:
    name, *cells = (cell.strip() for cell in row)
    try:
        votes = [float(cell or 0) for cell in cells]
    except ValueError:
        votes = []
    if len(votes) != len(labels) or not all(0 <= v < math.inf for v in votes) or not sum(votes):
        raise UserError(place, "has no votes for each class", facts=_EXPECTED_CSV)
    image = folder / name
    # Of the folder alone: a list from elsewhere must not have other files read.
    if not name or not image.resolve().is_relative_to(folder.resolve()) or not image.is_file():
        raise UserError(place, f"names an image that is not in the folder: {name or 'none'}")
    shares = tuple(vote / sum(votes) for vote in votes)
    return Sample(path=image, category=shares.index(max(shares)), shares=shares)


def _refuse_repeated(path: Path, samples: Sequence[Sample]) -> None:
    keys = [sample.key for sample in samples]
    if repeated := sorted({key for key in keys if keys.count(key) > 1}):
        raise UserError(
            str(path),
            f"names {len(repeated)} images twice, by their folder and file name",
            facts=repeated[:5],
        )


def alike(first: Sequence[Sample], second: Sequence[Sample]) -> list[tuple[str, str]]:
    """Pairs of an image of each that show the same, by their keys: copies, also scaled, compressed
    or a shade brighter, and second shots of one part.

    Candidates have difference hashes (the signs of the differences of neighbours at 9 x 8 pixels;
    Krawetz 2013) that differ in few bits. Different parts of one kind do, too, so their detail
    decides: what is left at 64 x 64 pixels without the coarse brightness correlates.
    """
    hashes = np.array([difference_hash(sample.path) for sample in first], np.uint64)
    pairs = []
    for sample in second:
        differing = np.bitwise_xor(hashes, np.uint64(difference_hash(sample.path)))
        bits = np.unpackbits(differing.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1)
        candidates = [first[int(place)] for place in np.flatnonzero(bits <= _ALIKE_BITS)]
        if not candidates:
            continue
        detail = _detail(sample.path)
        pairs += [
            (candidate.key, sample.key)
            for candidate in candidates
            if float((_detail(candidate.path) * detail).sum()) >= _ALIKE_DETAIL
        ]
    return pairs


def _detail(path: Path) -> NDArray[np.float64]:
    """(64, 64), of length 1: the product of two is their correlation."""
    picture = Image.fromarray(decode(path, 16)).convert("L")
    fine = np.asarray(picture.resize((64, 64), Image.Resampling.BOX), np.float64)
    coarse = picture.resize((8, 8), Image.Resampling.BOX).resize((64, 64))
    detail = fine - np.asarray(coarse, np.float64)
    detail -= detail.mean()
    return np.asarray(detail / max(float(np.linalg.norm(detail)), 1e-9))


def difference_hash(path: Path) -> int:
    """64 bits; an image without structure, whose bits are noise, has a hash of its own bytes."""
    small = Image.fromarray(decode(path, 16)).convert("L")
    values = np.asarray(small.resize((9, 8), Image.Resampling.BOX), np.int16)
    if values.max() - values.min() < _FLAT:
        return int.from_bytes(_digest(path)[:8], "big")
    bits = np.packbits(values[:, 1:] > values[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")


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


_CSV_BYTES = 64 << 20
_ALIKE_BITS = 4  # of 64
_ALIKE_DETAIL = 0.99  # correlation; of ELPV's pairs with like hashes, nine in ten have less
_FLAT = 4  # grey levels
_EXPECTED_CSV = [
    "expected: image,<class>,<class>… and a line an image: its path in the folder, and for each "
    "class how many people saw it, or their share",
]
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
    sureness = max(sample.shares, default=sample.probability)
    return sample.label, sureness, sample.cell_type


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
