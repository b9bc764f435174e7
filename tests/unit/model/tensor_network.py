"""A network of two inputs, of which one is whole numbers, and two outputs, one of them bool."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

INPUTS, OUTPUTS = ("reading:0", "offsets"), ("sum", "is_larger")


def write_network(folder: Path) -> Path:
    """`net.onnx`: the sum of a reading (n, 3) and offsets (1, 3), and where the first is larger."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = [
        helper.make_tensor_value_info(INPUTS[0], TensorProto.FLOAT, ["n", 3]),
        helper.make_tensor_value_info(INPUTS[1], TensorProto.INT64, [1, 3]),
    ]
    outputs = [
        helper.make_tensor_value_info(OUTPUTS[0], TensorProto.FLOAT, ["n", 3]),
        helper.make_tensor_value_info(OUTPUTS[1], TensorProto.BOOL, ["n", 3]),
    ]
    nodes = [
        helper.make_node("Cast", [INPUTS[1]], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Add", [INPUTS[0], "floats"], [OUTPUTS[0]]),
        helper.make_node("Greater", [INPUTS[0], "floats"], [OUTPUTS[1]]),
    ]
    graph = helper.make_graph(nodes, "readings", ends, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


def write_cases(folder: Path, count: int) -> Path:
    """A folder for each case, with `0.npy` and `1.npy`."""
    random = np.random.default_rng(0)
    for number in range(count):
        case = folder / f"case{number}"
        case.mkdir(parents=True)
        np.save(case / "0.npy", random.normal(size=(1, 3)).astype(np.float32))
        np.save(case / "1.npy", random.integers(-9, 9, (1, 3)).astype(np.float32))
    return folder
