"""EfficientNet-Lite as a classifier, which looks for the mean and for the strongest answer."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgewright.model.train.efficientnet_lite import (
    STAGES,
    EfficientNetLite,
    convolve,
    load_imagenet,
    package_of,
)
from edgewright.model.train.network import Network, hash_of

WIDTH = 1280  # channels of the last map, as in the paper
DROPOUT = 0.2
RATE_DECAY = 0.8  # of the learning rate, from each stage to the one before it
STAGE_COUNT = len(STAGES)


class LiteClassifier(Network):
    """Pools the last map by mean and maximum: a small crack is lost in the mean of all places.

    `frozen` stages, and the stem before them, stay as they are; with 0 even the stem learns. None
    is for training from random weights: batch normalisation then measures its own statistics.
    """

    def __init__(self, arch: str, labels: int, *, frozen: int | None = None) -> None:
        super().__init__()
        self.arch, self.frozen_stages = arch, frozen
        self.backbone = EfficientNetLite(arch)
        self.expand = convolve(self.backbone.channels[-1], WIDTH, 1)
        self.classifier = nn.Linear(2 * WIDTH, labels)
        self.cell_type = nn.Linear(2 * WIDTH, 1)
        for module in self._frozen_parts():
            module.requires_grad_(requires_grad=False)

    def last(self) -> nn.Linear:
        return self.classifier

    @property
    def has_fixed_statistics(self) -> bool:
        return self.frozen_stages is not None

    def frozen(self, images: Tensor) -> Tensor:
        for part in self._frozen_parts():
            images = part(images)
        return images

    def frozen_hash(self) -> str:
        return hash_of(self._frozen_parts())

    def pooled(self, activations: Tensor) -> Tensor:
        for part in self._trained_parts():
            activations = part(activations)
        # A pooling over the whole map, which INT8 has; a reduction to the maximum it has not.
        highest = functional.max_pool2d(activations, activations.shape[-2:]).flatten(1)
        both = torch.cat([activations.mean((2, 3)), highest], dim=1)
        return functional.dropout(both, DROPOUT, self.training)

    def rates(self) -> list[tuple[nn.Module, float]]:
        parts = [self.classifier, *reversed(self._trained_parts())]
        # What is near the image holds for any image; what is near the answer is of ImageNet.
        decay = 1.0 if self.frozen_stages is None else RATE_DECAY
        return [(self.cell_type, 1.0), *((part, decay**depth) for depth, part in enumerate(parts))]

    def train(self, mode: bool = True) -> "LiteClassifier":
        super().train(mode)
        if self.has_fixed_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def load_imagenet(self) -> str:
        """Return the package's name. Raises UserError if it is not installed."""
        load_imagenet(nn.Sequential(self.backbone, self.expand), self.arch)
        return package_of(self.arch)

    def _parts(self) -> list[nn.Module]:
        return [self.backbone.stem, *self.backbone.stages, self.expand]

    def _frozen_parts(self) -> list[nn.Module]:
        return self._parts()[: 1 + self.frozen_stages] if self.frozen_stages else []

    def _trained_parts(self) -> list[nn.Module]:
        return self._parts()[len(self._frozen_parts()) :]
