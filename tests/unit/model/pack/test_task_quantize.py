"""Quantization of a segmentation, judged by its masks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Input, MeanStd, ModelFile, Preprocess, write_card
from edgewright.model.contract.segment_card import SegmentCard
from edgewright.model.contract.task_base import TaskOutput
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.pack.task_golden import require_task_golden
from edgewright.model.pack.task_quantize import TaskQuantization, quantize_task


def silent(line: str) -> None:
    """Nobody reads it."""


@pytest.fixture
def request_(tmp_path: Path) -> TaskQuantization:
    """A network that finds what is brighter than half, and images with bright spots."""
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
    images = tmp_path / "images"
    (images / "masks").mkdir(parents=True)
    for seed in range(6):
        random = np.random.default_rng(seed)
        truth = np.zeros((16, 16), np.uint8)
        truth[seed : seed + 6, 4:12] = 1
        pixels = random.integers(0, 80, (16, 16)) + truth * 170
        Image.fromarray(pixels.astype(np.uint8)).save(images / f"{seed}.png")
        Image.fromarray(truth).save(images / "masks" / f"{seed}.png")
    return TaskQuantization(
        model=model,
        card=card,
        card_path=tmp_path / "card.json",
        calibration=images,
        held_out=str(images),
        out=tmp_path / "int8",
        budget=1.0,
        calibration_images=4,
    )


def test_masks_decide_whether_int8_is_good_enough(request_: TaskQuantization) -> None:
    report = quantize_task(request_, silent)
    assert report.metric == "mean IoU"
    assert report.fp32 == 1
    assert report.int8 >= 0.99

    folder = request_.out
    card = read_any_card(folder / "card.json")
    assert isinstance(card, SegmentCard)
    assert card.quantization["int8"] == report.int8
    require_task_golden(folder / "model.onnx", card, folder / "golden", folder / "model.onnx")
    operators = {node.op_type for node in onnx.load(str(folder / "model.onnx")).graph.node}
    assert "QuantizeLinear" in operators


def test_a_loss_beyond_the_budget_is_refused(request_: TaskQuantization) -> None:
    with pytest.raises(UserError, match="loses more than -1 points of mean IoU"):
        quantize_task(replace(request_, budget=-1.0), silent)
    assert not request_.out.exists()
