"""Convert an FP32 ONNX network to ncnn's format: a text of layers and a file of weights.

Covers what MobileViT, EfficientNet-Lite, ResNet and YOLOv8's backbone are made of. ncnn has no
batch dimension, so a leading 1 is dropped. Convolutions and fully connected layers can be INT8, as
ncnn's own `ncnn2int8` makes them: signed bytes, a scale for each output of the weights, and one for
what the layer reads.
"""

import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper, shape_inference

from edgewright.base.errors import UserError

MAGIC = "7767517"
RAW = struct.pack("<I", 0)  # the tag of weights as 32-bit floats
BYTES = struct.pack("<I", 0x000D4B38)  # likewise as INT8
HIGHEST = 127  # of INT8, which is symmetric there
# ncnn numbers the permutations of (w, h, c) and of (w, h, d, c) in these orders.
ORDERS = {
    2: ("wh", "hw"),
    3: ("whc", "hwc", "wch", "cwh", "hcw", "chw"),
    4: (
        *("whdc", "hwdc", "wdhc", "dwhc", "hdwc", "dhwc", "whcd", "hwcd"),
        *("wchd", "cwhd", "hcwd", "chwd", "wdch", "dwch", "wcdh", "cwdh"),
        *("dcwh", "cdwh", "hdcw", "dhcw", "hcdw", "chdw", "dchw", "cdhw"),
    ),
}
AXES = {2: "hw", 3: "chw", 4: "cdhw"}
RESHAPE_KEYS = {1: (0,), 2: (0, 1), 3: (0, 1, 2), 4: (0, 1, 11, 2)}


def write_ncnn(
    model: Path, param: Path, weights: Path, limits: Mapping[str, float] = MappingProxyType({})
) -> None:
    """Convert a file. Raises UserError for an operator that is not covered, or not in that form.

    Layers whose input has a limit, its largest magnitude, are INT8.
    """
    network = _Network(shape_inference.infer_shapes(onnx.load(str(model))), limits)
    param.write_text(network.text())
    weights.write_bytes(b"".join(network.weights))


class _Network:
    """Layers and weights, in the order of the graph."""

    def __init__(self, model: onnx.ModelProto, limits: Mapping[str, float]) -> None:
        graph = model.graph
        self.limits = limits
        values = [*graph.value_info, *graph.input, *graph.output]
        self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        self.lines: list[str] = []
        self.weights: list[bytes] = []
        self.blobs = 0
        self.copies: dict[str, list[str]] = {}
        self.uses = Counter(name for node in graph.node for name in node.input)
        self._sigmoids = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Sigmoid"}
        for name in self._sigmoids.values():
            self.uses[name] -= 1  # x · sigmoid(x) is one layer
        first = graph.input[0].name
        shape = self.ncnn_shape(first)
        self.add("Input", [], first, _sizes(shape), blob="data")
        for node in graph.node:
            if node.op_type != "Sigmoid":
                self.convert(node)

    def ncnn_shape(self, name: str) -> list[int]:
        shape = self.shape(name)
        return shape[1:] if len(shape) in (2, 4) and shape[0] == 1 else shape

    def shape(self, name: str) -> list[int]:
        shape = self.shapes.get(name, [])
        if not shape or 0 in shape or len(shape) > len(AXES) + 1:
            raise _not_covered(f"tensor {name}", f"of shape {shape or 'unknown'}")
        return shape

    def constant(self, node: NodeProto, place: int) -> NDArray[Any]:
        """An input that is a constant, as weights and bounds are."""
        name = node.input[place] if place < len(node.input) else ""
        _require(node, name in self.constants, f"without a constant as input {place}")
        return self.constants[name]

    def add(
        self, kind: str, inputs: Sequence[str], output: str, options: str, blob: str = ""
    ) -> None:
        """Add a layer; split its output for several readers, since an ncnn blob has one reader."""
        sources = [self.copies[name].pop() for name in inputs]
        blob = blob or f"b{self.blobs}"
        names = " ".join([*sources, blob])
        number = len(self.lines)
        self.lines.append(f"{kind} l{number} {len(sources)} 1 {names} {options}".rstrip())
        uses, self.blobs = self.uses[output], self.blobs + 1
        self.copies[output] = [blob]
        if uses > 1:
            self.copies[output] = [f"{blob}_{copy}" for copy in range(uses)]
            copies = " ".join(self.copies[output])
            self.lines.append(f"Split l{number}s 1 {uses} {blob} {copies}")
            self.blobs += uses

    def convert(self, node: NodeProto) -> None:
        converter = CONVERTERS.get(node.op_type)
        if converter is None:
            raise _not_covered(f"operator {node.op_type}")
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        _require(node, not any(node.output[1:]), "with more than one output")
        for name, value in DEFAULTS.get(node.op_type, {}).items():
            written = attributes.get(name, value)
            text = written.decode() if isinstance(written, bytes) else written
            _require(node, written == value, f"with {name} = {text}")
        kind, options = converter(self, node, attributes)
        read = [name for name in node.input if name in self.copies]
        self.add(kind, read, node.output[0], options)

    def add_weights(self, *arrays: NDArray[Any]) -> None:
        self.weights += [np.ascontiguousarray(a, np.float32).tobytes() for a in arrays]

    def add_product(
        self, source: str, weight: NDArray[Any], bias: Sequence[NDArray[Any]], groups: int = 1
    ) -> str:
        """The weights of a layer that multiplies; returns the option that they are INT8, or ""."""
        limit = self.limits.get(source)
        if limit is None:
            self.weights.append(RAW)
            self.add_weights(weight, *bias)
            return ""
        rows = weight.reshape(groups if groups > 1 else len(weight), -1)
        magnitudes = np.abs(rows).max(axis=1)
        scales = HIGHEST / np.where(magnitudes, magnitudes, HIGHEST)  # pruned: all are 0
        raw = np.rint(rows * scales[:, None]).astype(np.int8).tobytes()
        self.weights += [BYTES, raw, bytes(-len(raw) % 4)]
        self.add_weights(*bias, scales, np.array([HIGHEST / limit]))
        return " 8=1"

    def is_silu(self, node: NodeProto) -> bool:
        a, b = node.input
        return bool(self._sigmoids.get(b) == a or self._sigmoids.get(a) == b)

    def text(self) -> str:
        return "\n".join([MAGIC, f"{len(self.lines)} {self.blobs}", *self.lines, ""])


