"""Weights in the kernels' order: exact both ways, aligned in the file, refused by others."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import InferenceSession

from edgewright.base.errors import UserError
from edgewright.model.convert import ort_tools
from edgewright.model.convert.packed_weights import (
    READ_BEYOND,
    TILES,
    Tile,
    pack_weights,
    unpack_weights,
)

SHAPE = [1, 1, 9, 9]
# `layout_number` of the kernels: tests/kernels/test_kernels.cpp holds the tiles to the same.
NUMBERS = {"neon-32": 75962618, "neon-64": 21378002, "dot-64": 88096066}
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
every_tile = pytest.mark.parametrize("tile", TILES.values(), ids=list(TILES))


def constants_of(lowest: int) -> dict[str, NDArray[np.generic]]:
    """Of `int8_network`; each matrix has one weight of that value."""
    random = np.random.default_rng(3)

    def weights(*shape: int) -> NDArray[np.int8]:
        values = random.integers(-127, 128, shape, np.int8)
        values.flat[0] = lowest
        return values

    return {
        "s": np.array(0.01, np.float32),
        "zero": np.array(0, np.int8),
        "z": np.array(128, np.uint8),
        "first": weights(16, 1, 3, 3),  # a depth of 9
        "conv": weights(24, 16, 3, 3),
        "narrow": weights(16, 24, 1, 1),  # a depth of no whole steps
        "depthwise": weights(16, 1, 3, 3),
        "product": weights(16, 32),
        "transposed": weights(24, 32),
        "bias": random.integers(-999, 999, 24, np.int32),
    }


def gemm(
    source: str, name: str, to: str, *, transposed: int = 0, bias: str = "", zero: str = "z"
) -> onnx.NodeProto:
    inputs = [source, "s", zero, name, "s", "zero", bias, "s", "z"]
    return helper.make_node(
        "QGemm", inputs, [to], name=to, domain="com.microsoft", transB=transposed
    )


def int8_network(lowest: int = -127) -> onnx.ModelProto:
    """Convolutions of three by three, of one by one and depthwise, and both kinds of products."""
    convolution = ("s", "z", "{}", "s", "zero", "s", "z")

    def conv(source: str, name: str, to: str, *bias: str, group: int = 1) -> onnx.NodeProto:
        inputs = [source, *(word.format(name) for word in convolution), *bias]
        return helper.make_node("QLinearConv", inputs, [to], name=name, group=group)

    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        conv("xq", "first", "f"),
        conv("f", "conv", "a", "bias"),
        conv("a", "narrow", "b"),
        conv("b", "depthwise", "c", group=16),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["cd"]),
        helper.make_node("ReduceMean", ["cd"], ["m"], axes=[2, 3], keepdims=0),
        helper.make_node("QuantizeLinear", ["m", "s", "z"], ["mq"]),
        gemm("mq", "product", "d"),
        gemm("d", "transposed", "e", transposed=1),
        helper.make_node("DequantizeLinear", ["e", "s", "z"], ["y"]),
    ]

    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 24])],
        [numpy_helper.from_array(values, name) for name, values in constants_of(lowest).items()],
    )
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=8)


def converted(model: onnx.ModelProto, folder: Path) -> bytes:
    onnx.save(model, str(folder / "net.onnx"))
    files = ort_tools.convert_network(folder / "net.onnx", folder / "out", "all", "net")
    return files.ort.read_bytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return converted(int8_network(), tmp_path_factory.mktemp("net"))


def tensors(model: bytes) -> dict[bytes, Any]:
    graph = InferenceSession.InferenceSession.GetRootAs(model, 0).Model().Graph()
    return {
        graph.Initializers(i).Name(): graph.Initializers(i)
        for i in range(graph.InitializersLength())
    }


def dims(tensor: Any) -> tuple[int, ...]:
    return tuple(tensor.Dims(i) for i in range(tensor.DimsLength()))


def run(model: bytes) -> list[Any]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).random(SHAPE, np.float32) - 0.5
    return list(session.run(None, {"x": x}))


@pytest.mark.parametrize("name", TILES)
def test_an_order_of_weights_has_the_number_that_the_kernels_give_it(name: str) -> None:
    assert TILES[name].number == NUMBERS[name]


@every_tile
@given(steps=st.integers(1, 5), tiles=st.integers(1, 5), seed=st.integers(0, 999))
def test_any_matrix_comes_back_as_it_was(tile: Tile, steps: int, tiles: int, seed: int) -> None:
    shape = (16 * steps, tile.columns * tiles)
    matrix = np.random.default_rng(seed).integers(-127, 128, shape, np.int8)

    packed = tile.pack(matrix)

    assert packed.shape == (matrix.size,)
    assert not np.array_equal(packed, matrix.reshape(-1))
    np.testing.assert_array_equal(tile.unpack(packed, *shape), matrix)


@every_tile
def test_a_model_comes_back_with_every_constant_and_answer(plain: bytes, tile: Tile) -> None:
    packed = pack_weights(plain, tile)

    again = unpack_weights(packed)

    before, after = tensors(plain), tensors(again)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert dims(after[name]) == dims(tensor)
        assert bytes(after[name].RawDataAsNumpy()) == bytes(tensor.RawDataAsNumpy())
    for answer, expected in zip(run(again), run(plain), strict=True):
        np.testing.assert_array_equal(answer, expected)


@every_tile
def test_weights_are_packed_where_kernels_take_them(plain: bytes, tile: Tile) -> None:
    packed = tensors(pack_weights(plain, tile))

    changed = {
        dims(tensor): tensor
        for name, tensor in tensors(plain).items()
        if dims(packed[name]) != dims(tensor)
    }
    # All but the depthwise one, and those whose depth is no multiple of 16.
    assert changed.keys() == {(24, 16, 3, 3), (16, 32), (24, 32)}
    for name, tensor in tensors(plain).items():
        if dims(tensor) in changed:
            size = tensor.RawDataLength()
            assert dims(packed[name]) == (size + READ_BEYOND,)
            assert packed[name].RawDataLength() == size + READ_BEYOND
            assert packed[name]._tab.Vector(packed[name]._tab.Offset(12)) % 16 == 0


def test_each_tile_has_its_weights_step_by_step(plain: bytes) -> None:
    """By the plainest of the orders: a step of each column after the other."""
    matrix = np.arange(32 * 4, dtype=np.int16).astype(np.int8).reshape(32, 4)

    packed = TILES["neon-64"].pack(matrix)

    expected = np.concatenate([matrix[step : step + 16].T.reshape(-1) for step in (0, 16)])
    np.testing.assert_array_equal(packed, expected)


@every_tile
def test_another_runtime_refuses_packed_weights_by_the_file_s_version(
    plain: bytes, tile: Tile
) -> None:
    packed = pack_weights(plain, tile)

    version = str(tile.number << 4 | 6)
    with pytest.raises(Fail, match=rf"version \[{version}\] is not supported"):
        run(packed)
    assert len(packed) <= 1.05 * len(plain) + 1000  # of tables, in so small a model


def product(
    *,
    bias: onnx.TensorProto | None = None,
    signed: bool = False,
    zero: int = 0,
    open_value: str = "",
) -> onnx.ModelProto:
    """One product; `open_value` is an input of the network and no constant."""
    activations = np.int8 if signed else np.uint8
    random = np.random.default_rng(5)
    constants: dict[str, NDArray[np.generic]] = {
        "s": np.array(0.01, np.float32),
        "z": np.array(0 if signed else 128, activations),
        "za": np.array(0 if signed else 128, activations),
        "zero": np.array(zero, np.int8),
        "bias": random.integers(-999, 999, 32, np.int32),
        "w": random.integers(-127, 128, (16, 32), np.int8),
    }
    tensors = {name: numpy_helper.from_array(value, name) for name, value in constants.items()}
    if bias is not None:
        tensors["bias"] = bias
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16])]
    if open_value:
        tensor = tensors.pop(open_value)
        inputs.append(helper.make_tensor_value_info(open_value, tensor.data_type, tensor.dims))
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        gemm("xq", "w", "y", bias="bias", zero="za"),
        helper.make_node("DequantizeLinear", ["y", "s", "z"], ["out"]),
    ]
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 32])
    graph = helper.make_graph(nodes, "net", inputs, [output], list(tensors.values()))
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=8)


def with_second_reader() -> onnx.ModelProto:
    model = product()
    model.graph.node.extend(
        [
            gemm("xq", "w", "y2", bias="", zero="za"),
            helper.make_node("DequantizeLinear", ["y2", "s", "z"], ["out2"]),
        ]
    )
    model.graph.output.append(helper.make_tensor_value_info("out2", TensorProto.FLOAT, [1, 32]))
    return model


def with_weights_as_output() -> onnx.ModelProto:
    model = product()
    model.graph.output.append(helper.make_tensor_value_info("w", TensorProto.INT8, [16, 32]))
    return model


SCALAR_BIAS = numpy_helper.from_array(np.array([7], np.int32), "bias")


def test_a_product_is_packed(tmp_path: Path) -> None:
    """Of which each network below has one thing that is otherwise."""
    model = converted(product(), tmp_path)

    assert pack_weights(model, TILES["neon-32"]) != model


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(int8_network(lowest=-128), id="weights of -128"),
        pytest.param(product(bias=SCALAR_BIAS), id="a bias for all columns"),
        pytest.param(product(open_value="bias"), id="a bias that is no constant"),
        pytest.param(product(open_value="za"), id="a zero point that is no constant"),
        pytest.param(product(open_value="w"), id="weights that are no constant"),
        pytest.param(product(zero=1), id="weights with a zero point"),
        pytest.param(product(signed=True), id="signed activations"),
        pytest.param(with_second_reader(), id="weights of two nodes"),
        pytest.param(with_weights_as_output(), id="weights that are an output"),
    ],
)
def test_what_the_kernels_do_not_take_stays_as_it_is(
    network: onnx.ModelProto, tmp_path: Path
) -> None:
    """ONNX Runtime has them, which does not know the order: no board would load such a file."""
    model = converted(network, tmp_path)

    assert pack_weights(model, TILES["neon-32"]) == model


def test_a_model_without_packed_weights_is_not_unpacked(plain: bytes) -> None:
    with pytest.raises(UserError, match=r"model: has no packed weights\n  version: 6"):
        unpack_weights(plain)
