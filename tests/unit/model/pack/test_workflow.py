"""Bring your own: a network of another architecture through the whole pipeline."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.contract.card import read_card, write_card
from edgewright.model.convert.inspect import inspect
from edgewright.model.convert.to_ort import convert
from edgewright.model.judge.answers import Answers
from edgewright.model.pack import workflow
from edgewright.model.pack.folder import new_card
from edgewright.model.pack.golden import expect
from edgewright.model.pack.reference import read_reference
from edgewright.model.pack.workflow import Quantization, judging, quantize
from edgewright.model.quantize.sweep_report import SweepReport
from tests.unit.model import small_cnn


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train/`, `held/`, `test/` and `net/net.onnx` with its card."""
    folder = tmp_path_factory.mktemp("own")
    small_cnn.write_images(folder / "train", 24)
    small_cnn.write_images(folder / "held", 30, first=100)
    small_cnn.write_images(folder / "test", 10, first=200)
    small_cnn.write_network(folder / "net", folder / "train")
    return folder


def request(data: Path, out: Path, **changes: object) -> Quantization:
    values = {
        "model": data / "net" / "net.onnx",
        "out": out,
        "calibration": str(data / "train"),
        "held_out": str(data / "held"),
        "test": str(data / "test"),
        "positive": "cracked",
    }
    return Quantization(**{**values, **changes})  # type: ignore[arg-type]


def run(data: Path, out: Path, **changes: object) -> SweepReport:
    return quantize(request(data, out, **changes), lambda line: None)


@pytest.fixture(scope="module")
def swept(data: Path) -> SweepReport:
    return run(data, data / "int8", sweep=True)


@pytest.fixture(scope="module")
def plain(data: Path) -> SweepReport:
    """Without the sweep: the recipe that serves best as a rule."""
    return run(data, data / "plain")


def answers(model: Path, images: Path, **options: object) -> Answers:
    return workflow.evaluate(judging(model, str(images), positive="cracked", **options))  # type: ignore[arg-type]


def test_the_sweep_crosses_what_engineers_try(swept: SweepReport) -> None:
    names = [row.name for row in swept.candidates]
    assert len(names) == len(set(names)) == 21
    for words in ("dynamic", "entropy S8S8 per-tensor", "minmax per-channel", "first and last"):
        assert any(words in name for name in names), words
    assert any("cross-layer equalised (1)" in name for name in names)
    assert any("smoothed (1)" in name for name in names)


def test_every_candidate_is_judged_and_costed(swept: SweepReport) -> None:
    for row in (swept.fp32, *swept.candidates):
        for estimate in (row.accuracy, row.defect_recall, row.auc):
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
        assert row.bytes > 0
        assert row.time > 0
        assert row.operators
    assert swept.fp32.accuracy.value > 0.8  # the network does its work
    assert "DynamicQuantizeLinear" in swept.candidates[0].operators
    assert "QLinearConv" in swept.candidates[1].operators


def test_the_chosen_one_is_in_the_budget_and_says_why(swept: SweepReport) -> None:
    assert swept.chosen.accuracy.value >= swept.fp32.accuracy.value - 0.01
    assert "lose at most 1 points" in swept.reason


def test_the_folder_holds_the_chosen_model(data: Path, swept: SweepReport) -> None:
    out = data / "int8"
    assert {path.name for path in out.iterdir()} == {
        "model.onnx",
        "card.json",
        "golden",
        "reference.json",
        "sweep.json",
        "report.html",
    }
    assert read_reference(out / "reference.json").images == 60
    card = json.loads((out / "card.json").read_text())
    assert card["quantization"]["recipe"] == swept.chosen.name
    assert card["labels"] == list(small_cnn.LABELS)
    metrics = answers(out / "model.onnx", data / "held").metrics
    assert metrics.accuracy == swept.chosen.accuracy
    assert metrics.confusion == swept.chosen.confusion
    assert SweepReport.model_validate_json((out / "sweep.json").read_text()) == swept


def test_its_golden_set_proves_a_board(data: Path, plain: SweepReport) -> None:
    model = data / "plain" / "model.onnx"
    expected = json.loads((model.parent / "golden" / "expected.json").read_text())
    names = [case["image"] for case in expected["cases"]]
    assert {name.split("-")[0] for name in names} == {"cracked", "fine"}
    paths = [model.parent / "golden" / name for name in names]
    again = expect(model, read_card(model.parent / "card.json"), paths)
    assert json.loads(again.model_dump_json(by_alias=True)) == expected


def test_a_network_that_is_never_sure_has_no_golden_set(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "net", tmp_path / "net")
    path = tmp_path / "net" / "net.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name in ("matrix", "bias"):
            values = onnx.numpy_helper.to_array(tensor) * np.float32(1e-3)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    messages: list[str] = []
    quantize(request(data, tmp_path / "out", model=path, budget=100.0), messages.append)
    assert any("no golden set, which invoke build needs" in line for line in messages)
    assert not (tmp_path / "out" / "golden").exists()
    assert (tmp_path / "out" / "model.onnx").is_file()


