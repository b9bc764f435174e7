"""What a step of training makes small."""

import torch
from torch.nn import functional

from edgewright.model.train.config import Loss

FOCUS = 2.0  # the exponent of the focal loss
HEAT = 2.0  # what a teacher's logits and its pupil's are divided by
TEACHER_WEIGHT = 0.5  # of its answers; the rest is that of the labels
RELATION_WEIGHT = 2.0  # of its features, on top; docs/model.md has what others gave


def class_weights(labels: torch.Tensor, count: int) -> torch.Tensor:
    """(count,): a label weighs the more the fewer images have it; 1 on average over the images."""
    images = torch.bincount(labels, minlength=count).clamp_min(1)
    return len(labels) / (count * images)


def label_losses(
    logits: torch.Tensor, target: torch.Tensor, kind: Loss, weights: torch.Tensor
) -> torch.Tensor:
    """Cross entropy (N,) of logits with soft labels, both (N, labels).

    `weighted` weighs labels by `weights` (labels,); `focal` weighs down what the network is sure
    of (Lin et al., ICCV 2017).
    """
    surprise = -logits.log_softmax(1)
    if kind == "weighted":
        surprise = surprise * weights.to(logits)
    elif kind == "focal":
        surprise = surprise * (1 - logits.softmax(1)) ** FOCUS
    return (target * surprise).sum(1)


def answer_losses(logits: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """How far answers are from a teacher's (N,), both logits (N, labels) (Hinton et al., 2015)."""
    pupil, exact = ((values / HEAT).log_softmax(1) for values in (logits, teacher))
    losses = functional.kl_div(pupil, exact, reduction="none", log_target=True).sum(1)
    return HEAT**2 * losses


def relation_losses(features: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """How far images of a batch lie from each other, for the pupil and for its teacher (N,).

    Distances by their mean, so that neither scale nor width matters and no layer has to translate
    one network's features (N, width) into the other's (Park et al., CVPR 2019).
    """
    ours, theirs = map(_relative_distances, (features, teacher))
    return functional.smooth_l1_loss(ours, theirs, reduction="none").mean(1)


def _relative_distances(features: torch.Tensor) -> torch.Tensor:
    """(N, N), with a mean of 1."""
    squares = (features[:, None] - features[None]).square().sum(2)
    # The gradient of a distance of 0, as each image's from itself, is not finite: the clamp's is 0.
    distances = squares.clamp_min(1e-12).sqrt()
    return distances / distances.mean()
