"""A quantized network without its quantizers is the network that was quantized."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgewright.observe.peers.fp32 import take_out_quantizers

WEIGHT = np.array([[[[64]]], [[[-128]]]], np.int8)  # two filters of one pixel
SCALES = np.array([0.5, 0.25], np.float32)


def quantized_network(*, lowest: int = 3) -> onnx.ModelProto:
    """conv(x) with per-channel weights, everything through QDQ pairs; the last one's zero point is
    `lowest`."""
    constants: dict[str, NDArray[np.generic]] = {
        "w": WEIGHT,
        "ws": SCALES,
        "wz": np.zeros(2, np.int8),
        "s": np.array(0.5, np.float32),
        "z": np.array(3, np.uint8),
        "zc": np.array(lowest, np.uint8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "s", "zc"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "s", "zc"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 1, 1])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_only_the_network_is_left_and_it_does_not_round() -> None:
    model = quantized_network()

    limits = take_out_quantizers(model)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (output,) = session.run(["y"], {"x": np.full((1, 1, 1, 1), 0.3, np.float32)})

    assert [node.op_type for node in model.graph.node] == ["Conv"]
    assert limits == {"x": 0.5 * 252, "c": 0.5 * 252}
    np.testing.assert_allclose(output.ravel(), 0.3 * WEIGHT.ravel() * SCALES, rtol=1e-6)


@pytest.mark.parametrize("is_told", [True, False])
def test_a_relu_that_a_quantizer_holds_stays(is_told: bool) -> None:
    model = quantized_network(lowest=0)
    if not is_told:  # a zero point that is left out is 0
        for node in model.graph.node:
            node.input[:] = [name for name in node.input if name != "zc"]

    take_out_quantizers(model)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    inputs = np.array([0.3, 9.0], np.float32)
    outputs = [session.run(["y"], {"x": x.reshape(1, 1, 1, 1)})[0].ravel() for x in inputs]

    np.testing.assert_allclose(outputs, [[9.6, 0.0], [127.5, 0.0]], rtol=1e-6)
