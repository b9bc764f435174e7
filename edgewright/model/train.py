"""Training from scratch, paced by the clock: it ends on time on a busy machine too.

The fraction of the time budget that has passed sets the learning rate (warm-up, then
cosine) and the resolution. A checkpoint after each epoch lets a killed run go on.
"""

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgewright.model.augment import augment, standardize
from edgewright.model.card import Facts
from edgewright.model.data import DEFECTIVE, Sample, Split
from edgewright.model.evaluate import Scores, auc
from edgewright.model.network import Network
from edgewright.model.preprocess import decode, resize, to_planes

FINAL_SIZE = 256
_PARTS = ("network", "average", "optimizer")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One resolution, used until this fraction of the time budget has passed."""

    until: float
    size: int
    batch: int


STAGES = (
    Stage(until=0.45, size=96, batch=16),
    Stage(until=0.72, size=128, batch=16),
    Stage(until=0.92, size=192, batch=16),
    Stage(until=1.00, size=FINAL_SIZE, batch=16),
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    checkpoint: Path
    minutes: float = 80
    seed: int = 0
    threads: int = 2
    learning_rate: float = 6e-4
    weight_decay: float = 0.05
    warm_up: float = 0.04  # fraction of the time
    smoothing: float = 0.04  # soft labels run from half of this to 1 minus half of it
    unsure_weight: float = 0.6  # of images whose defect probability is 1/3 or 2/3
    cell_type_weight: float = 0.2
    ema: float = 0.996
    stages: tuple[Stage, ...] = STAGES


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one epoch did; `seconds` counts from the start of the run."""

    epoch: int
    seconds: float
    size: int
    loss: float
    accuracy: float  # of the averaged weights on the validation part, at `size`
    auc: float
    images_per_second: float


Progress = Callable[[Epoch], None]


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """One part of the data at one resolution, in memory."""

    images: torch.Tensor  # (N, 1, size, size), values 0 to 1
    probability: torch.Tensor  # (N,)
    poly: torch.Tensor  # (N,)
    labels: torch.Tensor  # (N,)


@dataclass(kw_only=True)
class State:
    """All that changes while training: this is the checkpoint."""

    network: Network
    average: Network
    optimizer: torch.optim.Optimizer
    seconds: float = 0.0
    steps: int = 0
    epochs: list[Epoch] = field(default_factory=list)


def train(config: TrainConfig, data: Split, progress: Progress) -> Path:
    """Train until the minutes are used up; return the checkpoint's path."""
    torch.set_num_threads(config.threads)
    _keep_freed_memory()
    state = _resume(config)
    arrays: dict[int, tuple[Arrays, Arrays]] = {}
    while (stage := stage_at(config, state.seconds)) is not None:
        if stage.size not in arrays:
            arrays = {stage.size: (load(data.train, stage.size), load(data.validation, stage.size))}
        epoch = _epoch(config, state, stage, *arrays[stage.size])
        state.epochs.append(epoch)
        _save(config, state)
        progress(epoch)
    settle(state.average, load(data.train, FINAL_SIZE).images[::4])
    calibrate(state.average, load(data.validation, FINAL_SIZE))
    _save(config, state)
    return config.checkpoint


def load_network(checkpoint: Path) -> Network:
    """The trained network: the running average of the weights."""
    network = Network()
    network.load_state_dict(_read(checkpoint)["average"])
    network.eval()
    return network


def history(checkpoint: Path) -> list[Epoch]:
    """What each epoch of a run did."""
    return [Epoch(**values) for values in _read(checkpoint)["epochs"]]


def facts(checkpoint: Path) -> Facts:
    """What the card tells about the training."""
    saved = _read(checkpoint)
    sizes = sorted({epoch["size"] for epoch in saved["epochs"]})
    return {
        "from": "scratch",
        "epochs": len(saved["epochs"]),
        "minutes": round(saved["seconds"] / 60, 1),
        "resolutions": list(sizes),
        "seed": saved["seed"],
        "weights": "exponential moving average",
        "processor": "CPU",
    }


def load(samples: Sequence[Sample], size: int) -> Arrays:
    """Decode and resize as on the board; standardisation comes after augmentation."""
    images = np.stack([resize(to_planes(decode(s.path), "gray")[0], size, size) for s in samples])
    return Arrays(
        images=torch.from_numpy(images)[:, None] / 255,
        probability=torch.tensor([s.probability for s in samples]),
        poly=torch.tensor([float(s.cell_type == "poly") for s in samples]),
        labels=torch.tensor([s.label for s in samples]),
    )


def stage_at(config: TrainConfig, seconds: float) -> Stage | None:
    """The stage at this time of the run; None when the time is over."""
    passed = seconds / (60 * config.minutes)
    return next((stage for stage in config.stages if passed < stage.until), None)


def learning_rate_at(config: TrainConfig, seconds: float) -> float:
    """Linear warm-up, then cosine down to 1 % of the peak."""
    passed = min(1.0, seconds / (60 * config.minutes))
    if passed < config.warm_up:
        return config.learning_rate * (0.01 + 0.99 * passed / config.warm_up)
    angle = math.pi * (passed - config.warm_up) / (1 - config.warm_up)
    return config.learning_rate * (0.01 + 0.99 * (1 + math.cos(angle)) / 2)


