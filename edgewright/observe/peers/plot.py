"""Draw the table of peers as one picture."""

from pathlib import Path

from matplotlib.figure import Figure

from edgewright.model.judge.figures import BLUE, ORANGE, SKY, write_svg
from edgewright.observe.peers.compare import Comparison

_COLOURS = {"INT8": BLUE, "S8S8": SKY, "FP32": ORANGE}


def draw(comparison: Comparison, out: Path) -> Path:
    """Instructions of one inference and of one load, a bar for each runtime and precision.

    Written aside as SVG, then renamed.
    """
    rows = comparison.rows[::-1]  # the first at the top
    # The class, not pyplot: that keeps figures in a global and looks for a screen.
    figure = Figure(figsize=(8, 0.6 + 0.45 * len(rows)), layout="constrained")
    inference_axes, load_axes = figure.subplots(1, 2, sharey=True)
    for axes, title, values in (
        (inference_axes, "one inference", [row.inference for row in rows]),
        (load_axes, "one session load", [row.load for row in rows]),
    ):
        millions = [value / 1e6 for value in values]
        colours = [_COLOURS[row.precision] for row in rows]
        bars = axes.barh(
            [f"{row.runtime} {row.precision}" for row in rows], millions, color=colours
        )
        axes.bar_label(bars, fmt="{:,.0f}", padding=3)
        axes.set(title=f"{title}, M instructions", xlim=(0, max(millions) * 1.2))
        axes.spines[["top", "right"]].set_visible(False)
    return write_svg(figure, out)
