"""Train MobileViT from random or loaded weights, resumable at every step.

The fraction of the run that has passed sets the learning rate (warm-up, then cosine) and
the resolution. A run is as long as its epochs, or, with `minutes`, as the clock says: it
then ends on time on a busy machine too. Random numbers depend on nothing but the seed and
the number of the step, so an interrupted run goes on with the numbers it would have had.

The running average of the weights is what is validated, exported and packed; the network itself
is only what the optimizer moves.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgewright.base.errors import UserError
from edgewright.base.files import replacing
from edgewright.base.memory import require_memory
from edgewright.model.contract.card import Facts
from edgewright.model.contract.pixels import decode
from edgewright.model.contract.preprocess import resize, to_planes
from edgewright.model.judge.data import (
    DEFECTIVE,
    LABELS,
    SPLIT_NAME,
    Dataset,
    Sample,
    Split,
    write_split,
)
from edgewright.model.judge.evaluate import Scores, auc
from edgewright.model.judge.recentre import centring_shift
from edgewright.model.train.activations import training_bytes
from edgewright.model.train.allocator import keep_freed_memory
from edgewright.model.train.augment import augment, standardize
from edgewright.model.train.interrupt import interruptible
from edgewright.model.train.network import Network, full_name, refuse_not_finite, reshape_like

SAVE_SECONDS = 120.0  # between two checkpoints inside an epoch
_PARTS = ("network", "average", "optimizer")


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

    def __post_init__(self) -> None:
        if self.resolution < 32 or self.resolution % 32:
            raise UserError(f"resolution {self.resolution}", "is not a multiple of 32 pixels")
        for name in ("epochs", "batch", "threads", "learning_rate"):
            if getattr(self, name) <= 0:
                raise UserError(
                    f"{name.replace('_', ' ')} {getattr(self, name)}", "must be above 0"
                )


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


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Figures of one step; `passed` is the fraction of the run."""

    step: int
    passed: float
    size: int
    loss: float


class Watcher(Protocol):
    """Shows a training run: its start, each step, each epoch."""

    def begin(self, step: int, source: str) -> None:
        """`step` is the first one, `source` is where the first weights came from."""

    def step(self, tick: Tick) -> None: ...

    def epoch(self, epoch: Epoch) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """One part of the data at one resolution, in memory."""

    images: torch.Tensor  # (N, 1, size, size), values 0 to 1
    target: torch.Tensor  # (N, labels), probabilities
    weight: torch.Tensor  # (N,)
    poly: torch.Tensor  # (N,): 1 poly, 0 mono, NaN not known
    labels: torch.Tensor  # (N,)


@dataclass(kw_only=True)
class State:
    """Everything that training changes: the content of a checkpoint."""

    network: Network
    average: Network
    optimizer: torch.optim.Optimizer
    seconds: float = 0.0
    steps: int = 0
    source: str = "scratch"  # of the first weights
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

    @classmethod
    def of(cls, config: TrainConfig, dataset: Dataset, data: Split) -> Self:
        return cls(
            arch=full_name(config.arch),
            resolution=config.resolution,
            labels=dataset.labels,
            dataset=dataset.name,
            split=data.fingerprint,
            seed=config.seed,
        )

    def require_equal(self, saved: dict[str, Any], path: Path) -> None:
        """Raise UserError if the origin that a checkpoint at `path` holds is another one."""
        current = asdict(self)
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


def train(config: TrainConfig, dataset: Dataset, data: Split, watch: Watcher) -> Path:
    """Train to the end of the run, going on from its checkpoint; return that file's path.

    Ctrl-C finishes the step, saves and raises KeyboardInterrupt. Raises UserError where the
    checkpoint is of another run, memory does not suffice, or the loss is not finite.
    """
    torch.set_num_threads(config.threads)
    keep_freed_memory()
    run = Run(config=config, origin=Origin.of(config, dataset, data), data=data)
    size, images = config.resolution, len(data.train) + len(data.validation)
    watch.begin(run.state.steps, run.state.source)
    # Linux ends a process that takes too much, hours later and without a word: ask before.
    memory = training_bytes(run.state.network, size, config.batch, images)
    require_memory(f"training at {size}x{size}", memory)
    if not config.checkpoint.exists():
        write_split(data, config.checkpoint.with_name(SPLIT_NAME))
    with interruptible() as interrupted:
        while (stage := stage_at(config, run.passed)) is not None:
            run.advance(stage, watch)
            if interrupted():  # between two steps, where the state is whole
                run.save()
                raise KeyboardInterrupt
    run.finish(watch)
    return config.checkpoint


