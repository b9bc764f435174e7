from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.model.convert.inspect import inspect
from edgewright.model.convert.int8_nodes import int8_nodes
from tests.checkout import checkout


def quantized_convolution(path: Path, lowest: int, activations: type = np.uint8) -> Path:
    """An image through one convolution, as other tools quantize it."""
    weights = np.full((4, 3, 3, 3), 5, np.int8)
    weights[0, 0, 0, 0] = lowest
    zero = activations(0)
    constants = {
        **{"x_s": np.float32(0.02), "x_z": zero, "y_s": np.float32(0.1), "y_z": zero},
        **{"w_q": weights, "w_s": np.float32(0.01), "w_z": np.int8(0)},
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "x_s", "x_z"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "x_s", "x_z"], ["x"]),
        helper.make_node("DequantizeLinear", ["w_q", "w_s", "w_z"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["c"], name="body"),
        helper.make_node("QuantizeLinear", ["c", "y_s", "y_z"], ["y_q"]),
        helper.make_node("DequantizeLinear", ["y_q", "y_s", "y_z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_a_convolution_of_our_form_is_fast(tmp_path: Path) -> None:
    nodes = {n.operator: n for n in int8_nodes(quantized_convolution(tmp_path / "net.onnx", -127))}

    assert nodes["QLinearConv"].fast
    assert nodes["QuantizeLinear"].fast


def test_a_weight_of_the_lowest_value_takes_the_stock_kernel(tmp_path: Path) -> None:
    """A sum of two such products overflows 16 bits, so our kernel leaves it."""
    inspection = inspect(quantized_convolution(tmp_path / "net.onnx", -128))

    (convolution,) = [n for n in inspection.int8 if n.operator == "QLinearConv"]
    assert not convolution.fast
    assert convolution.reason == "a weight is -128"
    assert convolution.nodes == 1


def test_signed_activations_are_told_to_be_slow_at_the_ends(tmp_path: Path) -> None:
    path = quantized_convolution(tmp_path / "net.onnx", -127, np.int8)

    reasons = {n.operator: n.reason for n in int8_nodes(path)}
    assert reasons["QuantizeLinear"] == "takes int8, expected uint8"


def test_a_network_of_floats_has_no_int8_nodes(network_file: Path) -> None:
    assert inspect(network_file).int8 == ()


@pytest.mark.parametrize("name", ["QLinearMul", "QLinearSigmoid"])
def test_silu_is_one_table(name: str) -> None:
    model = checkout().model("mobilevit-s-elpv")
    assert all(n.fast for n in int8_nodes(model) if n.operator == name)
