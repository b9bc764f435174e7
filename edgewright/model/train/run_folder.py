"""The folder of one training run: checkpoint, split, learning curve, FP32 network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright.base.errors import UserError
from edgewright.model.judge.data import SPLIT_NAME, Dataset, Split, load_dataset, read_split, split


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Paths of one run."""

    root: Path

    @property
    def checkpoint(self) -> Path:
        return self.root / "run.pt"

    @property
    def split(self) -> Path:
        return self.root / SPLIT_NAME

    @property
    def curve(self) -> Path:
        return self.root / "curve.svg"

    @property
    def fp32(self) -> Path:
        return self.root / "fp32.onnx"


def begin(run: RunFolder, dataset: Dataset, *, resume: bool) -> Split:
    """The split to train on: a new one, or with `resume` the one that the run recorded.

    Raises UserError if the run exists and `resume` is not set, or the other way round.
    """
    # Never resumed unasked: its network and data may be others than those of the options.
    if run.checkpoint.exists() and not resume:
        raise UserError(
            str(run.checkpoint),
            "a run is there already",
            next="go on with it: --resume; or start another: --run=FOLDER",
        )
    # A new split would let images that trained the network judge it.
    if resume:
        return recorded_split(run, dataset)
    return split(dataset.samples)


def recorded_split(run: RunFolder, dataset: Dataset) -> Split:
    """The split of a run. Raises UserError if there is no run, or the images have changed."""
    if not run.split.exists():
        raise UserError(str(run.root), "there is no training run", next="invoke model.train")
    return read_split(run.split, dataset)


def data_of(run: RunFolder, checkpoint: dict[str, Any]) -> tuple[Dataset, Split]:
    """The dataset that a checkpoint was trained on, and its recorded split."""
    # By the checkpoint, not by an option, which could name other images.
    dataset = load_dataset(checkpoint["origin"]["dataset"])
    return dataset, recorded_split(run, dataset)
