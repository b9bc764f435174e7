"""What `drift` says of a board."""

from collections.abc import Sequence
from typing import Literal

from edgewright.base.errors import CheckError
from edgewright.base.schema import Document, Part, Shown
from edgewright.model.judge.observed import Name

Verdict = Literal["moved", "steady", "too few images"]
Origin = Literal["the release's reference", "a file", "the first images"]


class StatisticDrift(Part):
    """One statistic of the newest images beside the reference; null: cannot be said."""

    name: Name
    verdict: Verdict
    reference: float  # mean; of `class` the share of the class that changed most
    newest: float
    class_: str | None = None  # that one, by its number
    effect: float | None  # how far it moved, in units of `unit`
    low: float | None  # of its 95 % interval
    high: float | None
    unit: Literal["standard deviations", "share"]
    distance: float  # of Kolmogorov and Smirnov: the largest of the two distributions
    p: float  # after Holm's correction for all statistics
    psi: float  # population stability index
    psi_by_chance: float  # that 95 of 100 pairs of equal distributions stay below
    since: int | None  # Unix seconds by the board's clock, where it moved
    since_the_first: bool  # it was so in the oldest hour that the board keeps


class Span(Part):
    """Some of the images."""

    images: int
    start: int | None  # Unix seconds by the board's clock; null: not of this board
    end: int | None


class DriftReport(Shown, Document):
    """`invoke drift --json`."""

    version: Literal[1] = 1
    board: str
    target: str
    emulated: bool
    release: str | None  # null: nothing has come yet
    verdict: Verdict
    compared_with: Origin
    reference: Span | None
    newest: Span | None
    statistics: tuple[StatisticDrift, ...]  # what moved first, the farthest first
    unsure_images: int  # that the board keeps
    examples: tuple[str, ...]  # of them those since it moved, the least certain first


def require_steady(report: DriftReport, words: Sequence[str]) -> None:
    """Raises CheckError where something moved; `words` say how."""
    if report.verdict == "moved":
        moved = [statistic.name for statistic in report.statistics if statistic.verdict == "moved"]
        raise CheckError(
            f"{report.target}: release {report.release}",
            f"has drifted: {', '.join(moved)}",
            facts=words,
            next=f"invoke collect --board={report.board} fetches images to label",
        )
