"""Smoke reports: an object, its versioned JSON, and one screen."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgewright.base.errors import UserError


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_JUDGED = "not judged"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(_Part):
    """One thing that was judged."""

    name: str
    verdict: Verdict
    expected: str | None = None
    found: str | None = None
    facts: tuple[str, ...] = ()  # what the board said, and why something was not judged


class ImageResult(_Part):
    """One golden image through `edge-infer run`."""

    image: str
    expected: str  # class
    found: str | None  # class; None if the board made no result
    max_abs_diff: float | None  # of the probabilities
    inference_ms: float | None
    verdict: Verdict


class Bench(_Part):
    """What `edge-infer bench` measured."""

    runs: int
    load_ms: float
    median_ms: float
    p95_ms: float
    max_ms: float
    peak_rss_kb: int
    rss_growth_kb: int  # from the end of the warm-up to the end of the runs


class SmokeReport(_Part):
    """Proof that a release works on a board, or what does not."""

    version: Literal[1] = 1
    kind: Literal["smoke"] = "smoke"
    board: str
    target: str
    emulated: bool
    release: str
    model: str
    threads: int
    started: datetime
    seconds: float
    passed: bool
    checks: tuple[Check, ...]
    images: tuple[ImageResult, ...]
    bench: Bench | None

    def to_json(self) -> str:
        return self.model_dump_json(indent=2) + "\n"

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.verdict is Verdict.FAILED)


def passed(checks: Iterable[Check]) -> bool:
    return all(check.verdict is not Verdict.FAILED for check in checks)


def load_smoke_report(text: str, subject: str) -> SmokeReport:
    """A report from its JSON. Raises UserError for another version or unknown fields."""
    try:
        return SmokeReport.model_validate_json(text)
    except ValidationError as invalid:
        facts = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in invalid.errors()]
        raise UserError(subject, "not a smoke report, version 1", facts=facts) from invalid


# One screen

STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.NOT_JUDGED: "yellow"}


def render(report: SmokeReport) -> RenderableType:
    """The report as one screen for a terminal."""
    head = Text(f"{report.board} at {report.target}: release {report.release}, {report.model}")
    return Group(head, _checks(report), *([_images(report)] if report.images else []), _end(report))


def _checks(report: SmokeReport) -> Table:
    table = Table("check", "verdict", "expected", "found", box=None, pad_edge=False)
    for check in report.checks:
        found = [check.found or "", *check.facts]
        table.add_row(
            check.name,
            Text(check.verdict, style=STYLES[check.verdict]),
            Text(check.expected or ""),
            Text("\n".join(line for line in found if line)),
        )
    return table


def _images(report: SmokeReport) -> Table:
    table = Table(
        "image", "expected", "found", "difference", "inference", "", box=None, pad_edge=False
    )
    for image in report.images:
        table.add_row(
            image.image,
            image.expected,
            image.found or "none",
            "" if image.max_abs_diff is None else f"{image.max_abs_diff:.4f}",
            _ms(image.inference_ms, report.emulated),
            Text(image.verdict, style=STYLES[image.verdict]),
        )
    return table


def _ms(value: float | None, emulated: bool) -> str:
    """An emulator's milliseconds say nothing about a board: they are not shown."""
    if value is None:
        return ""
    return "emulated" if emulated else f"{value:.1f} ms"


def _end(report: SmokeReport) -> Text:
    verdict = Verdict.PASSED if report.passed else Verdict.FAILED
    return Text(f"smoke test {verdict} in {report.seconds:.1f} s", style=STYLES[verdict])
