"""What `doctor` says of a board: one list of checks, the worst first."""

from enum import StrEnum
from typing import Literal

from edgewright.base.errors import CheckError
from edgewright.base.schema import Document, Part, Shown


class Grade(StrEnum):
    """How bad it is, the worst first."""

    BROKEN = "broken"  # a deploy or an inference fails, now or with the next power cut
    RISK = "risk"  # it hurts later, or now and then
    NOTE = "note"  # worth knowing
    UNKNOWN = "not known"  # the board did not say: never taken for well
    WELL = "well"


HURTS = (Grade.BROKEN, Grade.RISK)
ORDER = tuple(Grade)


class Check(Shown, Part):
    """One thing about a board."""

    name: str
    grade: Grade
    found: str  # what the board says; `not measured` where it has no such sensor or file
    harm: str | None = None  # what comes of it
    facts: tuple[str, ...] = ()
    next: str | None = None  # what to do


class DoctorReport(Shown, Document):
    """`invoke doctor --json`."""

    version: Literal[1] = 1
    target: str
    board: str  # its profile
    # Memory, heat, clock and kernel of an emulated board are those of the machine beneath it.
    emulated: bool
    host_key: str  # SHA256 fingerprint of the key that it has proved to hold
    hurts: int  # checks that are `broken` or `risk`
    checks: tuple[Check, ...]  # the worst first


def require_well(report: DoctorReport) -> None:
    """Raises CheckError for a board with something that would hurt."""
    hurting = [check for check in report.checks if check.grade in HURTS]
    if hurting:
        things = "1 thing" if len(hurting) == 1 else f"{len(hurting)} things"
        raise CheckError(
            report.target,
            f"{things} would hurt: {', '.join(check.name for check in hurting)}",
            facts=[f"{check.name}: {check.harm or check.found}" for check in hurting],
            next=hurting[0].next,
        )
