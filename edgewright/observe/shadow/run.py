"""Runs a candidate beside the service of the release in charge, and reads what both answered.

The release is staged, and `edgectl` runs its `edge-infer shadow`: at the least priority, within a
limit of memory, for a time, and no longer than we wait for it. The service gives it frames when it
asks for one (shadow_feed.hpp); nothing is switched.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgewright.base.errors import TargetError, UserError
from edgewright.base.progress import Progress
from edgewright.base.schema import Foreign, Many, parse_json
from edgewright.board.profile import BoardProfile
from edgewright.deploy import install, one_board
from edgewright.deploy.edge_infer import Answer, Problem
from edgewright.deploy.edgectl import SHADOWS, BoardRelease, RefusedError
from edgewright.deploy.one_board import DeploySettings
from edgewright.deploy.remote import Board, Result
from edgewright.observe.shadow.report import Pair, ShadowReport
from edgewright.release.manifest import Release

RUN_SECONDS = 600  # of one process, which tells its sums at its end: within `INFER_SECONDS`
START_SECONDS = 120  # to load its model and pass its golden set, before its time begins
EMULATED_START_SECONDS = 300
MEMORY_TIMES = 2  # of the release's budget, that a candidate may hold
SHOWN_PAIRS, SHOWN_REGIONS = 20, 3
SIGNAL = 128  # `edgectl` adds it to the signal that ended a program


class Region(Foreign):
    """One detection or segment."""

    class_: str
    score: float | None = None
    area: float | None = None

    @property
    def words(self) -> str:
        number = self.score if self.score is not None else self.area
        return self.class_ if number is None else f"{self.class_} {number:.3f}"


class ShownAnswer(Foreign):
    """An answer of any task, as far as it is shown."""

    class_: str | None = None
    index: int = 0
    probabilities: Many[float] = ()
    score: float | None = None
    detections: Many[Region] = ()
    segments: Many[Region] = ()

    @property
    def words(self) -> str:
        if self.class_ is not None:
            number = self.score
            if 0 <= self.index < len(self.probabilities):
                number = self.probabilities[self.index]
            return self.class_ if number is None else f"{self.class_} {number:.3f}"
        regions = self.detections or self.segments
        shown = ", ".join(region.words for region in regions[:SHOWN_REGIONS])
        more = f" and {len(regions) - SHOWN_REGIONS} more" if len(regions) > SHOWN_REGIONS else ""
        return f"{shown}{more}" or "nothing"


class Line(Answer):
    """A line of `edge-infer shadow`: a pair of answers, the sums, or why it ended."""

    frame: int = 0
    fate: Literal["agreed", "disagreed", "failed"] | None = None  # of a pair
    current: ShownAnswer | None = None
    candidate: ShownAnswer | None = None
    problems: Many[str] = ()  # of the service's answer, which this card cannot have

    connections: int | None = None  # of the sums: services that came
    offered: int = 0
    agreed: int = 0
    disagreed: int = 0
    failed: int = 0
    peak_rss_kb: int | None = None

    def pair(self) -> Pair | None:
        """None of another line."""
        if self.fate is None:
            return None
        error = self.error.message if self.error else "no answer"
        return Pair(
            frame=self.frame,
            fate=self.fate,
            current=self.current.words if self.current else "; ".join(self.problems),
            candidate=self.candidate.words if self.candidate else error,
        )


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one process of the candidate came to."""

    sums: Line
    pairs: tuple[Pair, ...]
    fault: str | None = None  # how it ended before its time
    reason: str | None = None  # why it compares nothing


def require_candidate(release: Release) -> None:
    """Before any board is asked. Raises UserError for a release that none could run as a shadow."""
    if not release.manifest.has_default_program:
        raise UserError(
            f"release {release.id}",
            "has no edge-infer, which a shadow needs: default_program = false",
            next="the same boards without a shadow: invoke deploy, or rollout.start",
        )
    protocol = install.brought_protocol(release)
    if protocol < SHADOWS:
        raise UserError(
            f"release {release.id}",
            "is of an edgewright whose programs run beside no other release",
            facts=[
                f"expected: an edgectl of protocol {SHADOWS} or newer",
                f"found: protocol {protocol}",
            ],
            next="invoke build",
        )


