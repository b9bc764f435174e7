"""Weights of an ORT-format model in the order in which our kernels multiply them.

A board packs the weights of QLinearConv and QGemm when it loads a model: instructions, and a second
copy in memory. Packed here, they take the place of the constants, are used where they lie in the
mapped file, and can be unpacked exactly. docs/formats.md has the format, kernels/ of the recipe
onnxruntime-minimal the code that reads it.

A FlatBuffer's references point forward only, so what is changed (tensors with other dimensions, and
the tables above them) is written anew in front of the file's bytes.
"""

import math
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import flatbuffers
import numpy as np
from flatbuffers import number_types
from numpy.typing import NDArray
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import (
    InferenceSession,
    TensorTypeAndShape,
)

from edgewright.base.errors import UserError
from edgewright.model.convert.ortfile import ALIGNMENT, IDENTIFIER

DEPTH = 16  # of a step
WEIGHTS = 3  # the place of the weights among an operator's inputs
READ_BEYOND = 64  # bytes of a packed tensor behind its weights: the kernels read, and ignore them
DATA_ALIGNMENT = 16
UINT8, INT8, INT32 = 2, 3, 6  # of ONNX's data types
LAYOUT_REVISION = 2  # of what the hash of an order does not cover: kernels/src/tile.h
VERSION_BITS = 4  # of ONNX Runtime's own version; above them stands the order of the weights
LOWEST = -128  # overflows in the kernels
# Operator → the places of its zero points of input, weights and output, and of its bias.
ZERO_POINTS = {"QLinearConv": (2, 5, 7), "QGemm": (2, 5, 8)}
BIAS = {"QLinearConv": 8, "QGemm": 6}

_Value = TypeVar("_Value", bound=np.generic)

_REFERENCE = number_types.UOffsetTFlags
# The fields of the tables that are written anew, as ONNX Runtime's ort.fbs has them.
_SESSION = (_REFERENCE,) * 4
_MODEL = (
    number_types.Int64Flags,
    *(_REFERENCE,) * 4,
    number_types.Int64Flags,
    *(_REFERENCE,) * 4,
)
_GRAPH = (*(_REFERENCE,) * 3, number_types.Uint32Flags, *(_REFERENCE,) * 5)
_TENSOR = (
    *(_REFERENCE,) * 3,
    number_types.Int32Flags,
    *(_REFERENCE,) * 2,
    number_types.Int64Flags,
)
_VERSION, _MODEL_OF_SESSION, _GRAPH_OF_MODEL, _INITIALIZERS, _DIMS, _DATA = 0, 1, 7, 0, 2, 4


