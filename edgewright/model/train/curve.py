"""The learning curve of a run, as one SVG file."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgewright.model.train.run import Epoch

_BLUE, _GREEN, _ORANGE = "#0072b2", "#009e73", "#d55e00"  # told apart by colour-blind people


def draw_curve(epochs: Sequence[Epoch], title: str, out: Path) -> Path:
    """Training loss, and accuracy and AUC on the validation part; written aside, then
    renamed. A dotted line is a change of the resolution."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left = figure.add_subplot()
    right = left.twinx()
    numbers = [epoch.epoch + 1 for epoch in epochs]
    left.plot(numbers, [e.loss for e in epochs], color=_ORANGE, marker=".", label="training loss")
    right.plot(numbers, [e.auc for e in epochs], color=_BLUE, marker=".", label="AUC")
    right.plot(numbers, [e.accuracy for e in epochs], color=_GREEN, marker=".", label="accuracy")
    left.set(xlabel="epoch", ylabel="training loss", title=title)
    right.set_ylabel("on the validation part, averaged weights")
    for epoch, size in _changes(epochs):
        left.axvline(epoch + 0.5, color="grey", linestyle=":", linewidth=1)
        left.text(epoch + 0.55, 0.98, f"{size} px", transform=left.get_xaxis_transform(), va="top")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return _write(figure, out)


def _changes(epochs: Sequence[Epoch]) -> list[tuple[int, int]]:
    """The epochs that began at another resolution than the one before, the first included."""
    before = [0, *(epoch.size for epoch in epochs)]
    return [(e.epoch, e.size) for e, size in zip(epochs, before, strict=False) if e.size != size]


def _write(figure: Figure, out: Path) -> Path:
    aside = out.with_suffix(".part.svg")
    with matplotlib.rc_context({"svg.hashsalt": "edgewright"}):
        figure.savefig(aside, metadata={"Date": None})
    aside.replace(out)
    return out
