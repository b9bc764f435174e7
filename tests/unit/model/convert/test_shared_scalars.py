"""Equal scalars become one, so that what is quantized several times to the same bytes is seen."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import InferenceSession

from edgewright.model.convert.shared_scalars import share_scalars
from edgewright.model.convert.to_ort import convert

READERS = 3


def network() -> onnx.ModelProto:
    """One value that is quantized for each of its readers, by constants of their own."""
    nodes = [helper.make_node("Relu", ["x"], ["value"])]
    constants = []
    for i in range(READERS):
        names = [f"scale{i}", f"zero{i}"]
        scalars: list[NDArray[Any]] = [np.array(0.25, np.float32), np.array(7, np.uint8)]
        constants += [numpy_helper.from_array(s, n) for s, n in zip(scalars, names, strict=True)]
        nodes.append(helper.make_node("QuantizeLinear", ["value", *names], [f"q{i}"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"q{i}", *names], [f"d{i}"]))
        nodes.append(helper.make_node("Sin" if i else "Cos", [f"d{i}"], [f"y{i}"]))
    graph = helper.make_graph(
        nodes,
        "readers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [
            helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [1, 64])
            for i in range(READERS)
        ],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_a_value_that_is_quantized_alike_for_several_readers_is_quantized_once(
    tmp_path: Path,
) -> None:
    onnx.save(network(), str(tmp_path / "model.onnx"))

    ort = convert(tmp_path / "model.onnx", tmp_path / "out").ort.read_bytes()

    graph = InferenceSession.InferenceSession.GetRootAs(ort, 0).Model().Graph()
    operators = [graph.Nodes(i).OpType() for i in range(graph.NodesLength())]
    assert operators.count(b"QuantizeLinear") == 1


def test_answers_stay_as_they_are() -> None:
    model = network()
    values = np.linspace(-80, 80, 64, dtype=np.float32).reshape(1, 64)
    before = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": values})

    share_scalars(model)
    after = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": values})

    np.testing.assert_array_equal(after, before)


def test_scalars_that_differ_in_type_or_form_or_may_be_replaced_stay_apart() -> None:
    model = network()
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants["zero0"].CopyFrom(numpy_helper.from_array(np.array(7, np.int8), "zero0"))
    constants["scale0"].CopyFrom(numpy_helper.from_array(np.array([0.25], np.float32), "scale0"))
    model.graph.input.append(helper.make_tensor_value_info("zero1", TensorProto.UINT8, []))

    share_scalars(model)

    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert [list(node.input[1:]) for node in quantizers] == [
        ["scale0", "zero0"],
        ["scale1", "zero1"],
        ["scale1", "zero2"],
    ]


def test_texts_that_differ_stay_apart() -> None:
    """Long ones: numpy has their addresses, and the next one may come to lie in the same place."""
    texts = [f"{i}-{'x' * 600}" for i in range(12)]
    nodes = [helper.make_node("Equal", ["x", f"t{i}"], [f"y{i}"]) for i in range(len(texts))]
    graph = helper.make_graph(
        nodes,
        "texts",
        [helper.make_tensor_value_info("x", TensorProto.STRING, [])],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.BOOL, []) for i in range(len(texts))],
        [numpy_helper.from_array(np.array(t, object), f"t{i}") for i, t in enumerate(texts)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    share_scalars(model)

    assert [node.input[1] for node in model.graph.node] == [f"t{i}" for i in range(len(texts))]
