"""Walks and edits of ONNX graphs that the rewrites share; subgraphs (If, Loop, Scan) included."""

from collections.abc import Iterator
from math import prod

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto


def graphs_of(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph itself, and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from graphs_of(attribute.g)
            for inner in attribute.graphs:
                yield from graphs_of(inner)


def nodes_of(model: ModelProto) -> Iterator[NodeProto]:
    for graph in graphs_of(model.graph):
        yield from graph.node


def tensors_of(model: ModelProto) -> Iterator[TensorProto]:
    """Constants: initialisers, and tensors in attributes."""
    for graph in graphs_of(model.graph):
        yield from graph.initializer
        for node in graph.node:
            yield from (a.t for a in node.attribute if a.type == AttributeProto.TENSOR)


def label(node: NodeProto) -> str:
    """A node as a message names it; one without a name by its first output."""
    name = node.name or next(iter(node.output), "?")
    kind = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
    return f"{kind} '{name}'"


def rename_uses(model: ModelProto, old: str, new: str) -> None:
    """Let every node that takes a tensor of the main graph take another one."""
    for node in nodes_of(model):
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new


def rename_source(model: ModelProto, old: str, new: str) -> None:
    """Give a tensor that a node of the main graph makes another name, at its uses too."""
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == old:
                node.output[place] = new
    rename_uses(model, old, new)


def free_name(model: ModelProto, wanted: str) -> str:
    """`wanted`, or with a number behind it, so that no tensor has it."""
    names_in_use = {name for node in nodes_of(model) for name in (*node.input, *node.output)}
    names_in_use |= {value.name for value in (*model.graph.input, *model.graph.output)}
    names_in_use |= {tensor.name for tensor in model.graph.initializer}
    names = (wanted, *(f"{wanted}_{number}" for number in range(2, len(names_in_use) + 3)))
    return next(name for name in names if name not in names_in_use)


def sizes_of(value: ValueInfoProto) -> tuple[int | None, ...] | None:
    """The sizes of a tensor, None for an open one; None where its rank is not known."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(size.dim_value if size.dim_value > 0 else None for size in kind.shape.dim)


def set_sizes(value: ValueInfoProto, sizes: tuple[int, ...]) -> None:
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for size in sizes:
        shape.dim.add(dim_value=size)


def elements(sizes: tuple[int | None, ...]) -> int | None:
    fixed = [size for size in sizes if size is not None]
    return prod(fixed) if len(fixed) == len(sizes) else None
