"""What a training run is asked for."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from edgewright.base.errors import UserError

Loss = Literal["cross-entropy", "weighted", "focal"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A share of the final resolution, used until this fraction of the run has passed."""

    until: float
    scale: float


# Small images first: most of what is learnt is learnt at a quarter of the multiplications.
STAGES = (
    Stage(until=0.30, scale=0.5),
    Stage(until=0.55, scale=0.75),
    Stage(until=1.00, scale=1.0),
)
FULL = (Stage(until=1.00, scale=1.0),)
PATIENCE = 5


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """`epochs` paces the run, or the clock where `minutes` is given.

    Raises UserError for a value that no run can have.
    """

    checkpoint: Path
    arch: str = "mobilevit-s"
    resolution: int = 256
    epochs: int = 60
    minutes: float | None = None
    weights: Path | None = None  # to start from, in place of random ones
    pretrained: bool = False  # start from ImageNet's weights
    frozen: int | None = None  # stages that stay as they are; None: trained from random weights
    teacher: Path | None = None  # checkpoint of a network whose answers are imitated too
    quantization_aware: bool = False  # computes with INT8's rounding while it learns
    loss: Loss = "cross-entropy"
    patience: int = 0  # epochs without a better AUC, after which the run ends; 0: it never does
    seed: int = 0
    threads: int = 2
    batch: int = 16
    learning_rate: float = 6e-4
    weight_decay: float = 0.05
    warm_up: float = 0.04  # fraction of the run
    smoothing: float = 0.04  # soft labels run from half of this to 1 minus half of it
    unsure_weight: float = 0.6  # of images whose judges disagree; ELPV: probability 1/3 or 2/3
    cell_type_weight: float = 0.2
    ema: float = 0.996
    stages: tuple[Stage, ...] = STAGES

    @property
    def fine_tunes(self) -> bool:
        """Whether good weights are adapted, not made."""
        return self.frozen is not None

    def __post_init__(self) -> None:
        if self.pretrained and self.weights:
            raise UserError("--pretrained and --weights", "are two sources of the first weights")
        if self.quantization_aware and not self.weights:
            raise UserError(
                "--quantized",
                "is for weights that are good already",
                next=f"invoke model.train --arch={self.arch} --quantized "
                f"--weights=build/model/{self.arch}/run.pt --run=build/model/{self.arch}-int8",
            )
        if self.loss not in get_args(Loss):
            raise UserError(
                f"loss '{self.loss}'",
                "is not known",
                facts=[f"expected: {', '.join(get_args(Loss))}"],
            )
        if self.resolution < 32 or self.resolution % 32:
            raise UserError(f"resolution {self.resolution}", "is not a multiple of 32 pixels")
        for name in ("epochs", "batch", "threads", "learning_rate"):
            if getattr(self, name) <= 0:
                raise UserError(
                    f"{name.replace('_', ' ')} {getattr(self, name)}", "must be above 0"
                )


def fine_tuning(config: TrainConfig, frozen: int) -> TrainConfig:
    """The same run with what suits weights that are good already."""
    return replace(
        config, frozen=frozen, stages=FULL, ema=0.99, weight_decay=0.02, patience=PATIENCE
    )
