"""A model folder of a network that somebody else made."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewright.base.errors import UserError
from edgewright.model.contract.card import MeanStd, ModelFile, read_card
from edgewright.model.contract.preprocess import load_input
from edgewright.model.contract.session import open_session, outputs
from edgewright.model.importer.classifier import read_with_card
from edgewright.model.pack.golden import require_golden
from edgewright.model.pack.import_folder import ImportRequest, import_model
from tests.unit.model import small_cnn


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and a network with an open batch that ends in a softmax; no card beside it."""
    root = tmp_path_factory.mktemp("import")
    images = small_cnn.write_images(root / "images", 12)
    network = onnx.load(small_cnn.write_network(root / "net", images))
    (root / "net" / "card.json").unlink()
    network.graph.node[-1].output[0] = "sums"
    network.graph.node.append(helper.make_node("Softmax", ["sums"], ["scores"], "last", axis=1))
    onnx.save(network, root / "net" / "net.onnx")
    return root


def request(data: Path, out: Path, **changes: object) -> ImportRequest:
    options: dict[str, object] = {
        "model": data / "net" / "net.onnx",
        "out": out,
        "images": str(data / "images"),
        "labels": small_cnn.LABELS,
    }
    return ImportRequest(**(options | changes))  # type: ignore[arg-type]


def test_the_folder_is_what_a_build_takes(data: Path, tmp_path: Path) -> None:
    report = import_model(request(data, tmp_path / "mine"))

    model = tmp_path / "mine" / "model.onnx"
    card = read_card(model.parent / "card.json")
    assert (card.file, card.labels) == (ModelFile.of(model), small_cnn.LABELS)
    assert card.output.activation == "none"
    assert card.imported["changes"] == list(report.changes)
    assert report.difference is not None
    assert report.difference <= report.tolerance
    assert (report.accuracy or 0) > 0.7
    classifier, _ = read_with_card(model)
    assert classifier.path == model, "nothing is left to change"
    require_golden(model, card, model.parent / "golden", model)


def test_golden_answers_are_the_networks_own_probabilities(data: Path, tmp_path: Path) -> None:
    import_model(request(data, tmp_path / "mine"))
    expected = json.loads((tmp_path / "mine" / "golden" / "expected.json").read_text())
    session = open_session(tmp_path / "mine" / "model.onnx")
    card = read_card(tmp_path / "mine" / "card.json")
    case = expected["cases"][0]
    image = load_input(tmp_path / "mine" / "golden" / case["image"], card)
    np.testing.assert_allclose(case["probabilities"], outputs(session, image)[0], atol=1e-6)


def test_what_is_stated_stands_in_the_card(data: Path, tmp_path: Path) -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.2, 0.1)
    report = import_model(request(data, tmp_path / "mine", images="", mean=mean, std=std))
    card = read_card(tmp_path / "mine" / "card.json")
    assert card.preprocess.normalize == MeanStd(mean=mean, std=std)
    assert (report.golden_cases, report.accuracy) == (0, None)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"labels": (), "images": ""}, "has 2 outputs, and nothing tells their labels"),
        ({"labels": ("a", "b", "c")}, "answers with 2 values, there are 3 labels"),
        ({"mean": (0.5,), "std": (0.5,)}, "does not fit what is stated of it"),
    ],
)
def test_what_does_not_fit_is_refused(
    data: Path, tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        import_model(request(data, tmp_path / "mine", **changes))
    assert not (tmp_path / "mine").exists()


def test_an_int8_network_of_another_tool_is_taken_as_it_is(tmp_path: Path) -> None:
    """QDQ with signed activations, a weight of -128, and bias in int32."""
    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (2, 3)).astype(np.int8)
    weights[0, 0] = -128
    scale = np.float32
    constants = {
        "s": scale(0.02), "z": np.int8(3), "w_q": weights, "w_s": scale(0.01), "w_z": np.int8(0),
        "b_q": np.array([40, -25], np.int32), "b_s": scale(0.0002), "b_z": np.int32(0),
    }  # fmt: skip
    body = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("QuantizeLinear", ["mean", "s", "z"], ["mean_q"]),
        helper.make_node("DequantizeLinear", ["mean_q", "s", "z"], ["x"]),
        helper.make_node("DequantizeLinear", ["w_q", "w_s", "w_z"], ["w"]),
        helper.make_node("DequantizeLinear", ["b_q", "b_s", "b_z"], ["b"]),
        helper.make_node("Gemm", ["x", "w", "b"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        body,
        "int8",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", 17)
    path = tmp_path / "int8.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=13), path)

    report = import_model(
        ImportRequest(model=path, out=tmp_path / "mine", labels=("ok", "defective"))
    )

    assert report.changes == ("IR version 13 became 10", "nodes named: 6")
    before = {t.name: t for t in onnx.load(path).graph.initializer}
    after = {t.name: t for t in onnx.load(tmp_path / "mine" / "model.onnx").graph.initializer}
    assert after == before
