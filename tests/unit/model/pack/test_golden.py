import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Card, Decision, read_card
from edgewright.model.contract.preprocess import load_input
from edgewright.model.contract.session import open_session, outputs, probabilities
from edgewright.model.judge.answers import Answers
from edgewright.model.judge.data import LABELS, Dataset, Sample
from edgewright.model.judge.evaluate import Border
from edgewright.model.pack import rounding
from edgewright.model.pack.golden import (
    MARGIN,
    TOLERANCE,
    choose,
    expect,
    lead,
    make_golden,
    read_expected,
    require_golden,
    write_golden,
)
from tests.checkout import checkout
from tests.unit.model import small_cnn

GOLDEN = sorted(checkout().models.glob("*/golden/expected.json"))


def answers(samples: tuple[Sample, ...]) -> Answers:
    """Right answers, from nearly at the border to sure."""
    sure = np.linspace(0.51, 0.99, len(samples))
    rows = [[1 - p, p] if s.label else [p, 1 - p] for s, p in zip(samples, sure, strict=True)]
    dataset = Dataset(name="sliver", labels=LABELS, samples=samples)
    return Answers(dataset=dataset, probabilities=np.array(rows), positive=1)


def test_eight_are_chosen_from_both_classes_and_types(samples: tuple[Sample, ...]) -> None:
    chosen = choose(answers(samples)).samples
    kinds = Counter((sample.label, sample.cell_type) for sample in chosen)
    assert kinds == {(label, kind): 2 for label in (0, 1) for kind in ("mono", "poly")}
    assert len({sample.name for sample in chosen}) == 8


def test_with_a_threshold_both_sides_of_it_have_their_nearest_images(
    samples: tuple[Sample, ...],
) -> None:
    """At 0.2 the surest defects that the likeliest label would miss are golden."""
    defect = np.where([sample.label == 1 for sample in samples], 0.42, 0.1)
    defect += np.linspace(0, 0.05, len(samples))
    dataset = Dataset(name="sliver", labels=LABELS, samples=samples)
    answered = Answers(
        dataset=dataset,
        probabilities=np.stack([1 - defect, defect], axis=1),
        positive=1,
        border=Border(label=1, threshold=0.2),
    )
    assert {sample.label for sample in choose(answered).samples} == {0, 1}
    higher = replace(answered, border=Border(label=1, threshold=0.6))
    assert {sample.label for sample in choose(higher).samples} == {0}


@given(share=st.floats(0, 1))
def test_at_one_half_a_border_leads_as_the_likeliest_does(share: float) -> None:
    row = np.array([[1 - share, share]])
    assert lead(row, Border(label=1, threshold=0.5)) == pytest.approx(lead(row))


def test_a_case_at_the_threshold_may_have_either_label(
    sure_network: Path, samples: tuple[Sample, ...], card: Card
) -> None:
    sure_network.write_bytes(with_outputs_times(sure_network, 0.2))
    folder = write_golden(sure_network, card, samples[:1]).folder
    expected = read_expected(folder)
    case = expected.cases[0]
    single = expected.model_copy(update={"cases": (case,)})
    (folder / "expected.json").write_text(single.model_dump_json(by_alias=True))
    share = case.probabilities[1]

    def require_at(threshold: float) -> None:
        decision = Decision(label=card.labels[1], threshold=threshold)
        decided_card = card.model_copy(update={"decision": decision})
        require_golden(sure_network, decided_card, folder, sure_network)

    require_at(share - TOLERANCE / 2)
    require_at(share + TOLERANCE / 2)
    beyond = 2 * TOLERANCE if share > 0.5 else -2 * TOLERANCE
    with pytest.raises(UserError, match="1 of its 1 answers are not those of"):
        require_at(share + beyond)


def test_none_is_chosen_at_the_border(samples: tuple[Sample, ...]) -> None:
    answered = answers(samples)
    certainty = dict(zip(samples, answered.probabilities.max(axis=1), strict=True))
    assert min(certainty[sample] for sample in choose(answered).samples) > 0.5 + MARGIN


def test_a_class_without_sure_answers_is_left_out_and_said(samples: tuple[Sample, ...]) -> None:
    answered = answers(samples)
    rows = answered.probabilities.copy()
    rows[[sample.label == 1 for sample in samples]] = [0.55, 0.45]

    choice = choose(replace(answered, probabilities=rows))

    assert {sample.label for sample in choice.samples} == {0}
    wrongly, nearly, *classes = choice.left_out
    assert wrongly == "answered wrongly: 40 (cell0002.png, cell0003.png, cell0006.png, …)"
    assert nearly.startswith("answered with a lead of less than 0.2: ")
    assert classes == [
        f"no image of defective {kind} is answered rightly and surely" for kind in ("mono", "poly")
    ]


