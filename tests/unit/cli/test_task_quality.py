"""`model.evaluate` of tasks beyond classification."""

import json
from pathlib import Path

import onnx
import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from edgewright.cli import quality
from edgewright.model.contract.anomaly_card import AnomalyCard
from edgewright.model.contract.card import ModelFile, write_card
from edgewright.model.contract.task_cards import read_any_card
from tests.schemas import require_valid
from tests.unit.model.judge.test_planes import SPOT, anomaly_card, draw, network


@pytest.fixture
def data(tmp_path: Path) -> Path:
    model = network(tmp_path)
    write_card(anomaly_card(model), tmp_path / "card.json")
    for number in range(3):
        draw(tmp_path / "set" / "good" / f"{number}.png", None, 0)
        draw(tmp_path / "set" / "spot" / f"{number}.png", SPOT, 200)
        draw(tmp_path / "set" / "spot" / f"{number}_mask.png", SPOT, 255, 0)
    return tmp_path


def test_an_anomaly_model_is_judged_by_its_own_metrics(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {"model": str(data / "model.onnx"), "images": str(data / "set")}
    quality.evaluate(Context(), **paths, json=True)
    text = capsys.readouterr().out
    require_valid("model.evaluate--anomaly", text)
    document = json.loads(text)
    assert (document["auroc"]["value"], document["masks"]) == (1, 3)
    assert (document["of_card"]["misses"], document["cheapest"]["misses"]) == (3, 0)

    quality.evaluate(Context(), **paths)
    table = capsys.readouterr().out
    assert "AUROC" in table
    assert "PRO, 3 masks" in table


def test_what_only_classifiers_know_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {"model": str(data / "model.onnx"), "calibration": str(data / "set")}
    with pytest.raises(Exit):
        quality.quantize(Context(), **arguments, positive="spot")
    assert "--positive: is of classifiers alone" in capsys.readouterr().err


def test_a_network_that_an_import_rewrites_gets_a_golden_set_and_int8(data: Path) -> None:
    """The rewritten file lies in a folder that goes with the import."""
    model = data / "model.onnx"
    network = onnx.load(model)
    network.opset_import[0].version = 11  # the importer makes 17 of it
    onnx.save(network, model)
    card = read_any_card(data / "card.json")
    assert isinstance(card, AnomalyCard)
    write_card(card.model_copy(update={"file": ModelFile.of(model)}), data / "card.json")

    quality.golden(Context(), model=str(model), images=str(data / "set" / "spot"))
    assert (data / "golden" / "expected.json").is_file()
    for seed in range(4):
        draw(data / "calibration" / f"{seed}.png", SPOT, 100 + seed)
    stated = {"model": str(model), "calibration": str(data / "calibration")}
    quality.quantize(Context(), **stated, held_out=str(data / "set"), out=str(data / "judged"))
    quality.quantize(Context(), **stated, out=str(data / "unlabelled"), least_sqnr=0.0)
    assert (data / "judged" / "model.onnx").is_file()
    assert (data / "unlabelled" / "model.onnx").is_file()
