"""The page of a release: one HTML file that loads nothing, with plots by Apache ECharts."""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from edgewright.base.schema import Document
from edgewright.deploy.smoke import PROGRAM
from edgewright.observe.bench.report import BoardBench, Label, Latency
from edgewright.observe.report.document import ReleaseReport
from edgewright.release.run_file import MODEL

PAGE = Path(__file__).parent / "page"
STYLE = str(files("edgewright.model.judge"))  # has the style sheet that all pages share
# What would end a script element, or a line of a script, wherever a board or a model wrote it.
UNSAFE = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


def render(report: ReleaseReport) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader([PAGE, STYLE]),
        autoescape=select_autoescape(["j2", "html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = environment.get_template("report.css.j2").render()
    scripts = [(PAGE / name).read_text(encoding="utf-8") for name in ("echarts.js", "page.js")]
    return environment.get_template("report.html.j2").render(
        report=report,
        bench=report.bench,
        latency=_shown_latency(report.bench),
        sizes={file.path: file for file in report.files},
        program=PROGRAM,
        network=MODEL,
        document=Markup(script_json(report)),
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        policy=_policy(style, scripts),
        licences=(PAGE / "LICENSE.txt").read_text(encoding="utf-8"),
    )


def script_json(document: Document) -> str:
    """A document as JSON that may stand inside a script element."""
    return document.model_dump_json(by_alias=True).translate(UNSAFE)


def _shown_latency(bench: BoardBench | None) -> Latency | None:
    """Of a board's own times those that were not throttled; an emulator's say nothing."""
    if bench is None or bench.latency[0].label is Label.EMULATED:
        return None
    return bench.latency[0]


def _policy(style: str, scripts: list[str]) -> str:
    """Nothing is loaded, and nothing runs but our own scripts; no text ever becomes markup."""
    rules = (
        "default-src 'none'",
        f"script-src {' '.join(map(_source, scripts))}",
        f"style-src-elem {_source(style)}",
        "style-src-attr 'unsafe-inline'",  # ECharts places what it draws by them
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    return "; ".join(rules)


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
