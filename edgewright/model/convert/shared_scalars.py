"""One constant for all scalars of a network that are equal.

A quantizer gives each value scales and zero points of its own, so where several nodes read one
value, as query, key and value of an attention do, ONNX Runtime does not see that it is quantized
several times to the same bytes. It does where the constants are the same.
"""

from math import prod

from onnx import ModelProto, TensorProto, numpy_helper


def share_scalars(model: ModelProto) -> None:
    """Let all nodes of a model's graph that read equal scalars read the first of them, in place."""
    graph = model.graph
    inputs = {value.name for value in graph.input}  # constants that a caller may replace
    firsts: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    shared = {}
    for tensor in graph.initializer:
        # Of texts numpy has addresses, which are alike where the texts are not.
        is_number = tensor.data_type != TensorProto.STRING
        if is_number and tensor.name not in inputs and prod(tensor.dims) == 1:
            data = numpy_helper.to_array(tensor).tobytes()
            key = (tensor.data_type, tuple(tensor.dims), data)
            shared[tensor.name] = firsts.setdefault(key, tensor.name)
    for node in graph.node:
        node.input[:] = [shared.get(name, name) for name in node.input]
