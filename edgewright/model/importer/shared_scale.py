"""Detectors whose boxes and scores were quantized together: nothing is left of the scores.

Boxes reach from 0 to the input's size, scores from 0 to 1. Where both lie in one quantized tensor
they share its scale, and at 640 pixels a score is either 0 or 1.
"""

from collections.abc import Mapping

from onnx import NodeProto

from edgewright.base.errors import UserError
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.contract.network_file import read_graph
from edgewright.model.contract.operators import ROUNDING, VIEWS
from edgewright.model.importer.graphs import label
from edgewright.model.importer.importing import Imported

Makers = Mapping[str, NodeProto]  # tensor → the node that makes it
_JOINT_ROLES = {"predictions", "detections"}  # boxes and scores in one tensor
_CONCATENATIONS = {"Concat", "QLinearConcat"}


def refuse_shared_scale(imported: Imported, card: DetectCard) -> None:
    """Raise UserError, naming the node, if an output of boxes and scores was rounded as a whole."""
    graph = read_graph(imported.path).graph
    makers = {name: node for node in graph.node for name in node.output}
    for output in card.outputs:
        if output.role in _JOINT_ROLES and (node := _rounded_as_a_whole(output.name, makers)):
            raise UserError(
                str(imported.source),
                "has boxes and scores in one quantized tensor: few values are left of the scores",
                facts=[f"node: {label(node)}", f"output: {output.name}"],
                next="quantize it with its last convolutions as outputs, "
                "as invoke model.import cuts the network in float",
            )


def _rounded_as_a_whole(name: str, makers: Makers) -> NodeProto | None:
    """The node that joins what is rounded behind it; none if the tensor is not rounded."""
    node, is_rounded = makers.get(name), False
    while node is not None and node.op_type in VIEWS | ROUNDING:
        is_rounded |= node.op_type in ROUNDING
        node = makers.get(node.input[0])
    if node is None or node.op_type not in _CONCATENATIONS:
        return None
    return node if is_rounded or node.op_type == "QLinearConcat" else None