def test_a_network_that_is_never_right_has_no_golden_set(samples: tuple[Sample, ...]) -> None:
    answered = answers(samples)
    with pytest.raises(UserError) as caught:
        choose(replace(answered, probabilities=answered.probabilities[:, ::-1]))
    assert str(caught.value).splitlines()[:2] == [
        "golden: none of 80 images is answered rightly and surely",
        "  answered wrongly: 80 (cell0000.png, cell0001.png, cell0002.png, …)",
    ]


def test_of_many_classes_the_likeliest_needs_no_half(samples: tuple[Sample, ...]) -> None:
    four = tuple(replace(s, category=i % 4, cell_type="") for i, s in enumerate(samples))
    rows = np.eye(4)[[sample.label for sample in four]] * 0.3 + 0.175
    dataset = Dataset(name="folder", labels=("a", "b", "c", "d"), samples=four)
    chosen = choose(Answers(dataset=dataset, probabilities=rows, positive=3)).samples
    assert Counter(sample.label for sample in chosen) == {0: 2, 1: 2, 2: 2, 3: 2}


def test_three_classes_of_a_folder_have_golden_images_too(samples: tuple[Sample, ...]) -> None:
    three = tuple(replace(s, category=i % 3, cell_type="") for i, s in enumerate(samples))
    rows = np.eye(3)[[sample.label for sample in three]] * 0.7 + 0.1
    dataset = Dataset(name="folder", labels=("a", "b", "c"), samples=three)
    chosen = choose(Answers(dataset=dataset, probabilities=rows, positive=2)).samples
    assert Counter(sample.label for sample in chosen) == {0: 2, 1: 2, 2: 2}


@pytest.fixture
def sure_network(network_file: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(network_file, tmp_path / "model.onnx"))


def test_the_folder_holds_what_the_network_says(
    sure_network: Path, samples: tuple[Sample, ...], card: Card
) -> None:
    folder = write_golden(sure_network, card, samples[:3]).folder
    expected = json.loads((folder / "expected.json").read_text())
    assert (expected["schema"], expected["tolerance"]) == (1, TOLERANCE)
    assert [case["image"] for case in expected["cases"]] == [
        "cell0000.png",
        "cell0001.png",
        "cell0002.png",
        "cell0000-rgb.png",
        "cell0002-odd.jpg",
    ]
    for case in expected["cases"]:
        image = load_input(folder / case["image"], card)
        row = probabilities(outputs(open_session(sure_network), image), "softmax")[0]
        np.testing.assert_allclose(case["probabilities"], row, atol=1e-6)
        assert case["class"] == card.labels[int(row.argmax())]


def test_variants_are_what_their_names_say(
    sure_network: Path, samples: tuple[Sample, ...], card: Card
) -> None:
    folder = write_golden(sure_network, card, samples[:1]).folder
    with Image.open(folder / "cell0000-rgb.png") as color:
        assert (color.mode, color.format) == ("RGB", "PNG")
    with Image.open(folder / "cell0000-odd.jpg") as odd:
        assert (odd.size, odd.format) == ((333, 287), "JPEG")


def test_writing_again_leaves_no_old_image(
    sure_network: Path, samples: tuple[Sample, ...], card: Card
) -> None:
    write_golden(sure_network, card, samples[:2])
    folder = write_golden(sure_network, card, samples[:1]).folder
    assert not (folder / "cell0001.png").exists()


