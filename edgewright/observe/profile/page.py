"""The page of a profile: a flame graph in one HTML file that loads nothing."""

from pathlib import Path

from markupsafe import Markup

from edgewright.base.page import page_templates, policy, script_json
from edgewright.observe.profile.report import ProfileReport

PAGE = Path(__file__).parent / "page"
SHOWN_FUNCTIONS = 20


def render(report: ProfileReport) -> str:
    """The page."""
    templates = page_templates(PAGE)
    style = templates.get_template("profile.css.j2").render()
    script = (PAGE / "profile.js").read_text(encoding="utf-8")
    return templates.get_template("profile.html.j2").render(
        report=report,
        functions=report.functions[:SHOWN_FUNCTIONS],
        document=Markup(script_json(report)),
        style=Markup(style),
        script=Markup(script),
        policy=policy(style, [script]),
    )
