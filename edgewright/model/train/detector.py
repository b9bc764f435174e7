"""A small detector: EfficientNet-Lite0, a feature pyramid, and the heads of YOLOv8.

The heads end in convolutions, where the board takes over (docs/formats.md, `box_distances` and
`class_scores`): nothing behind them shares a scale in INT8. Trained as FCOS is (Tian et al., ICCV
2019): the points around a thing's centre answer for it, at the stride that suits its size. Boxes
are learnt by GIoU (Rezatofighi et al., CVPR 2019) and distribution focal loss (Li et al., NeurIPS
2020).
"""

import hashlib
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgewright.base.errors import UserError
from edgewright.base.files import replacing
from edgewright.base.progress import LineSink
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.contract.preprocess import load_placed
from edgewright.model.judge.boxed import BoxedImage
from edgewright.model.train.allocator import keep_freed_memory
from edgewright.model.train.efficientnet_lite import STRIDES, EfficientNetLite, load_imagenet
from edgewright.model.train.export import OPSET
from edgewright.model.train.interrupt import interruptible

WIDTH = 64  # channels of the pyramid
BINS = 16  # of a distance, one stride each
LARGEST = 8  # strides, the longer side of a box that a stride answers for; the last one: any
RADIUS = 1.5  # strides around a box's centre, within which points answer for it
PRIOR = 0.01  # the score that training starts with: nearly all points see nothing
GIOU_WEIGHT, BINS_WEIGHT = 2.0, 0.5  # beside the scores' cross entropy
WARM_UP = 50  # steps
SHOWN = 20  # steps from one line of progress to the next
SAVED = 100  # steps from one checkpoint to the next


class Detector(nn.Module):  # type: ignore[misc, unused-ignore]
    """Images (N, 1, H, W) -> of each stride distances (N, 4 BINS, h, w), scores (N, labels, h, w).

    H and W are multiples of 32.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.backbone = EfficientNetLite()
        self.lateral = nn.ModuleList(nn.Conv2d(width, WIDTH, 1) for width in self.backbone.channels)
        self.boxes = nn.ModuleList(_head(4 * BINS) for _ in STRIDES)
        self.scores = nn.ModuleList(_head(labels) for _ in STRIDES)
        for head in self.scores:
            nn.init.constant_(head[-1].bias, math.log(PRIOR / (1 - PRIOR)))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = [
            of(features) for of, features in zip(self.lateral, self.backbone(image), strict=True)
        ]
        for place in range(len(maps) - 1, 0, -1):
            maps[place - 1] = maps[place - 1] + functional.interpolate(
                maps[place], scale_factor=2.0
            )
        heads = zip(self.boxes, self.scores, maps, strict=True)
        return tuple(head(features) for *pair, features in heads for head in pair)

    def train(self, mode: bool = True) -> "Detector":
        """What finds edges and textures stays as it is: in half the time, as good a network."""
        super().train(mode)
        for module in self.backbone.early():
            module.eval()
            module.requires_grad_(requires_grad=False)
        return self


def _head(outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH, bias=False),
            nn.Conv2d(WIDTH, WIDTH, 1, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU6(),
        ]
    return nn.Sequential(*layers, nn.Conv2d(WIDTH, outputs, 1))


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """Raises UserError for a value that no run can have."""

    checkpoint: Path
    steps: int
    batch: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    seed: int = 0
    pretrained: bool = True  # ImageNet's weights; without: random ones

    def __post_init__(self) -> None:
        if self.steps <= 0:
            raise UserError(f"steps {self.steps}", "must be above 0")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a run must have in common with a checkpoint to go on from it."""

    labels: tuple[str, ...]
    shape: tuple[int, ...]
    steps: int
    seed: int
    boxes: str  # fingerprint of names and boxes


