"""What a card says of SSD, DETR and RT-DETR where nothing is stated: what their exports mean."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from edgewright.base.errors import UserError
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.contract.preprocess import load_input
from edgewright.model.contract.session import open_session
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.pack.task_import import TaskRequest, import_task
from edgewright.model.tasks.detect import read_candidates
from edgewright.model.train.small_yolo import export
from tests.unit.model.detector_heads import SIDE, Detr, RtDetrDeployed, RtDetrJoint, Ssd

pytestmark = pytest.mark.model

Answer = tuple[Tensor, Tensor, Tensor]  # boxes by corners in pixels of the input, scores, classes


def corners(boxes: Tensor) -> Tensor:
    low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
    return torch.cat([low, high], -1) * SIDE


def of_ssd(scores: Tensor, boxes: Tensor) -> Answer:
    return boxes * SIDE, *scores[..., 1:].max(-1)


def of_detr(logits: Tensor, boxes: Tensor) -> Answer:
    return corners(boxes), *logits.softmax(-1)[..., :-1].max(-1)


def of_rt_detr(logits: Tensor, boxes: Tensor) -> Answer:
    return corners(boxes), *logits.sigmoid().max(-1)


def of_deployed(labels: Tensor, boxes: Tensor, scores: Tensor) -> Answer:
    return boxes, scores, labels


def of_joint(joint: Tensor) -> Answer:
    return corners(joint[..., :4]), *joint[..., 4:].max(-1)


CASES: dict[str, tuple[Callable[[int], nn.Module], Sequence[str], Callable[..., Answer]]] = {
    "ssd": (Ssd, ("scores", "boxes"), of_ssd),
    "ssd without names": (Ssd, ("a", "b"), of_ssd),
    "detr": (Detr, ("logits", "pred_boxes"), of_detr),
    "rt-detr": (lambda n: Detr(n, has_no_object=False), ("logits", "pred_boxes"), of_rt_detr),
    "rt-detr of its authors": (RtDetrDeployed, ("labels", "boxes", "scores"), of_deployed),
    "rt-detr of ultralytics": (RtDetrJoint, ("output0",), of_joint),
}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(3).integers(0, 256, (80, 120, 3), np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images" / "photo.png")
    return tmp_path / "images" / "photo.png"


@pytest.mark.parametrize("labels", [3, 4, 6])
@pytest.mark.parametrize("case", CASES)
def test_boxes_scores_and_classes_are_those_that_the_export_means(
    case: str, labels: int, photo: Path, tmp_path: Path
) -> None:
    """With three labels and four the scores have as many columns as boxes have numbers."""
    make, names, meaning = CASES[case]
    torch.manual_seed(labels)
    network = make(labels)
    model = export(network, tmp_path / "net.onnx", names)
    words = tuple(f"label{place}" for place in range(labels))
    import_task(
        TaskRequest(
            model=model, out=tmp_path / "out", task="detect", labels=words, images=photo.parent
        )
    )
    card = read_any_card(tmp_path / "out" / "card.json")
    assert isinstance(card, DetectCard)
    assert card.detect.nms == case.startswith("ssd"), "the others find each thing once"

    image = load_input(photo, card)
    with torch.no_grad():
        answer = network.eval()(torch.from_numpy(image))
    boxes, scores, classes = meaning(*(answer if isinstance(answer, tuple) else (answer,)))
    outputs = open_session(tmp_path / "out" / "model.onnx").run(
        [output.name for output in card.outputs], {"images": image}
    )
    candidates = read_candidates(card, outputs)
    assert candidates.boxes == pytest.approx(boxes[0].numpy(), abs=1e-3)
    assert candidates.scores == pytest.approx(scores[0].numpy(), abs=1e-5)
    assert (candidates.classes == classes[0].numpy()).all()


def test_outputs_that_tell_nothing_are_asked_for(tmp_path: Path) -> None:
    model = export(RtDetrDeployed(3), tmp_path / "net.onnx", ("a", "b", "c"))
    with pytest.raises(UserError, match="outputs say nothing of what they are"):
        import_task(
            TaskRequest(model=model, out=tmp_path / "out", task="detect", labels=("x", "y", "z"))
        )