def _not_covered(subject: str, form: str = "") -> UserError:
    problem = " ".join(filter(None, (form, "is not converted to ncnn")))
    return UserError(subject, problem, next="leave ncnn out of --vs")


def _require(node: NodeProto, is_covered: bool, form: str) -> None:
    if not is_covered:
        raise _not_covered(f"operator {node.op_type} of {node.output[0]}", form)


def _sizes(shape: Sequence[int]) -> str:
    """w, h, (d,) c of a shape in numpy's order."""
    keys = RESHAPE_KEYS[len(shape)]
    return " ".join(f"{key}={size}" for key, size in zip(keys, reversed(shape), strict=True))


_Layer = tuple[str, str]
_Attributes = dict[str, Any]


# What ONNX takes for attributes that are left out, where no other value is converted.
DEFAULTS: dict[str, dict[str, object]] = {
    "Conv": {"auto_pad": b"NOTSET"},
    "Flatten": {"axis": 1},
    "Gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0},
    "MaxPool": {"auto_pad": b"NOTSET", "ceil_mode": 0},
}


def _window(node: NodeProto, attributes: _Attributes, kernel: Sequence[int]) -> tuple[int, int]:
    """Stride and padding of a square window that moves and is padded alike in both directions."""
    is_square = len(kernel) == 2 and kernel[0] == kernel[1]
    _require(node, is_square, f"with a kernel of {list(kernel)}")
    alike = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1]}
    for name, default in alike.items():
        values = attributes.get(name, default)
        _require(node, len({*values}) == 1, f"with {name} = {list(values)}")
        alike[name] = values
    _require(node, alike["dilations"][0] == 1, f"with dilations = {list(alike['dilations'])}")
    return alike["strides"][0], alike["pads"][0]


def _require_last_axis(network: _Network, node: NodeProto, attributes: _Attributes) -> None:
    axis, axes = attributes.get("axis", -1), len(network.shape(node.input[0]))
    _require(node, axis % axes == axes - 1, f"with axis = {axis}")


def _of_two(kind: str, options: str = "") -> Callable[[_Network, NodeProto, _Attributes], _Layer]:
    """A layer that reads two outputs of others."""

    def convert(network: _Network, node: NodeProto, _: _Attributes) -> _Layer:
        _require(node, not {*node.input} & {*network.constants}, "with a constant")
        return kind, options

    return convert


def _conv(network: _Network, node: NodeProto, attributes: _Attributes) -> _Layer:
    weight = network.constant(node, 1)
    bias = [network.constant(node, 2)] if len(node.input) > 2 else []
    stride, pad = _window(node, attributes, weight.shape[2:])
    group = attributes.get("group", 1)
    int8 = network.add_product(node.input[0], weight, bias, group)
    options = f"0={weight.shape[0]} 1={weight.shape[2]} 3={stride} 4={pad}"
    options += f" 5={len(bias)} 6={weight.size}{int8}"
    if group == 1:
        return "Convolution", options
    return "ConvolutionDepthWise", f"{options} 7={group}"