class Run:
    """One training run: its state, and the data at the current resolution."""

    def __init__(self, *, config: TrainConfig, origin: Origin, data: Split) -> None:
        self.config, self.origin, self.data = config, origin, data
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.per_epoch = max(1, len(data.train) // config.batch)
        self.state = _resume(config, origin, self.device)
        self.size, self.saved = 0, monotonic()
        self.train: Arrays
        self.validation: Arrays

    @property
    def passed(self) -> float:
        """The fraction of the run that is over."""
        if self.config.minutes is not None:
            return self.state.seconds / (60 * self.config.minutes)
        return self.state.steps / (self.per_epoch * self.config.epochs)

    def advance(self, stage: Stage, watch: Watcher) -> None:
        """Make one step; after the last one of an epoch, validate and save."""
        start = monotonic()
        self._use(size_of(self.config, stage))
        loss = self._step()
        self.state.seconds += monotonic() - start
        tick = Tick(step=self.state.steps, passed=self.passed, size=self.size, loss=loss)
        watch.step(tick)
        if self.state.steps % self.per_epoch == 0:
            self._end_epoch(watch)
        elif monotonic() - self.saved > SAVE_SECONDS:
            self.save()

    def finish(self, watch: Watcher) -> None:
        """Take new batch statistics if they raise the AUC on the validation part, centre the
        answers of a two-class network, and write the last checkpoint."""
        if self.state.losses:
            self._end_epoch(watch)
        self._use(self.config.resolution)
        settled = deepcopy(self.state.average)
        settle(settled, self.train.images[::4])  # a quarter is enough for means
        candidates = (self.state.average, settled)
        self.state.average = max(candidates, key=lambda n: validate(n, self.validation)[1])
        if len(self.origin.labels) == len(LABELS):
            calibrate(self.state.average, self.validation)
        self.save()

    def save(self) -> None:
        write_checkpoint(self.state, self.origin, self.config.checkpoint)
        self.saved = monotonic()

    def _use(self, size: int) -> None:
        if self.size != size:
            self.train = load(self.data.train, size, len(self.origin.labels), self.config)
            self.validation = load(self.data.validation, size, len(self.origin.labels), self.config)
            self.size = size

    def _step(self) -> float:
        config, state = self.config, self.state
        # A seed for each step: a resumed run draws the numbers that it would have drawn.
        torch.manual_seed(config.seed * 1_000_003 + state.steps)
        # Each epoch has an order of its own, which a resumed run finds again by the step's number.
        epoch, turn = divmod(state.steps, self.per_epoch)
        order = np.random.default_rng(config.seed + epoch).permutation(len(self.train.labels))
        rows = torch.from_numpy(order[turn * config.batch : (turn + 1) * config.batch])
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate_at(config, self.passed)
        loss = self._loss(rows)
        if not math.isfinite(loss.item()):  # before the step, so that the weights are still good
            raise UserError(
                f"step {state.steps}",
                "the loss is not finite",
                facts=[f"learning rate: {config.learning_rate:g} at its peak"],
                next="go on from the checkpoint, which is from before, "
                "with a lower --learning-rate",
            )
        state.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
        state.optimizer.step()
        state.steps += 1
        _update_average(state, config.ema)
        state.losses.append(float(loss.item()))
        return state.losses[-1]

    def _loss(self, rows: torch.Tensor) -> torch.Tensor:
        """Cross entropy with soft labels, plus that of the cell's type where it is known.

        The type is a second task that shapes the features: mono and poly cells look different,
        and their defects too.
        """
        part = self.train
        # Channels last: PyTorch's convolutions on a CPU are faster so.
        images = augment(part.images[rows]).contiguous(memory_format=torch.channels_last)
        logits, poly = self.state.network.train().both(images.to(self.device))
        target, weight = part.target[rows].to(logits), part.weight[rows].to(logits)
        losses = functional.cross_entropy(logits, target, reduction="none")
        loss = (losses * weight).sum() / weight.sum()
        has_type = ~part.poly[rows].isnan()
        if not has_type.any():
            return loss
        truth = part.poly[rows][has_type].to(poly)
        type_loss = functional.binary_cross_entropy_with_logits(
            poly[has_type.to(self.device)], truth
        )
        return loss + self.config.cell_type_weight * type_loss

    def _end_epoch(self, watch: Watcher) -> None:
        start, state = monotonic(), self.state
        # Seconds of the clock count over all sessions of the run, so the difference is the epoch's.
        before = state.epochs[-1].seconds if state.epochs else 0.0
        speed = len(state.losses) * self.config.batch / max(1e-9, state.seconds - before)
        accuracy, area = validate(state.average, self.validation)
        state.seconds += monotonic() - start
        epoch = Epoch(
            epoch=len(state.epochs),
            seconds=state.seconds,
            size=self.size,
            loss=float(np.mean(state.losses)),
            accuracy=accuracy,
            auc=area,
            images_per_second=speed,
        )
        state.epochs.append(epoch)
        state.losses = []
        self.save()
        watch.epoch(epoch)


def write_checkpoint(state: State, origin: Origin, path: Path) -> None:
    """Write aside, then rename: a kill leaves the old checkpoint or the new one."""
    on_gpu = _device(state.network).type == "cuda"
    processor = torch.cuda.get_device_name() if on_gpu else "CPU"
    content: dict[str, Any] = {name: getattr(state, name).state_dict() for name in _PARTS}
    content |= {"seconds": state.seconds, "steps": state.steps, "losses": state.losses}
    content |= {"from": state.source, "processor": processor}
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
    network = Network(saved["origin"]["arch"], labels=len(saved["origin"]["labels"]))
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
        "epochs": len(saved["epochs"]),
        "minutes": round(saved["seconds"] / 60, 1),
        "resolutions": list(sizes),
        "seed": saved["origin"]["seed"],
        "weights": "exponential moving average",
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
    except Exception as error:  # the reader raises many kinds, by where a file is damaged
        raise UserError(
            str(checkpoint), "is not a checkpoint of this program", facts=[str(error)[:200]]
        ) from error
    return content


def load(samples: Sequence[Sample], size: int, labels: int, config: TrainConfig) -> Arrays:
    """Decode and resize as the board does; standardisation comes after augmentation."""
    images = np.stack([resize(to_planes(decode(s.path), "gray")[0], size, size) for s in samples])
    soft = torch.stack([_target(sample, labels, config.smoothing) for sample in samples])
    sure = torch.tensor([s.is_sure for s in samples])
    types = {"mono": 0.0, "poly": 1.0}
    return Arrays(
        images=torch.from_numpy(images)[:, None] / 255,
        target=soft,
        weight=torch.where(sure, 1.0, config.unsure_weight),
        poly=torch.tensor([types.get(s.cell_type, math.nan) for s in samples]),
        labels=torch.tensor([s.label for s in samples]),
    )


def stage_at(config: TrainConfig, passed: float) -> Stage | None:
    """The stage at this fraction of the run; None when the run is over."""
    return next((stage for stage in config.stages if passed < stage.until), None)


def size_of(config: TrainConfig, stage: Stage) -> int:
    """The stage's resolution: a multiple of 32 pixels."""
    return max(32, round(config.resolution * stage.scale / 32) * 32)


def learning_rate_at(config: TrainConfig, passed: float) -> float:
    """Linear warm-up, then cosine down to 1 % of the peak."""
    passed = min(1.0, passed)
    if passed < config.warm_up:
        return config.learning_rate * (0.01 + 0.99 * passed / config.warm_up)
    angle = math.pi * (passed - config.warm_up) / (1 - config.warm_up)
    return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(angle)) / 2)


