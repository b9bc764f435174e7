"""Train a network from random or loaded weights, resumable at every step.

The fraction of the run that has passed sets the learning rate (warm-up, then cosine) and
the resolution. A run is as long as its epochs, or, with `minutes`, as the clock says: it
then ends on time on a busy machine too. Random numbers depend on nothing but the seed and
the number of the step, so an interrupted run goes on with the numbers it would have had.

The running average of the weights is what is validated, exported and packed; the network itself
is only what the optimizer moves. Where good weights are fine-tuned it lies between them and the
average after the best epoch (Wortsman et al., CVPR 2022): both err, at other images.
"""

import math
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgewright.base.errors import UserError
from edgewright.base.memory import require_memory
from edgewright.model.judge.data import LABELS, SPLIT_NAME, Dataset, Split, write_split
from edgewright.model.train.activations import training_bytes
from edgewright.model.train.allocator import keep_freed_memory
from edgewright.model.train.architectures import new_network
from edgewright.model.train.arrays import Arrays, Images, load
from edgewright.model.train.checkpoint import (
    PARTS,
    Epoch,
    Origin,
    State,
    fresh_state,
    load_network,
    read_checkpoint,
    rebuild,
    run_facts,
    write_checkpoint,
)
from edgewright.model.train.config import Stage, TrainConfig
from edgewright.model.train.frozen import freeze
from edgewright.model.train.head_fit import fit_head
from edgewright.model.train.interrupt import interruptible
from edgewright.model.train.losses import (
    RELATION_WEIGHT,
    TEACHER_WEIGHT,
    answer_losses,
    class_weights,
    label_losses,
    relation_losses,
)
from edgewright.model.train.network import Network
from edgewright.model.train.rounding import learn_rounding
from edgewright.model.train.scores import calibrate, settle, validate
from edgewright.model.train.weights import first_run, first_weights

