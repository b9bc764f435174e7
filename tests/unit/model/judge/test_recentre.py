from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgewright.base.errors import UserError
from edgewright.model.contract.session import open_session, outputs
from edgewright.model.judge.recentre import centring_shift, shift_logit

IMAGES = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


def quantized(path: Path, *, bias: bool = True) -> Path:
    """A layer of six inputs and two logits, as ONNX Runtime quantizes one."""
    values: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {
        "w": np.arange(12, dtype=np.int8).reshape(6, 2),
        "b": np.array([10, -10], np.int32),
        "scale": np.array(0.01, np.float32),
        "scales": np.array([0.001, 0.002], np.float32),
        "wide": np.array(0.02, np.float32),
        "zero": np.array(128, np.uint8),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["weight"]),
        helper.make_node("DequantizeLinear", ["b", "scales"], ["bias"], axis=0),
        helper.make_node("Gemm", ["image", "weight", *(["bias"] if bias else [])], ["sum"]),
        helper.make_node("QuantizeLinear", ["sum", "wide", "zero"], ["steps"]),
        helper.make_node("DequantizeLinear", ["steps", "wide", "zero"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 6])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    return path


def test_one_logit_moves_and_the_other_stays(tmp_path: Path) -> None:
    model = quantized(tmp_path / "model.onnx")
    before = outputs(open_session(model), IMAGES)
    shift_logit(model, 1, 0.4)
    after = outputs(open_session(model), IMAGES)
    np.testing.assert_allclose(after[:, 1] - before[:, 1], 0.4, atol=0.021)
    np.testing.assert_array_equal(after[:, 0], before[:, 0])


def test_the_shift_brings_the_mean_to_the_share() -> None:
    scores = np.random.default_rng(0).uniform(0.01, 0.6, 200)
    shift = centring_shift(scores, 0.4)
    moved = 1 / (1 + np.exp(-np.log(scores / (1 - scores)) - shift))
    assert shift > 0
    assert moved.mean() == pytest.approx(0.4, abs=1e-6)


def test_a_network_without_a_last_bias_is_told(tmp_path: Path) -> None:
    model = quantized(tmp_path / "model.onnx", bias=False)
    with pytest.raises(UserError, match="has no quantized bias in its last layer"):
        shift_logit(model, 1, 0.4)
