"""Smoke reports: what the smoke test found, as one versioned document."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Literal

from edgewright.base.schema import Document, Part, Shown, parse_json


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_JUDGED = "not judged"


class Check(Shown, Part):
    """One thing that was judged."""

    name: str
    verdict: Verdict
    expected: str | None = None
    found: str | None = None
    facts: tuple[str, ...] = ()  # what the board said, and why something was not judged


class ImageResult(Shown, Part):
    """One golden image through `edge-infer run`."""

    image: str
    expected: str  # class
    found: str | None  # class; None if the board made no result
    max_abs_diff: float | None  # of the probabilities
    inference_ms: float | None
    verdict: Verdict


class Bench(Part):
    """What `edge-infer bench` measured."""

    runs: int
    load_ms: float
    median_ms: float
    p95_ms: float
    max_ms: float
    peak_rss_kb: int
    rss_growth_kb: int  # from the end of the warm-up to the end of the runs
    leak_kb: float | None = None  # that an inference leaves on the heap; null: nobody tells


class SmokeReport(Shown, Document):
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

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.verdict is Verdict.FAILED)


def passed(checks: Iterable[Check]) -> bool:
    return all(check.verdict is not Verdict.FAILED for check in checks)


def load_smoke_report(text: str, subject: str) -> SmokeReport:
    """A report from its JSON. Raises UserError for another version or unknown fields."""
    return parse_json(SmokeReport, text, subject, "not a smoke report, version 1")
