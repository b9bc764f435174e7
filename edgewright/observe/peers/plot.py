"""The table of peers as one picture."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from edgewright.observe.peers.compare import Comparison, Row

_COLOURS = {
    "INT8": "#0072b2",
    "S8S8": "#56b4e9",
    "FP32": "#d55e00",
}  # told apart by colour-blind people


def draw(comparison: Comparison, out: Path) -> Path:
    """Instructions of one inference and of one load, a bar for each runtime and precision.

    Written aside as SVG, then renamed.
    """
    rows = comparison.rows[::-1]  # the first at the top
    figure = Figure(figsize=(8, 0.6 + 0.45 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, title, values in (
        (left, "one inference", [row.inference for row in rows]),
        (right, "one session load", [row.load for row in rows]),
    ):
        millions = [value / 1e6 for value in values]
        colours = [_COLOURS[row.precision] for row in rows]
        bars = axes.barh([_label(row) for row in rows], millions, color=colours)
        axes.bar_label(bars, fmt="{:,.0f}", padding=3)
        axes.set(title=f"{title}, M instructions", xlim=(0, max(millions) * 1.2))
        axes.spines[["top", "right"]].set_visible(False)
    return _write(figure, out)


def _label(row: Row) -> str:
    return f"{row.runtime} {row.precision}"


def _write(figure: Figure, out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_suffix(".part.svg")
    with matplotlib.rc_context({"svg.hashsalt": "edgewright"}):
        figure.savefig(aside, metadata={"Date": None})
    aside.replace(out)
    return out
