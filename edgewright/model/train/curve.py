"""Draw the learning curve of a run as one SVG file."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgewright.model.judge.figures import BLUE, GREEN, ORANGE, write_svg
from edgewright.model.train.checkpoint import Epoch


def draw_curve(epochs: Sequence[Epoch], title: str, out: Path) -> Path:
    """Draw training loss, and accuracy and AUC on the validation part; write aside, then rename.

    A dotted line is a change of the resolution.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    loss_axes = figure.add_subplot()
    score_axes = loss_axes.twinx()
    numbers = [epoch.epoch + 1 for epoch in epochs]
    loss_axes.plot(
        numbers, [e.loss for e in epochs], color=ORANGE, marker=".", label="training loss"
    )
    score_axes.plot(numbers, [e.auc for e in epochs], color=BLUE, marker=".", label="AUC")
    score_axes.plot(
        numbers, [e.accuracy for e in epochs], color=GREEN, marker=".", label="accuracy"
    )
    loss_axes.set(xlabel="epoch", ylabel="training loss")
    loss_axes.set_title(title, pad=20)
    score_axes.set_ylabel("on the validation part, averaged weights")
    for epoch, size in _resolution_changes(epochs):
        loss_axes.axvline(epoch + 0.5, color="grey", linestyle=":", linewidth=1)
        # Above the axes, where no curve runs through it.
        across = loss_axes.get_xaxis_transform()
        loss_axes.text(epoch + 0.5, 1.01, f"{size} px", transform=across, ha="center", va="bottom")
    loss_axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return write_svg(figure, out)


def _resolution_changes(epochs: Sequence[Epoch]) -> list[tuple[int, int]]:
    """(epoch, resolution) wherever the resolution is another than in the epoch before."""
    before = [0, *(epoch.size for epoch in epochs)]
    return [(e.epoch, e.size) for e, size in zip(epochs, before, strict=False) if e.size != size]
