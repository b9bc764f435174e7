"""A small U-Net for masks, trained on images with drawn defects."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgewright.base.progress import LineSink
from edgewright.model.contract.card import ImageCard
from edgewright.model.contract.pixels import Pixels
from edgewright.model.contract.preprocess import preprocess
from edgewright.model.judge.synthetic import SYNTHETIC_LABELS, draw_defects
from edgewright.model.train.export import OPSET

WIDTHS = (8, 16, 32)  # channels at the full, half and quarter resolution
# Of the labels in the loss: a crack has few pixels, and all of them count.
WEIGHTS = (1.0, 6.0, 2.0)
SHOWN = 50  # steps from one line of progress to the next


class SmallUNet(nn.Module):  # type: ignore[misc, unused-ignore]
    """Ronneberger et al., U-Net, MICCAI 2015, with two halvings in place of four.

    Input (N, 1, H, W), H and W multiples of 4; output (N, labels, H, W).
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.down1, self.down2, self.bottom = (
            _double(1, first),
            _double(first, second),
            _double(second, third),
        )
        self.up2, self.up1 = _double(third + second, second), _double(second + first, first)
        self.head = nn.Conv2d(first, labels, 1)

    def forward(self, image: Tensor) -> Tensor:
        full = self.down1(image)
        half = self.down2(functional.max_pool2d(full, 2))
        quarter = self.bottom(functional.max_pool2d(half, 2))
        half = self.up2(torch.cat([functional.interpolate(quarter, scale_factor=2.0), half], 1))
        full = self.up1(torch.cat([functional.interpolate(half, scale_factor=2.0), full], 1))
        logits: Tensor = self.head(full)
        return logits


def _double(inner: int, outer: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inner, outer):
        layers += [
            nn.Conv2d(channels, outer, 3, padding=1, bias=False),
            nn.BatchNorm2d(outer),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    steps: int
    batch: int = 4
    learning_rate: float = 4e-3
    seed: int = 0


def train_segmenter(
    cells: Sequence[Pixels], card: ImageCard, config: SegmenterConfig, say: LineSink
) -> SmallUNet:
    """Train on sound cells, each with other defects whenever it is seen."""
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)
    network = SmallUNet(len(SYNTHETIC_LABELS))
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps
    )
    weights = torch.tensor(WEIGHTS)
    for step in range(1, config.steps + 1):
        images, labels = _batch(cells, card, config.batch, random)
        loss = functional.cross_entropy(network(images), labels, weight=weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % SHOWN == 0 or step == config.steps:
            say(f"step {step} of {config.steps}: loss {loss.item():.3f}")
    network.eval()
    return network


def export_segmenter(network: SmallUNet, card: ImageCard, out: Path) -> None:
    """Write ONNX: input `image`, output `logits` (1, labels, H, W)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter that is to be replaced
        torch.onnx.export(
            network,
            (torch.zeros(card.input.shape),),
            str(out),
            input_names=[card.input.name],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=False,
        )


def _batch(
    cells: Sequence[Pixels], card: ImageCard, size: int, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    images, labels = [], []
    _, _, height, width = card.input.shape
    for place in random.integers(0, len(cells), size):
        pixels, truth = draw_defects(cells[place], random)
        images.append(preprocess(pixels, card)[0])
        # The label in the middle of each of the input's pixels.
        rows = ((np.arange(height) + 0.5) * truth.shape[0] / height).astype(int)
        columns = ((np.arange(width) + 0.5) * truth.shape[1] / width).astype(int)
        labels.append(truth[rows[:, np.newaxis], columns])
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels).astype(np.int64))
