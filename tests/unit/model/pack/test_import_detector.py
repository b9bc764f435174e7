"""model.import of detectors: cut where boxes and scores part, decoded as the export does."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.contract.preprocess import load_input
from edgewright.model.contract.session import open_session
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.pack.import_folder import ImportRequest, import_model
from edgewright.model.pack.task_import import TaskRequest, import_task
from edgewright.model.tasks.detect import DetectAnswer, DetectTask, read_candidates
from edgewright.model.tasks.inference import Engine
from edgewright.model.tasks.task import Agreement
from edgewright.model.train.small_yolo import SIDE, SmallYolo, SmallYoloSeg, export

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


def test_a_yolov8_segmentation_is_cut_too_and_its_masks_are_those_of_its_outputs(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    network = SmallYoloSeg(len(LABELS))
    model = export(network, tmp_path / "net.onnx", outputs=("output0", "output1"))
    exported = onnx.load(model)
    names = str(dict(enumerate(LABELS)))
    for key, value in {"task": "segment", "names": names, "stride": "32"}.items():
        exported.metadata_props.add(key=key, value=value)
    onnx.save(exported, model)
    (tmp_path / "images").mkdir()
    image = photo(tmp_path / "images")
    settings = {"score_threshold": 0.01}
    cut, uncut = tmp_path / "cut", tmp_path / "whole"
    request = TaskRequest(
        model=model, out=cut, task="detect", images=image.parent, settings=settings
    )
    import_task(request)
    import_task(
        replace(request, out=uncut, roles={"output0": "predictions", "output1": "prototypes"})
    )

    card = read_any_card(cut / "card.json")
    assert isinstance(card, DetectCard)
    assert Counter(output.role for output in card.outputs) == {
        "box_distances": 3,
        "class_scores": 3,
        "mask_coefficients": 3,
        "prototypes": 1,
    }
    answer = Engine(cut / "model.onnx", card).infer([image]).answer
    other_card = read_any_card(uncut / "card.json")
    assert isinstance(answer, DetectAnswer)
    assert isinstance(other_card, DetectCard)
    other = Engine(uncut / "model.onnx", other_card).infer([image]).answer
    assert isinstance(other, DetectAnswer)
    assert answer.masks is not None
    assert answer.masks.areas
    assert any(detection.area for detection in answer.detections)
    assert DetectTask(card).problems(other, answer, Agreement(tolerance=0.001, overlap=0.99)) == []


def test_what_ultralytics_calls_its_network_is_its_task(tmp_path: Path) -> None:
    """A network of a single class, without a word of ours."""
    model = export(SmallYolo(1), tmp_path / "net.onnx")
    exported = onnx.load(model)
    for key, value in {"task": "detect", "names": "{0: 'crack'}", "stride": "32"}.items():
        exported.metadata_props.add(key=key, value=value)
    onnx.save(exported, model)
    report = import_model(ImportRequest(model=model, out=tmp_path / "out"))
    card = read_any_card(Path(report.card))
    assert isinstance(card, DetectCard)
    assert card.labels == ("crack",)


def test_a_segmentation_that_asks_for_masks_of_things_is_told_so(tmp_path: Path) -> None:
    model = export(SmallYoloSeg(3), tmp_path / "net.onnx", outputs=("output0", "output1"))
    with pytest.raises(UserError, match="has prototypes of masks") as refused:
        import_task(TaskRequest(model=model, out=tmp_path / "o", task="segment", labels=LABELS))
    assert "--task=detect" in str(refused.value)


def test_labels_that_nothing_says_are_asked_for(yolo: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not say which labels it knows"):
        import_task(TaskRequest(model=yolo, out=tmp_path / "out", task="detect"))
