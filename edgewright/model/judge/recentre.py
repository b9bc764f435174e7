"""Shift the last bias of an INT8 network until the mean of its answers is right again.

Quantization moves all logits a little, and where many images lie near the border, a little
costs much recall. One number, fitted on the validation part, takes that back.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from edgewright.base.errors import UserError
from edgewright.model.judge.evaluate import Scores


def centring_shift(scores: Scores, share: float) -> float:
    """The amount to add to a defect's logit so that the mean of its probabilities (N,) is `share`.

    That is the bias of least log loss.
    """
    # Clipped: an answer of exactly 0 or 1 has an infinite logit, which no shift moves.
    margins = np.log(np.clip(scores, 1e-9, 1 - 1e-9) / np.clip(1 - scores, 1e-9, 1))
    low, high = -10.0, 10.0
    for _ in range(40):  # bisection to 2e-11, since the mean rises with the shift
        middle = (low + high) / 2
        too_timid = float((1 / (1 + np.exp(-margins - middle))).mean()) < share
        low, high = (middle, high) if too_timid else (low, middle)
    return low


def shift_logit(model: Path, label: int, amount: float) -> None:
    """Add to one logit of a quantized network, by the bias of its last layer.

    Raises UserError if the network does not end in a layer with a quantized bias.
    """
    network = onnx.load(model)
    values = {tensor.name: tensor for tensor in network.graph.initializer}
    bias, scale = _last_bias(network.graph, values, str(model))
    # The bias is stored in whole steps of its scale: the amount is rounded to one.
    steps = numpy_helper.to_array(bias).copy()
    steps[label] += round(amount / float(numpy_helper.to_array(scale).ravel()[label]))
    bias.CopyFrom(numpy_helper.from_array(steps, bias.name))
    onnx.save(network, model)


def _last_bias(
    graph: onnx.GraphProto, values: dict[str, onnx.TensorProto], subject: str
) -> tuple[onnx.TensorProto, onnx.TensorProto]:
    """The int32 bias and the scales of the layer whose output, quantized, are the logits."""
    makers = {output: node for node in graph.node for output in node.output}
    node = makers.get(graph.output[0].name)
    while node is not None and node.op_type in ("DequantizeLinear", "QuantizeLinear"):
        node = makers.get(node.input[0])
    source = makers.get(node.input[2]) if node is not None and len(node.input) > 2 else None
    if source is None or not {*source.input[:2]} <= set(values):
        raise UserError(subject, "has no quantized bias in its last layer")
    return values[source.input[0]], values[source.input[1]]
