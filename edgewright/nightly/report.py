"""What a night did, as a document."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import Field

from edgewright.base.errors import worst
from edgewright.base.schema import Document, Part

StepName = Literal["build", "sign", "smoke", "cost", "accuracy", "publish"]
Outcome = Literal["passed", "failed", "skipped"]


class Figures(Part):
    """What nights are compared by; null is what the night did not measure."""

    sizes: dict[str, int] = Field(default_factory=dict)  # bytes of the release's files
    inference: int | None = None  # guest instructions
    load: int | None = None  # guest instructions, from the start to the first inference
    build_seconds: float | None = None  # when the build's inputs last changed
    accuracy: float | None = None  # share of the labelled images

    def with_those_of(self, other: "Figures") -> "Figures":
        """These, and what the other ones have."""
        return self.model_copy(update=other.model_dump(exclude_defaults=True))


class StepReport(Part):
    """One step of a cell."""

    step: StepName
    outcome: Outcome
    exit_code: int  # that the step would have had as a command of its own
    seconds: float  # when it ran, that night or before
    from_record: bool  # its inputs are those of the night when it ran last
    release: str | None = None  # that a build made
    figures: Figures = Field(default_factory=Figures)
    problem: str | None = None  # what failed, or why it was skipped
    next: str | None = None  # the command or the deed that helps
    logs: tuple[str, ...] = ()  # beside the report


class CellReport(Part):
    """What became of one board and one model."""

    board: str
    model: str
    exit_code: int  # the worst of its steps
    release: str | None  # null where there was no build
    figures: Figures
    steps: tuple[StepReport, ...]
    worker: str | None = None  # that took it, where several machines share the night


class NightReport(Document):
    """`nightly --json`: a night, cell by cell."""

    version: Literal[1] = 1
    night: str  # its name: when it began, in UTC
    began: datetime
    seconds: float  # of the run that ended it
    edgewright: str
    revision: str  # of the workspace's repository
    dirty: bool  # tracked files differ from it
    exit_code: int  # the worst of its cells
    cells: tuple[CellReport, ...]


def cell_report(board: str, model: str, steps: Iterable[StepReport]) -> CellReport:
    """The report of a cell, of its steps."""
    steps = tuple(steps)
    figures = Figures()
    for step in steps:
        figures = figures.with_those_of(step.figures)
    return CellReport(
        board=board,
        model=model,
        exit_code=worst(step.exit_code for step in steps),
        release=next((step.release for step in steps if step.release), None),
        figures=figures,
        steps=steps,
    )


def failed_steps(report: CellReport) -> list[StepReport]:
    return [step for step in report.steps if step.outcome == "failed"]
