"""What `drift` says of hours of a line whose light, angle, focus and material change."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from edgewright.model.judge.observed import Observation, histograms_of
from edgewright.model.pack.reference import Reference
from edgewright.observe.drift.board_file import Window
from edgewright.observe.drift.compare import _distance as distance
from edgewright.observe.drift.compare import _pooled as pooled
from edgewright.observe.drift.compare import choose, compare, holm, overall, span_of, stability
from edgewright.observe.drift.report import StatisticDrift
from tests.unit.observe.drift.played import APPLY, HOUR, START, cells, hours

NORMAL = slice(0, 160)  # of the images, for the reference; what comes on the line is none of these
LINE = slice(160, 220)


def reference(observations: Sequence[Observation]) -> Reference:
    return Reference(schema_=1, images=len(observations), statistics=histograms_of(observations))


def judged(windows: tuple[Window, ...], baseline: Reference | None) -> tuple[StatisticDrift, ...]:
    return compare(baseline, choose(windows, has_reference=baseline is not None))


def moved(windows: tuple[Window, ...], baseline: Reference | None) -> dict[str, StatisticDrift]:
    return {drift.name: drift for drift in judged(windows, baseline) if drift.verdict == "moved"}


@pytest.mark.parametrize(
    ("change", "name", "is_up"),
    [
        ("brighter", "brightness", True),
        ("darker", "brightness", False),
        ("blurred", "sharpness", False),
        ("turned", "direction", True),
    ],
)
def test_a_change_is_named_with_the_hour_that_it_began(
    change: str, name: str, *, is_up: bool
) -> None:
    baseline = reference(cells()[NORMAL])
    before, after = cells()[LINE], cells(change=change)[LINE]

    drifts = moved(hours(before, before, after, after, after, after), baseline)

    assert name in drifts
    assert (drifts[name].newest > drifts[name].reference) is is_up
    assert drifts[name].since == START + 2 * HOUR
    assert not drifts[name].since_the_first
    low, high = drifts[name].low, drifts[name].high
    assert low is not None
    assert high is not None
    assert low * high > 0  # the interval of the effect leaves no doubt about its side


@pytest.mark.parametrize(("change", "still"), [("blurred", "brightness"), ("darker", "direction")])
def test_what_did_not_change_is_not_named(change: str, still: str) -> None:
    baseline = reference(cells()[NORMAL])
    assert still not in moved(hours(cells(change=change)[LINE]), baseline)


def test_another_material_is_noticed() -> None:
    drifts = moved(hours(cells("poly")), reference(cells()[:220]))
    assert "sharpness" in drifts  # the grains of polycrystalline cells are edges
    assert drifts["sharpness"].newest > drifts["sharpness"].reference


def test_unchanged_images_raise_no_alarm() -> None:
    images = cells()
    random = np.random.default_rng(7)
    alarms = 0
    for _ in range(200):
        order = random.permutation(len(images))
        shuffled = tuple(images[at] for at in order)
        alarms += bool(moved(hours(shuffled[:60], shuffled[60:120]), reference(shuffled[120:320])))
    assert alarms == 0


def test_too_few_images_have_no_verdict() -> None:
    baseline = reference(cells()[NORMAL])
    dark = cells(change="darker")
    drifts = judged(hours(dark[:20], dark[20:45]), baseline)
    assert {drift.verdict for drift in drifts} == {"too few images"}
    assert overall(drifts) == "too few images"
    assert overall(()) == "too few images"


def test_without_a_reference_the_first_hours_of_the_release_are_it() -> None:
    plain, dark = cells(), cells(change="darker")
    first = (plain[:60], plain[60:120], plain[120:180], plain[180:220])
    windows = hours(*first, dark[:60], dark[60:120], dark[120:180], dark[180:220])

    chosen = choose(windows, has_reference=False)
    first_span = span_of(chosen.reference)
    assert first_span is not None
    assert first_span.images == 220
    assert moved(windows, None)["brightness"].since == START + 4 * HOUR
    # One hour alone has nothing to be compared with.
    assert judged(windows[:1], None) == ()


def test_hours_of_a_former_release_do_not_count() -> None:
    plain = cells()
    former = hours(cells(change="darker")[LINE], release="f" * 16)
    chosen = choose(former + hours(plain[LINE]), has_reference=True)
    assert {window.release for window in chosen.all} == {"0123456789abcdef"}
    assert moved(former + hours(plain[LINE]), reference(plain[NORMAL])) == {}


def test_a_change_before_the_oldest_hour_is_told_as_such() -> None:
    baseline = reference(cells()[NORMAL])
    dark = cells(change="darker")[LINE]
    drift = moved(hours(dark, dark), baseline)["brightness"]
    assert drift.since == START
    assert drift.since_the_first


def test_more_of_one_class_is_told_as_a_share_with_its_interval() -> None:
    normal: tuple[Observation, ...] = tuple(
        {"class": float(number % 10 == 0)} for number in range(200)
    )
    worse: tuple[Observation, ...] = tuple(
        {"class": float(number % 3 == 0)} for number in range(200)
    )
    (drift,) = judged(hours(worse), reference(normal))
    assert (drift.name, drift.verdict, drift.unit) == ("class", "moved", "share")
    assert drift.reference == pytest.approx(0.1 if drift.class_ == "1" else 0.9)
    assert drift.effect is not None
    assert abs(drift.effect) == pytest.approx(0.235)
    # Newcombe's interval, by statsmodels' confint_proportions_2indep(67, 200, 20, 200, 'newcomb').
    assert sorted(map(abs, (drift.low or 0, drift.high or 0))) == pytest.approx(
        [0.1547, 0.3108], abs=2e-3
    )


def test_distance_and_p_are_those_of_scipy_on_the_same_bins() -> None:
    random = np.random.default_rng(3)
    first, second = random.normal(100, 20, 300), random.normal(108, 20, 250)
    sides = [
        pooled("brightness", (histograms_of([{"brightness": float(v)} for v in values]),))
        for values in (first, second)
    ]
    assert sides[0] is not None
    assert sides[1] is not None
    binned = [np.repeat(np.arange(64), side.counts.astype(int)) for side in sides if side]
    expected = stats.ks_2samp(*binned, method="asymp")
    assert distance(sides[0], sides[1]) == pytest.approx(expected.statistic)
    windows = hours([{"brightness": float(value)} for value in second])
    (drift,) = judged(windows, reference(tuple({"brightness": float(v)} for v in first)))
    assert drift.p == pytest.approx(expected.pvalue, rel=1e-3)


def test_p_values_are_corrected_as_holm_has_it() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


def test_chance_alone_seldom_exceeds_what_the_index_allows_for_it() -> None:
    random = np.random.default_rng(11)
    above = 0
    for _ in range(300):
        sides = [
            pooled(
                "brightness",
                (histograms_of([{"brightness": v} for v in random.normal(120, 30, size)]),),
            )
            for size in (300, 100)
        ]
        assert sides[0] is not None
        assert sides[1] is not None
        psi, by_chance = stability(sides[0], sides[1], 10)
        above += psi > by_chance
    assert above <= 30  # 5 % of 300, and what sampling adds to it


def test_images_without_contrast_are_compared_too() -> None:
    flat: list[Observation] = [{"brightness": 100.0, "contrast": 0.0} for _ in range(60)]
    other: tuple[Observation, ...] = tuple(
        {"brightness": 130.0, "contrast": 0.0} for _ in range(60)
    )
    drifts = moved(hours(other), reference(flat))
    assert list(drifts) == ["brightness"]
    assert drifts["brightness"].effect is None


def test_every_change_that_is_played_differs_from_the_others() -> None:
    baseline = reference(cells()[NORMAL])
    farthest = {
        change: judged(hours(cells(change=change)[LINE]), baseline)[0].name for change in APPLY
    }
    assert farthest["brighter"] == farthest["darker"] == "brightness"
    assert farthest["blurred"] == "sharpness"
    assert farthest["grained"] == "sharpness"
