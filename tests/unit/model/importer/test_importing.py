"""Networks as exporters write them: a right answer, or one refusal that names node and remedy."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.contract.preprocess import load_input
from edgewright.model.contract.session import IR_VERSION, OPSET, load_session, outputs
from edgewright.model.convert.inspect import inspect
from edgewright.model.convert.to_ort import convert
from edgewright.model.importer import importing
from edgewright.model.importer.classifier import default_card, read_classifier
from edgewright.model.importer.graphs import sizes_of
from edgewright.model.importer.importing import (
    TaskForm,
    import_classifier,
    import_for_task,
    import_network,
)
from edgewright.model.importer.rewrites import opset_of
from tests.unit.model.importer.odd_networks import (
    ODD,
    SIDE,
    WEIGHTS,
    model,
    nodes,
    save,
    save_apart,
    value,
)

IMAGES = np.random.default_rng(0).standard_normal((3, 3, SIDE, SIDE)).astype(np.float32)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(model(), tmp_path_factory.mktemp("plain"))


def refusal(path: Path) -> list[str]:
    with pytest.raises(UserError) as caught:
        import_classifier(path)
    subject, problem = str(caught.value).split(": ", 1)
    assert subject == str(path)
    return problem.splitlines()


def test_a_network_in_the_boards_form_stays_as_it_is(plain: Path) -> None:
    imported = import_classifier(plain)
    assert (imported.path, imported.changes, imported.difference) == (plain, (), None)


@pytest.mark.parametrize("oddity", ODD)
def test_an_odd_network_answers_as_the_plain_one(oddity: str, plain: Path, tmp_path: Path) -> None:
    path = save(ODD[oddity](), tmp_path)

    imported = import_classifier(path)

    expected = outputs(load_session(plain), IMAGES)
    tolerance = 5e-3 if oddity == "half precision" else 1e-5
    session = load_session(imported.path)
    np.testing.assert_allclose(outputs(session, IMAGES), expected, atol=tolerance)
    assert session.get_inputs()[0].shape == [1, 3, SIDE, SIDE]
    assert session.get_outputs()[0].shape == [1, 2]
    assert (imported.difference is None) == (not imported.changes)
    imported.require_equal([IMAGES])


@pytest.mark.parametrize("oddity", ODD)
def test_an_odd_network_is_what_the_tools_take(oddity: str, tmp_path: Path) -> None:
    imported = import_classifier(save(ODD[oddity](), tmp_path))

    network = onnx.load(imported.path)
    names = [node.name for node in network.graph.node]
    assert "" not in names
    assert len(set(names)) == len(names)
    assert 13 <= opset_of(network) <= OPSET
    assert network.ir_version <= IR_VERSION
    assert not network.functions
    onnx.checker.check_model(network, full_check=True)


@pytest.mark.parametrize("oddity", ["open batch", "shape arithmetic", "channels last"])
def test_products_of_an_odd_network_are_counted(oddity: str, tmp_path: Path) -> None:
    macs = SIDE * SIDE * WEIGHTS["w1"].size + WEIGHTS["w2"].size
    assert inspect(save(ODD[oddity](), tmp_path)).macs == macs


def test_weights_in_another_file_are_taken_in(plain: Path, tmp_path: Path) -> None:
    path = save_apart(model(), tmp_path)

    imported = import_classifier(path)

    assert imported.changes == ("weights taken in from: net.data",)
    converted = convert(path, tmp_path / "made")
    rows = outputs(load_session(converted.ort), IMAGES)
    np.testing.assert_allclose(rows, outputs(load_session(plain), IMAGES), atol=1e-5)


def test_one_score_becomes_two(tmp_path: Path) -> None:
    body = nodes(logits="z")
    body[-1].input[1:] = ["w", "b"]
    weight = {"w": WEIGHTS["w2"][:1], "b": WEIGHTS["b2"][:1]}
    logit = save(
        model([*body[:-1], helper.make_node("Gemm", body[-1].input, ["logits"], "fc", transB=1)],
              output=value("logits", [1, 1]), weights=weight),
        tmp_path / "logit",
    )  # fmt: skip
    last = helper.make_node("Sigmoid", ["z"], ["logits"], "last")
    sure = save(
        model([*body, last], output=value("logits", [1, 1]), weights=weight), tmp_path / "sigmoid"
    )

    z = outputs(load_session(logit), IMAGES)[:, 0]
    of_logit, of_sure = import_classifier(logit), import_classifier(sure)
    pairs = outputs(load_session(of_logit.path), IMAGES)
    shares = outputs(load_session(of_sure.path), IMAGES)

    np.testing.assert_allclose(pairs, np.stack([0 * z, z], axis=1), atol=1e-6)
    p = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(shares, np.stack([1 - p, p], axis=1), atol=1e-6)


def test_pixels_go_in_as_floats(plain: Path, tmp_path: Path) -> None:
    first = helper.make_node("Cast", ["image"], ["x"], "first", to=TensorProto.FLOAT)
    image = value("image", [1, 3, SIDE, SIDE], TensorProto.UINT8)
    imported = import_classifier(save(model([first, *nodes("x")], image), tmp_path))
    pixels = np.round(128 + 40 * IMAGES).clip(0, 255).astype(np.float32)
    rows = outputs(load_session(imported.path), pixels)
    np.testing.assert_allclose(rows, outputs(load_session(plain), pixels), rtol=1e-5)


def test_the_branch_of_an_if_is_computed_from_what_lies_outside(tmp_path: Path) -> None:
    """The outer tensors get short names, which must not be those of the branches."""
    branch = {
        name: helper.make_graph(
            [
                helper.make_node("Mul", ["scores_before_the_branch", factor], ["t0"]),
                helper.make_node("Add", ["t0", "scores_before_the_branch"], ["t1"]),
            ],
            name,
            [],
            [value("t1", [1, 2])],
        )
        for name, factor in (("then", "two_in_the_outer_graph"), ("else", "ten_in_the_outer_graph"))
    }
    body = [
        *nodes(logits="scores_before_the_branch"),
        helper.make_node("ReduceMax", ["scores_before_the_branch"], ["greatest_score"], keepdims=0),
        helper.make_node("Greater", ["greatest_score", "nothing_at_all"], ["is_greater_than_it"]),
        helper.make_node("If", ["is_greater_than_it"], ["logits"],
                         then_branch=branch["then"], else_branch=branch["else"]),
    ]  # fmt: skip
    numbers = {
        "two_in_the_outer_graph": np.float32(2),
        "ten_in_the_outer_graph": np.float32(10),
        "nothing_at_all": np.float32(0),
    }
    path = save(model(body, weights={n: np.asarray(v) for n, v in numbers.items()}), tmp_path)

    converted = convert(path, tmp_path / "made")

    rows = outputs(load_session(converted.ort), IMAGES)
    np.testing.assert_allclose(rows, outputs(load_session(path), IMAGES), rtol=1e-5)


def test_a_rewrite_that_changes_the_answers_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(ODD["open batch"](), tmp_path)
    honest = importing._run_original
    monkeypatch.setattr(
        importing, "_run_original", lambda *arguments: honest(*arguments) + np.float64(1)
    )
    problem, difference, _ = refusal(path)
    assert problem == "answers otherwise once it is rewritten for a board"
    assert difference.endswith(", allowed: 0.0001")


def test_a_network_of_another_task_keeps_its_interface(tmp_path: Path) -> None:
    body = [
        helper.make_node("Cast", ["left"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["wide", "w2"], ["sum"]),
        helper.make_node("Add", ["sum", "right"], ["both"]),
    ]
    network = model(body, value("left", ["n", 2], TensorProto.DOUBLE), value("both", ["n", 4]))
    network.graph.input.append(value("right", ["n", 4]))

    imported = import_network(save(network, tmp_path))

    assert imported.interface is None
    assert [i.shape for i in load_session(imported.path).get_inputs()] == [[1, 2], [1, 4]]
    assert "double became float32" in imported.changes


# --- refusals


def test_training_mode_is_refused_by_node(tmp_path: Path) -> None:
    body = nodes()
    norm = ["c", "scale", "zeros", "zeros", "scale"]
    body[1] = helper.make_node("BatchNormalization", norm, ["r", "m", "v"], "bn", training_mode=1)
    four = {"scale": np.ones(4, np.float32), "zeros": np.zeros(4, np.float32)}
    assert refusal(save(model(body, weights=four), tmp_path)) == [
        "normalises by the statistics of its own input, as in training",
        "  node: BatchNormalization 'bn'",
        "next: call model.eval() before the export",
    ]


@pytest.mark.parametrize(
    ("domain", "problem"),
    [
        ("com.acme", "has an operator that no board's runtime has"),
        ("ai.onnx.ml", "has an operator that no board's runtime has"),
        (
            "com.microsoft.nchwc",
            "was saved by ONNX Runtime's optimiser for the processor of another machine",
        ),
    ],
)
def test_an_operator_that_no_board_has_is_refused_by_node(
    domain: str, problem: str, tmp_path: Path
) -> None:
    last = helper.make_node("Scaler", ["z"], ["logits"], "last", domain=domain)
    network = model([*nodes(logits="z"), last])
    network.opset_import.append(helper.make_opsetid(domain, 1))
    first, second, third = refusal(save(network, tmp_path))
    assert (first, second) == (problem, f"  node: {domain}:Scaler 'last'")
    assert third.startswith("next: ")


def test_an_operator_without_an_older_form_is_refused_by_node(tmp_path: Path) -> None:
    body = [*nodes(logits="z"), helper.make_node("BitCast", ["z"], ["logits"], "last", to=1)]
    network = model(body, opset=26, ir=13)
    assert refusal(save(network, tmp_path)) == [
        f"has an operator that ONNX has since opset 26, the runtime knows {OPSET}",
        "  node: BitCast 'last'",
        f"next: export it again with opset_version={OPSET} or lower",
    ]


def test_several_outputs_are_refused_unless_one_is_named(tmp_path: Path) -> None:
    network = model()
    network.graph.output.append(value("flat", [1, 4]))
    path = save(network, tmp_path)
    assert refusal(path) == [
        "has 2 outputs, expected one vector of logits or probabilities",
        "  logits: float (1, 2)",
        "  flat: float (1, 4)",
        "next: name the one, such as --output=logits",
    ]
    assert import_classifier(path, output="flat").changes == ("outputs taken away: logits",)


def test_whole_numbers_are_no_scores(tmp_path: Path) -> None:
    last = helper.make_node("ArgMax", ["z"], ["logits"], "last", axis=1)
    network = model([*nodes(logits="z"), last], output=value("logits", [1, 1], TensorProto.INT64))
    assert refusal(save(network, tmp_path))[:3] == [
        "output is int64, expected scores as float",
        "  found: logits: int64 (1, 1)",
        "  made by: ArgMax 'last'",
    ]


def test_only_nan_is_no_answer(tmp_path: Path) -> None:
    body = [
        *nodes(logits="z"),
        helper.make_node("Mul", ["z", "z"], ["square"], "square"),
        helper.make_node("Neg", ["square"], ["negative"], "negative"),
        helper.make_node("Sqrt", ["negative"], ["logits"], "last"),
    ]
    assert refusal(save(model(body), tmp_path))[0] == "answers every picture with NaN"


def test_a_tensor_that_no_board_holds_is_refused_before_it_is_computed(tmp_path: Path) -> None:
    body = [
        *nodes(logits="z"),
        helper.make_node("ConstantOfShape", ["huge"], ["zeros"], "bomb"),
        helper.make_node("ReduceMax", ["zeros"], ["zero"], "max", keepdims=0),
        helper.make_node("Add", ["z", "zero"], ["logits"], "last"),
    ]
    network = model(body, weights={"huge": np.array([1 << 20, 1 << 14])})
    problem, node, *_ = refusal(save(network, tmp_path))
    assert problem == "computes a tensor of 17,179,869,184 values"
    assert node == "  node: ConstantOfShape 'bomb'"


def test_a_batch_that_is_written_into_the_network_is_refused(tmp_path: Path) -> None:
    body = nodes()
    body[3] = helper.make_node("Reshape", ["pooled", "form"], ["flat"], "form")
    image, output = value("image", [8, 3, SIDE, SIDE]), value("logits", [8, 2])
    network = model(body, image, output, weights={"form": np.array([8, 4])})
    first, node, _, remedy = refusal(save(network, tmp_path))
    assert (first, node) == ("does not run on one image", "  node: Reshape 'form'")
    assert remedy == "next: export it for one image (batch 1) of a fixed size"


def test_a_file_beyond_what_onnx_holds_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    assert refusal(path) == [
        "is too large",
        "  expected: at most 2,147,483,648 bytes, as ONNX has it",
        "  found: 3,221,225,472",
    ]


def test_a_cycle_is_no_network(tmp_path: Path) -> None:
    body = nodes()
    body[0].input[0] = "r"
    assert refusal(save(model(body), tmp_path))[0] == "not a valid ONNX model"


def test_an_old_opset_is_refused(tmp_path: Path) -> None:
    assert refusal(save(model(opset=6, ir=3), tmp_path))[0] == (
        "has opset 6, which ONNX Runtime does not run"
    )


def test_weights_that_are_nan_are_refused(tmp_path: Path) -> None:
    bad = WEIGHTS["w1"].copy()
    bad[0, 0] = np.nan
    network = model()
    for tensor in network.graph.initializer:
        if tensor.name == "w1":
            tensor.CopyFrom(numpy_helper.from_array(bad, "w1"))
    assert refusal(save(network, tmp_path))[:2] == [
        "1 of its weights are not finite (NaN or infinite)",
        "  tensors: w1",
    ]


def test_a_sequence_among_the_outputs_stays_one(tmp_path: Path) -> None:
    """A touch of its tensor type, which it does not have, would make a tensor of it."""
    graph = helper.make_graph(
        [
            helper.make_node("SequenceConstruct", ["x", "x"], ["pair"], "pair"),
            helper.make_node("Relu", ["x"], ["y"], "relu"),
        ],
        "sequence",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [
            helper.make_tensor_sequence_value_info("pair", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3]),
        ],
    )
    path = tmp_path / "net.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)

    imported = import_network(path)

    pair, single = onnx.load(imported.path).graph.output
    assert pair.type.WhichOneof("value") == "sequence_type"
    assert sizes_of(single) == (1, 3)
    assert inspect(path).operators == {"SequenceConstruct": 1, "Relu": 1}
    with pytest.raises(UserError) as refused:
        import_for_task(path, TaskForm(takes_image=False))
    assert "output is sequence, expected numbers" in str(refused.value)


def sound_network(path: Path, *, states: int = 0) -> Path:
    """Samples of an open number in, their magnitudes out; `states` more inputs, open too."""
    inputs = ["sound", *(f"state{number}" for number in range(states))]
    graph = helper.make_graph(
        [helper.make_node("Abs", [name], [f"{name}_out"], name) for name in inputs],
        "sound",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", "n"]) for n in inputs],
        [
            helper.make_tensor_value_info(f"{n}_out", TensorProto.FLOAT, ["batch", "n"])
            for n in inputs
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def test_a_shape_fixes_the_size_that_a_network_of_tensors_leaves_open(tmp_path: Path) -> None:
    path = sound_network(tmp_path / "net.onnx")

    imported = import_for_task(path, TaskForm(takes_image=False), shape=(1, 576))

    (value,) = onnx.load(imported.path).graph.input
    assert sizes_of(value) == (1, 576)
    assert "input fixed: sound (1, 576)" in imported.changes


def test_the_card_fixes_the_sizes_of_several_inputs(tmp_path: Path) -> None:
    path = sound_network(tmp_path / "net.onnx", states=1)
    shapes = {"sound": (1, 576), "state0": (1, 64)}

    imported = import_for_task(path, TaskForm(takes_image=False, inputs=shapes))

    sizes = {value.name: sizes_of(value) for value in onnx.load(imported.path).graph.input}
    assert sizes == shapes


def test_sizes_that_nothing_fixes_are_refused_with_the_remedy(tmp_path: Path) -> None:
    form = TaskForm(takes_image=False)

    with pytest.raises(UserError) as first_error:
        import_for_task(sound_network(tmp_path / "one.onnx"), form)
    with pytest.raises(UserError) as two:
        import_for_task(sound_network(tmp_path / "two.onnx", states=1), form, shape=(1, 576))
    with pytest.raises(UserError) as unfit:
        import_for_task(sound_network(tmp_path / "rank.onnx"), form, shape=(1, 2, 3))

    assert "--shape=1,576" in str(first_error.value)
    assert "write a card with the shape of each input" in str(two.value)
    assert "has another input shape than the card or --shape" in str(unfit.value)


@pytest.mark.parametrize("kind", ["Cast", "DequantizeLinear"])
def test_signed_pixels_are_taken_as_pixels_less_128(kind: str, tmp_path: Path) -> None:
    """As networks take them that another tool made INT8 from end to end."""
    first = (
        helper.make_node("Cast", ["image"], ["x"], "first", to=TensorProto.FLOAT)
        if kind == "Cast"
        else helper.make_node("DequantizeLinear", ["image", "scale", "zero"], ["x"], "first")
    )
    image = value("image", [1, 3, SIDE, SIDE], TensorProto.INT8)
    weights: dict[str, NDArray[Any]] = {
        "scale": np.array(0.02, np.float32),
        "zero": np.array(-3, np.int8),
    }
    path = tmp_path / "net.onnx"
    onnx.save(model([first, *nodes("x")], image, weights=weights), path)

    classifier = read_classifier(path)
    card, assumptions = default_card(classifier, ("ok", "bad"))

    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3))
    Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "picture.png")
    values = load_input(tmp_path / "picture.png", card)
    plain = (picture - 128).astype(np.int8).transpose(2, 0, 1)[np.newaxis]
    np.testing.assert_allclose(values, plain, atol=1e-3)
    (expected,) = load_session(path).run(None, {"image": plain})
    (answer,) = load_session(classifier.path).run(None, {"image": values})
    np.testing.assert_allclose(answer, expected, atol=1e-4)
    assert "the network takes whole numbers" in assumptions[0]
    assert classifier.imported
    assert "input takes the same values, -128 to 127, as float32" in classifier.imported.changes


def test_an_image_of_other_numbers_is_refused_with_the_remedy(tmp_path: Path) -> None:
    image = value("image", [1, 3, 8, 8], TensorProto.INT32)
    first = helper.make_node("Cast", ["image"], ["x"], "first", to=TensorProto.FLOAT)
    onnx.save(model([first, *nodes("x")], image), tmp_path / "net.onnx")

    with pytest.raises(UserError) as refused:
        read_classifier(tmp_path / "net.onnx")

    assert "input is int32, expected float, uint8 or int8" in str(refused.value)
    assert "--task=tensor" in str(refused.value)
