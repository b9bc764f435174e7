"""A run that starts from a pruned network of another run: pruning, then fine-tuning."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from edgewright.base.errors import UserError
from edgewright.model.judge.data import Sample
from edgewright.model.train.augment import standardize
from edgewright.model.train.network import Network
from edgewright.model.train.prune import Cost, Losses, Target, cost_of, prune
from edgewright.model.train.run import (
    Origin,
    TrainConfig,
    fresh_state,
    load,
    load_network,
    read_checkpoint,
    story,
    write_checkpoint,
)
from edgewright.model.train.run_folder import RunFolder, data_of

IMAGES = 32  # of the train part, that tell which channels matter
BATCH = 8
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, kw_only=True)
class Pruned:
    before: Cost
    after: Cost


def begin_pruned(run: RunFolder, to: RunFolder, target: Target, config: TrainConfig) -> Pruned:
    """Prune a run's network; begin a new run, of the same data and split, with what is left.

    Raises UserError if the new run is there already or the target is no use.
    """
    if to.checkpoint.exists():
        raise UserError(
            str(to.checkpoint),
            "a run is there already",
            next="go on with it: --resume; or start another: --to=FOLDER",
        )
    saved = read_checkpoint(run.checkpoint)
    dataset, data = data_of(run, saved)
    whole, size = load_network(run.checkpoint), saved["origin"]["resolution"]
    images = _spread(data.train, IMAGES)
    pruned = prune(whole, target, _losses(images, len(dataset.labels), config), size)
    made = Pruned(before=cost_of(whole, size), after=cost_of(pruned, size))
    to.root.mkdir(parents=True, exist_ok=True)
    shutil.copy(run.split, to.split)
    state = fresh_state(config, pruned, torch.device("cpu"))
    state.source = f"{story(saved)}, pruned to {made.after.macs / 1e6:,.0f} MMAC"
    write_checkpoint(state, Origin.of(config, dataset, data), to.checkpoint)
    return made


def parse_amount(text: str) -> int:
    """`1.6G` -> 1600000000. Raises UserError for anything else than a number with K, M or G."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text.strip(), re.IGNORECASE)
    if not found:
        raise UserError(f"amount '{text}'", "is no number", facts=["expected: e.g. 1.6G, 4.2M"])
    return round(float(found[1]) * _UNITS[found[2].upper()])


def _losses(samples: tuple[Sample, ...], labels: int, config: TrainConfig) -> Losses:
    part = load(samples, config.resolution, labels, config)

    def losses(network: Network) -> Iterator[torch.Tensor]:
        for images, target in zip(part.images.split(BATCH), part.target.split(BATCH), strict=True):
            yield functional.cross_entropy(network(standardize(images)), target)

    return losses


def _spread(samples: tuple[Sample, ...], count: int) -> tuple[Sample, ...]:
    return samples[:: max(1, len(samples) // count)][:count]
