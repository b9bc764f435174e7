"""ELPV: 2,624 electroluminescence images of solar cells, and their fixed split.

The images are CC BY-NC-SA 4.0.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from edgewright.errors import UserError

LABELS = ("ok", "defective")
DEFECTIVE = LABELS.index("defective")
CITATION = (
    "Deitsch et al., Automatic classification of defective photovoltaic module cells in "
    "electroluminescence images, Solar Energy 185 (2019) 455-468"
)
SEED = 2019
TRAIN, VALIDATION = 0.60, 0.15  # the rest is test


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One solar cell."""

    path: Path
    probability: float  # of being defective, as judged by an expert: 0, 1/3, 2/3 or 1
    cell_type: str  # mono or poly

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def label(self) -> int:
        return int(self.probability > 0.5)


@dataclass(frozen=True, kw_only=True)
class Split:
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(getattr(self, name)) for name in ("train", "validation", "test")}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the names in each part: the same text, the same split."""
        parts = (self.train, self.validation, self.test)
        text = "\n".join(" ".join(sample.name for sample in part) for part in parts)
        return hashlib.sha256(text.encode()).hexdigest()


def load_elpv(folder: Path | None = None) -> tuple[Sample, ...]:
    """All samples listed in `labels.csv`; without a folder, those of package elpv-dataset."""
    folder = folder or _package_folder()
    lines = (folder / "labels.csv").read_text().splitlines()
    return tuple(_sample(folder, *line.split()) for line in lines if line)


def split(samples: Iterable[Sample], seed: int = SEED) -> Split:
    """60 % / 15 % / 25 %, alike in defect probability and cell type.

    The order inside a stratum comes from a hash of seed and name: it depends neither on
    a random number generator's version nor on the order of the samples.
    """
    train: list[Sample] = []
    validation: list[Sample] = []
    test: list[Sample] = []
    for _, stratum in groupby(sorted(samples, key=_stratum), key=_stratum):
        ordered = sorted(stratum, key=lambda sample: _rank(sample, seed))
        first, second = _cuts(len(ordered))
        train.extend(ordered[:first])
        validation.extend(ordered[first:second])
        test.extend(ordered[second:])
    return Split(train=_by_name(train), validation=_by_name(validation), test=_by_name(test))


def refuse_overlap(chosen: Sequence[Path], test: Sequence[Path], purpose: str) -> None:
    """Raise if an image of the test part, by content, is among the chosen ones."""
    held_out = {_digest(path) for path in test}
    leaked = [path.name for path in chosen if _digest(path) in held_out]
    if leaked:
        raise UserError(
            purpose,
            f"{len(leaked)} of its images are test images",
            facts=leaked[:5],
            next="take images of the train part only",
        )


def _package_folder() -> Path:
    spec = find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise UserError("elpv-dataset", "is not installed", next="pip install 'edgewright[model]'")
    return Path(spec.origin).parent / "data"


def _sample(folder: Path, path: str, probability: str, cell_type: str) -> Sample:
    return Sample(path=folder / path, probability=float(probability), cell_type=cell_type)


def _by_name(samples: list[Sample]) -> tuple[Sample, ...]:
    return tuple(sorted(samples, key=lambda sample: sample.name))


def _stratum(sample: Sample) -> tuple[float, str]:
    return sample.probability, sample.cell_type


def _rank(sample: Sample, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{sample.name}".encode()).digest()


def _cuts(count: int) -> tuple[int, int]:
    return round(count * TRAIN), round(count * (TRAIN + VALIDATION))


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
