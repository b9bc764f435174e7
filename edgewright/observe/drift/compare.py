"""The newest images of a board beside a reference: which statistic moved, and since when.

A verdict takes two things: Kolmogorov and Smirnov's test (of classes Pearson's chi-square) with
Holm's correction for all statistics, and an effect that matters: images of a line come in lots,
so they are alike and small differences always turn out significant.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgewright.model.judge.observed import BINS, NAMES, Histograms, Name
from edgewright.model.pack.reference import Reference
from edgewright.observe.drift.board_file import Window
from edgewright.observe.drift.report import Span, StatisticDrift, Verdict

LEAST_IMAGES = 50  # of either side, for a verdict
NEWEST_IMAGES = 200  # that are compared, if so many came
SIGNIFICANT = 0.05
Z = 1.96  # of a 95 % interval
# Cohen's `small`: below it nobody would see the difference.
LEAST_EFFECT = 0.2
LEAST_SHARE = 0.05  # of a class
# What credit scoring calls a shift that needs action; beyond what chance alone makes of it.
LEAST_PSI = 0.25
PSI_GROUPS = 10
Counts = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Values of one statistic, as far as histograms tell them."""

    counts: Counts  # (BINS,)
    sum: float
    squares: float

    @property
    def size(self) -> float:
        return float(self.counts.sum())

    @property
    def mean(self) -> float:
        return self.sum / self.size

    @property
    def variance(self) -> float:
        return max(self.squares / self.size - self.mean**2, 0.0)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """How far the newest are from the reference, with its 95 % interval."""

    size: float
    low: float
    high: float
    least: float  # what matters
    place: int | None = None  # of a class

    @property
    def matters(self) -> bool:
        return self.low > self.least or self.high < -self.least


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One statistic, before correction for the others."""

    name: Name
    reference: Sample
    newest: Sample
    effect: Effect | None
    distance: float
    p: float
    psi: float
    psi_by_chance: float

    @property
    def matters(self) -> bool:
        has_effect = self.effect is not None and self.effect.matters
        return has_effect or self.psi > LEAST_PSI + self.psi_by_chance


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The hours of a board that are compared; all of one release."""

    reference: tuple[Window, ...]  # the first ones, where nothing else is the reference
    newest: tuple[Window, ...]
    all: tuple[Window, ...]


def choose(windows: Sequence[Window], *, has_reference: bool) -> Windows:
    """Of the newest release's hours those whose images are compared."""
    newest_release = windows[-1].release if windows else ""
    same = tuple(window for window in windows if window.release == newest_release)
    newest = _until(same[::-1], NEWEST_IMAGES)[::-1]
    before = same[: len(same) - len(newest)]
    first = () if has_reference else _until(before, NEWEST_IMAGES)
    return Windows(reference=first, newest=newest, all=same[len(first) :])


def _until(windows: Sequence[Window], images: int) -> tuple[Window, ...]:
    """The first of them that have so many images together."""
    totals = np.cumsum([window.images for window in windows])
    return tuple(windows[: int(np.searchsorted(totals, images)) + 1])


def span_of(windows: Sequence[Window]) -> Span | None:
    if not windows:
        return None
    return Span(
        images=sum(window.images for window in windows),
        start=windows[0].start,
        end=windows[-1].end,
    )


def compare(reference: Reference | None, chosen: Windows) -> tuple[StatisticDrift, ...]:
    """Each statistic that both have: what moved first, the farthest first."""
    sides = [(reference.statistics,) if reference else _histograms(chosen.reference)]
    sides.append(_histograms(chosen.newest))
    comparisons = []
    for name in NAMES:
        before, newest = (_pooled(name, side) for side in sides)
        if before and newest:
            comparisons.append(_compare(name, before, newest))
    adjusted = holm([comparison.p for comparison in comparisons])
    drifts = [
        _judge(comparison, p, chosen.all)
        for comparison, p in zip(comparisons, adjusted, strict=True)
    ]
    return tuple(sorted(drifts, key=lambda drift: (drift.verdict != "moved", -drift.distance)))


