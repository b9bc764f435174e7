"""Facts about an ONNX network: operators, types, multiplications, parameters, memory."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, shape_inference

from edgewright.base.errors import UserError
from edgewright.base.schema import Document, Part
from edgewright.model.contract.network_file import network_bytes, read_graph
from edgewright.model.contract.operators import ROUNDING, VIEWS
from edgewright.model.contract.session import load_session
from edgewright.model.convert.int8_nodes import Int8Nodes, int8_nodes
from edgewright.model.importer.importing import TaskForm, import_network

# Operator → the places of its data and of its weights among the inputs.
_PRODUCTS = {
    "Conv": (0, 1),
    "ConvInteger": (0, 1),
    "QLinearConv": (0, 3),
    "FusedConv": (0, 1),
    "Gemm": (0, 1),
    "FusedGemm": (0, 1),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearMatMul": (0, 3),
}
_CONVOLUTIONS = {"Conv", "ConvInteger", "QLinearConv", "FusedConv"}

FLOAT_BYTES = 4

Shape = tuple[int, ...]


class Layer(Part):
    """One node; `macs` are multiplications with addition of one inference."""

    name: str
    operator: str
    shape: Shape | None  # of its first output
    macs: int
    weight_bytes: int
    output_bytes: int


class Inspection(Document):
    """`activation_peak` is bytes of tensors alive at once, in the order of the file."""

    version: Literal[1] = 1
    model: str
    bytes: int
    opsets: dict[str, int]
    operators: dict[str, int]  # kind → nodes
    types: dict[str, int]  # of weights → bytes
    parameters: int
    macs: int
    activation_peak: int
    peak_at: str  # the node at which it is reached
    layers: tuple[Layer, ...]
    int8: tuple[Int8Nodes, ...] = ()  # by kind: which of them are fast on a 32-bit board


def inspect(
    model: Path,
    *,
    shape: Sequence[int] | None = None,
    output: str | None = None,
    form: TaskForm | None = None,
) -> Inspection:
    """Inspect an ONNX network for one image. Raises UserError if no board can run it.

    `shape`, `output` and `form` are those of `import_network`.
    """
    if model.suffix == ".ort":
        raise UserError(str(model), "is in ORT format", next="inspect the ONNX file it is made of")
    imported = import_network(model, shape=shape, output=output, form=form)
    # Counts of nodes are of the file as it is; shapes and products of the folded graph.
    graph, written = _Graph(imported.path), read_graph(model)
    domains = {node.domain or "ai.onnx" for node in written.graph.node}
    opsets = {opset.domain or "ai.onnx": opset.version for opset in written.opset_import}
    layers = tuple(graph.layer(node) for node in graph.nodes if node.op_type not in ROUNDING)
    peak, peak_node = graph.peak()
    return Inspection(
        model=str(model),
        bytes=network_bytes(model),
        opsets={name: version for name, version in opsets.items() if name in domains},
        operators=dict(Counter(node.op_type for node in written.graph.node).most_common()),
        types=graph.weight_types(),
        parameters=sum(prod(tensor.dims) for tensor in graph.weights()),
        macs=sum(layer.macs for layer in layers),
        activation_peak=peak,
        peak_at=peak_node,
        layers=layers,
        int8=int8_nodes(imported.path),
    )


class _Graph:
    """A network with constants folded and shapes inferred."""

    def __init__(self, path: Path) -> None:
        self.model = shape_inference.infer_shapes(_folded(path))
        self.nodes: Sequence[onnx.NodeProto] = self.model.graph.node
        self.constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self.values = _values(self.model.graph)
        if any(node.output[0] not in self.values for node in self.nodes):
            self.values = {**self.values, **_observed(self.model)}
        self.consumers = Counter(name for node in self.nodes for name in node.input)
        self.consumers.update(value.name for value in self.model.graph.output)
        self.alias = self._aliases()

    def layer(self, node: onnx.NodeProto) -> Layer:
        shape = self.values.get(node.output[0], (None, 0))[0]
        return Layer(
            name=node.name or node.output[0],
            operator=node.op_type,
            shape=shape,
            macs=self._macs(node, shape),
            weight_bytes=sum(_size(self.constants[name]) for name in self._weights_of(node)),
            output_bytes=self._bytes(node.output[0]),
        )

    def weights(self) -> list[onnx.TensorProto]:
        """Constants that are learnt: neither shapes nor scales and zero points."""
        scales = {
            name for node in self.nodes if node.op_type in ROUNDING for name in node.input[1:]
        }
        # Constants of type INT64 are shapes, axes and indices.
        numbers = (t for t in self.constants.values() if t.data_type != TensorProto.INT64)
        return [tensor for tensor in numbers if tensor.name not in scales]

    def weight_types(self) -> dict[str, int]:
        sizes: Counter[str] = Counter()
        for tensor in self.weights():
            sizes[TensorProto.DataType.Name(tensor.data_type).lower()] += _size(tensor)
        return dict(sizes.most_common())

    def peak(self) -> tuple[int, str]:
        """The most bytes alive at one node, and that node's name."""
        last = self._last_uses()
        alive: dict[str, int] = {}
        largest, node_name = 0, ""
        for value in self.model.graph.input:
            if value.name not in self.constants:
                alive[self._root(value.name)] = self._bytes(value.name)
        for place, node in enumerate(self.nodes):
            alive |= {self._root(name): self._bytes(name) for name in node.output}
            if (size := sum(alive.values())) > largest:
                largest, node_name = size, node.name or node.op_type
            alive = {name: size for name, size in alive.items() if last.get(name, -1) > place}
        return largest, node_name

    def _last_uses(self) -> dict[str, int]:
        last: dict[str, int] = {}
        for place, node in enumerate(self.nodes):
            last.update({self._root(name): place for name in node.input})
        return last | {self._root(value.name): len(self.nodes) for value in self.model.graph.output}

    def _aliases(self) -> dict[str, str]:
        """Tensors that need no memory of their own: views, and floats that the runtime
        never stores, as it fuses the rounding into the node before or after."""
        alias: dict[str, str] = {}
        for node in self.nodes:
            source, result = node.input[0] if node.input else "", node.output[0]
            if node.op_type in {*VIEWS, "DequantizeLinear"}:
                alias[result] = source
            elif node.op_type == "QuantizeLinear" and self.consumers[source] == 1:
                alias[source] = result
        return alias

    def _root(self, name: str) -> str:
        while name in self.alias and self.alias[name] != name:
            name = self.alias[name]
        return name

    def _bytes(self, name: str) -> int:
        root = self._root(name)
        shape, width = self.values.get(root, (None, 0))
        return 0 if root in self.constants or shape is None else prod(shape) * width

    def _weights_of(self, node: onnx.NodeProto) -> list[str]:
        return [root for name in node.input if (root := self._root(name)) in self.constants]

    def _shape(self, name: str) -> Shape | None:
        root = self._root(name)
        if root in self.constants:
            return tuple(self.constants[root].dims)
        return self.values.get(name, (None, 0))[0]

    def _macs(self, node: onnx.NodeProto, out: Shape | None) -> int:
        if node.op_type not in _PRODUCTS or out is None:
            return 0
        data, weights = (self._shape(node.input[place]) for place in _PRODUCTS[node.op_type])
        if data is None or weights is None:
            return 0
        if node.op_type in _CONVOLUTIONS:
            return prod(out) * prod(weights[1:])
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return prod(out) * (data[0] if transposed else data[-1])


