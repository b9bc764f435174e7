"""What `soak` says of a release."""

from typing import Literal

from edgewright.base.errors import CheckError, TargetError
from edgewright.base.schema import Document, Part, Shown


class Resource(Part):
    """What a process holds of one kind, and whether it grows."""

    name: Literal["resident memory", "descriptors", "heap"]
    unit: Literal["KiB", "descriptors"]
    first: float | None  # of the last process, after the warm-up; null: not measured
    last: float | None
    per_1000_inferences: float | None  # growth
    low: float | None  # of its 95 % interval
    high: float | None
    verdict: Literal["leak", "steady", "not judged"]
    reason: str


class SoakReport(Shown, Document):
    """`invoke soak --json`."""

    version: Literal[1] = 1
    board: str
    target: str
    emulated: bool
    release: str
    seconds: float
    processes: int
    inferences: int  # of a process that was cut off as many as it can have made
    samples: int
    cut: str | None  # why it ended before its time
    resources: tuple[Resource, ...]


def require_steady(report: SoakReport) -> None:
    """Raises CheckError for a leak; TargetError for a soak that did not come to its end."""
    leaks = [resource for resource in report.resources if resource.verdict == "leak"]
    if leaks:
        raise CheckError(
            f"{report.target}: release {report.release}",
            f"leaks: {', '.join(resource.name for resource in leaks)}",
            facts=[f"{resource.name}: {resource.reason}" for resource in leaks],
            next=f"invoke rollback --board={report.board} goes back to the former release",
        )
    if report.cut:
        raise TargetError(
            report.target,
            f"the soak ended after {report.seconds:.0f} s: {report.cut}",
            facts=["what was seen until then is in the report"],
            next="check power and network, then run the same command again",
        )
