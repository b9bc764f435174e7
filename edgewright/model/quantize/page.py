"""A sweep's report as one HTML page that loads nothing."""

from collections.abc import Callable, Sequence
from math import log10
from pathlib import Path

from markupsafe import Markup

from edgewright.base.page import page_templates
from edgewright.model.judge.figures import (
    BEST,
    CHOSEN,
    COLOURS,
    FILL,
    INK,
    OTHER,
    RIVAL,
    SOFT,
    inline_svg,
    page_axes,
)
from edgewright.model.quantize.sweep_report import Histogram, Row, SweepReport

NOISIEST = 12
FAR = 0.05  # below the budget; worse ones would press all others together
LOUDEST = 60.0  # dB; what is better does not matter to the answer


def render(report: SweepReport, pictures: Sequence[str]) -> str:
    """The page; `pictures` are data URIs of the first disagreements."""
    templates = page_templates(Path(__file__).parent)
    rows = [report.fp32, *report.candidates, *(rival.row for rival in report.rivals)]
    rounded = [tensor for tensor in report.noise if tensor.local is not None]
    return templates.get_template("sweep.html.j2").render(
        report=report,
        rows=rows,
        first_rival=len(rows) - len(report.rivals),
        counted=any(row.instructions for row in rows),
        plots=_cost_plots(report, rows),
        noise=_noise_plot(report) if report.noise else None,
        histograms=[(histogram, _histogram_plot(histogram)) for histogram in report.histograms],
        noisiest=sorted(rounded, key=lambda tensor: tensor.local or 0.0)[:NOISIEST],
        loudest=max([tensor.local or 0.0 for tensor in rounded], default=1.0),
        tiles=list(zip(report.disagreements, pictures, strict=False)),
        scale=_size_unit(report)[0],
        unit=_size_unit(report)[1],
    )


def _cost_plots(report: SweepReport, rows: Sequence[Row]) -> list[Markup]:
    """Accuracy against each cost that is known."""
    scale, unit = _size_unit(report)
    costs: list[tuple[str, str, Callable[[Row], float | None]]] = [
        ("size", unit, lambda row: row.bytes / scale),
        ("x86 time", "times that of FP32", lambda row: row.time),
    ]
    if report.rivals:
        costs.append(("multiplications", "M MACs", lambda row: row.macs / 1e6))
    if any(row.instructions for row in rows):
        costs.append(
            (
                "instructions on the board",
                "millions",
                lambda row: row.instructions / 1e6 if row.instructions else None,
            )
        )
    return [
        _cost_plot(title, unit, [cost(row) for row in rows], report, rows)
        for title, unit, cost in costs
    ]


def _size_unit(report: SweepReport) -> tuple[float, str]:
    return (1e6, "MB") if report.fp32.bytes >= 1e5 else (1e3, "kB")


def _cost_plot(
    title: str, unit: str, costs: Sequence[float | None], report: SweepReport, rows: Sequence[Row]
) -> Markup:
    """A point for each of the rows whose cost is known, with its number in the table."""
    figure, axes = page_axes(width=4, height=2.7)
    budget = report.fp32.accuracy.value - report.budget / 100
    near = [row.accuracy.value for row in rows if row.accuracy.value >= budget - FAR]
    margin = max((max(near) - min(*near, budget)) * 0.12, 0.005)
    axes.set(
        xlabel=f"{title}, {unit}",
        ylabel="accuracy, %",
        xlim=(0, max(cost for cost in costs if cost) * 1.08),
        ylim=(100 * (min(*near, budget) - margin), 100 * (max(near) + margin)),
    )
    axes.axhline(100 * budget, color=CHOSEN, linestyle="--", linewidth=1)
    if len(near) < len(rows):
        text = f"{len(rows) - len(near)} further below"
        axes.text(0.02, 0.03, text, color=SOFT, fontsize=8, transform=axes.transAxes)
    tooltips = {}
    # The first rows are drawn last, over the others: FP32, then the candidates in their order.
    for number, (row, cost) in reversed(list(enumerate(zip(rows, costs, strict=True)))):
        if cost is None or row.accuracy.value < budget - FAR:
            continue
        is_rival = number >= len(rows) - len(report.rivals)
        colour, marker, size = _marker(row, is_fp32=number == 0, is_rival=is_rival)
        height, point = 100 * row.accuracy.value, f"{title.replace(' ', '-')}-{number}"
        axes.plot(cost, height, color=colour, marker=marker, markersize=size, gid=point, zorder=3)
        tooltips[point] = f"{number or ''} {row.name}: {height:.1f} %, {cost:.2f} {unit}".strip()
        if number == 0 or is_rival or row.chosen or row.on_frontier:
            # To the left: another network at the cost of FP32 has its number to the right.
            name, side, offset = (str(number), "left", 5) if number else ("FP32", "right", -5)
            axes.annotate(
                name,
                (cost, height),
                (offset, 4),
                textcoords="offset points",
                ha=side,
                color=colour,
                fontsize=8,
            )
    return Markup(inline_svg(figure, f"accuracy against {title}", COLOURS, tooltips))