def overall(drifts: Sequence[StatisticDrift]) -> Verdict:
    verdicts = {drift.verdict for drift in drifts}
    if "moved" in verdicts:
        return "moved"
    return "steady" if "steady" in verdicts else "too few images"


def holm(ps: Sequence[float]) -> list[float]:
    """P-values after Holm's correction (1979): the chance of any false alarm stays below each."""
    order = np.argsort(ps)
    scaled = np.array(ps)[order] * np.arange(len(ps), 0, -1)
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(p) for p in adjusted]


def _histograms(windows: Sequence[Window]) -> tuple[Histograms, ...]:
    return tuple(window.statistics for window in windows)


def _pooled(name: Name, sides: Sequence[Histograms]) -> Sample | None:
    """All values of one statistic; None where there is none."""
    histograms = [histogram for side in sides if (histogram := side.of(name)) is not None]
    counts = sum((np.array(histogram.counts) for histogram in histograms), np.zeros(BINS))
    if counts.sum() == 0:
        return None
    return Sample(
        counts=counts,
        sum=math.fsum(histogram.sum for histogram in histograms),
        squares=math.fsum(histogram.squares for histogram in histograms),
    )


def _compare(name: Name, reference: Sample, newest: Sample) -> Comparison:
    distance = _distance(reference, newest)
    if name == "class":
        effect: Effect | None = _share_effect(reference, newest)
        p, groups = _p_of_classes(reference, newest), BINS
    else:
        effect = _mean_effect(reference, newest)
        p, groups = _p_of_distance(distance, reference, newest), PSI_GROUPS
    psi, psi_by_chance = stability(reference, newest, groups)
    return Comparison(
        name=name,
        reference=reference,
        newest=newest,
        effect=effect,
        distance=distance,
        p=p,
        psi=psi,
        psi_by_chance=psi_by_chance,
    )


def _distance(a: Sample, b: Sample) -> float:
    """Kolmogorov and Smirnov's: the largest difference of the two cumulated shares."""
    return float(np.abs(np.cumsum(a.counts) / a.size - np.cumsum(b.counts) / b.size).max())


def _p_of_distance(distance: float, a: Sample, b: Sample) -> float:
    """As scipy's `ks_2samp` has it for many values; those in one bin are ties, which only make it
    larger."""
    effective = max(round(a.size * b.size / (a.size + b.size)), 1)
    return float(stats.kstwo.sf(distance, effective))


def _p_of_classes(a: Sample, b: Sample) -> float:
    table = np.array([a.counts, b.counts])
    table = table[:, table.sum(axis=0) > 0]
    return 1.0 if table.shape[1] < 2 else float(stats.chi2_contingency(table).pvalue)


def _mean_effect(reference: Sample, newest: Sample) -> Effect | None:
    """Difference of means in standard deviations (Hedges and Olkin 1985); None without any."""
    n, m = reference.size, newest.size
    if n + m <= 2:
        return None
    pooled = math.sqrt((n * reference.variance + m * newest.variance) / (n + m - 2))
    if pooled < 1e-9:
        return None
    size = (newest.mean - reference.mean) / pooled
    error = math.sqrt((n + m) / (n * m) + size**2 / (2 * (n + m)))
    return Effect(size=size, low=size - Z * error, high=size + Z * error, least=LEAST_EFFECT)


def _share_effect(reference: Sample, newest: Sample) -> Effect:
    """Of the class whose share changed most, with Newcombe's interval (1998, method 10)."""
    shares = newest.counts / newest.size - reference.counts / reference.size
    place = int(np.abs(shares).argmax())
    p, q = reference.counts[place] / reference.size, newest.counts[place] / newest.size
    p_low, p_high = _wilson(p, reference.size)
    q_low, q_high = _wilson(q, newest.size)
    return Effect(
        size=q - p,
        low=q - p - math.hypot(q - q_low, p_high - p),
        high=q - p + math.hypot(q_high - q, p - p_low),
        least=LEAST_SHARE,
        place=place,
    )


