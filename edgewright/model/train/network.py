"""What all our classifiers have in common, and how weights fit them."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from edgewright.base.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a network makes of a batch while it is trained, or teaches another one."""

    logits: torch.Tensor  # (N, labels)
    features: torch.Tensor  # (N, width): what the classifier takes

    def to(self, device: torch.device) -> "Outputs":
        return Outputs(logits=self.logits.to(device), features=self.features.to(device))


class Network(nn.Module):  # type: ignore[misc, unused-ignore]
    """Grey images (N, 1, H, W), H and W multiples of 32 -> logits (N, labels).

    While training it also has one logit of the cell's type. That head only shapes the features:
    `forward` does not run it, so an exported network does not carry it.
    """

    cell_type: nn.Linear

    @abstractmethod
    def last(self) -> nn.Linear:
        """The layer that gives the logits."""

    @abstractmethod
    def pooled(self, activations: torch.Tensor) -> torch.Tensor:
        """Activations of the frozen stages -> features (N, width), which the classifier takes."""

    def frozen(self, images: torch.Tensor) -> torch.Tensor:
        """Activations of the stages that training leaves as they are; of none, the images."""
        return images

    def frozen_hash(self) -> str:
        """Of the weights that `frozen` computes with."""
        return ""

    def rates(self) -> list[tuple[nn.Module, float]]:
        """What is trained, each part with its share of the learning rate."""
        return [(self, 1.0)]

    @property
    def has_fixed_statistics(self) -> bool:
        """Whether batch normalisation keeps the statistics of the first weights."""
        return False

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(self.frozen(images))

    def logits(self, activations: torch.Tensor) -> torch.Tensor:
        return self.outputs(activations).logits

    def outputs(self, activations: torch.Tensor) -> Outputs:
        """Activations of the frozen stages -> logits and features."""
        features = self.pooled(activations)
        return Outputs(logits=self.last()(features), features=features)


def hash_of(parts: Iterable[nn.Module]) -> str:
    """SHA-256 of the weights of some modules."""
    content = hashlib.sha256()
    for part in parts:
        for name, value in part.state_dict().items():
            content.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()


def device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def reshape_like(network: Network, state: Mapping[str, torch.Tensor]) -> None:
    """Give convolutions, normalisations and matrices the widths that they have in `state`.

    The structure of a pruned network is the shapes of its weights; nothing else records it.
    """
    for name, module in network.named_modules():
        weight = state.get(f"{name}.weight")
        if weight is not None and weight.shape != module.weight.shape:
            _resize(module, weight.shape)


def refuse_not_finite(state: Mapping[str, torch.Tensor], subject: str) -> None:
    """Raise UserError naming the weights that hold NaN or infinity."""
    bad = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if bad:
        raise UserError(
            subject,
            f"{len(bad)} of its {len(state)} tensors hold values that are not finite",
            facts=bad[:5],
            next="train again, with a lower learning rate",
        )


def _resize(module: nn.Module, shape: torch.Size) -> None:
    module.weight = nn.Parameter(torch.zeros(shape))
    if getattr(module, "bias", None) is not None:
        module.bias = nn.Parameter(torch.zeros(shape[0]))
    if isinstance(module, nn.Conv2d):
        # A depthwise convolution has a group for each channel, so its groups shrink too.
        depthwise = module.groups == module.in_channels
        module.groups = shape[0] if depthwise else 1
        module.out_channels, module.in_channels = shape[0], shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = shape
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = shape[0]
        # Placeholders, as all values here: the state is loaded afterwards.
        module.running_mean, module.running_var = torch.zeros(shape), torch.ones(shape)
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(shape)
