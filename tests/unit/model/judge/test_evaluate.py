import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from edgewright.model.judge.evaluate import (
    Border,
    Metrics,
    Prices,
    auc,
    cheapest,
    decided,
    evaluate_classes,
    positive_label,
    thresholds,
)

TRUTH = np.array([0, 0, 0, 1, 1])
SCORES = np.array([0.1, 0.6, 0.2, 0.9, 0.4])


def evaluate(scores: ArrayLike, truth: ArrayLike) -> Metrics:
    """Probabilities of label 1, and labels."""
    column = np.asarray(scores, np.float64)
    both = np.stack([1 - column, column], axis=1)
    return evaluate_classes(both, np.asarray(truth, np.int64), positive=1)


def test_plain_numbers() -> None:
    metrics = evaluate(SCORES, TRUTH)
    assert metrics.accuracy.value == pytest.approx(3 / 5)
    assert metrics.defect_recall.value == pytest.approx(1 / 2)
    assert metrics.auc.value == pytest.approx(5 / 6)  # one of six pairs is the wrong way round


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


def test_three_classes_are_judged_by_the_likeliest() -> None:
    probabilities = np.array([[0.4, 0.3, 0.3], [0.1, 0.8, 0.1], [0.1, 0.5, 0.4], [0.2, 0.2, 0.6]])
    metrics = evaluate_classes(probabilities, [0, 1, 2, 2], positive=2)
    assert metrics.accuracy.value == 3 / 4
    assert metrics.defect_recall.value == 1 / 2
    assert metrics.auc.value == 1
    assert metrics.confusion == ((1, 0, 0), (0, 1, 0), (0, 1, 1))


def test_a_border_decides_in_place_of_the_likeliest() -> None:
    border = Border(label=1, threshold=0.3)
    two = np.array([[0.71, 0.29], [0.7, 0.3], [0.2, 0.8]])
    assert decided(two, border).tolist() == [0, 1, 1]
    three = np.array([[0.2, 0.45, 0.35], [0.3, 0.29, 0.41], [0.4, 0.3, 0.3]])
    assert decided(three, border).tolist() == [1, 2, 1]
    metrics = evaluate_classes(two, [0, 1, 1], positive=1, border=border)
    assert metrics.defect_recall.value == 1
    assert evaluate_classes(two, [0, 1, 1], positive=1).defect_recall.value == 1 / 2


def test_the_defect_may_be_either_label() -> None:
    both = np.stack([SCORES, 1 - SCORES], axis=1)
    turned = evaluate_classes(both, 1 - TRUTH, positive=0)
    assert turned.defect_recall == evaluate(SCORES, TRUTH).defect_recall
    assert positive_label(["defective", "ok"]) == 0
    assert positive_label(["apple", "pear"]) == 1
    assert positive_label(["apple", "pear"], "apple") == 0


def test_a_threshold_counts_both_mistakes() -> None:
    by_value = {
        choice.value: choice for choice in thresholds(SCORES, TRUTH, Prices(miss=10, false_alarm=1))
    }
    assert (by_value[0.9].misses, by_value[0.9].false_alarms, by_value[0.9].cost) == (1, 0, 10)
    assert (by_value[0.4].misses, by_value[0.4].false_alarms, by_value[0.4].cost) == (0, 1, 1)
    assert (by_value[1.0].misses, by_value[1.0].false_alarms) == (2, 0)
    assert (by_value[0.1].misses, by_value[0.1].false_alarms) == (0, 3)


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.floats(0, 1, allow_nan=False)), min_size=2, max_size=30
    ),
    st.floats(0.1, 50),
    st.floats(0.1, 50),
)
def test_no_threshold_is_cheaper_than_the_cheapest(
    images: list[tuple[int, float]], miss: float, alarm: float
) -> None:
    truth, scores = (np.array(column) for column in zip(*images, strict=True))
    best = cheapest(thresholds(scores, truth, Prices(miss=miss, false_alarm=alarm)))
    for cut in [*scores, 2.0]:
        rejected = scores >= cut
        cost = miss * (~rejected & (truth == 1)).sum() + alarm * (rejected & (truth == 0)).sum()
        assert best.cost <= cost + 1e-9


def test_the_interval_is_that_of_redrawn_images() -> None:
    """As many as it takes: 60 right answers of 100 have a deviation of 4.9 points."""
    scores = np.concatenate([np.full(60, 0.1), np.full(40, 0.9)])
    accuracy = evaluate(np.append(scores, 0.9), np.append(np.zeros(100, int), 1)).accuracy
    assert accuracy.low == pytest.approx(accuracy.value - 1.96 * 0.0485, abs=0.015)
    assert accuracy.high == pytest.approx(accuracy.value + 1.96 * 0.0485, abs=0.015)
