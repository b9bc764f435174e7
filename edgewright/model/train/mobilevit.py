"""MobileViT in its three sizes (Mehta and Rastegari, ICLR 2022)."""

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

from edgewright.model.train.network import Network


@dataclass(frozen=True, kw_only=True)
class Size:
    """Widths of the transformers and of the stages between them, from the paper's table."""

    hidden: tuple[int, int, int]
    neck: tuple[int, int, int, int, int, int, int]
    expand: float = 4.0


SIZES = {
    "mobilevit-s": Size(hidden=(144, 192, 240), neck=(16, 32, 64, 96, 128, 160, 640)),
    "mobilevit-xs": Size(hidden=(96, 120, 144), neck=(16, 32, 48, 64, 80, 96, 384)),
    "mobilevit-xxs": Size(hidden=(64, 80, 96), neck=(16, 16, 24, 48, 64, 80, 320), expand=2.0),
}


class MobileViT(Network):
    """Trained as a whole: no stage is ever frozen."""

    def __init__(self, arch: str = "mobilevit-s", *, labels: int = 2, channels: int = 1) -> None:
        super().__init__()
        shape = SIZES[f"mobilevit-{arch.removeprefix('mobilevit-')}"]
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

    def last(self) -> nn.Linear:
        return self.body.classifier

    def pooled(self, activations: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.body.dropout(self.body.mobilevit(activations).pooler_output)
        return features


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
