"""Quantized networks of inverted residuals side by side, each with channels of its own number."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

# Values between the first convolution and the last; the activation may have a second reader.
Stage = Literal["expanded", "sigmoid", "activated", "convolved", "second"]
INPUTS, OUTPUTS = 8, 16  # channels of what goes into a block, and comes out
BIAS_RANGE = 3000


@dataclass(frozen=True, kw_only=True)
class Block:
    """An inverted residual, and what is special in it."""

    expanded: int  # channels between
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] | None = None  # None: half of the window on each side
    silu: bool = True
    adds_input: bool = False
    lowest: str = ""  # the convolution that has a weight of -128
    shows: Stage | None = None  # one of its values, as an output of the network


@dataclass
class Network:
    """A network as it grows, in QDQ form. Values are random, but the same each time."""

    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def constant(self, value: NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def quantized(self, value: str, scale: float, zero_point: int) -> str:
        names = (
            self.constant(np.array(scale, np.float32)),
            self.constant(np.array(zero_point, np.uint8)),
        )
        return self.node("DequantizeLinear", self.node("QuantizeLinear", value, *names), *names)

    def convolution(
        self,
        x: str,
        shape: tuple[int, ...],
        scale: float,
        zero_point: int,
        *,
        lowest: bool,
        **form: Any,
    ) -> str:
        """From values of a scale of 1/16 to values of `scale`."""
        weights = self.random.integers(-127, 128, shape, dtype=np.int8)
        if lowest:
            weights.reshape(-1)[-1] = -128
        of_weights = self.random.uniform(1, 5, shape[0]) / 127 / np.sqrt(np.prod(shape[1:]))
        scales = of_weights.astype(np.float32)
        names = (self.constant(scales), self.constant(np.zeros(shape[0], np.int8)))
        dequantized = self.node("DequantizeLinear", self.constant(weights), *names, axis=0)
        bias = self.random.integers(-BIAS_RANGE, BIAS_RANGE, shape[0]).astype(np.int32)
        bias_names = (self.constant(scales / 16), self.constant(np.zeros(shape[0], np.int32)))
        of_bias = self.node("DequantizeLinear", self.constant(bias), *bias_names, axis=0)
        return self.quantized(self.node("Conv", x, dequantized, of_bias, **form), scale, zero_point)

    def activation(self, x: str, *, silu: bool) -> tuple[str, str]:
        """The sigmoid, if there is one, and the activation."""
        if not silu:
            return "", x
        sigmoid = self.quantized(self.node("Sigmoid", x), 1 / 256, 0)
        return sigmoid, self.quantized(self.node("Mul", x, sigmoid), 1 / 16, 5)

    def block(self, x: str, block: Block) -> list[str]:
        """The names of what a block gives."""
        self.random = np.random.default_rng(block.expanded)  # whatever other blocks took
        n, low = block.expanded, block.lowest
        sizes = zip(block.kernel, block.dilations, strict=True)
        half = [dilation * (size - 1) // 2 for size, dilation in sizes]
        form = {
            "group": n,
            "pads": [*(block.pads or half * 2)],
            "strides": [*block.strides],
            "dilations": [*block.dilations],
        }
        zero = 128 if block.silu else 0  # as a ReLU has it
        image = self.convolution(x, (n, INPUTS, 1, 1), 1 / 16, zero, lowest=low == "expand")
        sigmoid, activated = self.activation(image, silu=block.silu)
        convolved = self.convolution(
            activated,
            (n, 1, *block.kernel),
            1 / 16,
            zero,
            lowest=low == "depthwise",
            **form,
        )
        _, y = self.activation(convolved, silu=block.silu)
        columns = INPUTS if block.adds_input else OUTPUTS
        y = self.convolution(y, (columns, n, 1, 1), 1 / 16, 255, lowest=low == "project")
        if block.adds_input:
            y = self.quantized(self.node("Add", x, y), 1 / 8, 100)
        if block.shows is None:
            return [y]
        if block.shows == "second":
            return [y, self.convolution(activated, (INPUTS, n, 1, 1), 1 / 16, 128, lowest=False)]
        stages = {"expanded": image, "sigmoid": sigmoid, "activated": activated}
        return [y, (stages | {"convolved": convolved})[block.shows]]


def write_network(path: Path, height: int, width: int, blocks: list[Block]) -> Path:
    network = Network()
    x = network.quantized("image", 1 / 16, 128)
    x = network.convolution(x, (INPUTS, 1, 3, 3), 1 / 16, 128, lowest=False, pads=[1] * 4)
    outputs = [name for block in blocks for name in network.block(x, block)]
    rank_4 = [None] * 4
    graph = helper.make_graph(
        network.nodes,
        "blocks",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, height, width])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, rank_4) for name in outputs],
        network.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path))
    return path
