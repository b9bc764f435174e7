"""What a detector learns from: which point answers for which box, and how a box is judged."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Input, ModelFile
from edgewright.model.contract.detect_card import BoxDistances, ClassScores, DetectCard
from edgewright.model.contract.placement import Placement
from edgewright.model.judge.boxed import BoxedImage, Instance
from edgewright.model.tasks.detect import detect, read_candidates
from edgewright.model.train import detector
from edgewright.model.train.detector import (
    BINS,
    DetectorConfig,
    Points,
    Truth,
    assign,
    generalized_iou,
    train_detector,
)
from edgewright.model.train.efficientnet_lite import STRIDES

pytestmark = pytest.mark.model
SIDE = 64


def boxes_of(*corners: tuple[float, float, float, float]) -> Truth:
    return Truth(
        boxes=torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
        labels=torch.zeros(len(corners), dtype=torch.int64),
    )


@pytest.fixture
def points() -> Points:
    return Points.of([torch.zeros(1, 1, 256 // stride, 256 // stride) for stride in STRIDES])


@pytest.mark.parametrize(("side", "stride"), [(20, 8), (64, 8), (65, 16), (128, 16), (250, 32)])
def test_a_box_is_answered_for_at_the_stride_of_its_size(
    points: Points, side: int, stride: int
) -> None:
    chosen = assign(boxes_of((3, 3, 3 + side, 3 + side)), points)
    strides = points.strides[chosen >= 0]
    assert len(strides) in range(4, 10)
    assert set(strides.tolist()) == {stride}
    centre = 3 + side / 2
    assert ((points.places[chosen >= 0] - centre).abs() < 1.5 * stride).all()


def test_of_boxes_that_overlap_the_smaller_one_is_answered_for(points: Points) -> None:
    chosen = assign(boxes_of((0, 0, 60, 60), (20, 20, 40, 40)), points)
    is_inside = ((points.places > 20) & (points.places < 40)).all(dim=1) & (points.strides == 8)
    assert (chosen[is_inside] == 1).all()
    assert (chosen == 0).any(), "points between the two answer for the larger one"


def test_an_image_without_boxes_teaches_that_there_is_nothing(points: Points) -> None:
    assert (assign(boxes_of(), points) == -1).all()


def test_generalized_iou_of_boxes_that_are_known() -> None:
    square = torch.tensor([[0.0, 0, 2, 2]])
    assert generalized_iou(square, square).item() == 1
    assert generalized_iou(square, square + 1).item() == pytest.approx(1 / 7 - 2 / 9)
    assert generalized_iou(square, square + 4).item() == pytest.approx(0 - 28 / 36)


@pytest.fixture
def card() -> DetectCard:
    outputs: list[BoxDistances | ClassScores] = []
    for stride in STRIDES:
        cells = SIDE // stride
        outputs += [
            BoxDistances(
                name=f"boxes{stride}",
                shape=(1, 4 * BINS, cells, cells),
                role="box_distances",
                stride=stride,
            ),
            ClassScores(
                name=f"scores{stride}",
                shape=(1, 1, cells, cells),
                role="class_scores",
                stride=stride,
            ),
        ]
    return DetectCard(
        task="detect",
        name="small",
        labels=("bright",),
        input=Input(shape=(1, 1, SIDE, SIDE)),
        outputs=tuple(outputs),
        file=ModelFile(name="model.onnx", sha256="0" * 64, bytes=1),
    )


@pytest.fixture
def images(tmp_path: Path) -> list[BoxedImage]:
    boxed = []
    for seed in range(6):
        random = np.random.default_rng(seed)
        pixels = random.integers(40, 60, (SIDE, SIDE)).astype(np.uint8)
        x, y = (int(value) for value in random.integers(0, SIDE - 24, 2))
        pixels[y : y + 24, x : x + 24] += 120
        path = tmp_path / f"{seed}.png"
        Image.fromarray(pixels).save(path)
        boxed.append(BoxedImage(path=path, instances=(Instance(label=0, box=(x, y, 24, 24)),)))
    return boxed


def test_the_loss_is_least_for_what_the_board_decodes_to_the_boxes(
    images: list[BoxedImage], card: DetectCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training and `edge-infer` mean the same by a distance and a score."""
    config = DetectorConfig(checkpoint=Path("unused"), steps=1, batch=1, pretrained=False)
    inputs, (truth,) = detector._batch(images, card, config, 0)
    torch.manual_seed(0)  # from where another test left the generator it fell short once
    network = detector.Detector(1)
    maps = [map_.detach().requires_grad_() for map_ in network(inputs)]
    monkeypatch.setattr(network, "forward", lambda _: tuple(maps))
    optimizer = torch.optim.Adam(maps, lr=0.5)
    for _ in range(150):
        optimizer.zero_grad()
        detector._loss(network, inputs, [truth]).backward()
        optimizer.step()
    candidates = read_candidates(card, [map_.detach().numpy() for map_ in maps])
    placement = Placement(width=SIDE, height=SIDE, scale_x=1, scale_y=1)
    best = detect(candidates, card.detect, placement)
    assert len(best.boxes) == 1
    assert best.scores[0] > 0.9
    assert best.boxes[0] == pytest.approx(truth.boxes[0].numpy(), abs=0.5)


def test_mirrored_images_take_their_boxes_along(images: list[BoxedImage], card: DetectCard) -> None:
    config = DetectorConfig(checkpoint=Path("unused"), steps=1, batch=32, pretrained=False)
    inputs, truths = detector._batch(images, card, config, 0)
    for pixels, truth in zip(inputs, truths, strict=True):
        x1, y1, x2, y2 = truth.boxes[0].int().tolist()
        assert pixels[0, y1:y2, x1:x2].min() > pixels.mean() + 1
        assert (pixels > 1).sum() == (x2 - x1) * (y2 - y1), "nothing bright is left outside"


@pytest.fixture
def train(
    images: list[BoxedImage], card: DetectCard, tmp_path: Path
) -> Callable[..., dict[str, torch.Tensor]]:
    def run(name: str, **changes: object) -> dict[str, torch.Tensor]:
        config = replace(
            DetectorConfig(checkpoint=tmp_path / f"{name}.pt", steps=4, batch=2, pretrained=False),
            **changes,  # type: ignore[arg-type]
        )
        lines: list[str] = []
        network = train_detector(images, card, config, lines.append)
        assert lines[-1].startswith(f"step {config.steps} of {config.steps}: loss ")
        state: dict[str, torch.Tensor] = network.state_dict()
        return state

    return run


def test_a_run_that_was_interrupted_ends_with_the_same_weights(
    train: Callable[..., dict[str, torch.Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    uninterrupted = train("whole")
    loss = detector._loss
    steps: list[int] = []

    def stop_at_third(*arguments: object) -> torch.Tensor:
        steps.append(len(steps))
        if len(steps) == 3:
            raise KeyboardInterrupt
        return loss(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(detector, "SAVED", 1)
    monkeypatch.setattr(detector, "_loss", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        train("parts")
    resumed = train("parts")
    assert len(steps) == 5, "two steps before, two after"
    assert all(torch.equal(uninterrupted[name], resumed[name]) for name in uninterrupted)


def test_a_checkpoint_of_another_run_is_refused(
    train: Callable[..., dict[str, torch.Tensor]],
) -> None:
    train("parts", steps=1)
    with pytest.raises(UserError, match="is of another run") as refused:
        train("parts", steps=1, seed=1)
    assert refused.value.facts == ("seed: 0",)
