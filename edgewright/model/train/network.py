"""MobileViT in its three sizes (Mehta and Rastegari, ICLR 2022)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import MobileViTConfig, MobileViTForImageClassification
from transformers.models.mobilevit.modeling_mobilevit import (
    MobileViTInvertedResidual,
    MobileViTSelfAttention,
    MobileViTTransformerLayer,
)

from edgewright.base.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Widths of the transformers and of the stages between them, from the paper's table."""

    hidden: tuple[int, int, int]
    neck: tuple[int, int, int, int, int, int, int]
    expand: float = 4.0


ARCHITECTURES = {
    "mobilevit-s": Architecture(hidden=(144, 192, 240), neck=(16, 32, 64, 96, 128, 160, 640)),
    "mobilevit-xs": Architecture(hidden=(96, 120, 144), neck=(16, 32, 48, 64, 80, 96, 384)),
    "mobilevit-xxs": Architecture(
        hidden=(64, 80, 96), neck=(16, 16, 24, 48, 64, 80, 320), expand=2.0
    ),
}


def full_name(arch: str) -> str:
    """`xxs` and `mobilevit-xxs` are the same. Raises UserError for an unknown one."""
    name = f"mobilevit-{arch.removeprefix('mobilevit-')}"
    if name not in ARCHITECTURES:
        names = ", ".join(ARCHITECTURES)
        raise UserError(f"architecture '{arch}'", "is not known", facts=[f"expected: {names}"])
    return name


class Network(nn.Module):  # type: ignore[misc, unused-ignore]
    """Logits of the labels; while training also one logit of the cell's type.

    The second head only shapes the features: `forward` does not run it, so an
    exported network does not carry it.
    """

    def __init__(self, arch: str = "mobilevit-s", *, labels: int = 2, channels: int = 1) -> None:
        super().__init__()
        shape = ARCHITECTURES[full_name(arch)]
        config = MobileViTConfig(
            num_channels=channels,
            num_labels=labels,
            hidden_sizes=list(shape.hidden),
            neck_hidden_sizes=list(shape.neck),
            expand_ratio=shape.expand,
            hidden_dropout_prob=0.0,
        )
        self.body = MobileViTForImageClassification(config)
        self.cell_type = nn.Linear(config.neck_hidden_sizes[-1], 1)
        self.apply(_initialize)
        for module in list(self.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, MobileViTSelfAttention):
                    setattr(module, name, Attention(child))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Images (N, C, H, W), H and W multiples of 32 -> logits (N, labels)."""
        logits: torch.Tensor = self.body.classifier(self._features(image))
        return logits

    def both(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (N, C, H, W) -> logits (N, labels) and cell type logits (N,)."""
        features = self._features(image)
        return self.body.classifier(features), self.cell_type(features)[:, 0]

    def _features(self, image: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.body.dropout(self.body.mobilevit(image).pooler_output)
        return pooled


class Attention(nn.Module):  # type: ignore[misc, unused-ignore]
    """transformers' attention, with its weights, through PyTorch's fused kernel.

    It keeps no matrix of patches by patches: a third of a training step less.
    """

    def __init__(self, plain: MobileViTSelfAttention) -> None:
        super().__init__()
        self.query, self.key, self.value = plain.query, plain.key, plain.value
        self.heads = plain.num_attention_heads

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Patches (areas, patches, width) -> (areas, patches, width of the value)."""
        query, key, value = (self._heads(of(patches)) for of in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).flatten(2)

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        areas, patches, _ = projected.shape
        return projected.view(areas, patches, self.heads, -1).transpose(1, 2)


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


def _initialize(module: nn.Module) -> None:
    """Initial values to train from scratch with.

    transformers draws the scales of batch normalisation from N(0, 0.02), which suits only
    weights that are loaded afterwards: signals fade to nothing. Residual branches start
    at zero (Goyal et al. 2017), so the network starts shallow and deepens.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.ones_(module.weight)
    elif isinstance(module, MobileViTInvertedResidual) and module.use_residual:
        nn.init.zeros_(module.reduce_1x1.normalization.weight)
    elif isinstance(module, MobileViTTransformerLayer):
        nn.init.zeros_(module.attention.output.dense.weight)
        nn.init.zeros_(module.output.dense.weight)