def _values(graph: onnx.GraphProto) -> Mapping[str, tuple[Shape | None, int]]:
    """Tensor → its shape, or None where a dimension is open, and the bytes of one element."""
    values: dict[str, tuple[Shape | None, int]] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if not value.type.HasField("tensor_type"):  # a sequence has no size that could be told
            continue
        kind = value.type.tensor_type
        sizes = tuple(size.dim_value for size in kind.shape.dim)
        # An open dimension has no size, which protobuf reads as 0.
        shape = sizes if kind.HasField("shape") and all(sizes) else None
        element = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
        values[value.name] = (shape, int(element.itemsize))
    return values


def _observed(model: onnx.ModelProto) -> Mapping[str, tuple[Shape | None, int]]:
    """The same from an inference: the onnx library infers no shapes of ONNX Runtime's operators."""
    augmented = onnx.ModelProto()
    augmented.CopyFrom(model)
    outputs = {value.name for value in model.graph.output}
    names = [
        name for node in model.graph.node for name in node.output if name and name not in outputs
    ]
    if not names:  # an inference that is asked for nothing gives all outputs
        return {}
    augmented.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = load_session(augmented.SerializeToString())
    feeds = {
        value.name: np.zeros(
            [size.dim_value for size in value.type.tensor_type.shape.dim],
            helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
        )
        for value in model.graph.input
    }
    arrays = [np.asarray(array) for array in session.run(names, feeds)]
    return {name: (array.shape, array.itemsize) for name, array in zip(names, arrays, strict=True)}


def _size(tensor: onnx.TensorProto) -> int:
    return int(prod(tensor.dims)) * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _folded(path: Path) -> onnx.ModelProto:
    """The network with constants folded: exporters compute shapes by nodes of the graph."""
    model = onnx.load(path)
    with TemporaryDirectory() as scratch:
        options = onnxruntime.SessionOptions()
        # "Basic" folds constants, and adds no operators of ONNX Runtime's own, whose shapes the
        # onnx library could not infer.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(scratch) / "folded.onnx")
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return onnx.load(options.optimized_model_filepath)


def activation_bytes(graph: onnx.GraphProto) -> int:
    """Bytes of all tensors between nodes together, as FP32; an open dimension counts as 1."""
    shapes = (v.type.tensor_type.shape.dim for v in (*graph.value_info, *graph.output))
    return sum(prod(max(size.dim_value, 1) for size in shape) * FLOAT_BYTES for shape in shapes)


def weight_bytes(graph: onnx.GraphProto) -> int:
    return sum(tensor.ByteSize() for tensor in graph.initializer)