def train_detector(
    images: Sequence[BoxedImage], card: DetectCard, config: DetectorConfig, say: LineSink
) -> Detector:
    """Train to the last step, going on from the checkpoint if there is one.

    Ctrl-C finishes the step, saves and raises KeyboardInterrupt. Raises UserError for a checkpoint
    of another run, and if the loss is not finite.
    """
    keep_freed_memory()
    torch.manual_seed(config.seed)
    network = Detector(len(card.labels))
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    origin = Origin(
        labels=tuple(card.labels),
        shape=tuple(card.input.shape),
        steps=config.steps,
        seed=config.seed,
        boxes=_fingerprint(images),
    )
    first = _start(network, optimizer, config, origin)
    network.to(memory_format=torch.channels_last)  # PyTorch's convolutions on a CPU are faster so
    network.train()
    with interruptible() as interrupted:
        for step in range(first, config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _pace(step, config.steps)
            loss = _loss(network, *_batch(images, card, config, step))
            if not math.isfinite(loss.item()):
                raise UserError(f"step {step}", "the loss is not finite")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            done, is_last = step + 1, step + 1 == config.steps
            if done % SHOWN == 0 or is_last:
                say(f"step {done} of {config.steps}: loss {loss.item():.3f}")
            if done % SAVED == 0 or is_last or interrupted():
                _save(network, optimizer, config, origin, done)
            if interrupted():
                raise KeyboardInterrupt
    network.eval()
    return network


def export_detector(network: Detector, card: DetectCard, names: Sequence[str], out: Path) -> None:
    """Write ONNX: the outputs of each stride, boxes before scores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter that is to be replaced
        torch.onnx.export(
            network.to(memory_format=torch.contiguous_format),
            (torch.zeros(card.input.shape),),
            str(out),
            input_names=[card.input.name],
            output_names=list(names),
            opset_version=OPSET,
            dynamo=False,
        )


def _start(
    network: Detector, optimizer: torch.optim.Optimizer, config: DetectorConfig, origin: Origin
) -> int:
    """Load the checkpoint, or the first weights; return the number of the first step."""
    if not config.checkpoint.exists():
        if config.pretrained:
            load_imagenet(network.backbone)
        return 0
    saved = torch.load(config.checkpoint, map_location="cpu", weights_only=True)
    if differing := [
        name for name, value in asdict(origin).items() if saved["origin"][name] != value
    ]:
        raise UserError(
            str(config.checkpoint),
            "is of another run",
            facts=[f"{name}: {saved['origin'][name]}" for name in differing],
            next="give the same options and images, or another --out",
        )
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    return int(saved["step"])


def _save(
    network: Detector,
    optimizer: torch.optim.Optimizer,
    config: DetectorConfig,
    origin: Origin,
    step: int,
) -> None:
    content = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "origin": asdict(origin),
    }
    with replacing(config.checkpoint) as aside:
        torch.save(content, aside)


def _fingerprint(images: Sequence[BoxedImage]) -> str:
    text = "\n".join(f"{image.path.name} {image.instances}" for image in images)
    return hashlib.sha256(text.encode()).hexdigest()


def _pace(step: int, steps: int) -> float:
    """Share of the learning rate: a linear warm-up, then a cosine down to nothing."""
    return min((step + 1) / WARM_UP, 1.0) * 0.5 * (1 + math.cos(math.pi * step / steps))


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The things of one image, in pixels of the input."""

    boxes: Tensor  # (n, 4): x1, y1, x2, y2
    labels: Tensor  # (n,)


def _batch(
    images: Sequence[BoxedImage], card: DetectCard, config: DetectorConfig, step: int
) -> tuple[Tensor, list[Truth]]:
    """Images and their boxes, each mirrored in one of the four ways."""
    # Of seed and step alone: a run that is resumed draws what it would have drawn.
    random = np.random.default_rng([config.seed, step])
    inputs, truths = [], []
    for place in random.integers(0, len(images), config.batch):
        pixels, boxes = _load(images[place], card)
        for axis in (1, 2):
            if random.random() < 0.5:
                pixels = np.flip(pixels, axis)
                first = 2 - axis  # x is the last axis of pixels, and the first one of a box
                low, high = boxes[:, first].copy(), boxes[:, first + 2].copy()
                boxes[:, first] = pixels.shape[axis] - high
                boxes[:, first + 2] = pixels.shape[axis] - low
        inputs.append(np.ascontiguousarray(pixels))
        labels = torch.tensor([boxed.label for boxed in images[place].instances], dtype=torch.int64)
        truths.append(Truth(boxes=torch.from_numpy(boxes), labels=labels))
    stacked = torch.from_numpy(np.stack(inputs))
    return stacked.contiguous(memory_format=torch.channels_last), truths


def _load(image: BoxedImage, card: DetectCard) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The network's input (C, H, W), and boxes (n, 4) in its pixels."""
    values, placement = load_placed(image.path, card)
    boxes = np.array([boxed.box for boxed in image.instances], np.float32).reshape(-1, 4)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    scale = np.array([placement.scale_x, placement.scale_y] * 2, np.float32)
    offset = np.array([placement.left, placement.top] * 2, np.float32)
    return values[0], corners * scale + offset


@dataclass(frozen=True, kw_only=True)
class Points:
    """The centres of all cells of all strides, in pixels of the input."""

    places: Tensor  # (points, 2): x, y
    strides: Tensor  # (points,)

    @classmethod
    def of(cls, maps: Sequence[Tensor]) -> "Points":
        places, strides = [], []
        for stride, features in zip(STRIDES, maps, strict=True):
            height, width = features.shape[-2:]
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            places.append((torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5) * stride)
            strides.append(torch.full((height * width,), float(stride)))
        return cls(places=torch.cat(places), strides=torch.cat(strides))


def _loss(network: Detector, images: Tensor, truths: Sequence[Truth]) -> Tensor:
    maps = network(images)
    points = Points.of(maps[::2])
    distances, scores = (
        torch.cat([features.flatten(2).transpose(1, 2) for features in kind], dim=1)
        for kind in (maps[::2], maps[1::2])
    )
    chosen = torch.stack([assign(truth, points) for truth in truths])
    target = torch.zeros_like(scores)
    image, point = torch.nonzero(chosen >= 0, as_tuple=True)
    matched = chosen[image, point]
    boxes = torch.zeros(len(image), 4)
    for place, truth in enumerate(truths):
        rows = image == place
        boxes[rows] = truth.boxes[matched[rows]]
        target[place, point[rows], truth.labels[matched[rows]]] = 1
    count = max(1, len(image))
    loss = functional.binary_cross_entropy_with_logits(scores, target, reduction="sum") / count
    if len(image):
        loss = loss + _box_loss(
            distances[image, point], boxes, points.places[point], points.strides[point]
        )
    return loss


def assign(truth: Truth, points: Points) -> Tensor:
    """For each point the thing that it answers for, the smallest if there are several; else -1."""
    if not len(truth.boxes):
        return torch.full((len(points.places),), -1)
    low, high = truth.boxes[:, :2], truth.boxes[:, 2:]
    longest = (high - low).amax(dim=1)
    places, strides = points.places[:, None], points.strides[:, None]
    is_near = ((places - (low + high) / 2).abs() < RADIUS * strides[..., None]).all(dim=2)
    is_inside = ((places > low) & (places < high)).all(dim=2)
    is_first, is_last = strides == STRIDES[0], strides == STRIDES[-1]
    suits = (is_first | (longest > LARGEST * strides / 2)) & (
        is_last | (longest <= LARGEST * strides)
    )
    areas = (high - low).prod(dim=1)
    candidates = torch.where(is_near & is_inside & suits, areas, torch.inf)
    smallest, nearest = candidates.min(dim=1)
    return torch.where(smallest < torch.inf, nearest, -1)


def _box_loss(distances: Tensor, boxes: Tensor, places: Tensor, strides: Tensor) -> Tensor:
    """Distances (n, 4 BINS) against boxes (n, 4), both seen from points (n, 2)."""
    logits = distances.reshape(-1, 4, BINS)
    mean = (logits.softmax(dim=2) * torch.arange(BINS)).sum(dim=2) * strides[:, None]
    predicted = torch.cat([places - mean[:, :2], places + mean[:, 2:]], dim=1)
    exact = torch.cat([places - boxes[:, :2], boxes[:, 2:] - places], dim=1) / strides[:, None]
    exact = exact.clamp(0, BINS - 1.01)
    below = exact.floor()
    share = exact - below  # of the bin above
    lower, upper = (
        functional.cross_entropy(
            logits.reshape(-1, BINS), (below.long() + up).reshape(-1), reduction="none"
        ).reshape(-1, 4)
        for up in (0, 1)
    )
    bins = (lower * (1 - share) + upper * share).mean()
    return GIOU_WEIGHT * (1 - generalized_iou(predicted, boxes)).mean() + BINS_WEIGHT * bins


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """Of each pair of boxes (n, 4): the IoU, less the share of their hull that neither covers."""
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    area_a, area_b = ((box[:, 2:] - box[:, :2]).clamp(min=0).prod(dim=1) for box in (a, b))
    overlap, enclosed = shared.prod(dim=1), hull.prod(dim=1)
    union = area_a + area_b - overlap
    iou: Tensor = overlap / union - (enclosed - union) / enclosed
    return iou
