"""Give an ORT-format file one canonical byte order.

ONNX Runtime writes its table of kernel type strings in the order of a hash map that is seeded
by memory addresses, so two conversions of one model differ. The table is the last thing
written, which in a FlatBuffer (built back to front) is the first in the file: it is built
anew, sorted, in front of the model's unchanged bytes.

Names of tensors inside the graph are shortened in place: the runtime hashes, compares and copies
them many times while it loads a model. Values that fusions left without a node are no longer
listed: each one is verified, copied and hashed.
"""

import struct
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import flatbuffers
from flatbuffers.number_types import UOffsetTFlags
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import (
    ArgTypeAndIndex,
    InferenceSession,
    KernelTypeStrArgsEntry,
    KernelTypeStrResolver,
    OpIdKernelTypeStrArgsEntry,
)

IDENTIFIER = b"ORTM"
ALIGNMENT = 64
NODE_ARGS = 6  # the field of a graph that lists its values


def canonicalize(path: Path) -> None:
    """Rewrite an ORT-format file so that equal models have equal bytes and load fast."""
    data = drop_unused_values(shorten_names(path.read_bytes()))
    session = InferenceSession.InferenceSession.GetRootAs(data, 0)
    model_start = _model_start(session)
    builder = flatbuffers.Builder(len(data))
    # The builder continues as if it had just written the model: offsets into it are relative.
    builder.Bytes[:] = bytes(model_start) + data[model_start:]
    builder.head = UOffsetTFlags.py_type(model_start)
    builder.minalign = ALIGNMENT
    resolver = _sorted_resolver(builder, session.KernelTypeStrResolver())
    version = builder.CreateString(session.OrtVersion())
    InferenceSession.InferenceSessionStart(builder)
    InferenceSession.InferenceSessionAddOrtVersion(builder, version)
    InferenceSession.InferenceSessionAddModel(builder, len(data) - session.Model()._tab.Pos)
    InferenceSession.InferenceSessionAddKernelTypeStrResolver(builder, resolver)
    builder.Finish(InferenceSession.InferenceSessionEnd(builder), file_identifier=IDENTIFIER)
    path.write_bytes(builder.Output())


def _model_start(session: Any) -> int:
    """The offset of the model's first byte: its root table, or that table's vtable before it."""
    table = session.Model()._tab
    vtable = table.Pos - table.Get(flatbuffers.number_types.SOffsetTFlags, table.Pos)
    return int(min(table.Pos, vtable))


def _sorted_resolver(builder: Any, old: Any) -> int:
    count = old.OpKernelTypeStrArgsLength()
    operators = sorted((old.OpKernelTypeStrArgs(i) for i in range(count)), key=lambda o: o.OpId())
    offsets = [_operator(builder, operator) for operator in operators]
    vector = _vector(
        builder, offsets, KernelTypeStrResolver.KernelTypeStrResolverStartOpKernelTypeStrArgsVector
    )
    KernelTypeStrResolver.KernelTypeStrResolverStart(builder)
    KernelTypeStrResolver.KernelTypeStrResolverAddOpKernelTypeStrArgs(builder, vector)
    return int(KernelTypeStrResolver.KernelTypeStrResolverEnd(builder))


def _operator(builder: Any, old: Any) -> int:
    count = old.KernelTypeStrArgsLength()
    entries = sorted(
        (old.KernelTypeStrArgs(i) for i in range(count)), key=lambda e: e.KernelTypeStr()
    )
    offsets = [_entry(builder, entry) for entry in entries]
    module = OpIdKernelTypeStrArgsEntry
    vector = _vector(
        builder, offsets, module.OpIdKernelTypeStrArgsEntryStartKernelTypeStrArgsVector
    )
    op_id = builder.CreateString(old.OpId())
    module.OpIdKernelTypeStrArgsEntryStart(builder)
    module.OpIdKernelTypeStrArgsEntryAddOpId(builder, op_id)
    module.OpIdKernelTypeStrArgsEntryAddKernelTypeStrArgs(builder, vector)
    return int(module.OpIdKernelTypeStrArgsEntryEnd(builder))


def _entry(builder: Any, old: Any) -> int:
    arguments = []
    for argument in (old.Args(i) for i in range(old.ArgsLength())):
        ArgTypeAndIndex.ArgTypeAndIndexStart(builder)
        ArgTypeAndIndex.ArgTypeAndIndexAddArgType(builder, argument.ArgType())
        ArgTypeAndIndex.ArgTypeAndIndexAddIndex(builder, argument.Index())
        arguments.append(int(ArgTypeAndIndex.ArgTypeAndIndexEnd(builder)))
    module = KernelTypeStrArgsEntry
    vector = _vector(builder, arguments, module.KernelTypeStrArgsEntryStartArgsVector)
    name = builder.CreateString(old.KernelTypeStr())
    module.KernelTypeStrArgsEntryStart(builder)
    module.KernelTypeStrArgsEntryAddKernelTypeStr(builder, name)
    module.KernelTypeStrArgsEntryAddArgs(builder, vector)
    return int(module.KernelTypeStrArgsEntryEnd(builder))


