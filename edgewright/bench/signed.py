"""A quantized network with signed activations: the same values, each byte 128 lower."""

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

OFFSET = 128


def write_signed(quantized: Path, out: Path) -> None:
    """Write the S8S8 network of a U8S8 one in QDQ form; every real value stays as it is."""
    model = onnx.load(str(quantized))
    make_signed(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(out))


def make_signed(model: ModelProto) -> None:
    """Change the unsigned bytes of a model in QDQ form into signed ones, in place."""
    names = {name for node in model.graph.node for name in _bytes_of(node)}
    for tensor in model.graph.initializer:
        if tensor.name in names and tensor.data_type == TensorProto.UINT8:
            lowered = numpy_helper.to_array(tensor).astype(np.int16) - OFFSET
            tensor.CopyFrom(numpy_helper.from_array(lowered.astype(np.int8), tensor.name))
    for value in model.graph.value_info:
        if value.type.tensor_type.elem_type == TensorProto.UINT8:
            value.type.tensor_type.elem_type = TensorProto.INT8


def _bytes_of(node: NodeProto) -> list[str]:
    """Constants of a quantizer that are bytes: the zero point, and what it dequantizes."""
    if node.op_type == "QuantizeLinear":
        return list(node.input[2:])
    return [node.input[0], *node.input[2:]] if node.op_type == "DequantizeLinear" else []
