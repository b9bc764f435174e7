"""Rescale weights before quantization; in FP32 the network computes the same as before.

`cross_layer` evens out the channels between two layers (Nagel et al., ICCV 2019, section 4.1);
`smooth` moves outliers of LayerNorm's outputs into the next layers' weights (Xiao et al.,
SmoothQuant, ICML 2023).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgewright.model.contract.preprocess import Floats

ALPHA = 0.5  # how much of an outlier goes into the weights
_HOMOGENEOUS = {"Relu", "LeakyRelu"}  # f(s x) = s f(x) for s > 0


class Graph:
    """A prepared network, with its constants at hand."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(path)
        self.nodes = self.model.graph.node
        self.constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self.outputs = {value.name for value in self.model.graph.output}

    def consumers(self, tensor: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if tensor in node.input]

    def only_consumer(self, tensor: str) -> onnx.NodeProto | None:
        consumers = self.consumers(tensor)
        return consumers[0] if len(consumers) == 1 and tensor not in self.outputs else None

    def value(self, name: str) -> Floats:
        return np.asarray(numpy_helper.to_array(self.constants[name]), np.float32)

    def store(self, name: str, value: NDArray[np.floating[Any]]) -> None:
        self.constants[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))

    def is_private(self, name: str) -> bool:
        """Whether a tensor is a constant of one node only: others must not be rescaled too."""
        return name in self.constants and len(self.consumers(name)) == 1

    def save(self, out: Path) -> Path:
        onnx.save(self.model, out)
        return out


@dataclass(frozen=True, kw_only=True)
class _ConvPair:
    first: onnx.NodeProto
    second: onnx.NodeProto


def cross_layer(prepared: Path, out: Path) -> int:
    """Equalise convolutions that follow each other; return the number of pairs."""
    graph = Graph(prepared)
    pairs = list(_pairs(graph))
    for pair in pairs:
        _equalise(graph, pair)
    graph.save(out)
    return len(pairs)


def smooth(prepared: Path, channels: Mapping[str, Floats], out: Path) -> int:
    """Smooth the LayerNorms whose outputs only go into matrix products; return their number.

    `channels` has the largest magnitude on real images of each of their outputs (width,).
    """
    graph = Graph(prepared)
    norms = [node for node in graph.nodes if node.op_type == "LayerNormalization"]
    smoothed = [_smooth(graph, norm, channels) for norm in norms if norm.output[0] in channels]
    graph.save(out)
    return sum(smoothed)


def _pairs(graph: Graph) -> Iterator[_ConvPair]:
    for first in graph.nodes:
        if first.op_type != "Conv" or not graph.is_private(first.input[1]):
            continue
        second = graph.only_consumer(first.output[0])
        if second is not None and second.op_type in _HOMOGENEOUS:
            second = graph.only_consumer(second.output[0])
        if (
            second is not None
            and second.op_type == "Conv"
            and _scales_by_channel(graph, first, second)
        ):
            yield _ConvPair(first=first, second=second)


def _scales_by_channel(graph: Graph, first: onnx.NodeProto, second: onnx.NodeProto) -> bool:
    """Whether each channel between the two can be scaled alone.

    It can where the second is a plain convolution, or a depthwise one; groups of channels would
    need one scale together.
    """
    if not graph.is_private(second.input[1]) or any(
        not graph.is_private(b) for b in first.input[2:]
    ):
        return False
    channels, weight = len(graph.value(first.input[1])), graph.value(second.input[1])
    return _groups(second) == 1 or (_groups(second) == channels == len(weight))


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def _equalise(graph: Graph, pair: _ConvPair) -> None:
    """s = sqrt(r1 · r2) / r2, with r the largest weight of each channel on either side."""
    before, after = graph.value(pair.first.input[1]), graph.value(pair.second.input[1])
    axis = 1 if _groups(pair.second) == 1 else 0
    r1, r2 = _channel_maxima(before, 0), _channel_maxima(after, axis)
    # A channel of zeros on either side has no scale that helps.
    scale = np.where((r1 > 0) & (r2 > 0), np.sqrt(r1 / np.where(r2 > 0, r2, 1)), 1)
    graph.store(pair.first.input[1], before / _along(scale, before.ndim, 0))
    graph.store(pair.second.input[1], after * _along(scale, after.ndim, axis))
    for bias in pair.first.input[2:]:
        graph.store(bias, graph.value(bias) / scale)


def _smooth(graph: Graph, norm: onnx.NodeProto, channels: Mapping[str, Floats]) -> bool:
    """s = max|x|^a / max|w|^(1 - a), divided out of the norm and multiplied into the layers."""
    layers = list(_matrix_products(graph, norm.output[0]))
    if None in layers or not all(graph.is_private(name) for name in norm.input[1:]):
        return False
    weights = []
    for node in (node for node in layers if node is not None):
        transposed = next((a.i for a in node.attribute if a.name == "transB"), 0)
        weights.append((node.input[1], transposed))  # the axis of a matrix that meets the inputs
    if not weights or not all(graph.is_private(name) for name, _ in weights):
        return False
    activation = channels[norm.output[0]]
    largest = np.max([_channel_maxima(graph.value(name), axis) for name, axis in weights], axis=0)
    # Floors keep a channel that is always zero from an infinite scale.
    scale = np.maximum(activation, 1e-5) ** ALPHA / np.maximum(largest, 1e-5) ** (1 - ALPHA)
    for name in norm.input[1:]:
        graph.store(name, graph.value(name) / scale)
    for name, axis in weights:
        graph.store(name, graph.value(name) * _along(scale, 2, axis))
    return True


def _matrix_products(graph: Graph, tensor: str) -> Iterator[onnx.NodeProto | None]:
    """The matrix products that a tensor goes into, through reshapes; None for anything else."""
    if tensor in graph.outputs:
        yield None
    for node in graph.consumers(tensor):
        if node.op_type == "Reshape" and node.input[0] == tensor:
            yield from _matrix_products(graph, node.output[0])
        else:
            is_product = node.op_type in {"Gemm", "MatMul"} and node.input[0] == tensor
            yield node if is_product and node.input[1] in graph.constants else None


def _channel_maxima(weight: Floats, axis: int) -> Floats:
    reduced_axes = tuple(place for place in range(weight.ndim) if place != axis)
    return np.asarray(np.abs(weight).max(axis=reduced_axes))


def _along(scale: Floats, rank: int, axis: int) -> Floats:
    shape = [1] * rank
    shape[axis] = -1
    return scale.reshape(shape)
