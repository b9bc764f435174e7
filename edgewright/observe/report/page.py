"""The page of a release: one HTML file that loads nothing, with plots by Apache ECharts."""

from pathlib import Path

from markupsafe import Markup

from edgewright.base.page import page_templates, policy, script_json
from edgewright.deploy.smoke import PROGRAM
from edgewright.observe.bench.report import BoardBench, Label, Latency
from edgewright.observe.report.document import ReleaseReport
from edgewright.release.run_file import MODEL

PAGE = Path(__file__).parent / "page"


def render(report: ReleaseReport) -> str:
    """The page."""
    templates = page_templates(PAGE)
    style = templates.get_template("report.css.j2").render()
    scripts = [(PAGE / name).read_text(encoding="utf-8") for name in ("echarts.js", "page.js")]
    return templates.get_template("report.html.j2").render(
        report=report,
        bench=report.bench,
        latency=_shown_latency(report.bench),
        sizes={file.path: file for file in report.files},
        program=PROGRAM,
        network=MODEL,
        document=Markup(script_json(report)),
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        policy=policy(style, scripts),
        licences=(PAGE / "LICENSE.txt").read_text(encoding="utf-8"),
    )


def _shown_latency(bench: BoardBench | None) -> Latency | None:
    """Of a board's own times those that were not throttled; an emulator's say nothing."""
    if bench is None or bench.latency[0].label is Label.EMULATED:
        return None
    return bench.latency[0]
