"""A copy of its own for each node of an INT8 network's weights and zero points.

ONNX Runtime's `x64quantprecision` rewrites them in place at each node, and stumbles over one that
it has rewritten already.
"""

from collections import Counter

from onnx import ModelProto, NodeProto, TensorProto


def unshare(model: ModelProto) -> None:
    """Give each node its own signed bytes, and the node that dequantizes them; values stay."""
    weights = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.INT8}
    _unshare_dequantizers(model, set(weights))
    uses: Counter[str] = Counter()
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name not in weights:
                continue
            uses[name] += 1
            if uses[name] > 1:
                copy = model.graph.initializer.add()
                copy.CopyFrom(weights[name])
                copy.name = node.input[place] = f"{name}__copy_{uses[name]}"


def _unshare_dequantizers(model: ModelProto, weights: set[str]) -> None:
    dequantizers = {
        node.output[0]: node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in weights
    }
    uses: Counter[str] = Counter()
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name not in dequantizers:
                continue
            uses[name] += 1
            if uses[name] > 1:
                copy = NodeProto()
                copy.CopyFrom(dequantizers[name])
                copy.name = copy.output[0] = node.input[place] = f"{name}__copy_{uses[name]}"
                nodes.append(copy)
        nodes.append(node)
    # A list of its own first: emptying the field frees the nodes that it holds.
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
