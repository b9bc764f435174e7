"""Where a network looked."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.model.contract.card import Card, Input, ModelFile, Output
from edgewright.model.judge.grad_cam import GradCam

SIDE = 8
WEIGHTS = {
    "bright": np.array([[[[1.0]]], [[[-1.0]]]]),  # what is bright, and what is dark
    "level": np.array([-0.5, 0.5]),
    "matrix": np.array([[-4.0, 4.0], [4.0, -4.0]]),  # bright: defective
    "bias": np.array([0.5, -0.5]),
}
QUANTIZED = {"scale": np.array(0.02), "zero": np.array(0, np.uint8)}


def write(folder: Path, *, int8: bool = False, flat: bool = False) -> tuple[Path, Card]:
    """Finds bright spots; with `flat` it has no map, only rows."""
    nodes = [
        helper.make_node("Conv", ["image", "bright", "level"], ["maps"]),
        helper.make_node("Relu", ["maps"], ["spots"]),
        helper.make_node("GlobalAveragePool", ["spots"], ["pooled"]),
    ]
    pooled = "pooled"
    if int8:
        nodes += [
            helper.make_node("QuantizeLinear", ["pooled", "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["rounded"]),
        ]
        pooled = "rounded"
    if flat:
        nodes = [helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=1)]
        nodes += [helper.make_node("Concat", ["mean", "mean"], ["twice"], axis=1)]
        pooled = "twice"
    nodes += [
        helper.make_node("Flatten", [pooled], ["row"]),
        helper.make_node("Gemm", ["row", "matrix", "bias"], ["scores"]),
    ]
    used = {name for node in nodes for name in node.input}
    values = {name: np.float32(value) for name, value in WEIGHTS.items()} | {
        "scale": np.float32(0.02),
        "zero": QUANTIZED["zero"],
    }
    graph = helper.make_graph(
        nodes,
        "spots",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2])],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in values.items()
            if name in used
        ],
    )
    path = folder / "net.onnx"
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    card = Card(
        name="spots",
        labels=("ok", "defective"),
        input=Input(name="image", shape=(1, 1, SIDE, SIDE)),
        output=Output(name="scores", shape=(1, 2)),
        file=ModelFile.of(path),
    )
    return path, card


@pytest.mark.parametrize("int8", [False, True])
def test_what_speaks_for_a_label_is_hot(tmp_path: Path, int8: bool) -> None:
    """In INT8 too, where one channel's step is less than the answer is rounded by."""
    image = np.zeros((1, 1, SIDE, SIDE), np.float32)
    image[..., 2, 5] = 0.9
    grad_cam = GradCam(*write(tmp_path, int8=int8))
    heat = grad_cam.heat(image, 1)
    assert heat.shape == (SIDE, SIDE)
    assert np.flatnonzero(heat).tolist() == [2 * SIDE + 5]
    assert heat[2, 5] == 1
    sound = grad_cam.heat(image, 0)
    assert sound[2, 5] == 0
    assert sound[6, 1] == 1


def test_a_network_without_a_map_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no map that all paths"):
        GradCam(*write(tmp_path, flat=True))
