"""Take the quantizers out of a quantized network: the cost of FP32 with the same weights."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, numpy_helper

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


def take_out_quantizers(model: ModelProto) -> None:
    """Change a model in QDQ form into FP32, in place; weights become the dequantized ones."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    weights = [_weight(node, constants) for node in graph.node if _is_weight(node, constants)]
    sources = _sources(graph, constants)
    nodes = [node for node in graph.node if node.op_type not in QUANTIZERS]
    for node in nodes:
        node.input[:] = [sources.get(name, name) for name in node.input]
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


def _is_weight(node: NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    return node.op_type == "DequantizeLinear" and node.input[0] in constants


def _weight(node: NodeProto, constants: dict[str, onnx.TensorProto]) -> onnx.TensorProto:
    values, scale, zero = (_array(name, constants) for name in (*node.input, "")[:3])
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape = [-1 if at == axis else 1 for at in range(values.ndim)] if scale.ndim else []
    real = (values - zero.reshape(shape if zero.ndim else [])) * scale.reshape(shape)
    return numpy_helper.from_array(real.astype(np.float32), node.output[0])


def _array(name: str, constants: dict[str, onnx.TensorProto]) -> NDArray[np.float32]:
    # A zero point may be left out: it is 0.
    array = numpy_helper.to_array(constants[name]) if name in constants else np.zeros(())
    return array.astype(np.float32)


def _sources(graph: GraphProto, constants: dict[str, onnx.TensorProto]) -> dict[str, str]:
    """Output of a quantizer → the real tensor that it stands for."""
    sources: dict[str, str] = {}
    for node in graph.node:  # in topological order
        if node.op_type in QUANTIZERS and not _is_weight(node, constants):
            sources[node.output[0]] = sources.get(node.input[0], node.input[0])
    return sources