def _gemm(network: _Network, node: NodeProto, attributes: _Attributes) -> _Layer:
    weight, bias = (network.constant(node, place) for place in (1, 2))
    # ncnn has a row of weights for each output.
    weight = np.ascontiguousarray(weight if attributes.get("transB") else weight.T)
    int8 = network.add_product(node.input[0], weight, [bias])
    return "InnerProduct", f"0={weight.shape[0]} 1=1 2={weight.size}{int8}"


def _layer_norm(network: _Network, node: NodeProto, attributes: _Attributes) -> _Layer:
    _require_last_axis(network, node, attributes)
    gamma, beta = (network.constant(node, place) for place in (1, 2))
    network.add_weights(gamma, beta)
    return "LayerNorm", f"0={gamma.size} 1={attributes.get('epsilon', 1e-5):e}"


def _transpose(network: _Network, node: NodeProto, attributes: _Attributes) -> _Layer:
    axes, ncnn_axes = (len(of(node.input[0])) for of in (network.shape, network.ncnn_shape))
    permutation = list(attributes.get("perm", reversed(range(axes))))
    if ncnn_axes < axes:
        _require(node, permutation[0] == 0, f"with perm = {permutation}")
        permutation = [axis - 1 for axis in permutation[1:]]
    _require(node, ncnn_axes in AXES, f"of {ncnn_axes} axes")
    # ncnn counts axes from the innermost, ONNX from the outermost.
    names = AXES[ncnn_axes]
    order = "".join(names[axis] for axis in reversed(permutation))
    return "Permute", f"0={ORDERS[ncnn_axes].index(order)}"


def _concat(network: _Network, node: NodeProto, attributes: _Attributes) -> _Layer:
    _require(node, not {*node.input} & {*network.constants}, "with a constant")
    axes, ncnn_axes = (len(of(node.input[0])) for of in (network.shape, network.ncnn_shape))
    axis = attributes["axis"] % axes - (axes - ncnn_axes)
    _require(node, axis >= 0, "of batches")
    return "Concat", f"0={axis}"


def _clip(network: _Network, node: NodeProto, attributes: _Attributes) -> _Layer:
    low, high = (float(network.constant(node, place)) for place in (1, 2))
    return "Clip", f"0={low:e} 1={high:e}"


def _max_pool(network: _Network, node: NodeProto, attributes: _Attributes) -> _Layer:
    kernel = attributes["kernel_shape"]
    stride, pad = _window(node, attributes, kernel)
    return "Pooling", f"0=0 1={kernel[0]} 2={stride} 3={pad} 5=1"


def _mul(network: _Network, node: NodeProto, attributes: _Attributes) -> _Layer:
    if network.is_silu(node):
        return "Swish", ""
    return _of_two("BinaryOp", "0=2")(network, node, attributes)


def _reduce_mean(network: _Network, node: NodeProto, attributes: _Attributes) -> _Layer:
    """Axes are an input from opset 18 on, and an attribute before; an image's are 2 and 3."""
    has_input = len(node.input) > 1
    axes = network.constant(node, 1).tolist() if has_input else attributes.get("axes", [])
    count = len(network.shape(node.input[0]))
    is_global = count == 4 and {axis % count for axis in axes} == {2, 3}
    _require(node, is_global, f"with axes = {list(axes)}")
    return "Pooling", "0=1 4=1"


def _slice(network: _Network, node: NodeProto, _: _Attributes) -> _Layer:
    start, end, axis = (int(network.constant(node, place).item()) for place in (1, 2, 3))
    step = int(network.constant(node, 4).item()) if len(node.input) > 4 else 1
    shape, ncnn_axes = network.shape(node.input[0]), len(network.ncnn_shape(node.input[0]))
    place = axis % len(shape) - (len(shape) - ncnn_axes)
    _require(node, step == 1 and place >= 0, "with steps, or of batches")
    first, last, _step = slice(start, end).indices(shape[axis])
    return "Crop", f"-23309=1,{first} -23310=1,{last} -23311=1,{place}"


def _softmax(network: _Network, node: NodeProto, attributes: _Attributes) -> _Layer:
    _require_last_axis(network, node, attributes)
    return "Softmax", "0=-1 1=1"


CONVERTERS: dict[str, Callable[[_Network, NodeProto, _Attributes], _Layer]] = {
    "Add": _of_two("BinaryOp", "0=0"),
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Flatten": lambda *_: ("Flatten", ""),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda *_: ("Pooling", "0=1 4=1"),
    "LayerNormalization": _layer_norm,
    "MatMul": _of_two("MatMul", "0=0"),
    "MaxPool": _max_pool,
    "Mul": _mul,
    "ReduceMean": _reduce_mean,
    "Relu": lambda *_: ("ReLU", ""),
    "Reshape": lambda network, node, _: (
        "Reshape",
        _sizes(network.ncnn_shape(node.output[0])),
    ),
    "Slice": _slice,
    "Softmax": _softmax,
    "Transpose": _transpose,
}
