"""How many bytes of an ORT-format file the tensors of each node take."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import InferenceSession

from edgewright.base.errors import UserError


@dataclass(frozen=True, kw_only=True)
class NodeSize:
    """A node, and the bytes of the weights and other constants that it is the first to take."""

    name: str
    operator: str
    bytes: int


def node_sizes(path: Path) -> tuple[NodeSize, ...]:
    """The nodes of an ORT-format model. Raises UserError for a file that is none."""
    try:
        session = InferenceSession.InferenceSession.GetRootAs(path.read_bytes(), 0)
        return tuple(_node_sizes(session.Model().Graph()))
    except (struct.error, AttributeError, IndexError, TypeError, ValueError) as fault:
        raise UserError(str(path), "is no ORT-format model", next="invoke build") from fault


def _node_sizes(graph: Any) -> Iterator[NodeSize]:
    sizes = dict(_initializers(graph))
    for index in range(graph.NodesLength()):
        node = graph.Nodes(index)
        inputs = (node.Inputs(i) for i in range(node.InputsLength()))
        own = sum(sizes.pop(name, 0) for name in inputs)
        yield NodeSize(
            name=_text(node.Name()),
            operator=_text(node.OpType()),
            bytes=own + sum(_subgraphs(node)),
        )


def _initializers(graph: Any) -> Iterator[tuple[bytes, int]]:
    for index in range(graph.InitializersLength()):
        tensor = graph.Initializers(index)
        yield tensor.Name(), tensor.RawDataLength()


def _subgraphs(node: Any) -> Iterator[int]:
    """Bytes of the constants in branches and bodies of If, Loop and Scan."""
    for index in range(node.AttributesLength()):
        if (inner := node.Attributes(index).G()) is not None:
            yield sum(size for _, size in _initializers(inner))
            for place in range(inner.NodesLength()):
                yield from _subgraphs(inner.Nodes(place))


def _text(name: bytes | None) -> str:
    return (name or b"").decode(errors="replace")
