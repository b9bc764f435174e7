"""The checkpoint of a training run: all that training changes, and of which run it is."""

from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import torch

from edgewright.base.errors import UserError
from edgewright.base.files import replacing
from edgewright.model.contract.card import Facts
from edgewright.model.judge.data import Dataset, Split
from edgewright.model.train.architectures import full_name, new_network
from edgewright.model.train.config import TrainConfig
from edgewright.model.train.network import Network, device_of, refuse_not_finite, reshape_like

PARTS = ("network", "average", "fitted", "best", "optimizer")


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Figures of one epoch; `seconds` counts from the start of the run."""

    epoch: int
    seconds: float
    size: int
    loss: float
    accuracy: float  # of the averaged weights on the validation part, at `size`
    auc: float
    images_per_second: float


@dataclass(kw_only=True)
class State:
    """Everything that training changes: the content of a checkpoint."""

    network: Network
    average: Network
    fitted: Network  # as the run began: of pretrained weights, with the last layer fitted
    best: Network  # the average when it had the highest AUC on the validation part
    optimizer: torch.optim.Optimizer
    seconds: float = 0.0
    steps: int = 0
    source: str = "scratch"  # of the first weights
    first: Facts | None = None  # the run that the first weights are of
    teacher: Facts | None = None  # the run of the network that teaches
    share: float = 1.0  # of the way from `fitted` to `best` that the last average lies
    losses: list[float] = field(default_factory=list)  # of the epoch under way
    epochs: list[Epoch] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The network and data of a checkpoint: a run is resumed only with equal ones."""

    arch: str
    resolution: int
    labels: tuple[str, ...]
    dataset: str
    split: str  # fingerprint
    seed: int
    frozen: int | None = None
    loss: str = "cross-entropy"
    teacher: str = ""
    imitation: str = "answers"  # of the teacher: what it was, before features were imitated too
    quantization_aware: bool = False

    @classmethod
    def of(cls, config: TrainConfig, dataset: Dataset, data: Split) -> Self:
        return cls(
            arch=full_name(config.arch),
            resolution=config.resolution,
            labels=dataset.labels,
            dataset=dataset.name,
            split=data.fingerprint,
            seed=config.seed,
            frozen=config.frozen,
            loss=config.loss,
            teacher=str(config.teacher or ""),
            imitation="answers and features" if config.teacher else "answers",
            quantization_aware=config.quantization_aware,
        )

    def require_equal(self, saved: dict[str, Any], path: Path) -> None:
        """Raise UserError if the origin that a checkpoint at `path` holds is another one."""
        current = asdict(self)
        # A checkpoint of an earlier version lacks the keys that have a default.
        saved = {field.name: field.default for field in fields(self)} | saved
        differing = [name for name in current if _flat(saved[name]) != _flat(current[name])]
        if differing:
            raise UserError(
                str(path),
                "is of another run",
                facts=[
                    f"{name}: it has {saved[name]}, asked for {current[name]}" for name in differing
                ],
                next="give the same options, or another --run",
            )


