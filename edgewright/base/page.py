"""Pages of one HTML file: the style that they share, and the policy by which they load nothing."""

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from edgewright.base.schema import Document

# What would end a script element, or a line of a script, wherever a board or a model wrote it.
UNSAFE = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


def page_templates(folder: Path) -> Environment:
    """The templates of `folder`; they may include `page.css.j2`, the style of all pages."""
    return Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        autoescape=select_autoescape(["j2", "html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def script_json(document: Document) -> str:
    """A document as JSON that may stand inside a script element."""
    return document.model_dump_json(by_alias=True).translate(UNSAFE)


def policy(style: str, scripts: Iterable[str]) -> str:
    """Nothing is loaded, and nothing runs but these scripts; no text ever becomes markup."""
    rules = (
        "default-src 'none'",
        f"script-src {' '.join(map(_source, scripts))}",
        f"style-src-elem {_source(style)}",
        "style-src-attr 'unsafe-inline'",  # scripts place what they draw by them
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    return "; ".join(rules)


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
