"""Rescaled weights compute the same, with channels evened out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.session import open_session, outputs
from edgewright.model.quantize.calibrate import calibrate
from edgewright.model.quantize.equalise import cross_layer, smooth

Doubles = NDArray[np.floating[Any]]
RANDOM = np.random.default_rng(3)
IMAGES: Floats = RANDOM.normal(0, 1, (6, 1, 8, 8)).astype(np.float32)


def save(path: Path, nodes: list[onnx.NodeProto], weights: Mapping[str, Doubles]) -> Path:
    float_ = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", float_, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("out", float_, None)],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in weights.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path
    )
    return path


def spans(path: Path, name: str, axes: tuple[int, ...]) -> Floats:
    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    return np.asarray(np.abs(tensors[name]).max(axis=axes))


def uneven(*shape: int) -> Doubles:
    """Weights whose first axis differs a thousandfold in size."""
    scale = np.logspace(-1.5, 1.5, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return np.asarray(RANDOM.normal(0, 1, shape) * scale)


@pytest.mark.parametrize("between", ["Relu", "LeakyRelu", None])
@pytest.mark.parametrize("depthwise", [False, True])
def test_two_convolutions(between: str | None, depthwise: bool, tmp_path: Path) -> None:
    middle = "a" if between is None else "b"
    second = (4, 1, 3, 3) if depthwise else (5, 4, 3, 3)
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["a"]),
        helper.make_node("Conv", [middle, "w2"], ["c"], group=4 if depthwise else 1),
        helper.make_node("Flatten", ["c"], ["out"]),
    ]
    if between:
        nodes.insert(1, helper.make_node(between, ["a"], ["b"]))
    weights: dict[str, Doubles] = {
        "w1": uneven(4, 1, 3, 3),
        "b1": uneven(4),
        "w2": RANDOM.normal(0, 1, second),
    }
    path, out = save(tmp_path / "net.onnx", nodes, weights), tmp_path / "equal.onnx"

    assert cross_layer(path, out) == 1

    before, after = (outputs(open_session(model), IMAGES) for model in (path, out))
    np.testing.assert_allclose(before, after, rtol=2e-3, atol=1e-4)
    first = spans(out, "w1", (1, 2, 3))
    np.testing.assert_allclose(first, spans(out, "w2", (1, 2, 3) if depthwise else (0, 2, 3)), 1e-4)
    assert np.ptp(np.log(first)) < np.ptp(np.log(spans(path, "w1", (1, 2, 3))))


@pytest.mark.parametrize("kind", ["Sigmoid", "read twice", "shared weight"])
def test_what_would_change_the_answer_is_left_alone(kind: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["a"]),
        helper.make_node("Sigmoid" if kind == "Sigmoid" else "Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1" if kind == "shared weight" else "w2"], ["c"]),
        helper.make_node("Flatten", ["c"], ["out"]),
    ]
    if kind == "read twice":
        nodes.insert(2, helper.make_node("GlobalAveragePool", ["a"], ["pooled"]))
    weights = {"w1": uneven(1, 1, 3, 3), "w2": uneven(2, 1, 3, 3)}

    assert cross_layer(save(tmp_path / "net.onnx", nodes, weights), tmp_path / "out.onnx") == 0


@pytest.mark.parametrize("layer", ["Gemm", "transposed Gemm", "MatMul"])
def test_outliers_move_from_a_norm_into_the_weights(layer: str, tmp_path: Path) -> None:
    matrix = RANDOM.normal(0, 1, (64, 3))
    turned = layer.startswith("transposed")
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("LayerNormalization", ["flat", "scale", "shift"], ["norm"]),
        helper.make_node("Reshape", ["norm", "shape"], ["again"]),
        helper.make_node(layer.split()[-1], ["again", "w"], ["out"]),
    ]
    if turned:
        nodes[-1].attribute.append(helper.make_attribute("transB", 1))
    scale = np.ones(64)
    scale[7] = 300.0
    weights = {"scale": scale, "shift": scale * 0.1, "w": matrix.T if turned else matrix}
    path, out = save(tmp_path / "net.onnx", nodes, weights), tmp_path / "smooth.onnx"
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 64]), "shape"))
    onnx.save(model, path)
    channels = calibrate(path, (image[np.newaxis] for image in IMAGES)).channels

    assert smooth(path, channels, out) == 1

    before, after = (outputs(open_session(model), IMAGES) for model in (path, out))
    np.testing.assert_allclose(before, after, rtol=1e-3, atol=1e-3)
    smoothed = calibrate(out, (image[np.newaxis] for image in IMAGES)).channels["norm"]
    assert (
        smoothed.max() / np.median(smoothed)
        < channels["norm"].max() / np.median(channels["norm"]) / 5
    )


def test_a_norm_that_is_also_added_is_left_alone(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("LayerNormalization", ["flat", "scale", "shift"], ["norm"]),
        helper.make_node("MatMul", ["norm", "w"], ["product"]),
        helper.make_node("Add", ["product", "norm"], ["out"]),
    ]
    weights = {"scale": np.ones(64), "shift": np.zeros(64), "w": RANDOM.normal(0, 1, (64, 64))}
    path = save(tmp_path / "net.onnx", nodes, weights)
    channels = {"norm": np.ones(64, np.float32)}

    assert smooth(path, channels, tmp_path / "out.onnx") == 0
