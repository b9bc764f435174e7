"""Begin a run with the pruned network of another run, to be fine-tuned."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from edgewright.base.errors import UserError
from edgewright.base.files import make_folder
from edgewright.model.judge.data import Sample
from edgewright.model.train.arrays import load
from edgewright.model.train.checkpoint import (
    Origin,
    fresh_state,
    load_network,
    provenance,
    read_checkpoint,
    write_checkpoint,
)
from edgewright.model.train.config import TrainConfig
from edgewright.model.train.mobilevit import MobileViT
from edgewright.model.train.network import Network
from edgewright.model.train.prune import Cost, Losses, Target, cost_of, prune
from edgewright.model.train.run_folder import RunFolder, data_of

IMAGES = 32  # of the train part; their losses tell which channels matter
BATCH = 8
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What an inference costs before and after pruning."""

    before: Cost
    after: Cost


def begin_pruned(run: RunFolder, to: RunFolder, target: Target, config: TrainConfig) -> Pruned:
    """Prune the network of `run`, and begin the run `to` with it, on the same data and split.

    Raises UserError if `to` exists already, or the target is met already or cannot be met.
    """
    if to.checkpoint.exists():
        raise UserError(
            str(to.checkpoint),
            "a run is there already",
            next="go on with it: --resume; or start another: --to=FOLDER",
        )
    saved = read_checkpoint(run.checkpoint)
    dataset, data = data_of(run, saved)
    network, size = load_network(run.checkpoint), saved["origin"]["resolution"]
    if not isinstance(network, MobileViT):
        raise UserError(
            f"{run.checkpoint}: {saved['origin']['arch']}", "cannot be pruned: only MobileViT can"
        )
    # Every n-th image: the part is sorted by name, and neighbours are cells of one module.
    images = data.train[:: max(1, len(data.train) // IMAGES)][:IMAGES]
    pruned = prune(network, target, _losses(images, len(dataset.labels), config), size)
    costs = Pruned(before=cost_of(network, size), after=cost_of(pruned, size))
    make_folder(to.root)
    # The recorded split goes along: test images of the first run must never train the second.
    shutil.copy(run.split, to.split)
    state = fresh_state(config, pruned, torch.device("cpu"))
    state.source = f"{provenance(saved)}, pruned to {costs.after.macs / 1e6:,.0f} MMAC"
    write_checkpoint(state, Origin.of(config, dataset, data), to.checkpoint)
    return costs


def parse_amount(text: str) -> int:
    """`1.6G` -> 1600000000. Raises UserError unless it is a number, with K, M or G or without."""
    number = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text.strip(), re.IGNORECASE)
    if not number:
        raise UserError(f"amount '{text}'", "is no number", facts=["expected: e.g. 1.6G, 4.2M"])
    return round(float(number[1]) * _UNITS[number[2].upper()])


def _losses(samples: tuple[Sample, ...], labels: int, config: TrainConfig) -> Losses:
    part = load(samples, config.resolution, labels, config)

    def losses(network: Network) -> Iterator[torch.Tensor]:
        for images, target in zip(part.inputs.plain(BATCH), part.target.split(BATCH), strict=True):
            yield functional.cross_entropy(network(images), target)

    return losses
