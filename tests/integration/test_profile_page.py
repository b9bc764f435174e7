"""The page of `profile` in Chromium: drawn, self-contained, by keyboard, hostile, narrow, dark."""

from pathlib import Path

import pytest

from edgewright.observe.board_stream import Ending
from edgewright.observe.profile.page import render
from edgewright.observe.profile.report import ProfileReport, SampledStack, function_shares
from tests.browser import Browser
from tests.reports import HOSTILE

MULTIPLY = "edgewright::multiply"
STACKS = (
    SampledStack(frames=("main", "edge::run", "onnxruntime::Run", MULTIPLY), samples=60),
    SampledStack(frames=("main", "edge::run", HOSTILE), samples=30),
    SampledStack(frames=("start_thread", MULTIPLY), samples=10),
)
REPORT = ProfileReport(
    board="board",
    target="root@192.0.2.7",
    emulated=False,
    release="a" * 16,
    model=HOSTILE,
    build_id="b" * 40,
    run=("run", "a.png"),
    is_service=False,
    ended=Ending.BY_ITSELF,
    exit_code=0,
    interval_us=10000,
    samples=100,
    dropped=0,
    in_main=90,
    in_threads=10,
    unrooted=0,
    searched=60,
    threads=2,
    functions=function_shares(STACKS),
    stacks=STACKS,
    page="profile.html",
    folded="profile.folded.txt",
)
DRAWN = "document.querySelectorAll('#flame button').length === 8"
FOCUSED = "document.activeElement.textContent"
WIDTH = "document.activeElement.style.width"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "profile.html"
    path.write_text(render(REPORT), encoding="utf-8")
    return path


def open_page(tab: Browser, page: Path, *, width: int = 1280, is_dark: bool = False) -> None:
    tab.screen(width, 900, is_dark=is_dark)
    tab.complaints.clear()
    tab.requested.clear()
    tab.open(page.as_uri())
    tab.wait(DRAWN)


def test_calls_are_drawn_and_nothing_is_asked_for(tab: Browser, page: Path) -> None:
    open_page(tab, page)

    assert tab.complaints == []
    assert tab.requested == [page.as_uri()]
    assert page.stat().st_size < 100_000
    assert "60.0%" in tab.evaluate("document.querySelector('table').textContent")


def test_hostile_names_are_text(tab: Browser, page: Path) -> None:
    open_page(tab, page)

    assert tab.evaluate("document.images.length") == 0
    assert "<img src=x" in tab.evaluate("document.getElementById('flame').textContent")
    refused = "try { document.body.innerHTML = '<b>'; 0 } catch (e) { e.name }"
    assert tab.evaluate(refused) == "TypeError"


def test_calls_are_walked_and_looked_into_by_keyboard(tab: Browser, page: Path) -> None:
    open_page(tab, page)
    tab.evaluate("document.querySelector('#flame button').focus()")
    for key, name in (
        ("ArrowDown", "main"),
        ("ArrowRight", "start_thread"),
        ("ArrowLeft", "main"),
        ("ArrowDown", "edge::run"),
        ("ArrowDown", "onnxruntime::Run"),
        ("ArrowUp", "edge::run"),
    ):
        tab.press(key)
        assert tab.evaluate(FOCUSED) == name
    assert "90 samples, 90.0 %" in tab.evaluate("document.getElementById('told').textContent")

    tab.press("Enter")
    tab.wait(f"{FOCUSED} === 'edge::run' && {WIDTH} === '100%'")
    tab.press("Escape")
    tab.wait(f"{FOCUSED} === 'main' && {WIDTH} === '100%'")
    tab.press("Escape")
    tab.wait(DRAWN)
    assert tab.complaints == []


def test_a_search_tells_the_share_of_what_it_matches(tab: Browser, page: Path) -> None:
    open_page(tab, page)
    tab.evaluate("document.getElementById('find').focus()")
    tab.type("Multiply")

    assert tab.evaluate("document.getElementById('matches').textContent").startswith("in 70.0 %")
    assert tab.evaluate("document.querySelectorAll('#flame .match').length") == 2


@pytest.mark.parametrize("is_dark", [False, True])
def test_a_narrow_screen_scrolls_in_one_direction(is_dark: bool, tab: Browser, page: Path) -> None:
    open_page(tab, page, width=360, is_dark=is_dark)

    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(21, 24, 27)" if is_dark else "rgb(251, 251, 250)")
