"""The page of `model.evaluate`: one HTML file that loads nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path

from markupsafe import Markup
from matplotlib.axes import Axes

from edgewright.base.page import page_templates
from edgewright.model.judge.disturbance import DISTURBANCES, DisturbedQuality
from edgewright.model.judge.figures import (
    BEST,
    CHOSEN,
    COLOURS,
    INK,
    OTHER,
    RIVAL,
    SOFT,
    inline_svg,
    page_axes,
)
from edgewright.model.judge.report import EvaluationReport, NetworkReport, ShownMistake

_OF_NETWORKS = (BEST, CHOSEN, RIVAL, INK, OTHER)  # the legend's colours, in this order
MOST_NETWORKS = len(_OF_NETWORKS)


def render(
    report: EvaluationReport, pictures: Sequence[tuple[ShownMistake, str, str | None]]
) -> str:
    """The page. `pictures` has of each mistake its image and its heat map, as data URIs."""
    templates = page_templates(Path(__file__).parent)
    first = report.networks[0]
    return templates.get_template("report.html.j2").render(
        report=report,
        first=first,
        legend=[
            (network.name, COLOURS[colour])
            for network, colour in zip(report.networks, _OF_NETWORKS, strict=False)
        ],
        curve=_curve_plot(report.networks),
        costs=_cost_plot(report.networks),
        reliability=_reliability_plot(report.networks),
        disturbances=[
            (_disturbance_plot(rows), rows) for rows in _by_disturbance(report.disturbed)
        ],
        missed=[picture for picture in pictures if picture[0].kind == "missed"],
        alarms=[picture for picture in pictures if picture[0].kind == "false alarm"],
    )


def _by_disturbance(rows: Sequence[DisturbedQuality]) -> list[list[DisturbedQuality]]:
    names = [disturbance.name for disturbance in DISTURBANCES]
    return [[row for row in rows if row.disturbance == name] for name in names if rows]


def _curve_plot(networks: Sequence[NetworkReport]) -> Markup:
    def draw(axes: Axes, network: NetworkReport, colour: str) -> None:
        recall = [100 * point.recall for point in network.curve]
        precision = [100 * point.precision for point in network.curve]
        axes.plot(recall, precision, color=colour, linewidth=1.5, drawstyle="steps-post")

    return _plot(networks, draw, "precision against recall", "recall, %", "precision, %")


def _cost_plot(networks: Sequence[NetworkReport]) -> Markup:
    """With a point at the cheapest threshold."""

    def draw(axes: Axes, network: NetworkReport, colour: str) -> None:
        values = [cut.value for cut in network.costs]
        axes.plot(values, [cut.cost for cut in network.costs], color=colour, linewidth=1.5)
        best = network.cheapest
        axes.plot(best.value, best.cost, color=colour, marker="o", markersize=6)

    return _plot(networks, draw, "cost of each threshold", "threshold", "cost")


def _reliability_plot(networks: Sequence[NetworkReport]) -> Markup:
    """Points on the diagonal mean what they say."""

    def draw(axes: Axes, network: NetworkReport, colour: str) -> None:
        axes.plot([0, 100], [0, 100], color=SOFT, linewidth=1, linestyle="--")
        bins = [bin_ for bin_ in network.calibration.bins if bin_.count]
        axes.plot(
            [100 * (bin_.probability or 0) for bin_ in bins],
            [100 * (bin_.share or 0) for bin_ in bins],
            color=colour,
            marker="o",
            markersize=4,
            linewidth=1,
        )

    title = "share of positives against probability"
    return _plot(networks, draw, title, "probability, %", "share, %")


def _disturbance_plot(rows: Sequence[DisturbedQuality]) -> Markup:
    figure, axes = page_axes(width=3, height=1.9)
    axes.set(xlabel=f"{rows[0].disturbance}, {rows[0].unit}", ylabel="accuracy, %", ylim=(0, 102))
    places = range(len(rows))
    for place, colour in zip(range(len(rows[0].figures)), _OF_NETWORKS, strict=False):
        heights = [100 * row.figures[place].accuracy for row in rows]
        axes.plot(places, heights, color=colour, marker="o", markersize=3, linewidth=1.2)
    axes.set_xticks(list(places), [f"{row.strength:g}" for row in rows])
    return Markup(inline_svg(figure, f"accuracy under {rows[0].disturbance}", COLOURS, {}))


def _plot(
    networks: Sequence[NetworkReport],
    draw: Callable[[Axes, NetworkReport, str], None],
    title: str,
    x: str,
    y: str,
) -> Markup:
    figure, axes = page_axes(width=4, height=2.9)
    axes.set(xlabel=x, ylabel=y)
    # The first one last, over the others.
    for network, colour in reversed(list(zip(networks, _OF_NETWORKS, strict=False))):
        draw(axes, network, colour)
    axes.set_ylim(bottom=0)
    return Markup(inline_svg(figure, title, COLOURS, {}))