def with_outputs_times(network: Path, factor: float) -> bytes:
    """The network with a last node that multiplies its outputs."""
    model = onnx.load(str(network))
    (output,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["before" if name == output.name else name for name in node.output]
    model.graph.initializer.append(numpy_helper.from_array(np.array(factor, np.float32), "factor"))
    model.graph.node.append(helper.make_node("Mul", ["before", "factor"], [output.name]))
    return bytes(model.SerializeToString())


def test_the_tolerance_covers_what_rounding_inside_the_network_moves(
    sure_network: Path, samples: tuple[Sample, ...], card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board rounds here and there otherwise than this machine, and is no worse for it."""
    exact = read_expected(write_golden(sure_network, card, samples[:3]).folder)
    logits = outputs(open_session(sure_network), load_input(samples[0].path, card))
    factor, moved = 1.0, 0.0
    while moved < 2 * TOLERANCE / rounding.FACTOR:
        factor *= 0.98
        row = probabilities(logits * factor, "softmax")
        moved = float(np.abs(row - exact.cases[0].probabilities).max())
    other = with_outputs_times(sure_network, factor)
    monkeypatch.setattr(rounding, "shifted", lambda _: [other])
    loose = read_expected(write_golden(sure_network, card, samples[:1]).folder)
    assert exact.tolerance == TOLERANCE
    assert 2 * TOLERANCE <= loose.tolerance <= MARGIN


def test_images_whose_answers_hang_on_rounding_are_left_out_and_said(
    sure_network: Path, samples: tuple[Sample, ...], card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = with_outputs_times(sure_network, -1.0)
    monkeypatch.setattr(rounding, "shifted", lambda _: [other])
    with pytest.raises(UserError, match="answers no golden image surely") as caught:
        write_golden(sure_network, card, samples[:1])
    first = caught.value.facts[0]
    assert first.startswith("cell0000.png: rounding inside the network moves its answer by ")
    session = open_session(sure_network)
    rows = np.concatenate(
        [
            probabilities(outputs(session, load_input(sample.path, card)), "softmax")
            for sample in samples[:6]
        ]
    )
    right = tuple(
        replace(sample, probability=float(row.argmax()))
        for sample, row in zip(samples, rows, strict=False)
    )
    dataset = Dataset(name="sliver", labels=LABELS, samples=right)
    with pytest.raises(UserError, match="none of 6 images") as caught:
        make_golden(sure_network, card, Answers(dataset=dataset, probabilities=rows, positive=1))
    assert any("and alike however values round" in fact for fact in caught.value.facts)


def test_scales_alone_are_moved_and_by_little(network_file: Path, tmp_path: Path) -> None:
    network = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        add (float[4] x) => (float[4] y)
        <float scale = {0.02}, uint8 zero = {7}, float[4] bias = {1, 2, 3, 4}> {
            q = QuantizeLinear(x, scale, zero)
            d = DequantizeLinear(q, scale, zero)
            y = Add(d, bias)
        }"""
    )
    path = tmp_path / "int8.onnx"
    onnx.save(network, path)
    copies = [onnx.load_model_from_string(copy) for copy in rounding.shifted(path)]
    assert len(copies) == rounding.DRAWS
    scales = []
    for copy in copies:
        scale, *others = copy.graph.initializer
        assert others == list(network.graph.initializer)[1:]
        scales.append(float(numpy_helper.to_array(scale)))
    assert 0 < max(abs(scale / np.float32(0.02) - 1) for scale in scales) < 1e-6
    assert list(rounding.shifted(network_file)) == [], "nothing rounds to steps in FP32"


def test_an_unsure_answer_leaves_the_former_set(
    sure_network: Path, samples: tuple[Sample, ...], card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_golden(sure_network, card, samples[:1]).folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr("edgewright.model.pack.golden.MARGIN", 1.1)
    with pytest.raises(UserError, match="answers no golden image surely"):
        write_golden(sure_network, card, samples[1:3])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_colour_networks_variants_keep_their_colours(tmp_path: Path) -> None:
    picture = Image.new("RGB", (64, 48), (200, 40, 90))
    picture.save(tmp_path / "pink.png")
    sample = Sample(path=tmp_path / "pink.png", category=0)
    model = small_cnn.write_network(tmp_path / "net", small_cnn.write_images(tmp_path / "i", 8))
    card = read_card(model.parent / "card.json")

    folder = write_golden(model, card, [sample]).folder

    expected = json.loads((folder / "expected.json").read_text())
    names = [case["image"].split("-")[-1] for case in expected["cases"]]
    assert names == ["pink.png", "odd.jpg"]
    with Image.open(folder / expected["cases"][1]["image"]) as odd:
        red, green, blue = np.asarray(odd)[100, 100]
        assert red > blue > green


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.parent.parent.name)
def test_golden_outputs_of_the_repo_repeat(path: Path) -> None:
    expected = json.loads(path.read_text())
    card = read_card(path.parent.parent / "card.json")
    images = [path.parent / case["image"] for case in expected["cases"]]
    expectation = expect(path.parent.parent / card.file.name, card, images)
    for want, have in zip(expected["cases"], expectation.cases, strict=True):
        assert want["class"] == have.class_
        np.testing.assert_allclose(want["probabilities"], have.probabilities, atol=TOLERANCE)
