"""How long work tells its caller what it is doing. The library never prints: cli shows it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from edgewright.base.schema import Part

LineSink = Callable[[str], None]  # takes one line of text for a person
Origin = Literal["built", "cache"]


class StageReport(Part):
    """One finished stage: how long it took, and where its result came from."""

    name: str
    seconds: float
    origin: Origin


class Progress:
    """Shows what one build, deploy or smoke test is doing; each has an object of its own.

    A subclass overrides what it shows; this class shows nothing. The methods are called from
    the thread that does the work.
    """

    def start(self, stage: str) -> None:
        """A stage begins; it ends with `end`, or where the next one begins."""

    def line(self, line: str) -> None:
        """One line that a child process printed."""

    def note(self, text: str) -> None:
        """A remark for the user."""

    def sent(self, count: int, total: int) -> None:
        """Of an upload of `total` bytes, `count` have been sent so far."""

    def end(self, stage: StageReport) -> None:
        """A stage that has a report ended."""


class Stage:
    """A stage that runs; whoever runs it sets `cached` if nothing had to be made."""

    cached = False


class Stages:
    """Times stages, shows them, and collects their reports."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.reports: list[StageReport] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Run the body as one stage. A stage that raises has no report."""
        self.progress.start(name)
        start = time.monotonic()
        stage = Stage()
        yield stage
        report = StageReport(
            name=name,
            seconds=round(time.monotonic() - start, 2),
            origin="cache" if stage.cached else "built",
        )
        self.reports.append(report)
        self.progress.end(report)