def shadow_connected(
    board: Board,
    settings: DeploySettings,
    profile: BoardProfile,
    seconds: float,
    progress: Progress | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> ShadowReport:
    """Stage a release, and run it beside the one in charge; what the board runs stays.

    What the candidate does wrong is in the report. Raises what a deploy raises before its switch,
    a self-test that the release does not pass included.
    """
    began, turns, progress = clock(), list[Turn](), progress or Progress()

    def trial(release: BoardRelease, selftests: Mapping[str, Result]) -> None:
        if release.edgectl.status().service is None:
            return
        progress.start(f"run beside the service for {seconds:.0f} s")
        end = clock() + seconds
        while (left := end - clock()) > 0 and not (turns and _is_over(turns[-1])):
            turns.append(_turn(release, profile, min(left, RUN_SECONDS)))

    staging = replace(settings, only_stage=True, trial=trial, smoke_file=None)
    deployed = one_board.deploy_connected(board, staging, progress)
    pairs = sorted((pair for turn in turns for pair in turn.pairs), key=_differs_first)
    return ShadowReport(
        board=profile.name,
        target=str(board.target),
        emulated=board.target.emulated,
        release=deployed.release,
        current=deployed.former,
        seconds=round(clock() - began, 3),
        offered=sum(turn.sums.offered for turn in turns),
        agreed=sum(turn.sums.agreed for turn in turns),
        disagreed=sum(turn.sums.disagreed for turn in turns),
        failed=sum(turn.sums.failed for turn in turns),
        peak_rss_kb=max((turn.sums.peak_rss_kb or 0 for turn in turns), default=0) or None,
        fault=next((turn.fault for turn in turns if turn.fault), None),
        reason="it is in charge already" if deployed.unchanged else _reason(turns),
        pairs=tuple(pairs[:SHOWN_PAIRS]),
    )


def _is_over(turn: Turn) -> bool:
    return turn.fault is not None or turn.reason is not None


def _differs_first(pair: Pair) -> bool:
    return pair.fate == "agreed"


def _reason(turns: Sequence[Turn]) -> str | None:
    """Why nothing was compared; None where something was."""
    if not turns:
        return "no service runs on the board"
    if reason := turns[-1].reason:
        return reason
    if any(turn.sums.connections for turn in turns) or turns[-1].fault:
        return None
    return "the service had no images, or is of an edgewright that gives none to a candidate"


def _turn(release: BoardRelease, profile: BoardProfile, seconds: float) -> Turn:
    """Run one process of the candidate."""
    arguments = ["shadow", f"--seconds={max(round(seconds), 1)}"]
    arguments.append(f"--user={profile.service.user}")
    memory_mb = round(MEMORY_TIMES * profile.budgets.peak_rss_mb)
    is_emulated = release.edgectl.board.target.emulated
    start_s = EMULATED_START_SECONDS if is_emulated else START_SECONDS
    timeout_s = round(seconds) + start_s
    try:
        result = release.edgectl.infer(
            release.right, arguments, memory_mb=memory_mb, timeout_s=timeout_s
        )
    except RefusedError as refused:
        if refused.code != "infer_ended":
            raise
        none = Line(version=1, command="shadow")
        return Turn(sums=none, pairs=(), fault=refused.problem)
    return read_turn(result, f"{release.edgectl.board.target}: edge-infer shadow")


def read_turn(result: Result, subject: str) -> Turn:
    """What a candidate wrote, which is not trusted. Raises TargetError for what is none of it."""
    lines = [
        parse_json(Line, line, f"{subject}:{number}", "is no line of it", blame=TargetError)
        for number, line in enumerate(result.stdout.splitlines(), 1)
    ]
    pairs = tuple(pair for line in lines if (pair := line.pair()))
    if result.returncode == 0 and lines and lines[-1].connections is not None:
        return Turn(sums=lines[-1], pairs=pairs)
    error = lines[-1].error if lines and lines[-1].fate is None else None
    if error is not None and error.code == "card_invalid":
        return Turn(sums=_counted(pairs), pairs=pairs, reason=error.message)
    return Turn(sums=_counted(pairs), pairs=pairs, fault=_fault(result.returncode, error))


def _counted(pairs: Sequence[Pair]) -> Line:
    """The sums of a candidate that did not come to tell them: over the pairs that it told."""
    fates = Counter(pair.fate for pair in pairs)
    return Line(
        version=1,
        command="shadow",
        connections=int(bool(pairs)),
        offered=max((pair.frame for pair in pairs), default=0),
        agreed=fates["agreed"],
        disagreed=fates["disagreed"],
        failed=fates["failed"],
    )


def _fault(code: int, error: Problem | None) -> str:
    how = f"by signal {code - SIGNAL}" if code > SIGNAL else f"with exit code {code}"
    return f"the candidate ended {how}" + (f": {error.message}" if error else "")