def settle(network: Network, images: torch.Tensor) -> None:
    """Measure the statistics of batch normalisation anew.

    Averaged weights at the final resolution have other statistics than those gathered on the way.
    """
    layers = [m for m in network.train().modules() if isinstance(m, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # plain average over all batches
    with torch.inference_mode():
        for batch in images.split(16):
            network(standardize(batch).to(_device(network)))
    network.eval()


def calibrate(network: Network, part: Arrays) -> None:
    """Shift the logit of a defect until the mean probability in `part`, the validation part, is
    the share of defects there: the bias of least log loss.

    Soft labels and averaging leave the network too timid.
    """
    scores = scores_of(network, part)[:, DEFECTIVE]
    shift = centring_shift(scores, float(part.labels.double().mean()))
    with torch.no_grad():
        network.body.classifier.bias[DEFECTIVE] += shift


def validate(network: Network, part: Arrays) -> tuple[float, float]:
    """Accuracy, and AUC (the mean of one class against the rest)."""
    scores, labels = scores_of(network, part), part.labels.numpy()
    present = np.unique(labels)  # of a class without an image there is no AUC
    areas = [auc((labels == label).astype(np.int64), scores[:, label]) for label in present]
    return float((scores.argmax(1) == labels).mean()), float(np.mean(areas))


def scores_of(network: Network, part: Arrays) -> Scores:
    """Probabilities (N, labels)."""
    network.eval()
    device = _device(network)
    with torch.inference_mode():
        parts = [network(standardize(part).to(device)) for part in part.images.split(32)]
    scores: Scores = torch.cat(parts).softmax(1).double().cpu().numpy()
    return scores


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


def _update_average(state: State, decay: float) -> None:
    """Move the averaged weights towards the network's."""
    # Faster at the start, else the average would keep the first random weights for long.
    decay = min(decay, (1 + state.steps) / (10 + state.steps))
    new = state.network.state_dict()
    for name, value in state.average.state_dict().items():  # detached: no gradient follows
        if value.is_floating_point():
            value.lerp_(new[name], 1 - decay)
        else:
            value.copy_(new[name])  # a counter of batches has no average


def _resume(config: TrainConfig, origin: Origin, device: torch.device) -> State:
    """The state in the checkpoint; without a checkpoint, the state before the first step."""
    if not config.checkpoint.exists():
        torch.manual_seed(config.seed)
        network = Network(origin.arch, labels=len(origin.labels))
        source = load_weights(network, config.weights) if config.weights else "scratch"
        return replace(fresh_state(config, network, device), source=source)
    saved = read_checkpoint(config.checkpoint)
    origin.require_equal(saved["origin"], config.checkpoint)
    state = fresh_state(config, rebuild(saved, saved["network"], str(config.checkpoint)), device)
    for name in _PARTS:
        getattr(state, name).load_state_dict(saved[name])
    state.seconds, state.steps, state.losses = saved["seconds"], saved["steps"], saved["losses"]
    state.source = saved["from"]
    state.epochs = [Epoch(**values) for values in saved["epochs"]]
    return state


def fresh_state(config: TrainConfig, network: Network, device: torch.device) -> State:
    """The state before the first step, from a network's weights."""
    network = network.to(device, memory_format=torch.channels_last)
    # Weight decay for matrices and kernels only: it would pull scales and biases to zero.
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
    )
    return State(network=network, average=deepcopy(network), optimizer=optimizer)


def provenance(saved: dict[str, Any]) -> str:
    """Where the weights of a checkpoint come from, for a report."""
    return f"{saved['origin']['arch']}, {len(saved['epochs'])} epochs from {saved['from']}"


def load_weights(network: Network, path: Path) -> str:
    """Copy weights from a file into a network, and return where they come from, for a report.

    The file is a checkpoint of a run, or any PyTorch state of a MobileViT. A tensor fits by name
    and shape; a first layer made for colours is summed up for grey. Tensors of the network that
    the file lacks stay as they are. Raises UserError if none fits, or values are not finite.
    """
    content = _read_weights(path)
    weights = content.get("average", content)
    offered = {name: value for name, value in weights.items() if torch.is_tensor(value)}
    expected, fitting = network.state_dict(), {}
    for name, value in offered.items():
        # transformers names its parts without the `body.` of our network.
        our_name = f"body.{name}" if name.split(".")[0] in ("mobilevit", "classifier") else name
        if our_name not in expected:
            continue
        of_colours = value.ndim == 4 and value.shape[1] == 3 and expected[our_name].shape[1] == 1
        adapted = value.sum(1, keepdim=True) if of_colours else value
        if adapted.shape == expected[our_name].shape:
            fitting[our_name] = adapted
    if not fitting:
        raise UserError(
            str(path),
            "has no tensor that fits",
            facts=[f"{len(offered)} in it, {len(expected)} expected"],
        )
    refuse_not_finite(fitting, str(path))
    network.load_state_dict({**expected, **fitting})
    missing = len(set(expected) - set(fitting))
    source = provenance(content) if "origin" in content else path.name
    return f"{source}; {missing} of {len(expected)} tensors did not fit" if missing else source


def _read_weights(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UserError(str(path), "no such file")
    try:
        content: dict[str, Any] = dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:  # see read_checkpoint
        raise UserError(str(path), "holds no weights", facts=[str(error)[:200]]) from error
    return content


def _flat(value: object) -> tuple[object, ...]:
    """A tuple in every case: a file that was written and read again has lists for tuples."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _device(network: Network) -> torch.device:
    return next(network.parameters()).device