def test_the_page_loads_nothing_and_names_every_recipe(data: Path, swept: SweepReport) -> None:
    page = (data / "int8" / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    for row in swept.candidates:
        assert f">{row.name}<" in page
    assert page.count("<svg") >= 3


def test_labels_follow_the_card_whatever_the_folders_order(data: Path) -> None:
    """Folders are read in alphabetical order; the card says fine, cracked."""
    judged = answers(data / "net" / "net.onnx", data / "test")
    assert judged.dataset.labels == small_cnn.LABELS
    assert judged.metrics.accuracy.value > 0.8


def test_an_ort_file_is_judged_like_its_onnx(data: Path, tmp_path: Path) -> None:
    conversion = convert(data / "net" / "net.onnx", tmp_path / "made")
    shutil.copy(data / "net" / "card.json", conversion.ort.parent)
    by_onnx, by_ort = (
        answers(path, data / "test") for path in (data / "net/net.onnx", conversion.ort)
    )
    np.testing.assert_allclose(by_onnx.probabilities, by_ort.probabilities, atol=1e-5)


def test_diff_tells_agreement_and_noise_by_layer(data: Path, plain: SweepReport) -> None:
    first = judging(data / "net" / "net.onnx", str(data / "held"), positive="cracked")
    difference = workflow.diff(first, data / "plain" / "model.onnx")
    assert difference.agreement == plain.chosen.agreement
    assert {layer.operator for layer in difference.noise} >= {"Relu", "LayerNormalization", "Gemm"}
    assert all(20 < layer.total < 100 for layer in difference.noise)
    assert difference.falls(2)[0][1] >= difference.falls(2)[1][1]


def test_a_network_differs_not_at_all_from_itself(data: Path) -> None:
    same = judging(data / "net" / "net.onnx", str(data / "test"))
    difference = workflow.diff(same, data / "net" / "net.onnx")
    assert (difference.agreement, difference.distance, difference.disagreements) == (1.0, 0.0, ())


def test_a_narrower_network_is_compared_where_both_are_as_wide(data: Path, tmp_path: Path) -> None:
    wide = small_cnn.write_network(tmp_path / "wide", data / "train", channels=16)
    difference = workflow.diff(judging(wide, str(data / "test")), data / "net" / "net.onnx")
    assert [layer.tensor for layer in difference.noise] == ["scores"]
    assert difference.agreement > 0.5


def test_worst_images_go_on_a_contact_sheet(data: Path, tmp_path: Path) -> None:
    judged = answers(data / "net" / "net.onnx", data / "held")
    wrong = sum(row[1 - at] for at, row in enumerate(judged.metrics.confusion))
    assert wrong, "nothing to show"
    sheet = workflow.write_worst(judged, tmp_path / "sheets" / "worst.png")
    assert sheet is not None
    with Image.open(sheet) as picture:
        assert picture.width == 12 + min(wrong, 6) * 172


def test_int8_computes_the_same_in_less_memory(data: Path, plain: SweepReport) -> None:
    fp32, int8 = (inspect(data / name) for name in ("net/net.onnx", "plain/model.onnx"))
    assert fp32.macs == int8.macs
    assert int8.activation_peak < fp32.activation_peak
    assert "int8" in int8.types


# Bad input


def test_no_recipe_in_the_budget_shows_the_frontier_and_writes_nothing(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        run(data, tmp_path / "out", budget=-30.0)
    message = str(caught.value)
    assert "no recipe of 1 keeps accuracy within -30 points of FP32\n  FP32: 0." in message
    assert "percentile 99.99 per-channel: accuracy 0." in message
    assert "next: try --sweep" in message
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_leaves_the_former_folder(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.onnx").write_text("former")
    with pytest.raises(UserError):
        run(data, out, budget=-30.0)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "model.onnx"]
    assert (out / "model.onnx").read_text() == "former"


def copy_of(data: Path, part: str, to: Path) -> Path:
    shutil.copytree(data / part, to)
    return to


def test_calibration_images_of_the_test_set_are_refused_by_content(
    data: Path, tmp_path: Path
) -> None:
    mixed = copy_of(data, "train", tmp_path / "mixed")
    stolen = next((data / "test" / "fine").iterdir())
    shutil.copy(stolen, mixed / "fine" / "0000.png")  # under another's name
    with pytest.raises(UserError, match=r"mixed: 1 of its images are test images\n  0000\.png"):
        run(data, tmp_path / "out", calibration=str(mixed))


def test_calibration_images_are_not_judged_by(data: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"calibration with .*: 48 of its images are held-out images"
    ):
        run(data, tmp_path / "out", held_out=str(data / "train"))


def test_without_held_out_images_some_are_held_back(data: Path, tmp_path: Path) -> None:
    report = run(data, tmp_path / "out", held_out="", calibration_images=20)
    assert (report.calibration_images, report.held_out_images) == (20, 28)


def test_a_one_class_set_is_refused(data: Path, tmp_path: Path) -> None:
    folder = copy_of(data, "train", tmp_path / "one")
    shutil.rmtree(folder / "cracked")
    with pytest.raises(UserError, match="has one class only: fine"):
        run(data, tmp_path / "out", calibration=str(folder))


@pytest.mark.parametrize(
    ("folder", "problem"),
    [("absent", "no such folder"), ("empty", "has no images"), ("loose", "images without a class")],
)
def test_a_folder_without_labelled_images_is_refused(
    folder: str, problem: str, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(data / "train" / "fine", tmp_path / "loose")
    with pytest.raises(UserError, match=problem):
        run(data, tmp_path / "out", calibration=str(tmp_path / folder))
    assert not (tmp_path / "out").exists()


def test_images_that_do_not_decode_are_named(data: Path, tmp_path: Path) -> None:
    broken = copy_of(data, "held", tmp_path / "broken")
    image = min((broken / "fine").iterdir())
    image.write_bytes(image.read_bytes()[:100])
    with pytest.raises(UserError, match=f"1 of 60 images cannot be read\n  fine/{image.name}"):
        run(data, tmp_path / "out", held_out=str(broken))


def test_a_class_that_is_no_label_is_refused(data: Path, tmp_path: Path) -> None:
    strange = copy_of(data, "held", tmp_path / "strange")
    (strange / "fine").rename(strange / "good")
    with pytest.raises(UserError, match="has classes that are no labels of the model: good"):
        run(data, tmp_path / "out", held_out=str(strange))


def test_an_unknown_positive_label_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--positive=rusty: no such label\n  labels: fine, cracked"):
        run(data, tmp_path / "out", positive="rusty")


def test_a_label_that_no_image_has_is_not_measured(data: Path, tmp_path: Path) -> None:
    """Its recall would be 0 of 0 images."""
    brightness = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        of_three (float[1, 1, 32, 32] image) => (float[1, 3] logits)
        <float[1, 3] weight = {-4, 4, 1}, float[3] bias = {1, -1, -9}> {
            mean = GlobalAveragePool(image)
            flat = Flatten(mean)
            logits = Gemm(flat, weight, bias)
        }"""
    )
    model = tmp_path / "of_three.onnx"
    onnx.save(brightness, model)
    card = new_card("of-three", model, labels=("fine", "cracked", "dirty"), size=32)
    write_card(card, tmp_path / "card.json")
    held = str(data / "held")
    with pytest.raises(UserError, match="no image is dirty, whose recall and AUC are measured"):
        judging(model, held)
    measured = workflow.evaluate(judging(model, held, positive="cracked"))
    assert 0 <= measured.metrics.defect_recall.value <= 1


def test_networks_given_beside_are_judged_on_the_same_images(data: Path, tmp_path: Path) -> None:
    wide = small_cnn.write_network(tmp_path / "wide", data / "train", channels=16)
    source = data / "net" / "net.onnx"
    report = run(data, tmp_path / "out", beside=(wide, source), budget=5.0)
    other, same = report.rivals
    assert (other.row.name, same.row.name) == ("wide/net.onnx", "net/net.onnx")
    assert other.row.accuracy == answers(wide, data / "held").metrics.accuracy
    assert other.row.macs > 2 * report.chosen.macs
    assert other.dominated == (report.chosen.accuracy.value >= other.row.accuracy.value - 0.05)
    assert not same.dominated  # it multiplies as often
    gain = report.chosen.accuracy.value - same.row.accuracy.value
    assert same.accuracy_gain.value == pytest.approx(gain)
    assert same.row.accuracy == report.fp32.accuracy
    assert "Beside other networks" in (tmp_path / "out" / "report.html").read_text()


def test_a_network_beside_with_other_labels_is_refused(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "net", tmp_path / "other")
    card = json.loads((tmp_path / "other" / "card.json").read_text())
    card["labels"] = ["good", "bad"]
    (tmp_path / "other" / "card.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"other labels(?s:.*)labels: good, bad"):
        run(data, tmp_path / "out", beside=(tmp_path / "other" / "net.onnx",))
    assert not (tmp_path / "out").exists()


def test_what_is_int8_already_is_refused(data: Path, plain: SweepReport, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is quantized already"):
        run(data, tmp_path / "out", model=data / "plain" / "model.onnx")


def test_a_network_that_overflows_on_an_image_is_told(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "net", tmp_path / "net")
    path = tmp_path / "net" / "net.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name in {"w1", "w2"}:
            values = onnx.numpy_helper.to_array(tensor) * np.float32(1e30)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    with pytest.raises(UserError, match="answers every picture with NaN"):
        run(data, tmp_path / "out", model=path)


def test_too_little_memory_is_told_before(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 64 kB\nMemAvailable: 16 kB\n")
    monkeypatch.setattr("edgewright.base.memory.MEMINFO", meminfo)
    with pytest.raises(UserError, match="there is too little memory for it"):
        run(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
