"""Model folders of tasks beyond classification."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgewright.base.errors import UserError
from edgewright.model.contract.card import ModelFile, read_card
from edgewright.model.contract.task_cards import TensorCard, read_any_card
from edgewright.model.importer.task_network import read_for_task
from edgewright.model.pack.import_folder import ImportRequest, import_model
from edgewright.model.pack.task_golden import read_task_expected, require_task_golden
from tests.unit.model import tensor_network


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The network as it is exported, with cases beside it."""
    tensor_network.write_cases(tmp_path / "cases", 3)
    return tensor_network.write_network(tmp_path / "net")


def made(model: Path) -> Path:
    """The model folder of the network."""
    out = model.parent.parent / "made"
    cases = model.parent.parent / "cases"
    import_model(ImportRequest(model=model, out=out, task="tensor", images=str(cases)))
    return out


def test_a_network_of_tensors_becomes_a_folder_that_a_build_takes(model: Path) -> None:
    folder = made(model)

    card = read_any_card(folder / "card.json")
    assert isinstance(card, TensorCard)
    assert card.file == ModelFile.of(folder / "model.onnx")
    assert [tensor.name for tensor in card.inputs] == list(tensor_network.INPUTS)
    assert [(tensor.name, tensor.shape) for tensor in card.outputs] == [
        ("sum", (1, 3)),
        ("is_larger", (1, 3)),
    ]
    imported = read_for_task(folder / "model.onnx", card, folder / "card.json")
    assert imported.path == folder / "model.onnx", "nothing is left to change"
    require_task_golden(imported.path, card, folder / "golden", model)


def test_a_golden_case_has_what_numpy_computes(model: Path) -> None:
    golden = made(model) / "golden"

    for case in read_task_expected(golden).cases:
        first, second = (np.load(golden / name) for name in case.files)
        assert case.samples[0].values == pytest.approx((first + second)[0], abs=1e-6)
        assert case.samples[1].values == tuple((first > second)[0])


def test_another_answer_than_the_golden_one_is_refused(model: Path) -> None:
    folder = made(model)
    expected = json.loads((folder / "golden" / "expected.json").read_text())
    expected["cases"][1]["samples"][0]["values"][2] += 5
    (folder / "golden" / "expected.json").write_text(json.dumps(expected))

    card = read_any_card(folder / "card.json")
    assert isinstance(card, TensorCard)
    with pytest.raises(UserError) as refused:
        require_task_golden(folder / "model.onnx", card, folder / "golden", model)
    assert "sum differs by 5, " in str(refused.value)


def test_roles_say_which_outputs_stay(model: Path, tmp_path: Path) -> None:
    request = ImportRequest(
        model=model, out=tmp_path / "one", task="tensor", roles={"sum": "total"}
    )
    report = import_model(request)

    card = read_any_card(tmp_path / "one" / "card.json")
    assert isinstance(card, TensorCard)
    assert [(tensor.name, tensor.role) for tensor in card.outputs] == [("sum", "total")]
    assert "outputs taken away: is_larger" in report.changes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "tensors"}, "no such task; did you mean 'tensor'?"),
        ({"roles": {"total": "x"}}, "has no output 'total'"),
    ],
)
def test_what_is_stated_wrongly_is_refused(
    model: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    options: dict[str, object] = {"model": model, "out": tmp_path / "out", "task": "tensor"}
    with pytest.raises(UserError) as refused:
        import_model(ImportRequest(**(options | changes)))  # type: ignore[arg-type]
    assert words in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((1, 3), np.float64), "found: float64 (1, 3)"),
        (np.zeros((3, 1), np.float32), "found: float32 (3, 1)"),
        (np.array([{}], object), "is no .npy file"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    model: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]], words: str
) -> None:
    np.save(model.parent.parent / "cases" / "case1" / "0.npy", values, allow_pickle=True)

    with pytest.raises(UserError) as refused:
        made(model)
    assert words in str(refused.value)


def test_a_card_that_contradicts_its_network_is_refused_by_name(model: Path) -> None:
    folder = made(model)
    content = json.loads((folder / "card.json").read_text())
    content["outputs"][0]["shape"] = [1, 4]
    (folder / "card.json").write_text(json.dumps(content))

    card = read_any_card(folder / "card.json")
    assert isinstance(card, TensorCard)
    with pytest.raises(UserError) as refused:
        read_for_task(folder / "model.onnx", card, folder / "card.json")
    assert "card: sum (1, 4), network: (1, 3)" in str(refused.value)


def test_a_case_may_not_hold_what_is_no_answer(model: Path) -> None:
    folder = made(model)
    expected = json.loads((folder / "golden" / "expected.json").read_text())
    expected["cases"][0]["expected"] = {"class": "x"}
    (folder / "golden" / "expected.json").write_text(json.dumps(expected))

    card = read_any_card(folder / "card.json")
    assert isinstance(card, TensorCard)
    with pytest.raises(UserError) as refused:
        require_task_golden(folder / "model.onnx", card, folder / "golden", model)
    assert "class: unknown key" in str(refused.value)


def test_what_judges_classifiers_says_that_this_is_none(model: Path) -> None:
    with pytest.raises(UserError) as refused:
        read_card(made(model) / "card.json")
    assert "is a card of the task tensor, expected one of a classifier" in str(refused.value)


@pytest.mark.parametrize("task", ["detect", "segment", "anomaly"])
@pytest.mark.parametrize(("axes", "shape"), [([0, 1, 2, 3], []), ([1, 2, 3], [1])])
def test_a_number_is_no_box_and_no_mask(
    tmp_path: Path, task: str, axes: list[int], shape: list[int]
) -> None:
    node = helper.make_node("ReduceMean", ["image"], ["mean"], "mean", axes=axes, keepdims=0)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
    mean = helper.make_tensor_value_info("mean", TensorProto.FLOAT, shape)
    graph = helper.make_graph([node], "mean", [image], [mean])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "net.onnx")

    with pytest.raises(UserError):
        import_model(
            ImportRequest(
                model=tmp_path / "net.onnx", out=tmp_path / "out", task=task, labels=("a", "b")
            )
        )
    assert not (tmp_path / "out").exists()
