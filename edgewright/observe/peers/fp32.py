"""Take the quantizers out of a quantized network: the cost of FP32 with the same weights.

A quantizer whose numbers begin at zero also is the ReLU or ReLU6 before it, which quantization
folds into it; that stays, as a Clip.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
ACTIVATED = ("Add", "Conv", "ConvTranspose", "Gemm", "MatMul")  # what an activation may follow


def take_out_quantizers(model: ModelProto) -> dict[str, float]:
    """Change a model in QDQ form into FP32, in place; weights become the dequantized ones.

    Returns the largest magnitude that each tensor's quantizer had a number for.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    weights = [_weight(node, constants) for node in graph.node if _is_weight(node, constants)]
    sources: dict[str, str] = {}  # output of a quantizer: the real tensor that it stands for
    limits: dict[str, float] = {}
    producers = {name: node.op_type for node in graph.node for name in node.output}
    nodes: list[NodeProto] = []
    for node in graph.node:  # in topological order
        if _is_weight(node, constants):
            continue
        node.input[:] = [sources.get(name, name) for name in node.input]
        if node.op_type not in QUANTIZERS:
            nodes.append(node)
        elif producers.get(node.input[0]) in ACTIVATED and (high := _cut(node, constants)):
            weights += [
                numpy_helper.from_array(np.array(value, np.float32), f"{node.output[0]}_{name}")
                for name, value in (("low", 0), ("high", high))
            ]
            bounds = [bound.name for bound in weights[-2:]]
            sources[node.output[0]] = clipped = f"{node.output[0]}_clipped"
            nodes.append(helper.make_node("Clip", [node.input[0], *bounds], [clipped]))
        else:
            sources[node.output[0]] = node.input[0]
        if node.op_type == "QuantizeLinear":
            limits[sources[node.output[0]]] = _limit(node, constants)
    # What computed a quantized output now computes the output itself, under the output's name.
    names = {sources.get(out.name, out.name): out.name for out in graph.output}
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    names_read = {name for node in nodes for name in node.input}
    constants_read = [
        tensor for tensor in [*graph.initializer, *weights] if tensor.name in names_read
    ]
    for field in ("node", "initializer", "value_info"):
        graph.ClearField(field)
    graph.node.extend(nodes)
    graph.initializer.extend(constants_read)
    return limits


def _is_weight(node: NodeProto, constants: dict[str, TensorProto]) -> bool:
    return node.op_type == "DequantizeLinear" and node.input[0] in constants


def _weight(node: NodeProto, constants: dict[str, TensorProto]) -> TensorProto:
    values, scale, zero = (_array(name, constants) for name in (*node.input, "")[:3])
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = [-1 if at == axis else 1 for at in range(values.ndim)] if scale.ndim else []
    real = (values - zero.reshape(shape if zero.ndim else [])) * scale.reshape(shape)
    return numpy_helper.from_array(real.astype(np.float32), node.output[0])


def _array(name: str, constants: dict[str, TensorProto]) -> NDArray[np.float32]:
    # A zero point may be left out: it is 0.
    array = numpy_helper.to_array(constants[name]) if name in constants else np.zeros(())
    return array.astype(np.float32)


def _cut(node: NodeProto, constants: dict[str, TensorProto]) -> float | None:
    """The highest number of a quantizer whose lowest is zero."""
    if node.op_type != "QuantizeLinear":
        return None
    scale, zero = _scale_and_zero(node, constants)
    numbers = np.iinfo(zero.dtype)
    is_cut = zero.ndim == 0 and zero == numbers.min
    return float(scale * (numbers.max - numbers.min)) if is_cut else None


def _limit(node: NodeProto, constants: dict[str, TensorProto]) -> float:
    """The largest magnitude that a quantizer has a number for."""
    scale, zero = _scale_and_zero(node, constants)
    numbers = np.iinfo(zero.dtype)
    steps = max((numbers.max - zero.astype(int)).max(), (zero.astype(int) - numbers.min).max())
    return float(scale.max() * steps)


def _scale_and_zero(
    node: NodeProto, constants: dict[str, TensorProto]
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Of a QuantizeLinear. The zero point may be left out: it is 0, of bytes without a sign."""
    name = node.input[2] if len(node.input) > 2 else ""
    zero = numpy_helper.to_array(constants[name]) if name else np.zeros((), np.uint8)
    return numpy_helper.to_array(constants[node.input[1]]), zero
