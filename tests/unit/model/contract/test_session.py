from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgewright.model.contract.card import Activation
from edgewright.model.contract.session import (
    Session,
    SessionError,
    open_session,
    outputs,
    probabilities,
)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("softmax", [[0.5, 0.5], [1.0, 0.0]]),
        ("sigmoid", [[0.5, 0.5], [1.0, 0.5]]),
        ("none", [[0.0, 0.0], [1000.0, 0.0]]),
    ],
)
def test_the_cards_activation_makes_probabilities_even_of_large_outputs(
    activation: Activation, expected: list[list[float]]
) -> None:
    rows = probabilities(np.array([[0, 0], [1000, 0]], np.float32), activation)
    assert rows.tolist() == expected


def saturating(path: Path) -> Path:
    """x · w with 64 products of 255 · 127: pairs of them overflow 16 bits."""
    constants: dict[str, NDArray[Any]] = {
        "x_scale": np.array(1 / 255, np.float32),
        "x_zero": np.array(0, np.uint8),
        "w": np.full((64, 1), 127, np.int8),
        "w_scale": np.array(1 / 127, np.float32),
        "w_zero": np.array(0, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "x_scale", "x_zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "x_scale", "x_zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["m"]),
        helper.make_node("MatMul", ["x", "m"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    return path


def test_products_do_not_saturate(tmp_path: Path) -> None:
    session = open_session(saturating(tmp_path / "sum.onnx"))
    np.testing.assert_allclose(outputs(session, np.ones((1, 64), np.float32)), [[64]], rtol=1e-6)


@pytest.mark.parametrize("is_one_dequantizer", [True, False])
def test_products_of_shared_weights_do_not_saturate(
    is_one_dequantizer: bool, tmp_path: Path
) -> None:
    network = onnx.load(saturating(tmp_path / "sum.onnx"))
    graph = network.graph
    graph.node[-1].output[0] = "first"
    weights = "m" if is_one_dequantizer else "n"
    if not is_one_dequantizer:
        graph.node.append(helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["n"]))
    graph.node.append(helper.make_node("MatMul", ["x", weights], ["second"]))
    graph.node.append(helper.make_node("Add", ["first", "second"], ["logits"]))
    onnx.save(network, tmp_path / "shared.onnx")

    session = open_session(tmp_path / "shared.onnx")

    rows = outputs(session, np.ones((1, 64), np.float32))
    np.testing.assert_allclose(rows, [[128]], rtol=1e-6)


def test_images_are_run_one_by_one(network_file: Path) -> None:
    images = np.random.default_rng(0).normal(size=(3, 1, 48, 64)).astype(np.float32)
    session = open_session(network_file)
    rows = outputs(session, images)
    assert rows.shape == (3, 2)
    np.testing.assert_array_equal(rows[1:2], outputs(session, images[1:2]))


def test_what_onnx_runtime_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no network")

    with pytest.raises(SessionError, match="INVALID_PROTOBUF"):
        Session(path, 1, {})


def test_an_input_of_another_shape_is_refused_and_the_next_one_is_answered() -> None:
    session = Session(doubled(), 1, {})

    with pytest.raises(SessionError, match="INVALID_ARGUMENT"):
        session.run(None, {"x": np.zeros((3, 3), np.float32)})

    (answer,) = session.run(None, {"x": np.array([1.5], np.float32)})
    assert answer.tolist() == [3.0]


def test_a_crash_of_onnx_runtime_is_an_error_here() -> None:
    session = Session(doubled(), 1, {})
    session._child.kill()

    with pytest.raises(SessionError, match="crashed with exit code -9"):
        session.run(None, {"x": np.array([1.5], np.float32)})


def test_a_network_that_is_dropped_leaves_no_process() -> None:
    session = Session(doubled(), 1, {})
    child = session._child

    del session

    assert child.returncode is not None


def doubled() -> bytes:
    """A network that answers 2 x."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "doubled",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString())


def test_a_signed_qgemm_is_run_as_it_is(tmp_path: Path) -> None:
    """S8S8 in operators, as ONNX Runtime's quantizer writes it; the board runs it."""
    weights = np.random.default_rng(0).integers(-127, 128, (8, 4), dtype=np.int8)
    constants = {
        **{"s": np.float32(1), "z": np.int8(0), "y_s": np.float32(8)},
        **{"w": weights, "w_s": np.float32(1), "w_z": np.int8(0)},
    }
    names = ["x_q", "s", "z", "w", "w_s", "w_z", "", "y_s", "z"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["x_q"]),
        helper.make_node("QGemm", names, ["y_q"], domain="com.microsoft"),
        helper.make_node("DequantizeLinear", ["y_q", "y_s", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "signed",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4])],
        [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "net.onnx")
    x = np.arange(-4, 4, dtype=np.float32)[np.newaxis]

    (answer,) = open_session(tmp_path / "net.onnx").run(None, {"x": x})

    np.testing.assert_array_equal(answer, 8 * np.clip(np.round(x @ weights / 8), -128, 127))
