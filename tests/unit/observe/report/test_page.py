"""The page of `report`: nothing that others wrote ends its scripts, and its policy fits."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

from edgewright.observe.bench.report import Label
from edgewright.observe.report.page import PAGE, render
from tests import reports
from tests.checkout import ROOT

CHARTS = ROOT / "edgewright" / "observe" / "report" / "charts"


class Elements(HTMLParser):
    """Scripts and styles with their text, and the policy."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self.tags: list[str] = []
        self.policy = self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.inside = tag
        if ("http-equiv", "Content-Security-Policy") in attributes:
            self.policy = dict(attributes)["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, text: str) -> None:
        if self.inside in self.texts:
            self.texts[self.inside].append(text)


def test_a_hostile_name_ends_no_script() -> None:
    document = reports.report(reports.bench())
    page = Elements(render(document))

    assert not {"img", "link", "iframe"} & set(page.tags)
    assert page.tags.count("script") == 3
    data = page.texts["script"][0]
    assert not set("<>&\u2028\u2029") & set(data)
    assert json.loads(data) == json.loads(document.to_json())


def test_the_policy_lets_run_what_is_in_the_page_and_nothing_else() -> None:
    page = Elements(render(reports.report(None)))
    rules = dict(rule.split(" ", 1) for rule in page.policy.split("; "))

    def sources(texts: list[str]) -> set[str]:
        digests = (hashlib.sha256(text.encode()).digest() for text in texts)
        return {f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests}

    assert rules["default-src"] == "'none'"
    assert set(rules["script-src"].split()) == sources(page.texts["script"][1:])
    assert set(rules["style-src-elem"].split()) == sources(page.texts["style"])


def test_what_was_not_measured_says_so_and_is_no_zero() -> None:
    page = render(reports.report(None))

    assert page.count("not measured") >= 5
    assert "Nothing was checked on a board" in page
    assert ">budget 100 ms<" in page


def test_an_emulator_s_time_is_not_shown() -> None:
    bench = reports.bench()
    processes = tuple(p.model_copy(update={"label": Label.EMULATED}) for p in bench.processes)
    latency = tuple(each.model_copy(update={"label": Label.EMULATED}) for each in bench.latency)
    emulated = bench.model_copy(
        update={"emulated": True, "processes": processes, "latency": latency}
    )
    text = re.sub(r"<script.*?</script>", "", render(reports.report(emulated)), flags=re.DOTALL)

    median = bench.latency[0].ms.median.value
    assert median is not None
    assert f"{median:,.2f}" not in text
    assert "say nothing about a board" in text


def test_the_bundle_is_of_the_versions_that_the_lock_file_pins() -> None:
    lock = json.loads((CHARTS / "package-lock.json").read_text())["packages"]
    versions = {name.rpartition("/")[2]: package for name, package in lock.items() if name}
    banner = (PAGE / "echarts.js").read_text(encoding="utf-8").partition("\n")[0]

    for name, words in (("echarts", "Apache ECharts"), ("zrender", "ZRender"), ("tslib", "tslib")):
        assert f"{words} {versions[name]['version']}" in banner
    assert all(package["integrity"].startswith("sha512-") for package in versions.values())
    assert "Apache License" in (PAGE / "LICENSE.txt").read_text(encoding="utf-8")