SAVE_SECONDS = 120.0  # between two checkpoints inside an epoch
ACTIVATIONS = "activations"  # folder beside the checkpoint
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the way from the fitted head to the best epoch


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Figures of one step; `passed` is the fraction of the run."""

    step: int
    passed: float
    size: int
    loss: float


class Watcher(Protocol):
    """Shows a training run: its start, the fitted head, each step, each epoch, the choice."""

    def begin(self, step: int, source: str) -> None:
        """`step` is the first one, `source` is where the first weights came from."""

    def head(self, accuracy: float, auc: float) -> None:
        """Of a network whose last layer alone was fitted, on the validation part."""

    def step(self, tick: Tick) -> None: ...

    def epoch(self, epoch: Epoch) -> None: ...

    def choice(self, share: float, accuracy: float, auc: float) -> None:
        """The network that fine-tuning ends with: how far it lies from the fitted head to the best
        epoch, and its figures on the validation part."""


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
        while not run.is_stale and (stage := stage_at(config, run.passed)) is not None:
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
        self.teacher = _teacher(config, origin, self.device)
        if config.quantization_aware:  # the copies whose figures count stay as they are
            learn_rounding(self.state.network)
        self.size, self.saved = 0, monotonic()
        self.train: Arrays
        self.validation: Arrays

    @property
    def passed(self) -> float:
        """The fraction of the run that is over."""
        if self.config.minutes is not None:
            return self.state.seconds / (60 * self.config.minutes)
        return self.state.steps / (self.per_epoch * self.config.epochs)

    @property
    def is_stale(self) -> bool:
        """Whether no epoch of the last ones, as many as allowed, has the highest AUC of all.

        The fitted head does not count: the first epochs fall behind it before they rise.
        """
        areas = [epoch.auc for epoch in self.state.epochs]
        patience = self.config.patience
        return 0 < patience < len(areas) and max(areas) > max(areas[-patience:])

    def advance(self, stage: Stage, watch: Watcher) -> None:
        """Make one step; after the last one of an epoch, validate and save."""
        start = monotonic()
        self._use(size_of(self.config, stage))
        if self.config.fine_tunes and not self.state.steps:
            self._fit_head(watch)
        loss = self._step()
        self.state.seconds += monotonic() - start
        tick = Tick(step=self.state.steps, passed=self.passed, size=self.size, loss=loss)
        watch.step(tick)
        if self.state.steps % self.per_epoch == 0:
            self._end_epoch(watch)
        elif monotonic() - self.saved > SAVE_SECONDS:
            self.save()

    def finish(self, watch: Watcher) -> None:
        """Take the best way between fitted head and best epoch; of a network made from nothing,
        new batch statistics if they raise the AUC on the validation part. Centre the answers of a
        two-class network, and save."""
        if self.state.losses:
            self._end_epoch(watch)
        self._use(self.config.resolution)
        if self.config.fine_tunes:
            self._choose_share(watch)
        elif isinstance(self.train.inputs, Images) and not self.state.average.has_fixed_statistics:
            settled = deepcopy(self.state.average)
            settle(settled, self.train.inputs.values[::4])  # a quarter is enough for means
            candidates = (self.state.average, settled)
            self.state.average = max(candidates, key=lambda n: validate(n, self.validation)[1])
        if len(self.origin.labels) == len(LABELS):
            calibrate(self.state.average, self.validation)
        self.save()

    def save(self) -> None:
        write_checkpoint(self.state, self.origin, self.config.checkpoint)
        self.saved = monotonic()

    def _use(self, size: int) -> None:
        if self.size == size:
            return
        network, labels = self.state.network, len(self.origin.labels)
        self.train = load(self.data.train, size, labels, self.config, self.teacher)
        self.validation = load(self.data.validation, size, labels, self.config)
        self.size = size
        if self.config.frozen:
            folder = self.config.checkpoint.with_name(ACTIVATIONS)
            self.train = freeze(self.train, network, folder)
            self.validation = freeze(self.validation, network, folder, views=1)

    def _fit_head(self, watch: Watcher) -> None:
        network = self.state.network
        fit_head(network, self.train)
        for copy in (self.state.average, self.state.fitted, self.state.best):
            copy.load_state_dict(network.state_dict())
        watch.head(*validate(network, self.validation))

    def _choose_share(self, watch: Watcher) -> None:
        state, figures = self.state, {}
        for share in SHARES:
            _mix(state.average, state.fitted, state.best, share)
            figures[share] = validate(state.average, self.validation)
        state.share = max(SHARES, key=lambda share: figures[share][1])
        _mix(state.average, state.fitted, state.best, state.share)
        watch.choice(state.share, *figures[state.share])

    def _step(self) -> float:
        config, state = self.config, self.state
        # A seed for each step: a resumed run draws the numbers that it would have drawn.
        torch.manual_seed(config.seed * 1_000_003 + state.steps)
        # Each epoch has an order of its own, which a resumed run finds again by the step's number.
        epoch, turn = divmod(state.steps, self.per_epoch)
        order = np.random.default_rng(config.seed + epoch).permutation(len(self.train.labels))
        rows = torch.from_numpy(order[turn * config.batch : (turn + 1) * config.batch])
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate_at(config, self.passed) * group.get("rate", 1.0)
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
        """That of the labels, and of the teacher's logits and features, plus that of the cell's
        type where it is known.

        The type is a second task that shapes the features: mono and poly cells look different,
        and their defects too.
        """
        part = self.train
        views = part.inputs.views(rows)
        network = self.state.network.train()
        pupil = network.outputs(views.values.to(self.device))
        logits = pupil.logits
        target, weight = part.target[rows].to(logits), part.weight[rows].to(logits)
        weights = class_weights(part.labels, len(self.origin.labels))
        losses = label_losses(logits, target, self.config.loss, weights)
        if views.teacher is not None:
            teacher = views.teacher.to(self.device)
            answers = answer_losses(logits, teacher.logits)
            relations = relation_losses(pupil.features, teacher.features)
            losses = torch.lerp(losses, answers, TEACHER_WEIGHT) + RELATION_WEIGHT * relations
        loss = (losses * weight).sum() / weight.sum()
        has_type = ~part.poly[rows].isnan()
        if not has_type.any():
            return loss
        poly = network.cell_type(pupil.features)[:, 0]
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
        if area > max((earlier.auc for earlier in state.epochs), default=0.0):
            state.best.load_state_dict(state.average.state_dict())
        state.epochs.append(epoch)
        state.losses = []
        self.save()
        watch.epoch(epoch)


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


def _mix(out: Network, first: Network, second: Network, share: float) -> None:
    """Give `out` the weights that lie this share of the way from one network to another."""
    start, end = first.state_dict(), second.state_dict()
    for name, value in out.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.lerp(start[name], end[name], share))


def _resume(config: TrainConfig, origin: Origin, device: torch.device) -> State:
    """The state in the checkpoint; without a checkpoint, the state before the first step."""
    if not config.checkpoint.exists():
        torch.manual_seed(config.seed)
        network = new_network(origin.arch, len(origin.labels), config.frozen)
        source = first_weights(network, config)
        teacher = run_facts(read_checkpoint(config.teacher)) if config.teacher else None
        fresh = fresh_state(config, network, device)
        return replace(fresh, source=source, first=first_run(config), teacher=teacher)
    saved = read_checkpoint(config.checkpoint)
    origin.require_equal(saved["origin"], config.checkpoint)
    state = fresh_state(config, rebuild(saved, saved["network"], str(config.checkpoint)), device)
    for name in PARTS:
        getattr(state, name).load_state_dict(saved[name])
    state.seconds, state.steps, state.losses = saved["seconds"], saved["steps"], saved["losses"]
    state.source, state.first, state.teacher = saved["from"], saved["first"], saved["teacher"]
    state.share = saved["share"]
    state.epochs = [Epoch(**values) for values in saved["epochs"]]
    return state


def _teacher(config: TrainConfig, origin: Origin, device: torch.device) -> Network | None:
    """The network to imitate. Raises UserError if it knows other labels."""
    if config.teacher is None:
        return None
    saved = read_checkpoint(config.teacher)
    labels = tuple(saved["origin"]["labels"])
    if labels != origin.labels:
        raise UserError(
            str(config.teacher),
            "is a teacher of other labels",
            facts=[f"labels: {', '.join(labels)}", f"expected: {', '.join(origin.labels)}"],
        )
    teacher = load_network(config.teacher)
    teacher.to(device)
    return teacher