@dataclass(frozen=True, kw_only=True)
class Tile:
    """The columns that a kernel takes at a time, and where it finds the weights of a step."""

    places: NDArray[np.intp]  # [DEPTH, columns]

    @property
    def columns(self) -> int:
        return len(self.places[0])

    @property
    def number(self) -> int:
        """Names the order of weights: `layout_number` of the kernels' tile.h."""
        shape = (2 * DEPTH, 2 * self.columns)
        places = np.argsort(self.pack(np.arange(math.prod(shape)).reshape(shape)))
        number = 2166136261  # FNV-1a
        for value in (LAYOUT_REVISION, *places.tolist()):
            number = (number ^ value) * 16777619 % 2**32
        return number >> 5

    def pack(self, matrix: NDArray[_Value]) -> NDArray[_Value]:
        """The weights of a matrix [depth, columns], both in whole tiles, tile by tile."""
        depth, columns = matrix.shape
        steps = matrix.reshape(depth // DEPTH, DEPTH, columns // self.columns, self.columns)
        packed = np.empty((steps.shape[2], steps.shape[0], self.places.size), matrix.dtype)
        packed[..., self.places] = steps.transpose(2, 0, 1, 3)
        return packed.reshape(-1)

    def unpack(self, packed: NDArray[np.int8], depth: int, columns: int) -> NDArray[np.int8]:
        """The matrix [depth, columns] that `pack` took."""
        steps = packed.reshape(columns // self.columns, depth // DEPTH, self.places.size)
        return steps[..., self.places].transpose(1, 2, 0, 3).reshape(depth, columns)


def _tile(columns: int, place: Any) -> Tile:
    return Tile(places=place(*np.indices((DEPTH, columns))))


def _exchanged_place(k: NDArray[np.intp], n: NDArray[np.intp]) -> NDArray[np.intp]:
    exchanged = k % 8 // 4 ^ n % 2
    return exchanged * 32 + n // 2 * 16 + k // 8 * 8 + n % 2 * 4 + k % 4


NEON_32 = _tile(4, _exchanged_place)
NEON_64 = _tile(4, lambda k, n: n * DEPTH + k)
DOT_64 = _tile(8, lambda k, n: k // 4 * 32 + n * 4 + k % 4)
TILES: dict[str, Tile] = {"neon-32": NEON_32, "neon-64": NEON_64, "dot-64": DOT_64}


@dataclass(frozen=True, kw_only=True)
class _Matrix:
    """The weights of one node."""

    index: int  # among the initializers
    tensor: Any
    shape: tuple[int, ...]  # in the graph: [columns, channels, …], or of a QGemm [depth, columns]
    transposed: bool  # a QGemm's [columns, depth]

    @property
    def depth(self) -> int:
        return self.size // self.columns

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def stored_dims(self) -> tuple[int]:
        """Of its tensor when it is packed."""
        return (self.size + READ_BEYOND,)

    @property
    def columns(self) -> int:
        is_product = len(self.shape) == 2
        return self.shape[1 if is_product and not self.transposed else 0]

    @property
    def data(self) -> NDArray[np.int8]:
        return np.frombuffer(self.tensor.RawDataAsNumpy(), np.int8)[: self.size]

    def matrix(self) -> NDArray[np.int8]:
        """[depth, columns]; of a convolution, the depth is channel by channel for each tap."""
        if len(self.shape) == 2:
            weights = self.data.reshape(self.shape)
            return weights.T if self.transposed else weights
        columns, channels = self.shape[:2]
        taps = self.data.reshape(columns, channels, -1)
        return taps.transpose(2, 1, 0).reshape(self.depth, columns)

    def constant(self, matrix: NDArray[np.int8]) -> NDArray[np.int8]:
        """The constant of which `matrix` gives that matrix."""
        if len(self.shape) == 2:
            return (matrix.T if self.transposed else matrix).reshape(-1)
        columns, channels = self.shape[:2]
        return matrix.reshape(-1, channels, columns).transpose(2, 1, 0).reshape(-1)


@dataclass(frozen=True, kw_only=True)
class _Placed:
    """A tensor's new dimensions, and where its data begins."""

    dims: Sequence[int]
    data: int


def pack_weights(model: bytes, tile: Tile) -> bytes:
    """An ORT-format model with its weights packed for a tile, where the kernels take them.

    A runtime with other kernels, or none of ours, refuses it. One that they take no weights of
    stays as it is.
    """
    content = bytearray(model)
    session = InferenceSession.InferenceSession.GetRootAs(model, 0)
    placed = {}
    for weights in _matrices(session.Model().Graph(), packed=False):
        start = _aligned_start(weights.tensor)
        if start is None or not _fits(weights, tile, start, len(content)):
            continue
        packed = tile.pack(weights.matrix()).tobytes()
        _place(content, weights.tensor, start, packed, READ_BEYOND)
        placed[weights.index] = _Placed(dims=weights.stored_dims, data=start)
    if not placed:
        return model
    version = tile.number << VERSION_BITS | int(session.OrtVersion())
    return _rewritten(session, content, placed, version)


def unpack_weights(model: bytes) -> bytes:
    """The model that any runtime reads, of one with packed weights; raises UserError for others."""
    content = bytearray(model)
    session = InferenceSession.InferenceSession.GetRootAs(model, 0)
    version = int(session.OrtVersion())
    number = version >> VERSION_BITS
    tile = next((tile for tile in TILES.values() if tile.number == number), None)
    if tile is None:
        raise UserError("model", "has no packed weights", facts=[f"version: {version}"])
    placed = {}
    for weights in _matrices(session.Model().Graph(), packed=True):
        matrix = tile.unpack(weights.data, weights.depth, weights.columns)
        start = _data_start(weights.tensor)
        _place(content, weights.tensor, start, weights.constant(matrix).tobytes(), 0)
        placed[weights.index] = _Placed(dims=weights.shape, data=start)
    return _rewritten(session, content, placed, version & (1 << VERSION_BITS) - 1)


def _fits(weights: _Matrix, tile: Tile, start: int, size: int) -> bool:
    return (
        weights.depth % DEPTH == 0
        and weights.columns % tile.columns == 0
        and start + weights.size + READ_BEYOND <= size
        and LOWEST not in weights.data
    )


def _matrices(graph: Any, *, packed: bool) -> Iterator[_Matrix]:
    """The weights that the kernels take, and that no other node reads."""
    initializers = {
        graph.Initializers(i).Name(): (i, graph.Initializers(i))
        for i in range(graph.InitializersLength())
    }
    for i in range(graph.InputsLength()):
        initializers.pop(graph.Inputs(i), None)  # no constant
    constants = {name: tensor for name, (_, tensor) in initializers.items()}
    shapes = dict(_shapes(graph))
    readers = Counter(graph.Outputs(i) for i in range(graph.OutputsLength()))
    nodes = [graph.Nodes(i) for i in range(graph.NodesLength())]
    for node in nodes:
        readers.update(node.Inputs(i) for i in range(node.InputsLength()))
        readers.update(node.ImplicitInputs(i) for i in range(node.ImplicitInputsLength()))
    for node in nodes:
        name = node.Inputs(WEIGHTS) if node.InputsLength() > WEIGHTS else b""
        shape = shapes.get(name, ())
        if readers[name] != 1 or name not in initializers or len(shape) < 2 or 0 in shape:
            continue
        index, tensor = initializers[name]
        transposed = bool(_attribute(node, b"transB", 0))
        weights = _Matrix(index=index, tensor=tensor, shape=shape, transposed=transposed)
        dims = weights.stored_dims if packed else shape
        if _dims(tensor) == dims and _is_taken(node, constants, weights.columns):
            yield weights


def _is_taken(node: Any, constants: Mapping[bytes, Any], columns: int) -> bool:
    """Whether the kernels take a node's weights: the conditions of QLinearConv and PackedLinear."""
    operator = (node.OpType() or b"").decode()
    if operator not in ZERO_POINTS or _attribute(node, b"group", 1) != 1:
        return False
    inputs = [node.Inputs(i) for i in range(node.InputsLength())]
    by_place = dict(enumerate(inputs))
    names = [by_place.get(i, b"") for i in (*ZERO_POINTS[operator], WEIGHTS)]
    if not constants.keys() >= set(names):
        return False
    bias = by_place.get(BIAS[operator], b"")
    if bias and not _is_bias(constants.get(bias), columns):
        return False
    of_input, of_weights, of_output, _ = tensors = [constants[name] for name in names]
    if (of_input.RawDataLength(), of_output.RawDataLength()) != (1, 1):
        return False
    kinds = [tensor.DataType() for tensor in tensors]
    zeros = of_weights.RawDataAsNumpy()
    return kinds == [UINT8, INT8, UINT8, INT8] and zeros.size in (1, columns) and not zeros.any()


def _is_bias(tensor: Any | None, columns: int) -> bool:
    if tensor is None or tensor.DataType() != INT32:
        return False
    return bool(tensor.RawDataLength() == np.dtype(np.int32).itemsize * columns)


def _attribute(node: Any, name: bytes, default: int) -> int:
    for i in range(node.AttributesLength()):
        if node.Attributes(i).Name() == name:
            return int(node.Attributes(i).I())
    return default


def _shapes(graph: Any) -> Iterator[tuple[bytes, tuple[int, ...]]]:
    """The shapes of the graph's values, 0 for an open dimension."""
    for i in range(graph.NodeArgsLength()):
        value = graph.NodeArgs(i)
        if value.Type() is None or value.Type().Value() is None:
            continue
        kind = TensorTypeAndShape.TensorTypeAndShape()
        kind.Init(value.Type().Value().Bytes, value.Type().Value().Pos)
        if (shape := kind.Shape()) is not None:
            sizes = (shape.Dim(k).Value() for k in range(shape.DimLength()))
            yield value.Name(), tuple(size.DimValue() if size else 0 for size in sizes)


def _dims(tensor: Any) -> tuple[int, ...]:
    return tuple(tensor.Dims(i) for i in range(tensor.DimsLength()))


def _data_start(tensor: Any) -> int:
    return int(tensor._tab.Vector(tensor._tab.Offset(4 + 2 * _DATA)))


def _aligned_start(tensor: Any) -> int | None:
    """Where data can begin aligned, when the tensor's table, right before it, lies elsewhere."""
    table, old = tensor._tab, _data_start(tensor)
    vtable = table.Pos - table.Get(number_types.SOffsetTFlags, table.Pos)
    table_end = table.Pos + table.Get(number_types.Uint16Flags, vtable + 2)
    start = _round_up(table.Pos + 4, DATA_ALIGNMENT)
    is_next = table_end <= old - 4 < table_end + 8  # nothing but padding between them
    return start if is_next and start <= old else None


def _place(content: bytearray, tensor: Any, start: int, data: bytes, beyond: int) -> None:
    """Write a vector of bytes where a tensor's table and data were, or its data alone.

    It takes in `beyond` bytes of what lies behind it in the file, whatever that is.
    """
    old = _data_start(tensor)
    if start != old:
        content[tensor._tab.Pos : old + len(data)] = bytes(old + len(data) - tensor._tab.Pos)
    struct.pack_into("<I", content, start - 4, len(data) + beyond)
    content[start : start + len(data)] = data


def _rewritten(
    session: Any, content: bytearray, placed: Mapping[int, _Placed], version: int
) -> bytes:
    """The session's file with other tensors and another version.

    `content` is the file with their data in its place, where their tables may have been.
    """
    model = session.Model()
    graph = model.Graph()
    front = _Front(content)
    tensors = [
        front.tensor(graph.Initializers(i), placed[i])
        if i in placed
        else front.reference(graph.Initializers(i)._tab.Pos)
        for i in range(graph.InitializersLength())
    ]
    initializers = front.vector(tensors)
    new_graph = front.table(graph, _GRAPH, {_INITIALIZERS: initializers})
    new_model = front.table(model, _MODEL, {_GRAPH_OF_MODEL: new_graph})
    text = front.builder.CreateString(str(version))
    root = front.table(session, _SESSION, {_VERSION: text, _MODEL_OF_SESSION: new_model})
    front.builder.Finish(root, file_identifier=IDENTIFIER)
    return bytes(front.builder.Output())


class _Front:
    """Writes tables in front of a file's bytes, which they refer to."""

    def __init__(self, content: bytearray) -> None:
        self.size = len(content)
        # As if the builder had just written the content: a FlatBuffer is built back to front.
        self.builder = flatbuffers.Builder(0)
        self.builder.Bytes = bytearray(content)
        self.builder.head = _REFERENCE.py_type(0)
        self.builder.minalign = ALIGNMENT

    def reference(self, position: int) -> int:
        return self.size - position

    def table(self, old: Any, fields: Sequence[Any], changed: Mapping[int, int]) -> int:
        """A copy of a table, with other references in some of its fields."""
        self.builder.StartObject(len(fields))
        for slot, kind in enumerate(fields):
            place = old._tab.Offset(4 + 2 * slot)
            if slot in changed:
                self.builder.PrependUOffsetTRelativeSlot(slot, changed[slot], 0)
            elif place and kind is _REFERENCE:
                target = self.reference(old._tab.Indirect(old._tab.Pos + place))
                self.builder.PrependUOffsetTRelativeSlot(slot, target, 0)
            elif place:
                self.builder.PrependSlot(kind, slot, old._tab.Get(kind, old._tab.Pos + place), None)
        return int(self.builder.EndObject())

    def tensor(self, old: Any, placed: _Placed) -> int:
        self.builder.StartVector(8, len(placed.dims), 8)
        for size in reversed(placed.dims):
            self.builder.PrependInt64(size)
        dims = self.builder.EndVector()
        data = self.reference(placed.data - 4)  # its length goes before it
        return self.table(old, _TENSOR, {_DIMS: dims, _DATA: data})

    def vector(self, references: Sequence[int]) -> int:
        self.builder.StartVector(4, len(references), 4)
        for reference in reversed(references):
            self.builder.PrependUOffsetTRelative(reference)
        return int(self.builder.EndVector())


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
