"""Intervals that hold as often as they say, and figures that are not given for want of runs."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.observe.bench.order_statistics import (
    EXACT_PAIRS,
    _exact_rank,
    _normal_rank,
    figures,
    interval_ranks,
    quantile,
    runs_needed,
    signed_rank_interval,
)


@pytest.mark.parametrize(
    ("share", "runs"), [(0.5, 6), (0.95, 72), (0.99, 368), (0.999, 3688), (0.9, 36), (0.1, 36)]
)
def test_a_percentile_needs_so_many_runs(share: float, runs: int) -> None:
    assert runs_needed(share) == runs
    assert interval_ranks(runs, share, 0.95) is not None
    assert interval_ranks(runs - 1, share, 0.95) is None


def test_what_the_runs_cannot_support_is_null_with_the_reason() -> None:
    result = figures([float(n) for n in range(100)])

    assert result.median.value == 49.5
    assert result.p95.value == pytest.approx(94.05)
    assert (result.p99.value, result.p99.low) == (None, None)
    assert result.p99.reason == "100 runs; it needs 368"
    assert result.p99_9.reason == "100 runs; it needs 3,688"
    assert (result.min.value, result.min.low) == (0, None)
    assert result.jitter.value == pytest.approx(79.2)


def test_two_runs_have_a_least_one_and_nothing_else() -> None:
    result = figures([2.0, 1.0])

    assert result.min.value == 1.0
    others = (result.median, result.p95, result.p99, result.p99_9, result.jitter)
    assert all(figure.value is None and figure.reason for figure in others)


@pytest.mark.parametrize(("share", "count"), [(0.5, 9), (0.5, 100), (0.95, 100), (0.99, 400)])
def test_an_interval_holds_as_often_as_it_says(share: float, count: int) -> None:
    rng, held, rounds = random.Random(7), 0, 1000
    ranks = interval_ranks(count, share, 0.95)
    assert ranks is not None
    for _ in range(rounds):
        values = sorted(rng.random() for _ in range(count))
        held += values[ranks[0] - 1] <= share <= values[ranks[1] - 1]

    assert 0.94 <= held / rounds <= 0.995


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=120))
def test_a_figure_lies_in_its_interval(sample: list[float]) -> None:
    result = figures(sample)

    assert result.runs == len(sample)
    for figure in (result.median, result.p95, result.jitter):
        if figure.value is not None:
            assert figure.low is not None
            assert figure.high is not None
            assert figure.low - 1e-6 <= figure.value <= figure.high + 1e-6


def test_pairs_have_an_exact_interval_from_six_on() -> None:
    assert signed_rank_interval([0.1] * 5) is None

    # Hollander and Wolfe, table 3.1, 9 pairs, whose two-sided p is 0.039: 0 lies outside. At 0.95
    # the ranks that count are 6 and 40 of 45 Walsh averages.
    pairs = [0.952, -0.147, 1.022, 0.430, 0.620, 0.590, 0.490, -0.080, 0.010]
    interval = signed_rank_interval(pairs)
    assert interval is not None
    assert interval == pytest.approx((0.46, 0.01, 0.786))


def test_many_pairs_have_an_interval_that_goes_on_from_the_exact_one() -> None:
    rng = random.Random(5)
    pairs = [rng.gauss(0.01, 0.015) for _ in range(1100)]
    interval = signed_rank_interval(pairs)
    assert interval is not None
    estimate, low, high = interval
    assert low < estimate < high
    # Of normal values: the mean's interval, and a little more.
    width = 2 * 1.96 * 0.015 / math.sqrt(1100) * math.sqrt(math.pi / 3)
    assert high - low == pytest.approx(width, rel=0.1)

    for count in (EXACT_PAIRS, EXACT_PAIRS + 1):
        walsh = count * (count + 1) // 2
        assert abs(_exact_rank(count, 0.025) - _normal_rank(count, 0.025)) <= walsh * 0.001


def test_equal_programs_differ_as_rarely_as_promised() -> None:
    rng, wrong, rounds = random.Random(3), 0, 400
    for _ in range(rounds):
        interval = signed_rank_interval([rng.gauss(0, 0.015) for _ in range(8)])
        assert interval is not None
        wrong += not interval[1] <= 0 <= interval[2]

    assert wrong / rounds <= 0.07


def test_a_quantile_between_two_values_is_interpolated() -> None:
    assert quantile([1.0, 2.0], 0.25) == 1.25