def fresh_state(config: TrainConfig, network: Network, device: torch.device) -> State:
    """The state before the first step, from a network's weights."""
    network = network.to(device, memory_format=torch.channels_last)
    groups: list[dict[str, Any]] = []
    for part, rate in network.rates():
        # Weight decay for matrices and kernels only: it would pull scales and biases to zero.
        matrices = [p for p in part.parameters() if p.ndim > 1]
        vectors = [p for p in part.parameters() if p.ndim <= 1]
        groups += [
            {"params": matrices, "weight_decay": config.weight_decay, "rate": rate},
            {"params": vectors, "weight_decay": 0.0, "rate": rate},
        ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    average, fitted, best = (deepcopy(network) for _ in range(3))
    return State(network=network, average=average, fitted=fitted, best=best, optimizer=optimizer)


def write_checkpoint(state: State, origin: Origin, path: Path) -> None:
    """Write aside, then rename: a kill leaves the old checkpoint or the new one."""
    on_gpu = device_of(state.network).type == "cuda"
    processor = torch.cuda.get_device_name() if on_gpu else "CPU"
    content: dict[str, Any] = {name: getattr(state, name).state_dict() for name in PARTS}
    content |= {"seconds": state.seconds, "steps": state.steps, "losses": state.losses}
    content |= {"from": state.source, "processor": processor}
    content |= {"first": state.first, "teacher": state.teacher}
    content |= {"share": state.share}
    content |= {"origin": asdict(origin), "epochs": [asdict(epoch) for epoch in state.epochs]}
    with replacing(path) as aside:
        torch.save(content, aside)


def load_network(checkpoint: Path) -> Network:
    """The trained network: the running average of the weights."""
    saved = read_checkpoint(checkpoint)
    network = rebuild(saved, saved["average"], str(checkpoint))
    network.eval()
    return network


def rebuild(saved: dict[str, Any], weights: dict[str, torch.Tensor], subject: str) -> Network:
    """The network of a checkpoint, which may be pruned, with these of its weights."""
    refuse_not_finite(weights, subject)
    origin = saved["origin"]
    network = new_network(origin["arch"], len(origin["labels"]), origin.get("frozen"))
    reshape_like(network, weights)
    network.load_state_dict(weights)
    return network


def history(checkpoint: Path) -> list[Epoch]:
    """The figures of each epoch of a run."""
    return [Epoch(**values) for values in read_checkpoint(checkpoint)["epochs"]]


def facts(checkpoint: Path) -> Facts:
    """The card's field `training`."""
    saved = read_checkpoint(checkpoint)
    sizes = sorted({epoch["size"] for epoch in saved["epochs"]})
    return {
        "architecture": saved["origin"]["arch"],
        "from": saved["from"],
        "first_run": saved["first"],
        "teacher": saved["teacher"],
        "imitation": saved["origin"].get("imitation", "answers") if saved["teacher"] else None,
        "quantization_aware": saved["origin"].get("quantization_aware", False),
        "epochs": len(saved["epochs"]),
        "minutes": round(saved["seconds"] / 60, 1),
        "resolutions": list(sizes),
        "seed": saved["origin"]["seed"],
        "loss": saved["origin"].get("loss", "cross-entropy"),
        "frozen_stages": saved["origin"].get("frozen"),
        "weights": "exponential moving average",
        "share_of_fine_tuning": saved["share"],
        "processor": saved["processor"],
    }


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """The content of a checkpoint. Raises UserError if the file is not one."""
    if not checkpoint.exists():
        raise UserError(str(checkpoint), "no such file", next="invoke model.train")
    try:
        # Weights only: a pickle from elsewhere could run code.
        content: dict[str, Any] = torch.load(checkpoint, weights_only=True, map_location="cpu")
        content["origin"], content["epochs"]
        # Earlier versions had no best epoch, nothing between it and the fitted last layer, and
        # named no other runs.
        average = content["average"]
        content = {"best": average, "fitted": average, "share": 1.0} | content
        content = {"first": None, "teacher": None} | content
    except Exception as error:  # the reader raises many kinds, by where a file is damaged
        raise UserError(
            str(checkpoint), "is not a checkpoint of this program", facts=[str(error)[:200]]
        ) from error
    return content


def provenance(saved: dict[str, Any]) -> str:
    """Where the weights of a checkpoint come from, for a report."""
    return f"{saved['origin']['arch']}, {len(saved['epochs'])} epochs from {saved['from']}"


def run_facts(saved: dict[str, Any]) -> Facts:
    """Which run a checkpoint is of, for a card."""
    return {
        "architecture": saved["origin"]["arch"],
        "epochs": len(saved["epochs"]),
        "from": saved["from"],
    }


def _flat(value: object) -> tuple[object, ...]:
    """A tuple in every case: a file that was written and read again has lists for tuples."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)
