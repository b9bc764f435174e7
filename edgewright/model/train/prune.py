"""Structured pruning: whole channels go, so that any runtime computes less.

Pruned are the inner widths: the expanded channels of the inverted residuals and the hidden
layers of the transformers, half of all multiplications. What flows between blocks keeps its
width, so blocks stay independent. Which channels go is decided over all layers together, by
the first-order Taylor estimate of what each one's absence adds to the loss (Molchanov et al.,
CVPR 2019), by the library Torch-Pruning. Widths stay multiples of eight, for SIMD.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from math import prod

import torch
import torch_pruning
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers.models.mobilevit.modeling_mobilevit import (
    MobileViTInvertedResidual,
    MobileViTTransformerLayer,
)

from edgewright.base.errors import UserError
from edgewright.model.train.mobilevit import Attention, MobileViT

MULTIPLE = 8
DEEPEST = 0.75  # of a layer's channels that may go
ROUNDS = 6  # of the bisection: the share is found to about a hundredth
Losses = Callable[[MobileViT], Iterable[torch.Tensor]]  # of a few images, batch by batch


@dataclass(frozen=True, kw_only=True)
class Cost:
    """MACs of one inference; bytes of the weights, one each as in INT8."""

    macs: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.macs / 1e6:,.0f} MMAC, {self.bytes:,} bytes of INT8 weights"


@dataclass(frozen=True, kw_only=True)
class Target:
    """The most that a pruned network may cost; at least one of the two is set."""

    macs: int | None = None
    bytes: int | None = None

    def met(self, cost: Cost) -> bool:
        return (self.macs is None or cost.macs <= self.macs) and (
            self.bytes is None or cost.bytes <= self.bytes
        )

    def __str__(self) -> str:
        macs = [] if self.macs is None else [f"{self.macs / 1e6:,.0f} MMAC"]
        size = [] if self.bytes is None else [f"{self.bytes:,} bytes of INT8 weights"]
        return ", ".join(macs + size)


def prune(network: MobileViT, target: Target, losses: Losses, size: int) -> MobileViT:
    """A copy without as many channels as the target demands, and no more.

    `losses` gives the losses of a few training images; MACs are counted at resolution `size`.
    Raises UserError for a target that the network meets already or cannot meet.
    """
    before = cost_of(network, size)
    if target.met(before):
        raise UserError(f"target {target}", "is met already", facts=[f"the network: {before}"])
    network.zero_grad(set_to_none=True)
    for loss in losses(network.train()):
        loss.backward()
    smallest = _without(network, DEEPEST, size)
    if not target.met(least := cost_of(smallest, size)):
        raise UserError(
            f"target {target}",
            "cannot be met: only inner widths are pruned, and a quarter of each stays",
            facts=[f"before: {before}", f"smallest: {least}"],
            next="take a smaller architecture: --arch=xs or xxs",
        )
    return _largest(network, target, size, smallest)


def _largest(network: MobileViT, target: Target, size: int, smallest: MobileViT) -> MobileViT:
    """The largest network that meets the target, by bisection of the share that goes."""
    best, low, high = smallest, 0.0, DEEPEST
    for _ in range(ROUNDS):
        share = (low + high) / 2
        candidate = _without(network, share, size)
        if target.met(cost_of(candidate, size)):
            best, high = candidate, share
        else:
            low = share
    return best


def _without(network: MobileViT, share: float, size: int) -> MobileViT:
    """A copy without that share of the inner channels: those that matter least."""
    copy = deepcopy(network)
    for original, copied in zip(network.parameters(), copy.parameters(), strict=True):
        # deepcopy leaves gradients out; the Taylor estimate is made of them.
        copied.grad = None if original.grad is None else original.grad.clone()
    _pruner(copy.eval(), share, size).step()
    copy.zero_grad(set_to_none=True)
    return copy


def cost_of(network: MobileViT, size: int) -> Cost:
    """The cost of one inference of one image (1, 1, size, size)."""
    device = next(network.parameters()).device
    with _counting_macs(network) as counts, torch.inference_mode():
        network.eval()(torch.zeros(1, 1, size, size, device=device))
    weights = sum(p.numel() for p in network.body.parameters())
    return Cost(macs=sum(counts), bytes=weights)


def _pruner(network: MobileViT, share: float, size: int) -> torch_pruning.BasePruner:
    inner = {id(layer) for layer in _inner_layers(network)}
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    device = next(network.parameters()).device
    return torch_pruning.BasePruner(
        network,
        torch.zeros(1, 1, size, size, device=device),
        importance=torch_pruning.importance.GroupTaylorImportance(),
        global_pruning=True,
        pruning_ratio=share,
        max_pruning_ratio=DEEPEST,
        ignored_layers=[layer for layer in layers if id(layer) not in inner],
        round_to=MULTIPLE,
    )


def _inner_layers(network: MobileViT) -> Iterator[nn.Module]:
    """Layers whose outputs stay inside their block; a depthwise one follows its input."""
    for module in network.modules():
        if isinstance(module, MobileViTInvertedResidual):
            yield module.expand_1x1.convolution
            yield module.conv_3x3.convolution
        elif isinstance(module, MobileViTTransformerLayer):
            yield module.intermediate.dense


@contextmanager
def _counting_macs(network: MobileViT) -> Iterator[list[int]]:
    """Collects the MACs of every layer while the network runs."""
    counts: list[int] = []

    def count_layer(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        counts.append(output.numel() * prod(module.weight.shape[1:]))

    def count_attention(
        module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor
    ) -> None:
        # Queries by keys, then weights by values: its own projections are layers.
        areas, patches, width = inputs[0].shape
        counts.append(2 * areas * patches * patches * width)

    handles: list[RemovableHandle] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            handles.append(module.register_forward_hook(count_layer))
        elif isinstance(module, Attention):
            handles.append(module.register_forward_hook(count_attention))
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()
