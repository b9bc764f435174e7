"""What is no image classifier is refused, each fault in its own words."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.base.errors import UserError
from edgewright.model.contract.card import write_card
from edgewright.model.convert.to_ort import convert
from edgewright.model.importer.classifier import (
    choices_beside,
    default_card,
    read_classifier,
    read_with_card,
)

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
    classifier = read_classifier(save(tmp_path / "net.onnx"))

    assert classifier.image.shape == (1, 1, 4, 4)
    assert classifier.scores.shape == (1, 2)


def test_an_ort_file_is_read_too(tmp_path: Path) -> None:
    converted = convert(save(tmp_path / "net.onnx"), tmp_path / "made")

    assert read_classifier(converted.ort).image.shape == (1, 1, 4, 4)


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
    message = fault(save(tmp_path / "net.onnx", inputs=vector))
    assert "input has rank 2, expected 4\n  found: image: float (?, 16)" in message


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ([1, 4, 4, 4], "input has 4 channels, expected 1 or 3"),
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
    message = fault(save(tmp_path / "net.onnx", inputs=two, nodes=nodes))
    assert "has 2 inputs, expected one image" in message
    assert "left: float (1, 1, 4, 4)" in message


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers(bad: float, tmp_path: Path) -> None:
    matrix = np.ones((16, 2), np.float32)
    matrix[3, 1] = bad
    message = fault(save(tmp_path / "net.onnx", matrix=matrix))
    assert "1 of its weights are not finite (NaN or infinite)\n  tensors: matrix" in message


def test_an_infinite_constant_is_a_mask_unless_it_is_summed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Max", ["flat", "matrix"], ["logits"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", FLOAT, ["n", 16])]
    mask = np.full((1, 16), -np.inf, np.float32)
    read_classifier(save(tmp_path / "net.onnx", nodes=nodes, outputs=outputs, matrix=mask))


def test_what_a_default_card_assumes_is_said(tmp_path: Path) -> None:
    card, assumptions = default_card(read_classifier(save(tmp_path / "net.onnx")), ["bad", "good"])
    assert (card.labels, card.input.shape, card.preprocess.color) == (
        ("bad", "good"),
        (1, 1, 4, 4),
        "gray",
    )
    assert assumptions == [
        "each image is stretched to 4 x 4 pixels, gray, standardised by its own mean and deviation",
        "labels, in the order of the outputs: bad, good",
        "outputs are logits, and a softmax makes probabilities of them",
    ]


@pytest.mark.parametrize("kind", ["Softmax", "Sigmoid"])
def test_a_network_that_ends_in_probabilities_gets_no_activation(kind: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix"], ["sums"]),
        helper.make_node(kind, ["sums"], ["logits"], "last"),
    ]
    card, assumptions = default_card(
        read_classifier(save(tmp_path / "net.onnx", nodes=nodes)), ["bad", "good"]
    )
    assert card.output.activation == "none"
    assert (
        assumptions[-1] == f"outputs are probabilities, because the network ends in {kind} 'last'"
    )


def test_without_a_card_the_folders_are_as_many_as_the_answers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="answers with 2 values, there are 3 labels"):
        default_card(read_classifier(save(tmp_path / "net.onnx")), ["a", "b", "c"])


@pytest.fixture
def sizeless(tmp_path: Path) -> Path:
    """A network that takes images of any size."""
    image = [helper.make_tensor_value_info("image", FLOAT, ["n", 1, "h", "w"])]
    pool = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix"], ["logits"]),
    ]
    return save(tmp_path / "net.onnx", inputs=image, nodes=pool, matrix=np.ones((1, 2), np.float32))


def test_any_size_needs_a_shape_or_a_card(sizeless: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_classifier(sizeless)
    assert str(caught.value) == (
        f"{sizeless}: takes images of any size, and neither --shape nor a card tells which\n"
        "  found: image: float (?, 1, ?, ?)\n"
        "next: give the size, such as --shape=1,3,224,224"
    )
    classifier = read_classifier(sizeless, shape=(1, 1, 8, 6))
    card, _ = default_card(classifier, ["bad", "good"])
    write_card(card, sizeless.parent / "card.json")
    assert read_with_card(sizeless)[0].image.shape == (1, 1, 8, 6)
    assert choices_beside(sizeless).shape == (1, 1, 8, 6)
    assert choices_beside(sizeless, (1, 1, 4, 4)).shape == (1, 1, 4, 4)


def test_a_card_of_another_network_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx")
    card, _ = default_card(read_classifier(path), ["bad", "good"])
    other = card.model_copy(update={"input": card.input.model_copy(update={"name": "pixels"})})
    write_card(other, tmp_path / "card.json")
    with pytest.raises(UserError, match=r"card\.json: is not the card of net\.onnx"):
        read_with_card(path)
