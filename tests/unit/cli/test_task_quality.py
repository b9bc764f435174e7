"""`model.evaluate` of tasks beyond classification."""

import json
from pathlib import Path

import pytest
from invoke.context import Context

from edgewright.cli import quality
from edgewright.model.contract.card import write_card
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
    found = json.loads(text)
    assert (found["auroc"]["value"], found["masks"]) == (1, 3)
    assert (found["of_card"]["misses"], found["cheapest"]["misses"]) == (3, 0)

    quality.evaluate(Context(), **paths)
    table = capsys.readouterr().out
    assert "AUROC" in table
    assert "PRO, 3 masks" in table
