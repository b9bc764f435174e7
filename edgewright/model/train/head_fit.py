"""Fit the last layer of a pretrained network before anything else learns."""

import torch
from torch import nn
from torch.nn import functional

from edgewright.model.train.arrays import Arrays
from edgewright.model.train.network import Network, device_of

# Of the squared weights of standardised features. On ELPV's validation part AUC was 0.898, 0.915,
# 0.920 and 0.918 with 0.03, 0.1, 0.3 and 1.
PENALTY = 0.2
# Of a feature's standard deviation, which its weight is divided by. In INT8 all weights of a label
# share a scale: without a floor the largest one was 5.7 where 0.2 serves as well, and the step of
# the others as large as they are.
FLOOR = 0.1
ROUNDS = 200


def fit_head(network: Network, part: Arrays) -> None:
    """Give the last layer the weights that `fit_layer` finds for the images of the part.

    A random last layer would send random gradients through stages that are good already.
    """
    layer = fit_layer(features_of(network, part), part.target, part.weight)
    network.last().load_state_dict(layer.state_dict())


def features_of(network: Network, part: Arrays) -> torch.Tensor:
    """What the last layer gets (N, width) of the images as the board sees them."""
    network.eval()
    device = device_of(network)
    with torch.inference_mode():
        batches = [network.pooled(batch.to(device)).cpu() for batch in part.inputs.plain(32)]
    return torch.cat(batches).clone()  # the clone may take part in gradients


def fit_layer(features: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> nn.Linear:
    """Logistic regression: features (N, width) -> logits (N, labels), whose probabilities are to
    be `target`; `weight` (N,) says how much each image counts."""
    mean, deviation = features.mean(0), features.std(0).clamp_min(FLOOR)
    layer = _regress((features - mean) / deviation, target, weight)
    with torch.no_grad():
        layer.weight /= deviation
        layer.bias -= layer.weight @ mean
    return layer


def _regress(features: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(features.shape[1], target.shape[1])
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.LBFGS(
        layer.parameters(), max_iter=ROUNDS, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        losses = functional.cross_entropy(layer(features), target, reduction="none")
        penalty = PENALTY * layer.weight.square().sum()
        total: torch.Tensor = (losses * weight).sum() / weight.sum() + penalty
        total.backward()
        return total

    optimizer.step(loss)
    return layer
