"""What `shadow` says of a candidate."""

from typing import Literal

from edgewright.base.errors import CheckError, TargetError
from edgewright.base.schema import Document, Part, Shown

LEAST_FRAMES = 30  # of a board: with fewer nothing is said of the share that differs


class Pair(Shown, Part):
    """What both releases made of one frame."""

    frame: int  # how many the service had had since the candidate ran
    fate: Literal["agreed", "disagreed", "failed"]
    current: str  # the answer of the release in charge, in words
    candidate: str  # the candidate's, or why it has none


class ShadowReport(Shown, Document):
    """`invoke shadow --json`."""

    version: Literal[1] = 1
    board: str
    target: str
    emulated: bool
    release: str  # the candidate
    current: str | None  # the release in charge, before and after
    seconds: float
    offered: int  # frames that the service had meanwhile
    agreed: int  # frames that both answer alike
    disagreed: int
    failed: int  # frames that the candidate has no answer to
    peak_rss_kb: int | None  # of the candidate
    fault: str | None  # how the candidate ended before its time
    reason: str | None  # why nothing was compared
    pairs: tuple[Pair, ...]  # of those that differ, the first; else of those that agree

    @property
    def frames(self) -> int:
        """That were compared."""
        return self.agreed + self.disagreed + self.failed

    @property
    def share(self) -> float | None:
        """Of the frames, those that the candidate does not answer alike; None of too few."""
        differing = self.disagreed + self.failed
        return differing / self.frames if self.frames >= LEAST_FRAMES else None


def require_agreement(report: ShadowReport, limit: float) -> None:
    """Raises CheckError where the candidate ended, or answers more frames otherwise than `limit`,
    a share; TargetError where too few were compared."""
    subject = f"{report.target}: candidate {report.release}"
    next = "nothing was switched; invoke status tells what is in charge"
    if report.fault is not None:
        raise CheckError(subject, report.fault, next=next)
    if report.share is None:
        raise TargetError(
            subject,
            report.reason or f"{report.frames} frames were compared",
            facts=[f"expected: at least {LEAST_FRAMES} frames"],
            next="the same command while the service has images, or for longer: --minutes",
        )
    if report.share > limit:
        raise CheckError(
            subject,
            f"answers {report.share:.1%} of the frames otherwise",
            facts=[f"expected: at most {limit:.1%}", f"frames: {report.frames:,}"],
            next=next,
        )
