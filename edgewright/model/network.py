"""MobileViT-S for one grey channel (Mehta and Rastegari, ICLR 2022)."""

import torch
from torch import nn
from transformers import MobileViTConfig, MobileViTForImageClassification
from transformers.models.mobilevit.modeling_mobilevit import (
    MobileViTInvertedResidual,
    MobileViTTransformerLayer,
)

from edgewright.model.data import LABELS


class Network(nn.Module):  # type: ignore[misc, unused-ignore]
    """Logits of the labels; while training also one logit of the cell's type.

    The second head only shapes the features: `forward` does not run it, so an
    exported network does not carry it.
    """

    def __init__(self) -> None:
        super().__init__()
        config = MobileViTConfig(num_channels=1, num_labels=len(LABELS), hidden_dropout_prob=0.0)
        self.body = MobileViTForImageClassification(config)
        self.cell_type = nn.Linear(config.neck_hidden_sizes[-1], 1)
        self.apply(_start)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Images (N, 1, H, W), H and W multiples of 32 -> logits (N, labels)."""
        logits: torch.Tensor = self.body.classifier(self._features(image))
        return logits

    def both(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (N, 1, H, W) -> logits (N, labels) and cell type logits (N,)."""
        features = self._features(image)
        return self.body.classifier(features), self.cell_type(features)[:, 0]

    def _features(self, image: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.body.dropout(self.body.mobilevit(image).pooler_output)
        return pooled


def _start(module: nn.Module) -> None:
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
