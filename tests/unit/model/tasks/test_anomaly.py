import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright.base.errors import UserError
from edgewright.model.contract.anomaly_card import AnomalyCard, AnomalySettings, ScoreRange
from edgewright.model.contract.card import Activation, Input, ModelFile
from edgewright.model.contract.placement import Placement
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.task_base import TaskOutput
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.tasks.anomaly import AnomalyAnswer, AnomalyTask
from edgewright.model.tasks.inference import task_of
from edgewright.model.tasks.masks import decode
from edgewright.model.tasks.task import Agreement

SCORE = TaskOutput(name="s", shape=(1, 1), role="score")
MAP = TaskOutput(name="m", shape=(1, 1, 4, 4), role="map")
# An image of 16 x 8 pixels in rows 2 to 5 of an input of 8 x 8.
LETTERBOXED = Placement(width=16, height=8, scale_x=0.5, scale_y=0.5, top=2)


def anomaly_card(*outputs: TaskOutput, **settings: Any) -> AnomalyCard:
    return AnomalyCard(
        task="anomaly",
        name="cells",
        labels=("ok", "odd"),
        input=Input(shape=(1, 1, 8, 8)),
        outputs=outputs,
        anomaly=AnomalySettings(**{"threshold": 2.0} | settings),
        file=ModelFile(name="model.onnx", sha256="0" * 64, bytes=1),
    )


def heat() -> Floats:
    """The border above and below the image is the hottest."""
    values = np.full((1, 1, 4, 4), 9, np.float32)
    values[0, 0, 1:3] = 1
    values[0, 0, 1, 3] = 3
    return values


def answer(card: AnomalyCard, *outputs: Floats) -> AnomalyAnswer:
    return AnomalyTask(card).answer(outputs, LETTERBOXED)


def test_a_map_alone_gives_the_score_where_it_shows_the_image() -> None:
    result = answer(anomaly_card(MAP), heat())
    assert (result.class_, result.score) == ("odd", 3)
    assert result.map is not None
    assert (result.map.width, result.map.height, result.map.area) == (4, 2, 0.125)
    assert result.map.peak == (14, 2)
    assert result.map.mask is not None
    assert decode(result.map.mask, 2, 4).tolist() == [[False] * 3 + [True], [False] * 4]


def test_a_score_of_the_network_goes_before_the_maps_largest() -> None:
    result = answer(anomaly_card(MAP, SCORE), heat(), np.array([[1.5]], np.float32))
    assert (result.class_, result.score) == ("ok", 1.5)
    assert answer(anomaly_card(SCORE), np.array([[2]], np.float32)).class_ == "odd"


def test_normalization_brings_the_threshold_to_one_half() -> None:
    card = anomaly_card(SCORE, normalization=ScoreRange(min=0, max=10))
    scores = {1.0: 0.4, 2.0: 0.5, 3.0: 0.6, 90.0: 1.0, -90.0: 0.0}
    for score, normalized in scores.items():
        result = answer(card, np.array([[score]], np.float32))
        assert result.score == pytest.approx(normalized)
        assert result.class_ == ("odd" if score >= 2 else "ok")


@pytest.mark.parametrize(("activation", "expected"), [("sigmoid", 0.880797), ("none", 2.0)])
def test_the_cards_activation_is_applied(activation: Activation, expected: float) -> None:
    output = SCORE.model_copy(update={"activation": activation})
    result = answer(anomaly_card(output, threshold=0.5), np.array([[2]], np.float32))
    assert result.score == pytest.approx(expected)


@pytest.mark.parametrize(
    ("expected", "actual", "problems"),
    [
        ((1.95, "ok"), (2.0, "odd"), []),  # near the threshold
        ((2.2, "odd"), (2.2, "odd"), []),
        ((1.8, "ok"), (1.8, "odd"), ["expected ok, found odd"]),
        ((2.2, "odd"), (1.7, "ok"), ["score 1.7000, expected 2.2000", "expected odd, found ok"]),
    ],
)
def test_answers_agree_but_for_what_is_near_the_threshold(
    expected: tuple[float, str], actual: tuple[float, str], problems: list[str]
) -> None:
    task = AnomalyTask(anomaly_card(SCORE, threshold=2.0))
    first, second = (
        AnomalyAnswer.model_validate({"class": label, "score": score, "map": None})
        for score, label in (expected, actual)
    )
    assert task.problems(first, second, Agreement(tolerance=0.05)) == problems


def written(card: AnomalyCard, folder: Path, **changes: object) -> Path:
    content = json.loads(card.model_dump_json(by_alias=True)) | changes
    (folder / "card.json").write_text(json.dumps(content))
    return folder / "card.json"


def test_a_card_comes_back_with_its_task(tmp_path: Path) -> None:
    card = anomaly_card(SCORE, MAP, normalization=ScoreRange(min=0, max=1))
    assert read_any_card(written(card, tmp_path)) == card
    assert isinstance(task_of(card), AnomalyTask)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": ["a", "b", "c"]}, "labels"),
        ({"anomaly": {}}, "anomaly.threshold: missing"),
        (
            {"anomaly": {"threshold": 1, "normalization": {"min": 1, "max": 1}}},
            "anomaly.normalization: min is not below max",
        ),
        ({"outputs": [{"name": "m", "shape": [1, 1], "role": "heat"}]}, "expected: score, map"),
        ({"outputs": [{"name": "m", "shape": [1, 2], "role": "score"}]}, "has one value"),
        ({"outputs": [{"name": "m", "shape": [1, -1, 4], "role": "map"}]}, "of fixed sizes"),
        (
            {"outputs": [{"name": n, "shape": [1], "role": "score"} for n in "ab"]},
            "the role score comes twice",
        ),
        (
            {"outputs": [{"name": "m", "shape": [1], "role": "score", "activation": "softmax"}]},
            "activation softmax has no meaning",
        ),
    ],
)
def test_contradictions_are_refused(change: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        read_any_card(written(anomaly_card(SCORE), tmp_path, **change))
    assert words in str(refused.value)
