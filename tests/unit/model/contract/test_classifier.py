"""What is no image classifier is refused, each fault in its own words."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.base.errors import UserError
from edgewright.model.contract.classifier import card_of, read_classifier
from edgewright.model.convert.to_ort import convert

FLOAT = TensorProto.FLOAT


def save(path: Path, **changes: object) -> Path:
    """A classifier of one Flatten and one Gemm, with some of its parts changed."""
    parts: dict[str, object] = {
        "inputs": [helper.make_tensor_value_info("image", FLOAT, ["n", 1, 4, 4])],
        "outputs": [helper.make_tensor_value_info("logits", FLOAT, ["n", 2])],
        "nodes": [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("Gemm", ["flat", "matrix"], ["logits"]),
        ],
        "matrix": np.ones((16, 2), np.float32),
    }
    parts |= changes
    weight = numpy_helper.from_array(parts["matrix"], "matrix")  # type: ignore[arg-type]
    graph = helper.make_graph(
        parts["nodes"],  # type: ignore[arg-type]
        "tiny",
        parts["inputs"],  # type: ignore[arg-type]
        parts["outputs"],  # type: ignore[arg-type]
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, path)
    return path


def fault(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_classifier(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def test_input_and_output_are_read(tmp_path: Path) -> None:
    found = read_classifier(save(tmp_path / "net.onnx"))

    assert found.image.shape == (None, 1, 4, 4)
    assert found.scores.shape == (None, 2)


def test_an_ort_file_is_read_too(tmp_path: Path) -> None:
    made = convert(save(tmp_path / "net.onnx"), tmp_path / "made")

    assert read_classifier(made.ort).image.shape == (None, 1, 4, 4)


def test_no_onnx(tmp_path: Path) -> None:
    path = tmp_path / "photo.onnx"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "not a valid ONNX model\n  size: 8 bytes" in fault(path)


def test_truncated(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:-60])
    assert "not a valid ONNX model" in fault(path)


@pytest.mark.parametrize("content", [b"", b"not ORT at all"])
def test_no_ort(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.ort"
    path.write_bytes(content)
    assert "ONNX Runtime cannot load it" in fault(path)


def test_absent(tmp_path: Path) -> None:
    assert "no such model" in fault(tmp_path / "net.onnx")
    assert "no such model" in fault(tmp_path / "net.ort")


def test_wrong_rank(tmp_path: Path) -> None:
    vector = [helper.make_tensor_value_info("image", FLOAT, ["n", 16])]
    told = fault(save(tmp_path / "net.onnx", inputs=vector))
    assert "input has rank 2, expected 4\n  found: image: float (?, 16)" in told
    assert "expected: float (1, channels, height, width)" in told


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ([8, 1, 4, 4], "input has a fixed batch of 8, expected 1"),
        ([1, 4, 4, 1], "input has 4 channels, expected 1 or 3"),
        ([1, "c", 4, 4], "input has any number of channels, expected 1 or 3"),
    ],
)
def test_wrong_shape(shape: list[int | str], problem: str, tmp_path: Path) -> None:
    image = [helper.make_tensor_value_info("image", FLOAT, shape)]
    matrix = np.ones((16, 2), np.float32)
    assert problem in fault(save(tmp_path / "net.onnx", inputs=image, matrix=matrix))


def test_more_than_one_input(tmp_path: Path) -> None:
    two = [helper.make_tensor_value_info(name, FLOAT, [1, 1, 4, 4]) for name in ("left", "right")]
    nodes = [
        helper.make_node("Add", ["left", "right"], ["both"]),
        helper.make_node("Flatten", ["both"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix"], ["logits"]),
    ]
    told = fault(save(tmp_path / "net.onnx", inputs=two, nodes=nodes))
    assert "has 2 inputs, expected one image" in told
    assert "left: float (1, 1, 4, 4)" in told


def test_one_answer_is_no_classifier(tmp_path: Path) -> None:
    one = [helper.make_tensor_value_info("logits", FLOAT, ["n", 1])]
    path = save(tmp_path / "net.onnx", outputs=one, matrix=np.ones((16, 1), np.float32))
    assert "output has shape (?, 1)" in fault(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers(bad: float, tmp_path: Path) -> None:
    matrix = np.ones((16, 2), np.float32)
    matrix[3, 1] = bad
    told = fault(save(tmp_path / "net.onnx", matrix=matrix))
    assert "1 of its weights are not finite (NaN or infinite)\n  tensors: matrix" in told


def test_a_card_is_made_up_from_the_network_and_the_folders(tmp_path: Path) -> None:
    card = card_of(read_classifier(save(tmp_path / "net.onnx")), ["bad", "good"])
    assert (card.labels, card.input.shape, card.preprocess.color) == (
        ("bad", "good"),
        (1, 1, 4, 4),
        "gray",
    )


def test_without_a_card_the_folders_are_as_many_as_the_answers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="answers with 2 values, the images have 3 labels"):
        card_of(read_classifier(save(tmp_path / "net.onnx")), ["a", "b", "c"])


def test_any_size_needs_a_card(tmp_path: Path) -> None:
    image = [helper.make_tensor_value_info("image", FLOAT, ["n", 1, "h", "w"])]
    pool = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix"], ["logits"]),
    ]
    path = save(tmp_path / "net.onnx", inputs=image, nodes=pool, matrix=np.ones((1, 2), np.float32))
    with pytest.raises(UserError, match="takes images of any size, and no card tells which"):
        card_of(read_classifier(path), ["bad", "good"])


def test_a_card_of_another_network_is_refused(tmp_path: Path) -> None:
    classifier = read_classifier(save(tmp_path / "net.onnx"))
    card = card_of(classifier, ["bad", "good"])
    other = card.model_copy(update={"input": card.input.model_copy(update={"name": "pixels"})})
    (tmp_path / "card.json").write_text(other.model_dump_json(by_alias=True))
    with pytest.raises(UserError, match=r"card\.json: is not the card of net\.onnx"):
        card_of(classifier, ["bad", "good"])
