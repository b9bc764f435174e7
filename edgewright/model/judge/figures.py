"""Figures as SVG: the same figure gives the same bytes, in a file or inside a page."""

import io
import threading
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from edgewright.base.files import write_file

BLUE, GREEN, ORANGE = "#0072b2", "#009e73", "#d55e00"  # told apart by colour-blind people
SKY = "#56b4e9"

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


def _svg(figure: Figure, *, letters: str) -> str:
    content = io.StringIO()
    # A salt and no date: names inside the file are hashes of what they name.
    settings = {"svg.hashsalt": "edgewright", "svg.fonttype": letters}
    with _SETTINGS, matplotlib.rc_context(settings):
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()
