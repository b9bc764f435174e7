"""ONNX into ncnn's text and weights, on a network small enough to read."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgewright.base.errors import UserError
from edgewright.observe.peers.ncnn_model import ORDERS, write_ncnn

KERNEL = np.arange(18, dtype=np.float32).reshape(2, 1, 3, 3)
BIAS = np.array([20, 21], np.float32)
NUMBERS = ("none", "once", "twice")


def write_network(path: Path, *nodes: NodeProto) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(KERNEL, "k"),
            numpy_helper.from_array(BIAS, "bias"),
            numpy_helper.from_array(np.array([1, 2, 2, 8]), "shape"),
            numpy_helper.from_array(np.array(0, np.float32), "low"),
            numpy_helper.from_array(np.array(6, np.float32), "high"),
            *(numpy_helper.from_array(np.array([n]), name) for n, name in enumerate(NUMBERS)),
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


def converted(folder: Path, *nodes: NodeProto, **limits: float) -> tuple[list[str], bytes]:
    param, weights = folder / "net.param", folder / "net.bin"
    write_ncnn(write_network(folder / "net.onnx", *nodes), param, weights, limits)
    return param.read_text().splitlines(), weights.read_bytes()


def conv(source: str, out: str) -> NodeProto:
    return helper.make_node("Conv", [source, "k", "bias"], [out], strides=[1, 1], pads=[1, 1, 1, 1])


def test_a_convolution_with_its_silu(tmp_path: Path) -> None:
    lines, weights = converted(
        tmp_path,
        conv("x", "c"),
        helper.make_node("Sigmoid", ["c"], ["s"]),
        helper.make_node("Mul", ["c", "s"], ["m"]),
        helper.make_node("Reshape", ["m", "shape"], ["r"]),
        helper.make_node("Transpose", ["r"], ["y"], perm=[0, 3, 1, 2]),
    )

    assert lines == [
        "7767517",
        "5 5",
        "Input l0 0 1 data 0=4 1=4 2=1",
        "Convolution l1 1 1 data b1 0=2 1=3 3=1 4=1 5=1 6=18",
        "Swish l2 1 1 b1 b2",
        "Reshape l3 1 1 b2 b3 0=8 1=2 2=2",
        f"Permute l4 1 1 b3 b4 0={ORDERS[3].index('hcw')}",
    ]
    assert weights == struct.pack("<I18f2f", 0, *range(18), 20, 21)


def test_a_layer_whose_input_has_a_limit_is_of_bytes(tmp_path: Path) -> None:
    lines, weights = converted(tmp_path, conv("x", "c"), conv("c", "y"), x=6.35)

    assert lines[3].endswith(" 5=1 6=18 8=1")
    assert lines[4].endswith(" 5=1 6=18")
    first, scales = weights[4:22], struct.unpack("<5f", weights[24:44])
    assert weights[:4] == struct.pack("<I", 0x000D4B38)
    assert (first[0], first[8], first[9], first[17]) == (0, 127, round(9 * 127 / 17), 127)
    assert scales == pytest.approx((20, 21, 127 / 8, 127 / 17, 20))
    assert weights[44:48] == struct.pack("<I", 0)


def test_a_pruned_output_of_bytes_has_a_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        f"{__name__}.KERNEL", KERNEL * np.array([0, 1], np.float32).reshape(2, 1, 1, 1)
    )

    _, weights = converted(tmp_path, conv("x", "y"), x=127.0)

    assert weights[4:13] == bytes(9)
    assert struct.unpack("<5f", weights[24:44]) == pytest.approx((20, 21, 1, 127 / 17, 1))


def test_what_two_layers_read_is_split(tmp_path: Path) -> None:
    lines, _ = converted(tmp_path, conv("x", "c"), helper.make_node("Add", ["c", "c"], ["y"]))

    assert lines[1] == "4 5"
    assert lines[4] == "Split l1s 1 2 b1 b1_0 b1_1"
    assert lines[5] == "BinaryOp l3 2 1 b1_1 b1_0 b4 0=0"


def test_the_parts_of_a_tensor_go_their_own_ways(tmp_path: Path) -> None:
    lines, _ = converted(
        tmp_path,
        conv("x", "c"),
        helper.make_node("Slice", ["c", "none", "once", "once", "once"], ["a"]),
        helper.make_node("Slice", ["c", "once", "twice", "once"], ["b"]),
        helper.make_node("Relu", ["b"], ["r"]),
        helper.make_node("Concat", ["a", "r"], ["y"], axis=1),
    )

    assert lines[5:] == [
        "Crop l3 1 1 b1_1 b4 -23309=1,0 -23310=1,1 -23311=1,0",
        "Crop l4 1 1 b1_0 b5 -23309=1,1 -23310=1,2 -23311=1,0",
        "ReLU l5 1 1 b5 b6",
        "Concat l6 2 1 b4 b6 b7 0=0",
    ]


@pytest.mark.parametrize("numbers", [("none", "once", "none"), ("none", "twice", "once", "twice")])
def test_a_part_of_a_batch_or_with_steps_is_not_converted(
    numbers: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="with steps, or of batches"):
        converted(tmp_path, helper.make_node("Slice", ["x", *numbers], ["y"]))


def test_an_operator_that_is_not_covered_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="operator Erf: is not converted to ncnn"):
        converted(tmp_path, helper.make_node("Erf", ["x"], ["y"]))


def test_attributes_that_are_left_out_have_onnx_s_values(tmp_path: Path) -> None:
    lines, _ = converted(
        tmp_path,
        helper.make_node("Conv", ["x", "k"], ["c"]),
        helper.make_node("Clip", ["c", "low", "high"], ["d"]),
        helper.make_node("MaxPool", ["d"], ["y"], kernel_shape=[2, 2]),
    )

    assert lines[3:] == [
        "Convolution l1 1 1 data b1 0=2 1=3 3=1 4=0 5=0 6=18",
        "Clip l2 1 1 b1 b2 0=0.000000e+00 1=6.000000e+00",
        "Pooling l3 1 1 b2 b3 0=0 1=2 2=1 3=0 5=1",
    ]


def pool(**attributes: Any) -> NodeProto:
    return helper.make_node("MaxPool", ["x"], ["y"], **{"kernel_shape": [2, 2], **attributes})


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        (pool(pads=[0, 0, 1, 1]), "with pads = [0, 0, 1, 1]"),
        (pool(strides=[1, 2]), "with strides = [1, 2]"),
        (pool(kernel_shape=[2, 3]), "with a kernel of [2, 3]"),
        (pool(dilations=[2, 2]), "with dilations = [2, 2]"),
        (pool(ceil_mode=1), "with ceil_mode = 1"),
        (pool(auto_pad="SAME_UPPER"), "with auto_pad = SAME_UPPER"),
        (helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2]), "one output"),
        (helper.make_node("Clip", ["x", "low"], ["y"]), "without a constant as input 2"),
        (helper.make_node("Clip", ["x", "", "high"], ["y"]), "without a constant as input 1"),
        (helper.make_node("Conv", ["x", "x"], ["y"]), "without a constant as input 1"),
        (helper.make_node("Add", ["x", "low"], ["y"]), "with a constant"),
        (helper.make_node("ReduceMean", ["x"], ["y"], axes=[1]), "with axes = [1]"),
        (helper.make_node("Softmax", ["x"], ["y"], axis=1), "with axis = 1"),
        (helper.make_node("Transpose", ["x"], ["y"]), "with perm = [3, 2, 1, 0]"),
        (helper.make_node("Concat", ["x", "x"], ["y"], axis=0), "of batches"),
    ],
)
def test_a_form_of_an_operator_that_ncnn_has_not_is_refused(
    tmp_path: Path, node: NodeProto, problem: str
) -> None:
    with pytest.raises(UserError) as refusal:
        converted(tmp_path, node)

    first, *_, last = str(refusal.value).splitlines()
    assert first.startswith(f"operator {node.op_type} of y: ")
    assert f"{problem} is not converted to ncnn" in first
    assert last == "next: leave ncnn out of --vs"
