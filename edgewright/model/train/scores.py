"""How good a network is on a part of the data, and its answers centred on it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgewright.model.judge.data import DEFECTIVE
from edgewright.model.judge.evaluate import Scores, auc
from edgewright.model.judge.recentre import centring_shift
from edgewright.model.train.arrays import Arrays
from edgewright.model.train.augment import standardize
from edgewright.model.train.network import Network, device_of


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
            network(standardize(batch).to(device_of(network)))
    network.eval()


def calibrate(network: Network, part: Arrays) -> None:
    """Shift the logit of a defect until the mean probability in `part`, the validation part, is
    the share of defects there: the bias of least log loss.

    Soft labels and averaging leave the network too timid.
    """
    scores = scores_of(network, part)[:, DEFECTIVE]
    shift = centring_shift(scores, float(part.labels.double().mean()))
    with torch.no_grad():
        network.last().bias[DEFECTIVE] += shift


def validate(network: Network, part: Arrays) -> tuple[float, float]:
    """Accuracy and AUC of a network."""
    return accuracy_and_auc(scores_of(network, part), part.labels.numpy())


def accuracy_and_auc(scores: Scores, labels: NDArray[np.int64]) -> tuple[float, float]:
    """Of probabilities (N, labels); AUC is the mean of one class against the rest."""
    present = np.unique(labels)  # of a class without an image there is no AUC
    areas = [auc((labels == label).astype(np.int64), scores[:, label]) for label in present]
    return float((scores.argmax(1) == labels).mean()), float(np.mean(areas))


def scores_of(network: Network, part: Arrays) -> Scores:
    """Probabilities (N, labels)."""
    network.eval()
    device = device_of(network)
    with torch.inference_mode():
        parts = [network.logits(batch.to(device)) for batch in part.inputs.plain(32)]
    scores: Scores = torch.cat(parts).softmax(1).double().cpu().numpy()
    return scores