def _vector(builder: Any, offsets: list[int], start: Any) -> int:
    start(builder, len(offsets))
    for offset in reversed(offsets):  # a FlatBuffer is built back to front
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def drop_unused_values(data: bytes) -> bytes:
    """List the graph's values that a node, input, output or constant is called by, and no others.

    Their tables stay in the file, where nothing refers to them.
    """
    content = bytearray(data)
    graph = InferenceSession.InferenceSession.GetRootAs(content, 0).Model().Graph()
    used = set(_used_names(graph))
    values = [graph.NodeArgs(i) for i in range(graph.NodeArgsLength())]
    places = [value._tab.Pos for value in values if value.Name() in used]
    start = graph._tab.Vector(graph._tab.Offset(NODE_ARGS))
    content[start - 4 : start + 4 * len(values)] = bytes(4 + 4 * len(values))
    struct.pack_into("<I", content, start - 4, len(places))
    for i, place in enumerate(places):
        entry = start + 4 * i
        struct.pack_into("<I", content, entry, place - entry)
    return bytes(content)


def _used_names(graph: Any) -> Iterator[bytes]:
    for kind in ("Inputs", "Outputs"):
        yield from (getattr(graph, kind)(i) for i in range(getattr(graph, f"{kind}Length")()))
    yield from (graph.Initializers(i).Name() for i in range(graph.InitializersLength()))
    yield from (
        graph.SparseInitializers(i).Values().Name() for i in range(graph.SparseInitializersLength())
    )
    for node in (graph.Nodes(i) for i in range(graph.NodesLength())):
        for kind in ("Inputs", "Outputs", "ImplicitInputs"):
            yield from (getattr(node, kind)(i) for i in range(getattr(node, f"{kind}Length")()))


def shorten_names(data: bytes) -> bytes:
    """Give every tensor but the graph's inputs and outputs a name of a few letters.

    Equal strings are stored once, so a tensor that is called like an operator's part (`shape`,
    `axes`) keeps its name. A FlatBuffer's string may become shorter where it lies: its length
    goes before it, a zero behind it. Equal names become equal names.
    """
    content = bytearray(data)
    session = InferenceSession.InferenceSession.GetRootAs(content, 0)
    graph = session.Model().Graph()
    places = {start: _string(content, start) for start in _tensor_names(graph)}
    fixed = {graph.Inputs(i) for i in range(graph.InputsLength())}
    fixed |= {graph.Outputs(i) for i in range(graph.OutputsLength())}
    words = {*_operator_words(graph), *_resolver_words(session.KernelTypeStrResolver())}
    fixed |= words - {None, b""}
    # A new name of the outer graph must not be one of a subgraph's, which would hide it there.
    fixed |= set(_names_in_subgraphs(graph))
    names = _short_names(set(places.values()), fixed)
    for start, old in places.items():
        struct.pack_into(f"<I{len(old)}s", content, start, len(names[old]), names[old])
    return bytes(content)


def _short_names(names: set[bytes], fixed: set[bytes]) -> dict[bytes, bytes]:
    """Old name → new name; a name that is fixed, or short already, stays."""
    # By sorted names, not by their order in the file: equal models get equal names.
    free = (name for i in count() if (name := f"t{i:x}".encode()) not in names)
    short = {old: next(free) for old in sorted(names - fixed)}
    return {old: old for old in names} | {
        old: new for old, new in short.items() if len(new) < len(old)
    }


class _OffsetTable(flatbuffers.table.Table):  # type: ignore[misc]
    """A table that gives the offset of a string, not its text: names are changed where they lie."""

    def String(self, offset: int) -> int:  # noqa: N802
        return int(offset + self.Get(UOffsetTFlags, offset))


def _tensor_names(graph: Any) -> Iterator[int]:
    """Offsets of the strings that name tensors."""
    for kind in ("NodeArgs", "Initializers"):
        for item in _items(graph, kind):
            yield item.Name()
    for node in _items(graph, "Nodes"):
        for kind in ("Inputs", "Outputs", "ImplicitInputs"):
            yield from (getattr(node, kind)(i) for i in range(getattr(node, f"{kind}Length")()))


def _names_in_subgraphs(graph: Any) -> Iterator[bytes]:
    """Names of tensors in the branches and bodies of If, Loop and Scan."""
    for node in (graph.Nodes(i) for i in range(graph.NodesLength())):
        for attribute in (node.Attributes(j) for j in range(node.AttributesLength())):
            if (inner := attribute.G()) is None:
                continue
            yield from (inner.NodeArgs(k).Name() for k in range(inner.NodeArgsLength()))
            yield from (inner.Initializers(k).Name() for k in range(inner.InitializersLength()))
            yield from _names_in_subgraphs(inner)


def _operator_words(graph: Any) -> Iterator[bytes | None]:
    """Names of operators and of their attributes, and the texts of attributes."""
    for i in range(graph.NodesLength()):
        node = graph.Nodes(i)
        yield from (node.OpType(), node.Domain())
        for attribute in (node.Attributes(j) for j in range(node.AttributesLength())):
            yield from (attribute.Name(), attribute.S())
            yield from (attribute.Strings(k) for k in range(attribute.StringsLength()))


def _resolver_words(resolver: Any) -> Iterator[bytes]:
    """Names of operators, and of the inputs and types that their kernels are chosen by."""
    for i in range(resolver.OpKernelTypeStrArgsLength()):
        operator = resolver.OpKernelTypeStrArgs(i)
        yield operator.OpId()
        for j in range(operator.KernelTypeStrArgsLength()):
            yield operator.KernelTypeStrArgs(j).KernelTypeStr()


def _items(graph: Any, kind: str) -> Iterator[Any]:
    for i in range(getattr(graph, f"{kind}Length")()):
        item = getattr(graph, kind)(i)
        item._tab = _OffsetTable(item._tab.Bytes, item._tab.Pos)
        yield item


def _string(content: bytearray, start: int) -> bytes:
    (length,) = struct.unpack_from("<I", content, start)
    return bytes(content[start + 4 : start + 4 + length])
