import numpy as np
import pytest

from edgewright.model.evaluate import accuracy, auc, evaluate, recall

TRUTH = np.array([0, 0, 0, 1, 1])
SCORES = np.array([0.1, 0.6, 0.2, 0.9, 0.4])


def test_plain_numbers() -> None:
    assert accuracy(TRUTH, SCORES) == pytest.approx(3 / 5)
    assert recall(TRUTH, SCORES) == pytest.approx(1 / 2)
    assert auc(TRUTH, SCORES) == pytest.approx(5 / 6)  # one of six pairs is the wrong way round


@pytest.mark.parametrize(("scores", "area"), [([0, 0, 1, 1], 1), ([1, 1, 0, 0], 0), ([7] * 4, 0.5)])
def test_auc_at_its_ends_and_with_ties(scores: list[float], area: float) -> None:
    assert auc(np.array([0, 0, 1, 1]), np.array(scores, np.float64)) == area


def test_confusion_counts_truth_by_answer() -> None:
    metrics = evaluate(SCORES, TRUTH)
    assert metrics.count == 5
    assert metrics.confusion == ((2, 1), (1, 1))


def test_a_score_of_one_half_is_not_a_defect() -> None:
    assert evaluate([0.5, 0.5], [0, 1]).confusion == ((1, 0), (1, 0))


def test_the_interval_holds_the_value_and_narrows_with_more_images() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 400)
    scores = np.clip(truth * 0.3 + random.uniform(0, 0.7, 400), 0, 1)
    few, all_of_them = evaluate(scores[:40], truth[:40]), evaluate(scores, truth)
    for estimate in (few.accuracy, all_of_them.accuracy, all_of_them.auc):
        assert estimate.low <= estimate.value <= estimate.high
    wide, narrow = (m.accuracy.high - m.accuracy.low for m in (few, all_of_them))
    assert narrow < wide / 2


def test_the_interval_repeats() -> None:
    assert evaluate(SCORES, TRUTH) == evaluate(SCORES, TRUTH)


def test_plain_values_for_the_card() -> None:
    content = evaluate(SCORES, TRUTH).as_json()
    assert content["count"] == 5
    assert content["confusion"] == [[2, 1], [1, 1]]
    assert isinstance(content["accuracy"], dict)
    assert content["accuracy"]["value"] == 0.6
