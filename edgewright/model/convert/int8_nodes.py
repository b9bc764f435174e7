"""Which INT8 nodes a board computes by our kernels, and which by ONNX Runtime's own.

The conditions are those of recipes/onnxruntime-minimal/kernels: what they do not take goes the
general path, with the same answer.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from edgewright.base.schema import Part

UNSIGNED, SIGNED = TensorProto.UINT8, TensorProto.INT8
LOWEST = -128
TABLES = {"QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"}
# Operator → the places of its zero points of input, weights and output among the inputs.
_PRODUCTS = {"QLinearConv": (2, 5, 7), "QGemm": (2, 5, 8), "QLinearMatMul": (2, 5, 7)}
_WEIGHTS = {"QLinearConv": 3, "QGemm": 3, "QLinearMatMul": 3}


class Int8Nodes(Part):
    """Nodes of one kind that are computed alike."""

    operator: str
    nodes: int
    fast: bool  # by our kernels, where the board profile has runtime.kernels = "neon"
    reason: str = ""  # why it is not
    names: tuple[str, ...]  # of the first ones


MOST_NAMES = 5


def int8_nodes(model: Path) -> tuple[Int8Nodes, ...]:
    """The INT8 nodes of a network in the board's form, as ONNX Runtime fuses them, by kind."""
    graph = _fused(model).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    groups: dict[tuple[str, str], list[str]] = {}
    for node in graph.node:
        if _is_int8(node):
            reason = "" if _is_silu(node, makers) else _reason(node, constants, types)
            groups.setdefault((node.op_type, reason), []).append(node.name or node.output[0])
    counts = Counter({key: len(names) for key, names in groups.items()})
    return tuple(
        Int8Nodes(
            operator=operator,
            nodes=count,
            fast=not reason,
            reason=reason,
            names=tuple(groups[operator, reason][:MOST_NAMES]),
        )
        for (operator, reason), count in counts.most_common()
    )


def _is_int8(node: NodeProto) -> bool:
    kind = node.op_type
    return kind.startswith("QLinear") or kind in {
        *("QGemm", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
        *("ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"),
    }


def _is_silu(node: NodeProto, makers: Mapping[str, NodeProto]) -> bool:
    """x · sigmoid(x), which is one table."""
    if node.op_type != "QLinearMul":
        return False
    pair = node.input[0], node.input[3]
    return any(
        maker is not None and maker.op_type == "QLinearSigmoid" and maker.input[0] == other
        for maker, other in ((makers.get(pair[0]), pair[1]), (makers.get(pair[1]), pair[0]))
    )


def _reason(node: NodeProto, constants: Mapping[str, TensorProto], types: Mapping[str, int]) -> str:
    """Why ONNX Runtime's own kernel computes a node; empty if ours does."""
    kind = node.op_type
    if kind in _PRODUCTS:
        return _reason_of_product(node, constants, types)
    zero_point = types.get(node.input[2] if len(node.input) > 2 else "", UNSIGNED)
    if kind in ("QuantizeLinear", "DequantizeLinear"):
        return "" if zero_point == UNSIGNED else f"takes {_word(zero_point)}, expected uint8"
    if kind in TABLES:
        places = [types.get(name, UNSIGNED) for name in node.input[1:]]
        signed = [t for t in places if t == SIGNED]
        return "takes int8, expected uint8" if signed else ""
    return "there is no kernel of ours for it"


def _reason_of_product(
    node: NodeProto, constants: Mapping[str, TensorProto], types: Mapping[str, int]
) -> str:
    of_input, of_weights, of_output = (
        types.get(node.input[place] if len(node.input) > place else "", TensorProto.FLOAT)
        for place in _PRODUCTS[node.op_type]
    )
    weights = constants.get(node.input[_WEIGHTS[node.op_type]])
    if node.op_type == "QLinearMatMul":
        both = of_input == of_weights == of_output == UNSIGNED
        return "" if both else "one of the tensors is not uint8"
    if weights is None:
        return "its weights are computed"
    if of_weights != SIGNED:
        return f"its weights are {_word(of_weights)}, expected int8"
    if _array(constants, node.input[_PRODUCTS[node.op_type][1]]).any():
        return "its weights have a zero point"
    if (numpy_helper.to_array(weights) == LOWEST).any():
        return f"a weight is {LOWEST}"
    if node.op_type == "QGemm" and not of_input == of_output == UNSIGNED:
        return "its input or output is not uint8"
    return ""


def _array(constants: Mapping[str, TensorProto], name: str) -> NDArray[np.generic]:
    tensor = constants.get(name)
    return np.zeros(1) if tensor is None else np.asarray(numpy_helper.to_array(tensor))


def _word(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind)).lower()


def _fused(model: Path) -> onnx.ModelProto:
    """The network after all of ONNX Runtime's fusions that a board's form has."""
    with TemporaryDirectory(prefix="edgewright-fuse-") as scratch:
        options = onnxruntime.SessionOptions()
        # Not "all": that changes layouts for this machine's processor.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(Path(scratch) / "fused.onnx")
        options.log_severity_level = 3
        # As for ARM; on x86 signed activations become unsigned ones.
        options.add_session_config_entry("session.qdqisint8allowed", "1")
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)
