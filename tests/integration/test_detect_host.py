"""Detectors: `edge-infer` on this machine against the Python reference, layout by layout."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewright.model.tasks.inference import Engine
from edgewright.model.tasks.masks import decode, encode
from tests.integration import tiny_tasks
from tests.schemas import require_valid
from tests.unit.model.detectors import (
    LAYOUTS,
    PREDICTIONS,
    card_of,
    random_outputs,
    write_constant,
)

EdgeInfer = Callable[[list[str]], subprocess.CompletedProcess[bytes]]

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("settings", [{}, {"nms": False, "score_threshold": 0.05}], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_boxes_are_those_of_the_reference(
    host_edge_infer: EdgeInfer, scratch: Path, layout: str, settings: dict[str, object]
) -> None:
    card = card_of(LAYOUTS[layout], detect=settings)
    folder = scratch / f"{layout} {bool(settings)}".replace(" ", "-")
    model = write_constant(card, random_outputs(card, 7), folder)
    image = folder / "image.png"
    Image.fromarray(np.full((90, 200, 3), 77, np.uint8)).save(image)

    ended = host_edge_infer(["run", "--model", str(model), str(image)])
    assert ended.returncode == 0, ended.stderr
    require_valid("edge-infer-run", ended.stdout)
    (result,) = json.loads(ended.stdout)["results"]
    answer = Engine(model, card).infer([image]).answer.model_dump(mode="json", by_alias=True)
    assert [detection["class"] for detection in result["detections"]] == [
        detection["class"] for detection in answer["detections"]
    ]
    assert len(answer["detections"]) >= 3
    for actual, expected in zip(result["detections"], answer["detections"], strict=True):
        assert actual["score"] == pytest.approx(expected["score"], abs=2e-6)
        assert actual["box"] == pytest.approx(expected["box"], abs=2e-3)
        assert actual.get("mask") == expected.get("mask")
        assert actual.get("area") == pytest.approx(expected.get("area"), abs=2e-6)
    assert result.get("masks") == answer.get("masks")


def test_a_card_that_does_not_describe_a_detector_is_refused_with_every_defect(
    host_edge_infer: EdgeInfer, scratch: Path
) -> None:
    card = card_of(PREDICTIONS)
    model = write_constant(card, random_outputs(card, 7), scratch / "defects")
    document = json.loads((model.parent / "card.json").read_text())
    document["outputs"][0] |= {"shape": [1, 9, 84], "activation": "softmax"}
    document["detect"]["score_threshold"] = 1
    (model.parent / "card.json").write_text(json.dumps(document))

    ended = host_edge_infer(["info", "--model", str(model)])
    assert ended.returncode == 5
    message = ended.stderr.decode()
    assert "detect.score_threshold: expected more than 0 and less than 1" in message
    assert "outputs[0].activation: is not one of the role predictions" in message
    assert "outputs[0].shape: found [1, 9, 84], of 3 labels it is [7, n]" in message


def test_a_class_without_a_label_is_the_models_fault(
    host_edge_infer: EdgeInfer, scratch: Path
) -> None:
    card = card_of([{"name": "a", "shape": [1, -1, 6], "role": "detections"}])
    values = np.array([[[0, 0, 9, 9, 0.9, 7]]], np.float32)
    model = write_constant(card, [values], scratch / "class")
    image = model.parent / "image.png"
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(image)
    ended = host_edge_infer(["run", "--model", str(model), str(image)])
    assert ended.returncode == 4
    assert "answers with class 7, its card has 3 labels" in ended.stderr.decode()


def test_a_mask_that_is_not_the_golden_one_fails_the_self_test(
    host_edge_infer: EdgeInfer, scratch: Path
) -> None:
    model = tiny_tasks.thing_masks(scratch / "thing-masks")
    ended = host_edge_infer(["selftest", "--model", str(model)])
    assert ended.returncode == 0, ended.stderr

    path = model.parent / "golden" / "expected.json"
    golden = json.loads(path.read_text())
    case = next(case for case in golden["cases"] if case["expected"]["detections"])
    size = case["expected"]["masks"]["height"], case["expected"]["masks"]["width"]
    first = case["expected"]["detections"][0]
    first["mask"] = encode(~decode(first["mask"], *size))
    path.write_text(json.dumps(golden))
    ended = host_edge_infer(["selftest", "--model", str(model)])
    assert ended.returncode == 6
    assert "overlap 0.000, expected 0.9" in ended.stdout.decode()
