"""Which recipe is chosen, and in which words."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgewright.base.errors import UserError
from edgewright.model.judge.answers import Answers
from edgewright.model.judge.data import LABELS, Dataset, Sample
from edgewright.model.quantize.recipe import Recipe
from edgewright.model.quantize.search import Prepared, choose, frontier, grid, sparing
from edgewright.model.quantize.sweep import Candidate, JudgedNetwork

IMAGES = 100


def answers(right: int) -> Answers:
    """The first half is defective; so many answers are right, the wrong ones at the end."""
    truth = [int(at < IMAGES // 2) for at in range(IMAGES)]
    samples = tuple(
        Sample(path=Path(f"{at}.png"), category=label) for at, label in enumerate(truth)
    )
    answers = [label if at < right else 1 - label for at, label in enumerate(truth)]
    defect = np.where(np.array(answers) == 1, 0.8, 0.2)
    dataset = Dataset(name="made up", labels=LABELS, samples=samples)
    return Answers(
        dataset=dataset, probabilities=np.stack([1 - defect, defect], axis=1), positive=1
    )


def candidate(folder: Path, name: str, right: int, **facts: float) -> Candidate:
    path = folder / f"{name}.onnx"
    path.write_bytes(bytes(int(facts.pop("size", 100))))
    base = Prepared(path=path, calibration=None)  # type: ignore[arg-type]
    return Candidate(
        name=name,
        path=path,
        answers=answers(right),
        operators=(),
        distance=facts.pop("distance", 0.1),
        agreement=1.0,
        recipe=Recipe(),
        base=base,
        **facts,  # type: ignore[arg-type]
    )


@pytest.fixture
def fp32(tmp_path: Path) -> JudgedNetwork:
    path = tmp_path / "fp32.onnx"
    path.write_bytes(bytes(400))
    return JudgedNetwork(
        name="FP32", path=path, answers=answers(90), operators=(), distance=0.0, agreement=1.0
    )


def test_of_those_that_cost_alike_the_nearest_to_fp32(tmp_path: Path, fp32: JudgedNetwork) -> None:
    near = candidate(tmp_path, "near", 89, time=0.54, distance=0.01)
    tried = [
        candidate(tmp_path, "fast", 89, time=0.50, distance=0.05),
        near,
        candidate(tmp_path, "nearer but slow", 90, time=0.90, distance=0.001),
        candidate(tmp_path, "too bad", 88, time=0.1, distance=0.0),
    ]
    chosen, reason = choose(fp32, tried, budget=1.0)
    assert chosen is near
    assert "3 of 4 recipes lose at most 1 points of accuracy; 2 of them cost alike" in reason


def test_instructions_count_more_than_time(tmp_path: Path, fp32: JudgedNetwork) -> None:
    slow = candidate(tmp_path, "slow here", 90, time=2.0, instructions=1000, distance=0.5)
    fast = candidate(tmp_path, "fast here", 90, time=0.5, instructions=2000, distance=0.0)
    assert choose(fp32, [slow, fast], budget=1.0)[0] is slow


def test_a_count_that_others_lack_is_not_compared_with_time(
    tmp_path: Path, fp32: JudgedNetwork
) -> None:
    """An operator that the board's build lacks leaves a recipe without a count."""
    slow = candidate(tmp_path, "slow", 90, time=0.9, instructions=1000)
    fast = candidate(tmp_path, "fast", 90, time=0.5)
    assert choose(fp32, [slow, fast], budget=1.0)[0] is fast


def test_a_larger_budget_lets_more_in(tmp_path: Path, fp32: JudgedNetwork) -> None:
    cheap = candidate(tmp_path, "cheap", 85, time=0.2)
    dear = candidate(tmp_path, "dear", 90, time=0.8)
    assert choose(fp32, [cheap, dear], budget=1.0)[0] is dear
    assert choose(fp32, [cheap, dear], budget=5.0)[0] is cheap


def test_none_in_the_budget_shows_what_there_is(tmp_path: Path, fp32: JudgedNetwork) -> None:
    best = candidate(tmp_path, "best", 80, time=0.5, size=100)
    beaten = candidate(tmp_path, "beaten", 70, time=0.6, size=200)
    with pytest.raises(UserError) as caught:
        choose(fp32, [best, beaten], budget=1.0)
    message = str(caught.value)
    assert "no recipe of 2 keeps accuracy within 1 points of FP32\n  FP32: 0.900\n" in message
    assert "best: accuracy 0.800, 100 bytes, time x0.50" in message
    assert "beaten" not in message


def test_the_frontier_has_what_nothing_beats_in_everything(tmp_path: Path) -> None:
    exact = candidate(tmp_path, "exact", 90, time=0.9, size=100)
    small = candidate(tmp_path, "small", 80, time=0.9, size=50)
    quick = candidate(tmp_path, "quick", 80, time=0.5, size=100)
    beaten = candidate(tmp_path, "beaten", 80, time=0.9, size=100)
    assert frontier([beaten, exact, small, quick]) == [exact, small, quick]


def test_every_recipe_of_the_grid_has_its_own_name() -> None:
    names = [str(recipe) for recipe in grid()]
    assert len(set(names)) == len(names) == 17


def test_nothing_is_spared_where_nothing_fits() -> None:

    assert sparing(Recipe(), onnx.GraphProto(), []) == []
