"""What the tasks print: tables for people, one JSON document for programs."""

import json
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from edgewright.base.errors import UserError
from edgewright.cli import quality
from edgewright.model.contract.card import TileMerge, Tiling
from tests.schemas import require_valid
from tests.unit.model import small_cnn


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    small_cnn.write_network(folder, small_cnn.write_images(folder / "train", 20))
    small_cnn.write_images(folder / "images", 20, first=100)
    return folder


def evaluate(data: Path, **options: object) -> None:
    paths = {"images": str(data / "images"), "worst": str(data / "worst.png")}
    quality.evaluate(Context(), model=str(data / "net.onnx"), **paths, **options)


def document(name: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """What was printed, held against its schema."""
    text = capsys.readouterr().out
    require_valid(name, text)
    return json.loads(text)


def test_dear_misses_lower_the_cheapest_threshold(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = []
    for prices in ({"cost_miss": 100.0}, {"cost_false_alarm": 100.0}):
        evaluate(data, json=True, positive="cracked", **prices)
        reports.append(document("model.evaluate", capsys))
    dear_miss, dear_alarm = (report["cheapest"] for report in reports)
    assert dear_miss["value"] < dear_alarm["value"]
    assert (dear_miss["misses"], dear_alarm["false_alarms"]) == (0, 0)
    assert reports[0]["version"] == 1
    assert reports[0]["count"] == 40


def test_a_person_reads_the_confusion_in_the_labels_words(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(data, positive="cracked")
    screen = capsys.readouterr().out
    assert "cracked answered" in screen
    assert "cheapest" in screen


def test_an_inspection_as_json_adds_up(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quality.inspect(Context(), model=str(data / "net.onnx"), json=True)
    report = document("model.inspect", capsys)
    assert report["macs"] == sum(layer["macs"] for layer in report["layers"])
    # 8 kernels of 3x3x3 on 15x15 places, 16 of 8x3x3 on 7x7, and a matrix of 16x2
    assert report["macs"] == 8 * 27 * 225 + 16 * 72 * 49 + 32
    assert report["parameters"] == 8 * 27 + 8 + 16 * 72 + 16 + 32 + 34
    assert report["activation_peak"] == 4 * (3 * 32 * 32 + 8 * 15 * 15)
    assert report["operators"]["Conv"] == 2


def test_a_difference_as_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = str(data / "net.onnx")
    quality.diff(Context(), first=net, second=net, images=str(data / "images"), json=True)
    report = document("model.diff", capsys)
    assert (report["agreement"], report["distance"], report["disagreements"]) == (1, 0, [])
    assert report["tensors"][0]["all_db"] == 120


def test_a_conversion_lists_the_operators(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quality.convert(Context(), model=str(data / "net.onnx"), out=str(data / "made"), json=True)
    report = document("model.convert", capsys)
    assert Path(report["ort"]).stat().st_size == report["bytes"]
    assert any("FusedConv" in name for name in report["operators"])


@pytest.mark.parametrize("name", ["evaluate", "inspect", "convert"])
def test_a_fault_is_told_in_words_with_exit_code_2(
    name: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit) as caught:
        getattr(quality, name)(Context(), model=str(data / "absent.onnx"))
    assert caught.value.code == 2
    assert "absent.onnx: no such model" in capsys.readouterr().err


def test_quantizing_tells_where_the_page_is(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quality.quantize(
        Context(),
        model=str(data / "net.onnx"),
        calibration=str(data / "images"),
        out=str(tmp_path / "int8"),
    )
    captured = capsys.readouterr()
    assert "* percentile 99.99" in captured.out
    assert "report.html" in captured.err
    assert (tmp_path / "int8" / "report.html").is_file()


def test_tiles_are_stated_as_numbers_and_a_rule_for_boxes() -> None:
    assert quality.stated_tiling("") is None
    assert quality.stated_tiling("640,480") == Tiling(size=(480, 640))
    merge = TileMerge(by="union", threshold=0.45)
    expected = Tiling(size=(480, 640), overlap=64, merge=merge)
    assert quality.stated_tiling("640,480,64,union:0.45") == expected


@pytest.mark.parametrize("text", ["640", "640,480,x", "640,480,64,nms:0.5", "640,480,64,union,3"])
def test_tiles_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not WIDTH,HEIGHT,OVERLAP"):
        quality.stated_tiling(text)