def _marker(row: Row, *, is_fp32: bool, is_rival: bool) -> tuple[str, str, int]:
    """Colour, shape and size in points, as the page's legend has them."""
    if is_fp32:
        return INK, "s", 6
    if is_rival:
        return RIVAL, "D", 5
    if row.chosen:
        return CHOSEN, "o", 9
    return BEST if row.on_frontier else OTHER, "o", 6


def _noise_plot(report: SweepReport) -> Markup:
    """Two bars a tensor, from input to output: its own rounding, and all noise so far."""
    figure, axes = page_axes(width=9.6, height=2.7)
    top = max([10.0, *(min(noise.local or 0.0, LOUDEST) for noise in report.noise)])
    # Below zero the noise is louder than the signal: the worst case has to be seen.
    bottom = min([0.0, *(max(noise.total, -top) for noise in report.noise)])
    tooltips = {}
    for kind, colour, decibels in (
        ("local", FILL, [noise.local or 0.0 for noise in report.noise]),
        ("total", BEST, [noise.total for noise in report.noise]),
    ):
        heights = [min(max(value, bottom), top) for value in decibels]
        bars = axes.bar(range(len(heights)), heights, width=0.85, color=colour, zorder=3)
        for place, (bar, noise) in enumerate(zip(bars, report.noise, strict=True)):
            bar.set_gid(f"{kind}-{place}")
            local = f"own rounding {noise.local:.1f} dB, " if noise.local is not None else ""
            tooltips[f"{kind}-{place}"] = (
                f"{noise.operator} {noise.tensor}: {local}all {noise.total:.1f} dB"
            )
    ends = {0: "image", len(report.noise) - 1: "answer"}
    axes.set(
        xlabel=f"{len(report.noise)} tensors, in the order of execution",
        ylabel="dB",
        xlim=(-0.6, len(report.noise) - 0.4),
        ylim=(bottom * 1.05, top * 1.05),
    )
    axes.set_xticks(list(ends), list(ends.values()))
    return Markup(inline_svg(figure, "noise of each tensor", COLOURS, tooltips))


def _histogram_plot(histogram: Histogram) -> Markup:
    """Counts on a logarithmic scale, for outliers are few; shaded is what is kept."""
    figure, axes = page_axes(width=4, height=1.6)
    width = (histogram.high - histogram.low) / len(histogram.counts)
    places = [histogram.low + width * (bin_ + 0.5) for bin_ in range(len(histogram.counts))]
    heights = [log10(1 + count) for count in histogram.counts]
    axes.bar(places, heights, width=0.85 * width, color=BEST, zorder=3)
    axes.axvspan(*histogram.kept, color=CHOSEN, alpha=0.14, linewidth=0)
    low, high = histogram.kept
    axes.set(
        xlabel=f"keeps {low:.3g} to {high:.3g}",
        xlim=(histogram.low, histogram.high),
        xticks=[histogram.low, histogram.high],
        xticklabels=[f"{histogram.low:.3g}", f"{histogram.high:.3g}"],
        yticks=[],
    )
    return Markup(inline_svg(figure, f"values of {histogram.tensor}", COLOURS, {}))