def _epoch(config: TrainConfig, state: State, stage: Stage, train: Arrays, held: Arrays) -> Epoch:
    start, before, losses, seen = monotonic(), state.seconds, [], 0
    for rows in _batches(len(train.labels), stage.batch, config.seed + len(state.epochs)):
        if stage_at(config, state.seconds) != stage:
            break
        losses.append(_step(config, state, train, rows))
        seen += len(rows)
        state.seconds = before + monotonic() - start
    speed = seen / (monotonic() - start)
    accuracy, area = _validate(state.average, held)
    state.seconds = before + monotonic() - start
    return Epoch(
        epoch=len(state.epochs),
        seconds=state.seconds,
        size=stage.size,
        loss=float(np.mean(losses)),
        accuracy=accuracy,
        auc=area,
        images_per_second=speed,
    )


def _step(config: TrainConfig, state: State, arrays: Arrays, rows: torch.Tensor) -> float:
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate_at(config, state.seconds)
    images = augment(arrays.images[rows]).contiguous(memory_format=torch.channels_last)
    logits, poly = state.network.train().both(images)
    loss = _loss(config, logits, arrays.probability[rows])
    loss = loss + config.cell_type_weight * functional.binary_cross_entropy_with_logits(
        poly, arrays.poly[rows]
    )
    state.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
    state.optimizer.step()
    state.steps += 1
    _follow(state, config.ema)
    return float(loss.item())


def _loss(config: TrainConfig, logits: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
    """Cross entropy with the experts' probability as a soft label."""
    soft = config.smoothing / 2 + (1 - config.smoothing) * probability
    each = functional.cross_entropy(logits, torch.stack([1 - soft, soft], 1), reduction="none")
    sure = (probability < 0.1) | (probability > 0.9)
    weight = torch.where(sure, 1.0, config.unsure_weight)
    return (each * weight).sum() / weight.sum()


def _follow(state: State, decay: float) -> None:
    """Move the averaged weights towards the network's, faster at the start."""
    decay = min(decay, (1 + state.steps) / (10 + state.steps))
    new = state.network.state_dict()
    for name, value in state.average.state_dict().items():  # detached: no gradient follows
        if value.is_floating_point():
            value.lerp_(new[name], 1 - decay)
        else:
            value.copy_(new[name])


def settle(network: Network, images: torch.Tensor) -> None:
    """Measure the statistics of batch normalisation anew: averaged weights at the final
    resolution have others than those gathered on the way."""
    layers = [m for m in network.train().modules() if isinstance(m, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # plain average over all batches
    with torch.inference_mode():
        for batch in images.split(16):
            network(standardize(batch))
    network.eval()


def calibrate(network: Network, held: Arrays) -> None:
    """Shift the logit of a defect until the mean probability on the validation part is the
    share of defects there: the bias of least log loss. Soft labels and averaging leave the
    network too timid."""
    scores, share = _scores(network, held), held.labels.double().mean()
    margins, low, high = torch.logit(torch.from_numpy(scores), eps=1e-9), -10.0, 10.0
    for _ in range(40):  # bisection: the mean rises with the shift
        middle = (low + high) / 2
        too_timid = bool(torch.sigmoid(margins + middle).mean() < share)
        low, high = (middle, high) if too_timid else (low, middle)
    with torch.no_grad():
        network.body.classifier.bias[DEFECTIVE] += low


def _validate(network: Network, held: Arrays) -> tuple[float, float]:
    """Accuracy and AUC."""
    scores, labels = _scores(network, held), held.labels.numpy()
    return float(((scores > 0.5) == labels).mean()), auc(labels, scores)


def _scores(network: Network, held: Arrays) -> Scores:
    """Probabilities of a defect (N,)."""
    network.eval()
    with torch.inference_mode():
        logits = torch.cat([network(standardize(part)) for part in held.images.split(32)])
    scores: Scores = logits.softmax(1)[:, DEFECTIVE].double().numpy()
    return scores


def _batches(count: int, size: int, seed: int) -> Iterator[torch.Tensor]:
    """Shuffled rows; a last batch that is not full is left out."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    return iter(order[: count - count % size].split(size))


def _resume(config: TrainConfig) -> State:
    """A new state, or the one that a killed run left."""
    torch.manual_seed(config.seed)
    network = Network().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(_groups(network, config.weight_decay), lr=config.learning_rate)
    state = State(network=network, average=deepcopy(network), optimizer=optimizer)
    if config.checkpoint.exists():
        saved = _read(config.checkpoint)
        for name in _PARTS:
            getattr(state, name).load_state_dict(saved[name])
        state.seconds, state.steps = saved["seconds"], saved["steps"]
        state.epochs = history(config.checkpoint)
        torch.manual_seed(config.seed + len(state.epochs))
    return state


def _groups(network: Network, decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for scales and biases."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def _save(config: TrainConfig, state: State) -> None:
    """Write aside, then rename: a kill leaves the old checkpoint or the new one."""
    config.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    aside = config.checkpoint.with_suffix(".part")
    content: dict[str, Any] = {name: getattr(state, name).state_dict() for name in _PARTS}
    content |= {"seconds": state.seconds, "steps": state.steps, "seed": config.seed}
    content |= {"epochs": [asdict(epoch) for epoch in state.epochs]}
    torch.save(content, aside)
    aside.replace(config.checkpoint)


def _read(checkpoint: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    return content


def _keep_freed_memory() -> None:
    """Let glibc reuse freed blocks; giving each activation back to the kernel and faulting
    it in again halves the speed of training on a CPU."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no block of its own mapping
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: never shrink
