"""Figures as SVG: the same figure gives the same bytes, in a file or inside a page."""

import io
import threading
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgewright.base.files import write_file

BLUE, GREEN, ORANGE = "#0072b2", "#009e73", "#d55e00"  # told apart by colour-blind people
SKY = "#56b4e9"

# The page's colours, by the names that its style sheet has for light and dark.
INK, SOFT, LINE, FILL = "#1d2125", "#5c6670", "#dde1e5", "#d5e6ee"
BEST, CHOSEN, OTHER, RIVAL = "#0b6e99", "#c4420e", "#9aa4ad", "#7a3e9d"
COLOURS = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    FILL: "var(--fill)",
    BEST: "var(--best)",
    CHOSEN: "var(--chosen)",
    OTHER: "var(--other)",
    RIVAL: "var(--rival)",
}

# matplotlib takes the settings of its SVG from one place for the whole process.
_SETTINGS = threading.Lock()


def write_svg(figure: Figure, out: Path) -> Path:
    """Write a figure, its letters as shapes: it looks alike wherever it is shown."""
    write_file(out, _svg(figure, letters="path"))
    return out


def inline_svg(
    figure: Figure, label: str, colours: Mapping[str, str], tooltips: Mapping[str, str]
) -> str:
    """A figure as an element of an HTML page, as wide as the page gives it room.

    `label` is for those who do not see it. `colours` puts a page's own, such as `var(--ink)`, in
    place of the figure's, so that it follows the page into dark mode. `tooltips` has a text for the
    `gid` of each artist that is to have one.
    """
    root = ElementTree.fromstring(_svg(figure, letters="none"))
    for metadata in root.findall("{*}metadata"):
        root.remove(metadata)
    for element in root.iter():
        # HTML knows SVG by its element: no namespaces, which are addresses in a page of none.
        element.tag = element.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: text for key, text in element.attrib.items()}
        element.attrib.clear()
        element.attrib.update(attributes)
        if text := tooltips.get(element.get("id", "")):
            title = ElementTree.Element("title")
            title.text = text
            element.insert(0, title)
    for size in ("width", "height"):
        del root.attrib[size]
    root.attrib |= {"role": "img", "aria-label": label}
    text = ElementTree.tostring(root, encoding="unicode")
    for colour, name in colours.items():
        text = text.replace(colour, name)
    return text


def page_axes(*, width: float, height: float) -> tuple[Figure, Axes]:
    """A figure, in inches, of one plot in the page's colours, with nothing but a grid behind."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    axes = figure.add_subplot(facecolor="none")
    axes.grid(axis="y", color=LINE)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.tick_params(length=0, labelcolor=SOFT, labelsize=8)
    axes.spines[:].set_visible(False)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=SOFT, fontsize=8)
    return figure, axes


def _svg(figure: Figure, *, letters: str) -> str:
    content = io.StringIO()
    # A salt and no date: names inside the file are hashes of what they name.
    settings = {"svg.hashsalt": "edgewright", "svg.fonttype": letters}
    with _SETTINGS, matplotlib.rc_context(settings):
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()
