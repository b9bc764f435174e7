"""Figures as SVG, in files and in pages."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from matplotlib.figure import Figure

from edgewright.model.judge.figures import BLUE, inline_svg, write_svg


def figure() -> Figure:
    drawn = Figure(figsize=(2, 1))
    axes = drawn.add_subplot()
    axes.plot([0, 1], [0, 1], color=BLUE, gid="rise")
    axes.set_xlabel("a < b")
    return drawn


def test_threads_that_draw_at_once_write_the_same_bytes(tmp_path: Path) -> None:
    """matplotlib has one set of settings for the whole process."""
    write_svg(figure(), tmp_path / "alone.svg")

    with ThreadPoolExecutor(max_workers=4) as pool:
        files = list(pool.map(lambda at: write_svg(figure(), tmp_path / f"{at}.svg"), range(8)))

    assert {path.read_bytes() for path in files} == {(tmp_path / "alone.svg").read_bytes()}


def test_a_figure_in_a_page_has_its_colours_and_tells_what_it_shows() -> None:
    svg = inline_svg(figure(), "b over a", {BLUE: "var(--ink)"}, {"rise": "one < two"})

    assert svg.startswith("<svg ")
    assert 'aria-label="b over a"' in svg
    assert "var(--ink)" in svg
    assert BLUE not in svg
    assert "<title>one &lt; two</title>" in svg
    assert ">a &lt; b</text>" in svg
    assert "http" not in svg
    assert " width=" not in svg.partition(">")[0]
