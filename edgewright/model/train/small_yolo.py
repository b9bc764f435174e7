"""A small network of YOLOv8's form: C2f blocks, three strides, distances by their bins."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

SIDE = 64
BINS = 16
STRIDES = (8, 16, 32)
MASKS = 6  # coefficients of a mask


class Conv(nn.Sequential):  # type: ignore[misc, name-defined, unused-ignore]
    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs), nn.SiLU())


class C2f(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """Half of the channels goes by, half through residual blocks, one after the other; all that
    came between them comes together."""

    def __init__(self, channels: int, blocks: int = 1) -> None:
        super().__init__()
        half = channels // 2
        self.first = Conv(channels, channels, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(Conv(half, half), Conv(half, half)) for _ in range(blocks)
        )
        self.last = Conv(channels + half * blocks, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        parts = [*self.first(features).chunk(2, 1)]
        for block in self.blocks:
            parts.append(parts[-1] + block(parts[-1]))
        return self.last(torch.cat(parts, 1))  # type: ignore[no-any-return, unused-ignore]


class SmallYolo(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """Images (n, 3, SIDE, SIDE), 0 to 1, -> (n, 4 + labels, cells) as YOLOv8 exports them."""

    def __init__(self, labels: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(Conv(3, width, 3, 2), Conv(width, width, 3, 2), C2f(width))
        self.stages = nn.ModuleList(
            nn.Sequential(Conv(width, width, 3, 2), C2f(width)) for _ in STRIDES
        )
        self.boxes = nn.ModuleList(self._head(width, 4 * BINS) for _ in STRIDES)
        self.scores = nn.ModuleList(self._head(width, labels) for _ in STRIDES)
        self.mean = nn.Conv2d(BINS, 1, 1, bias=False).requires_grad_(False)
        self.mean.weight.data[:] = torch.arange(BINS).view(1, BINS, 1, 1)

    @staticmethod
    def _head(width: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(Conv(width, width), nn.Conv2d(width, outputs, 1))

    def features(self, images: Tensor) -> list[Tensor]:
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def heads(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        return self.heads_of(self.features(images))

    def heads_of(self, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        return [
            (boxes(features), scores(features))
            for features, boxes, scores in zip(maps, self.boxes, self.scores, strict=True)
        ]

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.decode(self.heads(images))

    def decode(self, heads: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        joint = torch.cat([torch.cat(pair, 1).flatten(2) for pair in heads], 2)
        bins, scores = joint.split([4 * BINS, joint.shape[1] - 4 * BINS], 1)
        shares = bins.view(1, 4, BINS, -1).transpose(2, 1).softmax(1)
        distances = self.mean(shares).view(1, 4, -1)
        points, strides = _cells()
        low, high = points - distances[:, :2], points + distances[:, 2:]
        boxes = torch.cat([(low + high) / 2, high - low], 1) * strides
        return torch.cat([boxes, scores.sigmoid()], 1)


class SmallYoloSeg(SmallYolo):
    """As YOLOv8-seg exports them: (n, 4 + labels + MASKS, cells), and prototypes of a quarter of
    the image's size (n, MASKS, SIDE / 4, SIDE / 4)."""

    def __init__(self, labels: int, width: int = 16) -> None:
        super().__init__(labels, width)
        self.coefficients = nn.ModuleList(self._head(width, MASKS) for _ in STRIDES)
        self.prototypes = nn.Sequential(
            Conv(width, width), nn.ConvTranspose2d(width, width, 2, 2), Conv(width, MASKS, 1)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.features(images)
        coefficients = torch.cat(
            [
                head(features).flatten(2)
                for head, features in zip(self.coefficients, maps, strict=True)
            ],
            2,
        )
        joint = torch.cat([self.decode(self.heads_of(maps)), coefficients], 1)
        return joint, self.prototypes(maps[0])


def _cells() -> tuple[Tensor, Tensor]:
    points, strides = [], []
    for stride in STRIDES:
        side = torch.arange(SIDE // stride) + 0.5
        y, x = torch.meshgrid(side, side, indexing="ij")
        points.append(torch.stack([x.flatten(), y.flatten()]))
        strides.append(torch.full((x.numel(),), float(stride)))
    return torch.cat(points, 1)[None], torch.cat(strides)


def export(network: nn.Module, path: Path, outputs: Sequence[str] = ("output0",)) -> Path:
    """Written by torch's exporter that needs no other package."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter that is to be replaced
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, 3, SIDE, SIDE),),
            str(path),
            input_names=["images"],
            output_names=list(outputs),
            opset_version=17,
            dynamo=False,
        )
    return path
