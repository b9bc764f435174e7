"""Where a classifier looked: Grad-CAM of any ONNX network, by ONNX Runtime alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx.utils import Extractor

from edgewright.model.contract.card import Card
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.session import SessionError, class_probabilities, open_session

_STEP = 0.1  # of the map's spread
_LEAST = 1e-7  # float32's: of a probability whose odds are taken
_MOST_CHANNELS = 4096


class GradCam:
    """Grad-CAM (Selvaraju et al., ICCV 2017) of the last map that all paths go through.

    A channel's weight is the derivative of a label's log odds along a uniform step of that
    channel, which is the mean of the gradient over the map; it is taken by a difference, so that
    no gradient of the network is needed. The heat is the part of the weighted sum of channels that
    speaks for the label, divided by its maximum.
    """

    def __init__(self, model: Path, card: Card) -> None:
        """Raises ValueError for a network that has no such map."""
        network = onnx.shape_inference.infer_shapes(onnx.load(str(model)))
        name, channels = _last_map(network)
        if channels > _MOST_CHANNELS:
            raise ValueError(f"its last map has {channels} channels")
        ends = [value.name for value in network.graph.output]
        weights = {tensor.name for tensor in network.graph.initializer}
        starts = [value.name for value in network.graph.input if value.name not in weights]
        extractor = Extractor(network)
        try:
            self._body = open_session(extractor.extract_model(starts, [name]).SerializeToString())
            head = _without_rounding(extractor.extract_model([name], ends))
            self._head = open_session(head.SerializeToString())
        except SessionError as broken:
            raise ValueError(f"it cannot be cut at {name}: {broken}") from broken
        self._start, self._map, self._card = starts[0], name, card

    def heat(self, image: Floats, label: int) -> Floats:
        """Of the network's input (1, C, H, W): (h, w), 0 to 1, or 0 where nothing speaks for it."""
        (features,) = self._body.run([self._map], {self._start: image})
        features = np.asarray(features, np.float32)
        step = np.float32(_STEP * float(features.std()) or _STEP)
        base = self._log_odds(features, label)
        weights = np.empty(features.shape[1])
        for channel in range(features.shape[1]):
            moved = features.copy()
            moved[:, channel] += step
            weights[channel] = (self._log_odds(moved, label) - base) / step
        heat = np.maximum(np.tensordot(weights, features[0], axes=1), 0)
        return np.asarray(heat / heat.max() if heat.max() > 0 else heat, np.float32)

    def _log_odds(self, features: Floats, label: int) -> float:
        (row, *_) = self._head.run(None, {self._map: features})
        share = float(class_probabilities(row, self._card)[0, label])
        share = min(max(share, _LEAST), 1 - _LEAST)
        return float(np.log(share / (1 - share)))


def _without_rounding(head: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with each QuantizeLinear and DequantizeLinear of an activation undone."""
    graph = head.graph
    constants = {tensor.name for tensor in graph.initializer}
    rounded = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in constants
    }
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in rounded:
            source, result = rounded[node.input[0]], node.output[0]
            node.CopyFrom(onnx.helper.make_node("Identity", [source], [result], name=node.name))
    return head


def _last_map(network: onnx.ModelProto) -> tuple[str, int]:
    """The last float tensor (1, C, h, w) that every path to the answer goes through, and C."""
    graph = network.graph
    constants = {"", *(tensor.name for tensor in graph.initializer)}
    for node in graph.node:  # what is made of constants alone is one: weights of INT8 networks
        if constants.issuperset(node.input):
            constants.update(node.output)
    shapes = {value.name: _float_shape(value) for value in graph.value_info}
    open_tensors = {graph.output[0].name}
    # From the answer back: where one tensor alone is open, nothing else reaches the answer.
    for node in reversed(graph.node):
        if open_tensors.isdisjoint(node.output):
            continue
        open_tensors.difference_update(node.output)
        open_tensors.update(set(node.input) - constants)
        if len(open_tensors) == 1:
            (name,) = open_tensors
            shape = shapes.get(name, ())
            if len(shape) == 4 and min(shape[2:]) > 1:
                return name, shape[1]
    raise ValueError("it has no map that all paths to the answer go through")


def _float_shape(value: onnx.ValueInfoProto) -> Sequence[int]:
    """Its sizes, 0 for one that is open; empty if it is not float."""
    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        return ()
    return [dimension.dim_value for dimension in tensor.shape.dim]
