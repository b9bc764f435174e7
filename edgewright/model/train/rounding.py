"""A network that computes with INT8's rounding while it learns (Jacob et al., CVPR 2018).

Weights are rounded for each output channel, symmetric and never to -128; what goes from layer to
layer for each tensor, unsigned, over the range that it has in the batch. Gradients pass as if
nothing were rounded. None of it is part of the network: checkpoints, exports and the INT8 file are
made as of any other run. A batch normalisation scales whole output channels, so that rounding
before it is rounding after it was folded away.

Sums of residuals and the products inside of attention are not rounded here, as they are on a board.
"""

from collections.abc import Iterator
from functools import partial
from itertools import zip_longest

import torch
from torch import nn
from torch.nn import functional

from edgewright.model.train.network import Network

FOLDED = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6)  # a board computes them within the layer before
LEAST_STEP = 1e-8  # of a tensor that is all zeros


def learn_rounding(network: Network) -> None:
    """Have a network round whenever it is in training mode; its parameters keep their names."""
    for module in network.modules():
        for plain, rounding in ((nn.Conv2d, _Conv2d), (nn.Linear, _Linear)):
            if type(module) is plain:
                module.__class__ = rounding
    for layer in _rounded_layers(network):
        layer.register_forward_hook(partial(_round_output, network))


def round_weights(weights: torch.Tensor) -> torch.Tensor:
    """(outputs, …) to the nearest of 255 steps of its output."""
    step = weights.detach().flatten(1).abs().amax(1).clamp_min(LEAST_STEP) / 127
    zero = torch.zeros(len(weights), dtype=torch.int32, device=weights.device)
    rounded: torch.Tensor = torch.fake_quantize_per_channel_affine(
        weights, step, zero, 0, -127, 127
    )
    return rounded


def round_values(values: torch.Tensor) -> torch.Tensor:
    """To the nearest of 256 steps from the least value to the largest; 0 is one of them."""
    low, high = torch.aminmax(values.detach())
    low, high = low.clamp_max(0), high.clamp_min(0)
    step = ((high - low) / 255).clamp_min(LEAST_STEP)
    zero = (-low / step).round().to(torch.int32)
    rounded: torch.Tensor = torch.fake_quantize_per_tensor_affine(values, step, zero, 0, 255)
    return rounded


class _Conv2d(nn.Conv2d):  # type: ignore[misc, unused-ignore]
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        weights = round_weights(self.weight) if self.training else self.weight
        return self._conv_forward(images, weights, self.bias)


class _Linear(nn.Linear):  # type: ignore[misc, unused-ignore]
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        weights = round_weights(self.weight) if self.training else self.weight
        return functional.linear(values, weights, self.bias)


def _rounded_layers(network: Network) -> Iterator[nn.Module]:
    for parent in network.modules():
        children = [*parent.children()]
        for layer, following in zip_longest(children, children[1:]):
            if not [*layer.children()] and not isinstance(following, FOLDED):
                yield layer


def _round_output(
    network: Network, layer: nn.Module, inputs: object, output: torch.Tensor
) -> torch.Tensor:
    # The network's mode, not the layer's: normalisations that keep their statistics never train.
    return round_values(output) if network.training else output
