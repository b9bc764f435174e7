"""The first weights of a network: random, from a file or from a package."""

from pathlib import Path
from typing import Any

import torch

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Facts
from edgewright.model.train.checkpoint import provenance, run_facts
from edgewright.model.train.config import TrainConfig
from edgewright.model.train.efficientnet_lite import LITE0
from edgewright.model.train.lite_classifier import LiteClassifier
from edgewright.model.train.network import Network, refuse_not_finite


def first_weights(network: Network, config: TrainConfig) -> str:
    """Load what the run starts from; return where it comes from, for a report.

    Raises UserError for a network without weights in a package, and as `load_weights` does.
    """
    if config.weights:
        # A few epochs with INT8's rounding make no network of random weights.
        return load_weights(network, config.weights, complete=config.quantization_aware)
    if not config.pretrained:
        return "scratch"
    if not isinstance(network, LiteClassifier):
        raise UserError(
            config.arch,
            "comes without pretrained weights",
            next=f"--arch={LITE0}, or weights of your own: --weights=FILE",
        )
    return f"ImageNet ({network.load_imagenet()})"


def first_run(config: TrainConfig) -> Facts | None:
    """The run that the first weights are of, where they are a run's."""
    content = _read_weights(config.weights) if config.weights else {}
    return run_facts(content) if "origin" in content else None


def load_weights(network: Network, path: Path, *, complete: bool = False) -> str:
    """Copy weights from a file into a network, and return where they come from, for a report.

    The file is a checkpoint of a run, or any PyTorch state. A tensor fits by name and
    shape; a first layer made for colours is summed up for grey. Tensors of the network that
    the file lacks stay as they are. Raises UserError if none fits, or, with `complete`, if any
    lacks, or values are not finite.
    """
    content = _read_weights(path)
    weights = content.get("average", content)
    offered = {name: value for name, value in weights.items() if torch.is_tensor(value)}
    expected, fitting = network.state_dict(), {}
    for name, value in offered.items():
        # transformers names its parts without the `body.` of our network.
        our_name = name if name in expected else f"body.{name}"
        if our_name not in expected:
            continue
        of_colours = value.ndim == 4 and value.shape[1] == 3 and expected[our_name].shape[1] == 1
        adapted = value.sum(1, keepdim=True) if of_colours else value
        if adapted.shape == expected[our_name].shape:
            fitting[our_name] = adapted
    if not fitting or (complete and len(fitting) < len(expected)):
        raise UserError(
            str(path),
            "has no tensor that fits" if not fitting else "is of another network",
            facts=[f"{len(offered)} in it, {len(fitting)} fit, {len(expected)} expected"],
            next="give the architecture of that run: --arch",
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