def _wilson(share: float, size: float) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    centre = (share + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z * math.sqrt(share * (1 - share) / size + Z**2 / (4 * size**2)) / (1 + Z**2 / size)
    return centre - half, centre + half


def stability(reference: Sample, newest: Sample, groups: int) -> tuple[float, float]:
    """Population stability index over groups of the reference's bins, and what chance makes of it.

    Of equal distributions it is chi-square, scaled by the sizes (Yurdakul and Naranjo 2020).
    """
    filled = np.cumsum(reference.counts) / reference.size
    # A bin belongs to the group that its middle lies in.
    middles = filled - reference.counts / reference.size / 2
    places = np.minimum((middles * groups).astype(int), groups - 1)
    a, b = (np.bincount(places, side.counts, groups) for side in (reference, newest))
    is_used = a + b > 0
    count = int(is_used.sum())
    p = (a[is_used] + 0.5) / (reference.size + 0.5 * count)
    q = (b[is_used] + 0.5) / (newest.size + 0.5 * count)
    by_chance = stats.chi2.ppf(0.95, count - 1) if count > 1 else 0.0
    by_chance *= 1 / reference.size + 1 / newest.size
    return float(((q - p) * np.log(q / p)).sum()), float(by_chance)


def _judge(comparison: Comparison, p: float, windows: Sequence[Window]) -> StatisticDrift:
    reference, newest, effect = comparison.reference, comparison.newest, comparison.effect
    verdict: Verdict = "steady"
    if min(reference.size, newest.size) < LEAST_IMAGES:
        verdict = "too few images"
    elif p <= SIGNIFICANT and comparison.matters:
        verdict = "moved"
    since = _since(comparison, windows) if verdict == "moved" else None
    place = effect.place if effect else None
    means = [
        side.mean if place is None else float(side.counts[place] / side.size)
        for side in (reference, newest)
    ]
    return StatisticDrift(
        name=comparison.name,
        verdict=verdict,
        reference=_rounded(means[0]),
        newest=_rounded(means[1]),
        class_=None if place is None else str(place),
        effect=_rounded(effect.size) if effect else None,
        low=_rounded(effect.low) if effect else None,
        high=_rounded(effect.high) if effect else None,
        unit="standard deviations" if place is None else "share",
        distance=_rounded(comparison.distance),
        p=_rounded(p),
        psi=_rounded(comparison.psi),
        psi_by_chance=_rounded(comparison.psi_by_chance),
        since=since.start if since else None,
        since_the_first=since is not None and since is windows[0],
    )


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _since(comparison: Comparison, windows: Sequence[Window]) -> Window:
    """The first hour of those, up to the newest, that all moved as the newest did."""
    since = windows[-1]
    for group in _groups(windows):
        sample = _pooled(comparison.name, _histograms(group))
        if sample is None:
            continue
        if not _is_alike(_compare(comparison.name, comparison.reference, sample), comparison):
            break
        since = group[-1]
    return since


def _is_alike(then: Comparison, newest: Comparison) -> bool:
    """Whether it had moved to the same side, by half as much or more."""
    if newest.effect is None or not newest.effect.matters:
        return then.psi > (newest.psi + then.psi_by_chance) / 2
    return then.effect is not None and then.effect.size / newest.effect.size >= 0.5


def _groups(windows: Sequence[Window]) -> list[tuple[Window, ...]]:
    """Hours, the newest first, put together until each group has images enough."""
    groups: list[tuple[Window, ...]] = []
    remaining = tuple(reversed(windows))
    while remaining:
        group = _until(remaining, LEAST_IMAGES)
        remaining = remaining[len(group) :]
        if sum(window.images for window in remaining) < LEAST_IMAGES:
            group, remaining = group + remaining, ()
        groups.append(group)
    return groups
