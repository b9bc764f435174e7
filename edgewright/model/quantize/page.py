"""A sweep's report as one HTML page that loads nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from edgewright.model.quantize.sweep_report import Histogram, Row, SweepReport

WIDTH, HEIGHT = 400, 270  # of a plot, in its own units
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 14, 40
NOISIEST = 12
FAR = 0.05  # below the budget; worse ones would press all others together


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Values from `low` to `high` on places from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[float]:
        """Round numbers inside, four to nine of them."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** floor(log10(rough))
        step = next(size * power for size in (1, 2, 5, 10) if size * power >= rough)
        first = -(-self.low // step)
        count = int((self.high - first * step) / step + 1e-9) + 1
        return [round((first + number) * step, 10) for number in range(count)]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Accuracy against one cost; `values` go with FP32, the candidates and the rivals, in
    order, None where the cost is not known."""

    title: str
    unit: str
    x: Axis
    y: Axis
    values: Sequence[float | None]
    below: int  # how many are too bad to be drawn


def render(report: SweepReport, pictures: Sequence[str]) -> str:
    """The page; `pictures` are data URIs of the first disagreements."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(["j2", "html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = [report.fp32, *report.candidates, *(one.row for one in report.rivals)]
    numbered = [one for one in report.noise if one.local is not None]
    return environment.get_template("sweep.html.j2").render(
        report=report,
        rows=rows,
        first_rival=len(rows) - len(report.rivals),
        counted=any(row.instructions for row in rows),
        plots=_plots(report, rows),
        histograms=[(one, _bars(one)) for one in report.histograms],
        noisiest=sorted(numbered, key=lambda one: one.local or 0.0)[:NOISIEST],
        loudest=max([one.local or 0.0 for one in numbered], default=1.0),
        decibels=Axis(low=0, high=_top(report), start=HEIGHT - BOTTOM, end=TOP),
        tiles=list(zip(report.disagreements, pictures, strict=False)),
        scale=_size_unit(report)[0],
        unit=_size_unit(report)[1],
        size={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "bottom": BOTTOM},
    )


def _plots(report: SweepReport, rows: Sequence[Row]) -> list[Plot]:
    scale, unit = _size_unit(report)
    plots = [
        _plot("size", unit, [row.bytes / scale for row in rows], report, rows),
        _plot("x86 time", "times that of FP32", [row.time for row in rows], report, rows),
    ]
    if report.rivals:
        macs = [row.macs / 1e6 for row in rows]
        plots.append(_plot("multiplications", "M MACs", macs, report, rows))
    if any(row.instructions for row in rows):
        millions = [row.instructions / 1e6 if row.instructions else None for row in rows]
        plots.append(_plot("instructions on the board", "millions", millions, report, rows))
    return plots


def _size_unit(report: SweepReport) -> tuple[float, str]:
    return (1e6, "MB") if report.fp32.bytes >= 1e5 else (1e3, "kB")


def _plot(
    title: str, unit: str, values: Sequence[float | None], report: SweepReport, rows: Sequence[Row]
) -> Plot:
    floor_ = report.fp32.accuracy.value - report.budget / 100
    every = [row.accuracy.value for row in rows]
    heights = [height for height in every if height >= floor_ - FAR]
    low, high = min(*heights, floor_), max(heights)
    margin = max((high - low) * 0.12, 0.005)
    return Plot(
        title=title,
        unit=unit,
        x=Axis(
            low=0,
            high=max(value for value in values if value) * 1.08,
            start=LEFT,
            end=WIDTH - RIGHT,
        ),
        y=Axis(low=low - margin, high=high + margin, start=HEIGHT - BOTTOM, end=TOP),
        values=values,
        below=len(every) - len(heights),
    )


def _bars(histogram: Histogram) -> list[float]:
    """Heights from 0 to 1: a logarithm, for outliers are few."""
    most = log10(1 + max(histogram.counts))
    return [round(log10(1 + count) / most, 3) for count in histogram.counts]


def _top(report: SweepReport) -> float:
    return max([10.0, *(min(one.local or 0.0, 60.0) for one in report.noise)])
