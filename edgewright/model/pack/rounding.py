"""How far a network's answers move where values inside it round otherwise.

A board's kernels and this machine's compute the same INT8 network with different floats: 32-bit
ARM's QLinearAdd, for one, multiplies by fixed-point numbers of 22 bits. A value that lies between
two steps then rounds the other way here and there, one in some ten thousand, and some networks
magnify that. Scales that are moved by as little show by how much.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

SHIFT = 2.0**-22  # of a scale, up or down
DRAWS = 3
# Moved scales flip other values than a board does: what was seen to move may be less.
FACTOR = 3.0


def shifted(model: Path) -> Iterator[bytes]:
    """`DRAWS` copies of an ONNX file whose activations' scales are moved by `SHIFT`, at random.

    None of a network without such scales: in FP32 nothing rounds to steps.
    """
    network = onnx.load(str(model))
    names = set(_scales(network.graph))
    scales = [
        tensor
        for tensor in network.graph.initializer
        if tensor.name in names and tensor.data_type == onnx.TensorProto.FLOAT
    ]
    values = [numpy_helper.to_array(tensor).copy() for tensor in scales]
    for draw in range(DRAWS if scales else 0):
        signs = np.random.default_rng(draw).choice([-1.0, 1.0], len(scales))
        for tensor, value, sign in zip(scales, values, signs, strict=True):
            moved = (value * (1 + sign * SHIFT)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
        yield network.SerializeToString()


def _scales(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield node.input[1]
        elif node.op_type.startswith("QLinear"):  # its floats are scales
            yield from node.input
