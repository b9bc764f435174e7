"""A detector that is trained on mosaics, as a model folder."""

from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.importer.task_network import read_for_task
from edgewright.model.judge.boxes import evaluate_boxes
from edgewright.model.judge.data import Sample, split
from edgewright.model.judge.mosaic import write_mosaics
from edgewright.model.pack.detect_model import DetectorRequest, make_detector
from edgewright.model.pack.task_golden import require_task_golden
from edgewright.model.train.detector import DetectorConfig

pytestmark = pytest.mark.model


def test_mosaics_make_a_model_folder_that_a_build_takes(
    samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    write_mosaics(split(samples), tmp_path / "mosaic", passes=1)
    training = DetectorConfig(checkpoint=tmp_path / "made.pt", steps=2, batch=2, pretrained=False)
    lines: list[str] = []
    model = make_detector(
        DetectorRequest(
            images=tmp_path / "mosaic", out=tmp_path / "made", size=64, training=training
        ),
        lines.append,
    )

    folder = tmp_path / "made"
    card = read_any_card(folder / "card.json")
    assert isinstance(card, DetectCard)
    assert card == model
    assert card.labels == ("defective",)
    imported = read_for_task(folder / "model.onnx", card, folder / "card.json")
    assert imported.difference in (None, 0), "a build takes it as it is"
    require_task_golden(imported.path, card, folder / "golden", folder / "model.onnx")
    quality = evaluate_boxes(folder / "model.onnx", card, str(tmp_path / "mosaic" / "test.json"))
    assert quality.count > 0


def test_a_size_that_the_strides_do_not_divide_is_refused(tmp_path: Path) -> None:
    training = DetectorConfig(checkpoint=tmp_path / "made.pt", steps=2)
    with pytest.raises(UserError, match="size 100: is not a multiple of 32 pixels"):
        DetectorRequest(images=tmp_path, out=tmp_path / "made", size=100, training=training)
