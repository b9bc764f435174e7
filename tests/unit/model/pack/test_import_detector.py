"""model.import of detectors: cut where boxes and scores part, decoded as the export does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.contract.preprocess import load_input
from edgewright.model.contract.session import open_session
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.pack.task_import import TaskRequest, import_task
from edgewright.model.tasks.detect import read_candidates
from edgewright.model.train.small_yolo import SIDE, SmallYolo, export

LABELS = ("crack", "finger", "shadow")


@pytest.fixture(scope="module")
def yolo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return export(SmallYolo(len(LABELS)), tmp_path_factory.mktemp("yolo") / "net.onnx")


def photo(folder: Path) -> Path:
    pixels = np.random.default_rng(3).integers(0, 256, (80, 120, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder / "photo.png"


def test_a_yolov8_export_is_cut_at_its_last_convolutions_and_decoded_as_it_does(
    yolo: Path, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    image = photo(tmp_path / "images")
    request = TaskRequest(
        model=yolo, out=tmp_path / "out", task="detect", labels=LABELS, images=image.parent
    )
    folder = import_task(request)
    card = read_any_card(tmp_path / "out" / "card.json")
    assert isinstance(card, DetectCard)
    strides = [(output.role, getattr(output, "stride", 0)) for output in card.outputs]
    assert sorted(strides) == sorted(
        (role, stride) for role in ("box_distances", "class_scores") for stride in (8, 16, 32)
    )
    assert any("cut at its last convolutions" in line for line in folder.assumptions)
    assert folder.golden_cases == 1

    pixels = load_input(image, card)
    (whole,) = open_session(yolo).run(None, {"images": pixels})
    names = [output.name for output in card.outputs]
    cut = open_session(tmp_path / "out" / "model.onnx").run(names, {"images": pixels})
    candidates = read_candidates(card, cut)
    x, y, width, height = whole[0, :4]
    corners = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)
    assert candidates.boxes == pytest.approx(corners, abs=1e-3)
    assert candidates.scores == pytest.approx(whole[0, 4:].max(axis=0), abs=1e-5)
    assert len(candidates.boxes) == sum((SIDE // stride) ** 2 for stride in (8, 16, 32))


def test_labels_that_nothing_says_are_asked_for(yolo: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not say which labels it knows"):
        import_task(TaskRequest(model=yolo, out=tmp_path / "out", task="detect"))
