"""The page of `report` in Chromium: drawn, self-contained, by keyboard, hostile, narrow, dark."""

from pathlib import Path

import pytest

from edgewright.observe.report.page import render
from tests import reports
from tests.browser import Browser

CHARTS = ("treemap", "network", "histogram", "runs", "temperature", "clock", "power")
DRAWN = "document.querySelectorAll('#{} svg path').length > 3"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(reports.report(reports.bench())), encoding="utf-8")
    return path


def open_page(tab: Browser, page: Path, *, width: int = 1280, is_dark: bool = False) -> None:
    tab.screen(width, 900, is_dark=is_dark)
    tab.complaints.clear()
    tab.requested.clear()
    tab.open(page.as_uri())


def test_all_plots_are_drawn_and_nothing_is_asked_for(tab: Browser, page: Path) -> None:
    open_page(tab, page)
    for chart in CHARTS:
        tab.wait(DRAWN.format(chart))

    assert tab.complaints == []
    assert tab.requested == [page.as_uri()]
    assert page.stat().st_size < 1_000_000


def test_hostile_words_are_text(tab: Browser, page: Path) -> None:
    open_page(tab, page)

    assert tab.evaluate("document.images.length") == 0
    assert tab.evaluate("document.title").startswith("board: release ")
    assert tab.evaluate("document.querySelector('h1').textContent").count("<img src=x") == 1
    # What would be markup, were it ever written: the policy refuses the sink itself.
    refused = "try { document.body.innerHTML = '<b>'; 0 } catch (e) { e.name }"
    assert tab.evaluate(refused) == "TypeError"


ZOOM = "(({ start, end }) => [start, end])(charts.get('histogram').chart.getOption().dataZoom[0])"


def test_plots_are_zoomed_and_looked_into_by_keyboard(tab: Browser, page: Path) -> None:
    open_page(tab, page)
    tab.evaluate("document.getElementById('histogram').focus()")
    tab.press("+")
    assert tab.evaluate(ZOOM) == [25, 75]
    tab.press("ArrowRight")
    assert tab.evaluate(ZOOM) == [37.5, 87.5]
    tab.press("0")
    assert tab.evaluate(ZOOM) == [0, 100]

    tab.evaluate("document.querySelector('[data-node]').focus()")
    tab.press("Enter")
    tab.wait("document.activeElement.id === 'treemap'")
    # The way back from the component to all of them.
    way = "[...document.querySelectorAll('#treemap text')].map((e) => e.textContent)"
    tab.wait(f"{way}.includes('ONNX Runtime') && {way}.includes('all')")
    tab.press("Escape")
    tab.wait(f"{way}.some((text) => text.startsWith('C library'))")

    tab.evaluate("document.querySelector('[data-map=network]').focus()")
    tab.press("Enter")
    tab.wait("document.activeElement.id === 'network'")
    tab.wait(f"{way.replace('#treemap', '#network')}.includes('Conv')")
    assert tab.complaints == []


@pytest.mark.parametrize("is_dark", [False, True])
def test_a_narrow_screen_scrolls_in_one_direction(is_dark: bool, tab: Browser, page: Path) -> None:
    open_page(tab, page, width=360, is_dark=is_dark)
    tab.wait(DRAWN.format("treemap"))

    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(21, 24, 27)" if is_dark else "rgb(251, 251, 250)")


def test_plots_follow_the_screen(tab: Browser, page: Path) -> None:
    open_page(tab, page)
    tab.wait(DRAWN.format("clock"))
    ink = "document.querySelector('#clock text').getAttribute('fill')"
    light = tab.evaluate(ink)
    tab.screen(700, 900, is_dark=True)

    tab.wait(f"{ink} !== '{light}'")
    width = "document.getElementById('treemap').clientWidth"
    tab.wait(f"{width} < 700 && charts.get('treemap').chart.getWidth() === {width}")


def test_what_was_not_measured_says_so(tab: Browser, tmp_path: Path) -> None:
    for name, bench in (("none", None), ("blind", reports.bench(sensors=False))):
        page = tmp_path / f"{name}.html"
        page.write_text(render(reports.report(bench)), encoding="utf-8")
        open_page(tab, page)
        for sensor in ("temperature", "clock", "power"):
            assert tab.evaluate(f"document.getElementById('{sensor}').hidden")
            assert not tab.evaluate(f"document.getElementById('{sensor}-none').hidden")
        assert tab.complaints == []
