"""What a night leaves: JUnit XML, and a page that loads nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from xml.etree.ElementTree import Element

import pytest
from defusedxml import ElementTree
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.base.errors import CheckError, EdgewrightError, UserError
from edgewright.nightly import junit, page
from edgewright.nightly.report import Figures, NightReport, StepReport, cell_report

RELEASE = "0123456789abcdef"


def step(name: str, fault: EdgewrightError | None = None, **more: object) -> StepReport:
    fields = {
        "step": name,
        "outcome": "failed" if fault else "passed",
        "exit_code": fault.exit_code if fault else 0,
        "seconds": 1.5,
        "from_record": False,
        "problem": f"{fault.subject}: {fault.problem}" if fault else None,
        "next": fault.next if fault else None,
    }
    return StepReport.model_validate({**fields, **more})


GROWN = CheckError("board 'rpi2'", "costs more than 2% above its baseline", next="mend it")
BROKEN = UserError("cc1plus", "exit code 1", next="read its log")


def night(day: int = 1, fault: EdgewrightError | None = GROWN) -> NightReport:
    figures = Figures(
        sizes={"archive": 3_000_000 + 1_000 * day},
        inference=687_000_000 + 10_000_000 * day,
        load=117_000_000,
        build_seconds=41.5,
        accuracy=0.93,
    )
    good = [step("build", release=RELEASE, figures=figures), step("sign", from_record=True)]
    cells = (
        cell_report("a53-som", "one", [*good, step("cost")]),
        cell_report(
            "rpi2",
            "one",
            [*good, step("cost", fault), step("publish", outcome="skipped", problem="needs cost")],
        ),
        cell_report("rpi2", "two", [step("build", BROKEN, logs=("nights/a/b/c/conan.log",))]),
    )
    began = datetime(2026, 1, day, 2, 0, tzinfo=UTC)
    return NightReport(
        night=began.strftime("%Y-%m-%dT%H-%M-%SZ"),
        began=began,
        seconds=12.3,
        edgewright="0.1.0",
        revision="c" * 40,
        dirty=False,
        exit_code=2,
        cells=cells,
    )


# JUnit has no one schema that CI servers agree on; this is what all of them read, as Jenkins'
# and GitLab's documentation have it: element → attributes that must be there, and children.
FORM: dict[str, tuple[set[str], set[str]]] = {
    "testsuites": ({"name", "time", "tests", "failures", "errors", "skipped"}, {"testsuite"}),
    "testsuite": (
        {"name", "time", "tests", "failures", "errors", "skipped", "timestamp"},
        {"testcase"},
    ),
    "testcase": ({"name", "classname", "time"}, {"failure", "error", "skipped", "system-out"}),
    "failure": ({"message", "type"}, set()),
    "error": ({"message", "type"}, set()),
    "skipped": ({"message"}, set()),
    "system-out": (set(), set()),
}


def require_form(element: Element) -> None:
    attributes, children = FORM[element.tag]
    assert set(element.attrib) == attributes
    assert {child.tag for child in element} <= children
    for name in attributes & {"tests", "failures", "errors", "skipped"}:
        tag = {"tests": "testcase", "failures": "failure", "errors": "error"}.get(name, name)
        assert int(element.attrib[name]) == len(element.findall(f".//{tag}"))
    if "time" in attributes:
        assert float(element.attrib["time"]) >= 0
    if "timestamp" in attributes:
        assert datetime.fromisoformat(element.attrib["timestamp"])
    for child in element:
        require_form(child)


def test_junit_has_a_suite_for_each_cell_and_a_case_for_each_step() -> None:
    root = ElementTree.fromstring(junit.render(night()))

    require_form(root)
    assert [root.get(name) for name in ("tests", "failures", "errors", "skipped")] == [
        "8",
        "1",
        "1",
        "1",
    ]
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.get("message") == f"{GROWN.subject}: {GROWN.problem}"
    assert str(failure.text).endswith("next: mend it")


@given(st.text(max_size=200))
@settings(max_examples=30, deadline=None)
def test_whatever_failed_junit_stays_xml(text: str) -> None:
    """A message may quote what a board or a compiler wrote."""
    require_form(ElementTree.fromstring(junit.render(night(fault=CheckError(text, text)))))


class Loads(HTMLParser):
    """Collects what a page would fetch, and the text of links."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster") or (tag == "link" and name == "href"):
                self.fetched.append(str(value))
            if tag == "a" and name == "href":
                self.links.append(str(value))


@pytest.fixture(scope="module")
def html() -> str:
    return page.render([night(day) for day in (1, 2, 3)])


def test_the_page_loads_nothing(html: str) -> None:
    loads = Loads()
    loads.feed(html)

    assert (loads.fetched, {"script", "iframe", "link"} & {*loads.tags}) == ([], set())
    assert "default-src 'none'; style-src 'unsafe-inline'" in html
    assert "://" not in html.replace("url(#", "")


def test_the_page_shows_cells_trends_and_what_failed(html: str) -> None:
    loads = Loads()
    loads.feed(html)

    assert "2 of 3 cells failed" in html
    assert "costs more than 2% above its baseline" in html
    assert "nights/a/b/c/conan.log" in loads.links
    # Five metrics of each of two cells; the third was never built.
    assert loads.tags.count("svg") == 10
    assert "size of rpi2, one" in html
    assert "+1.4 %" in html  # instructions, against the night before
    assert html.count("2026-01-0") >= 3


def test_a_green_night_says_so() -> None:
    good = night()
    green = good.model_copy(update={"cells": good.cells[:1], "exit_code": 0})

    assert "All 1 cells are green" in page.render([green])


def test_what_a_cell_says_is_text_not_markup() -> None:
    hostile = night(fault=CheckError("<script>alert(1)</script>", "<b>"))

    assert "<script>" not in page.render([hostile])
