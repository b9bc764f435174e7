"""The index of nights: one HTML file that loads nothing, with trends over the nights kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from edgewright.base.page import page_templates
from edgewright.model.judge.figures import BEST, CHOSEN, COLOURS, inline_svg, page_axes
from edgewright.nightly.report import CellReport, Figures, NightReport


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure that nights are compared by."""

    name: str
    unit: str
    value: Callable[[Figures], float | None]


METRICS = (
    Metric(name="size", unit="kB", value=lambda figures: _scaled(_size(figures), 1e3)),
    Metric(
        name="instructions", unit="millions", value=lambda figures: _scaled(figures.inference, 1e6)
    ),
    Metric(name="load", unit="M instructions", value=lambda figures: _scaled(figures.load, 1e6)),
    Metric(name="build", unit="s", value=lambda figures: figures.build_seconds),
    Metric(name="accuracy", unit="%", value=lambda figures: _scaled(figures.accuracy, 0.01)),
)


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A metric of a cell over the nights."""

    metric: Metric
    last: float
    change: float | None  # against the night before that has it, as a share
    plot: Markup


def render(nights: Sequence[NightReport]) -> str:
    """The page of the last night; `nights` has at least that."""
    templates = page_templates(Path(__file__).parent)
    last = nights[-1]
    return templates.get_template("index.html.j2").render(
        night=last,
        nights=list(reversed(nights)),
        cells=[(cell, _trends(cell, nights)) for cell in last.cells],
        failed=[cell for cell in last.cells if cell.exit_code],
        steps=sum(len(cell.steps) for cell in last.cells),
        from_record=sum(step.from_record for cell in last.cells for step in cell.steps),
    )


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _size(figures: Figures) -> int | None:
    return figures.sizes.get("archive")


def _trends(cell: CellReport, nights: Sequence[NightReport]) -> list[Trend]:
    """Of the metrics that any of the nights has of this cell."""
    trends = []
    for metric in METRICS:
        values = [(night, _value(metric, cell, night)) for night in nights]
        points = [(night.night[:10], value) for night, value in values if value is not None]
        if points:
            trends.append(_trend(metric, cell, points))
    return trends


def _value(metric: Metric, cell: CellReport, night: NightReport) -> float | None:
    for other in night.cells:
        if (other.board, other.model) == (cell.board, cell.model):
            return metric.value(other.figures)
    return None


def _trend(metric: Metric, cell: CellReport, points: Sequence[tuple[str, float]]) -> Trend:
    last = points[-1][1]
    before = points[-2][1] if len(points) > 1 else None
    return Trend(
        metric=metric,
        last=last,
        change=last / before - 1 if before else None,
        plot=_plot(metric, f"{metric.name} of {cell.board}, {cell.model}", points),
    )


def _plot(metric: Metric, label: str, points: Sequence[tuple[str, float]]) -> Markup:
    figure, axes = page_axes(width=2.4, height=1.4)
    places, heights = range(len(points)), [value for _, value in points]
    axes.plot(places, heights, color=BEST, marker="o", markersize=3, linewidth=1.2)
    axes.plot(places[-1], heights[-1], color=CHOSEN, marker="o", markersize=5, gid="last")
    # From zero, so that noise does not look like a trend.
    axes.set(ylabel=metric.unit, ylim=(0, max(heights) * 1.15 or 1))
    ends = {places[0]: points[0][0], places[-1]: points[-1][0]}
    axes.set_xticks(list(ends), list(ends.values()))
    axes.tick_params(axis="x", pad=8)  # clear of the zero beside it
    return Markup(inline_svg(figure, label, COLOURS, {"last": f"{heights[-1]:,.4g} {metric.unit}"}))
