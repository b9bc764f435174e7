"""An anomaly model made of a network and good images."""

from pathlib import Path
from typing import Any

import onnx
import pytest

from edgewright.base.errors import UserError
from edgewright.model.contract.anomaly_card import AnomalyCard
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.importer.task_network import read_for_task
from edgewright.model.pack.padim import AnomalyRequest, make_anomaly_model
from edgewright.model.pack.task_golden import require_task_golden
from edgewright.model.tasks.anomaly import AnomalyAnswer
from edgewright.model.tasks.inference import Engine
from tests.unit.model import small_cnn
from tests.unit.model.conftest import draw_cell


def silent(line: str) -> None:
    """Nobody reads it."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with two convolutions, and cells: 40 good ones, some bad ones."""
    folder = tmp_path_factory.mktemp("padim")
    small_cnn.write_network(folder, small_cnn.write_images(folder / "train", 8))
    for name, count, is_cracked in (("good", 40, False), ("bad", 6, True)):
        (folder / name).mkdir()
        for seed in range(count):
            draw_cell(seed, is_cracked).save(folder / name / f"{seed:02}.png")
    return folder


def request(folder: Path, **changes: object) -> AnomalyRequest:
    parts: dict[str, Any] = {
        "model": folder / "net.onnx",
        "card": small_cnn.make_card(folder / "net.onnx"),
        "good": sorted((folder / "good").iterdir()),
        "bad": sorted((folder / "bad").iterdir()),
        "features": ("r1", "r2"),  # of two sizes
        "out": folder / "made",
    }
    return AnomalyRequest(**parts | changes)


def test_good_images_make_a_model_that_finds_others(network: Path) -> None:
    made = make_anomaly_model(request(network), silent)

    model = network / "made" / "model.onnx"
    card = read_any_card(model.parent / "card.json")
    assert isinstance(card, AnomalyCard)
    assert card == made
    imported = read_for_task(model, card, model.parent / "card.json")
    assert imported.difference in (None, 0), "a build takes it as it is"
    require_task_golden(model, card, model.parent / "golden", model)

    engine = Engine(model, card)
    scores = {}
    for name in ("good", "bad"):
        results = [engine.infer([path]).answer for path in sorted((network / name).iterdir())]
        scores[name] = [answer.score for answer in results if isinstance(answer, AnomalyAnswer)]
    assert min(scores["bad"]) > max(scores["good"][1::5])
    assert sum(score >= 0.5 for score in scores["good"][::5]) <= 1, "95 % of the held-out ones pass"
    operators = {node.op_type for node in onnx.load(str(model)).graph.node}
    assert "Gemm" not in operators, "what the features do not need is taken away"


def test_what_cannot_be_a_model_is_refused(network: Path) -> None:
    with pytest.raises(UserError, match="has no tensor whose name has r9 in it"):
        make_anomaly_model(request(network, features=("r9",)), silent)
    with pytest.raises(UserError, match="flat is no map of features"):
        make_anomaly_model(request(network, features=("flat",)), silent)
    few = sorted((network / "good").iterdir())[:19]
    with pytest.raises(UserError, match="19 good images, at least 20 are needed"):
        make_anomaly_model(request(network, good=few), silent)
