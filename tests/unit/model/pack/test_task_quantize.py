"""Quantization of a segmentation and of a detector with masks, judged by their masks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Input, MeanStd, ModelFile, Preprocess, write_card
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.contract.segment_card import SegmentCard
from edgewright.model.contract.task_base import TaskOutput
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.pack.task_golden import require_task_golden
from edgewright.model.pack.task_import import TaskRequest, import_task
from edgewright.model.pack.task_quantize import (
    TaskQuantization,
    TaskQuantized,
    quantize_task,
)
from edgewright.model.tasks.detect import DetectAnswer
from edgewright.model.tasks.inference import Engine
from edgewright.model.tasks.masks import encode
from edgewright.model.train.small_yolo import SmallYoloSeg, export


def silent(line: str) -> None:
    """Nobody reads it."""


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory) -> TaskQuantization:
    """A network that finds what is brighter than half, and images with bright spots."""
    tmp_path = tmp_path_factory.mktemp("bright")
    weights = {
        "spread": np.array([-8.0, 8.0], np.float32).reshape(2, 1, 1, 1),
        "level": np.array([4.0, -4.0], np.float32),
    }
    nodes = [helper.make_node("Conv", ["image", "spread", "level"], ["logits"], name="conv")]
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, 16, 16])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = tmp_path / "net.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), model)
    card = SegmentCard(
        task="segment",
        name="bright",
        labels=("dark", "bright"),
        input=Input(shape=(1, 1, 16, 16)),
        preprocess=Preprocess(normalize=MeanStd(mean=(0.0,), std=(1.0,))),
        outputs=(TaskOutput(name="logits", shape=(1, 2, 16, 16), role="logits"),),
        file=ModelFile.of(model),
    )
    write_card(card, tmp_path / "card.json")
    images, calibration = tmp_path / "images", tmp_path / "calibration"
    (images / "masks").mkdir(parents=True)
    calibration.mkdir()
    for seed in range(10):
        random = np.random.default_rng(seed)
        truth = np.zeros((16, 16), np.uint8)
        truth[seed : seed + 6, 4:12] = 1
        pixels = random.integers(0, 80, (16, 16)) + truth * 170
        part = images if seed < 6 else calibration
        Image.fromarray(pixels.astype(np.uint8)).save(part / f"{seed}.png")
        if part is images:
            Image.fromarray(truth).save(images / "masks" / f"{seed}.png")
    return TaskQuantization(
        model=model,
        card=card,
        card_path=tmp_path / "card.json",
        calibration=str(calibration),
        held_out=str(images),
        out=tmp_path / "int8",
        budget=1.0,
        calibration_images=4,
    )


@pytest.fixture(scope="module")
def quantized(request_: TaskQuantization) -> TaskQuantized:
    """What is in the folder `request_.out`."""
    return quantize_task(request_, silent)


def test_masks_decide_whether_int8_is_good_enough(
    request_: TaskQuantization, quantized: TaskQuantized
) -> None:
    report = quantized
    assert report.metric == "mean IoU"
    assert report.fp32.figure == 1
    assert report.chosen.figure >= 0.99

    folder = request_.out
    card = read_any_card(folder / "card.json")
    assert isinstance(card, SegmentCard)
    assert card.quantization["int8"] == report.chosen.figure
    assert TaskQuantized.model_validate_json((folder / "sweep.json").read_text()) == report
    require_task_golden(folder / "model.onnx", card, folder / "golden", folder / "model.onnx")
    with Image.open(folder / "answers.png") as answers:
        assert answers.width > answers.height / 4, "FP32 beside INT8, four rows"
        colours = {tuple(value) for value in np.asarray(answers.convert("RGB")).reshape(-1, 3)}
        assert len(colours) > 256, "masks are drawn in colour"
    operators = {node.op_type for node in onnx.load(str(folder / "model.onnx")).graph.node}
    assert "QuantizeLinear" in operators


def test_a_sweep_tries_every_recipe_and_takes_one_within_the_budget(
    request_: TaskQuantization, tmp_path: Path
) -> None:
    report = quantize_task(replace(request_, sweep=True, out=tmp_path / "int8"), silent)
    names = [row.name for row in report.candidates]
    assert len(set(names)) == len(names) > 17, "the grid, and nodes left in FP32"
    assert any("FP32: first and last layer" in name for name in names)
    assert sum(row.chosen for row in report.candidates) == 1
    assert report.chosen.figure >= report.fp32.figure - request_.budget / 100
    assert "points of mean IoU" in report.reason


def test_a_loss_beyond_the_budget_is_refused(request_: TaskQuantization, tmp_path: Path) -> None:
    out = tmp_path / "int8"
    with pytest.raises(UserError, match="no recipe of 1 keeps mean IoU within -1 points of FP32"):
        quantize_task(replace(request_, budget=-1.0, out=out), silent)
    assert not out.exists()


def test_an_image_that_judges_may_not_give_ranges(request_: TaskQuantization) -> None:
    with pytest.raises(UserError, match="4 of its images are held-out images"):
        quantize_task(replace(request_, calibration=request_.held_out), silent)


@pytest.mark.usefixtures("quantized")
def test_an_int8_network_is_not_quantized_again(request_: TaskQuantization) -> None:
    again = request_.out / "model.onnx"
    card = read_any_card(request_.out / "card.json")
    assert isinstance(card, SegmentCard)
    int8 = replace(request_, model=again, card=card, card_path=request_.out / "card.json")
    with pytest.raises(UserError, match="is quantized already"):
        quantize_task(replace(int8, out=request_.out.with_name("twice")), silent)


def test_yolos_masks_outlive_int8(tmp_path: Path) -> None:
    """Cut at its last convolutions: what FP32 answers is the truth that INT8 is judged by."""
    torch.manual_seed(0)
    exported = export(SmallYoloSeg(3), tmp_path / "net.onnx", outputs=("output0", "output1"))
    for part in ("calibration", "test"):
        (tmp_path / part).mkdir()
    for seed in range(8):
        tiles = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        part = "calibration" if seed < 4 else "test"
        picture = Image.fromarray(tiles).resize((64, 64), Image.Resampling.NEAREST)
        picture.save(tmp_path / part / f"{seed}.png")
    fp32 = tmp_path / "fp32"
    import_task(
        TaskRequest(
            model=exported,
            out=fp32,
            task="detect",
            labels=("crack", "finger", "shadow"),
            images=tmp_path / "calibration",
            settings={"score_threshold": 0.3},
        )
    )
    card = read_any_card(fp32 / "card.json")
    assert isinstance(card, DetectCard)
    held_out = _answers_as_truth(Engine(fp32 / "model.onnx", card), card, tmp_path / "test")
    report = quantize_task(
        TaskQuantization(
            model=fp32 / "model.onnx",
            card=card,
            card_path=fp32 / "card.json",
            calibration=str(tmp_path / "calibration"),
            held_out=str(held_out),
            out=tmp_path / "int8",
            budget=20.0,
            calibration_images=4,
        ),
        silent,
    )
    assert (report.metric, report.fp32.figure) == ("mask mAP@50:95", 1.0)
    assert report.chosen.figure >= 0.8


def _answers_as_truth(engine: Engine, card: DetectCard, folder: Path) -> Path:
    """COCO's JSON of what the network finds in the images of a folder."""
    images, annotations = [], []
    for number, path in enumerate(sorted(folder.iterdir())):
        images.append({"id": number, "file_name": path.name})
        result = engine.infer([path])
        assert isinstance(result.answer, DetectAnswer)
        masks = result.reading.masks
        for detection, mask in zip(result.answer.detections, masks.masks, strict=True):
            pixels = np.zeros((64, 64), bool)
            pixels[masks.window.pixels] = masks.window.spread(mask)
            annotations.append(
                {
                    "image_id": number,
                    "category_id": card.labels.index(detection.class_),
                    "bbox": detection.box,
                    "segmentation": {"size": pixels.shape, "counts": encode(pixels)},
                }
            )
    categories = [{"id": place, "name": label} for place, label in enumerate(card.labels)]
    truth = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "truth.json").write_text(json.dumps(truth))
    return folder / "truth.json"
