"""Signed activations for a quantized network: the same values, each stored byte 128 lower.

XNNPACK's provider takes no convolution of unsigned activations by signed weights.
"""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

OFFSET = 128


def make_signed(model: ModelProto) -> None:
    """Change the unsigned bytes of a model in QDQ form into signed ones, in place.

    U8S8 becomes S8S8; every real value stays as it is.
    """
    names = {name for node in model.graph.node for name in _bytes_of(node)}
    for tensor in model.graph.initializer:
        if tensor.name in names and tensor.data_type == TensorProto.UINT8:
            # In 16 bits, since the difference is below a uint8's range.
            lowered = numpy_helper.to_array(tensor).astype(np.int16) - OFFSET
            tensor.CopyFrom(numpy_helper.from_array(lowered.astype(np.int8), tensor.name))
    # Shape inference wrote types down; the checker refuses a graph whose types disagree.
    for value in model.graph.value_info:
        if value.type.tensor_type.elem_type == TensorProto.UINT8:
            value.type.tensor_type.elem_type = TensorProto.INT8


def _bytes_of(node: NodeProto) -> list[str]:
    """Constants of a quantizer that are bytes: its zero point, and the weights it dequantizes."""
    if node.op_type == "QuantizeLinear":
        return list(node.input[2:])
    return [node.input[0], *node.input[2:]] if node.op_type == "DequantizeLinear" else []
