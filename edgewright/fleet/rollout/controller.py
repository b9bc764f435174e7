"""The controller of a rollout: waves, soak times, gates, approvals; it may die at any instant.

Whatever it decides is in the ledger before anything follows from it, and every step may be done
again: what the ledger says is over is not begun anew.
"""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol

from edgewright.base.errors import EdgewrightError, InterruptedWorkError, TargetError
from edgewright.base.text import visible
from edgewright.fleet.rollout import gates
from edgewright.fleet.rollout.durable import Steps
from edgewright.fleet.rollout.gates import (
    VERDICTS,
    Gate,
    Measured,
    Numbers,
    Reading,
    Shadowed,
    Word,
    measured_of,
)
from edgewright.fleet.rollout.ledger import (
    Claim,
    Ledger,
    Member,
    Report,
    shadowing,
    soaking,
    working,
)
from edgewright.fleet.rollout.plan import Plan
from edgewright.fleet.rollout.states import FAILED, Goal, Outcome, Retry, State

if TYPE_CHECKING:  # Fabric takes half of a controller's start
    from edgewright.deploy.install import NextFence

TICK_SECONDS = 2.0  # between looks at what operators wish; the engine itself asks 4 times a second
REASON = 500  # characters of why an attempt failed
LOOKS = 3  # at a board that does not answer after the soak time
OVER, STOPPED, ABORTED, LATE, APPROVED = "over", "stopped", "aborted", "late", "approved"


class HopelessError(TargetError):
    """What a board says will be the same the next time."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What a board says of itself."""

    current: str | None
    restarts: int | None = None  # of its service
    floor: int = 0  # the number of its last order
    celsius: float | None = None  # of its hottest zone


class Boards(Protocol):
    """The way to the boards of a rollout. Each call may take long, and raise TargetError."""

    def install(self, claim: Claim, next_fence: "NextFence") -> Measured:
        """Bring a board to its release, and measure before and after."""

    def stage(self, claim: Claim, next_fence: "NextFence") -> None:
        """Bring a board the content of its release, and change nothing that it runs."""

    def shadow(self, claim: Claim, next_fence: "NextFence") -> Shadowed:
        """Stage a board's release, and run it beside the one in charge for `claim.shadow_s`."""

    def go_back(self, claim: Claim, next_fence: "NextFence") -> None:
        """Bring a board to the release that it had before `claim.release`."""

    def look(self, board: str) -> Observation:
        """Ask a board what it runs."""

    def opening(self, board: str) -> float:
        """When the board may be changed: Unix seconds; in the past, if it may be now."""


class Leases(Protocol):
    """What keeps the right to work on boards: a ledger, or a site's line to one."""

    def raise_fence(self, claim: Claim, last: int) -> Claim | None:
        """The claim with a fence above the board's own; None where it counts no more."""

    def renew(self, claims: Sequence[Claim], lease_s: float) -> None:
        """Leases begin anew."""


class Controller:
    """Conducts one rollout; the only one that does."""

    def __init__(
        self,
        ledger: Ledger,
        rollout: str,
        boards: Boards,
        *,
        tell: Callable[[str], None] = lambda _: None,
        count: Callable[[str], int | None] = lambda _: None,
        clock: Callable[[], float] = time.time,
        tick_s: float = TICK_SECONDS,
    ) -> None:
        """`tell` gets a line for each phase, and for each board that fails.

        `count` tells the instructions of an inference of a release; None where they cannot be.
        """
        self._ledger, self._rollout, self._boards = ledger, rollout, boards
        self._tell, self._count = tell, count
        self._leaves, self._leaves_at_once = threading.Event(), threading.Event()
        self._clock, self._tick_s = clock, tick_s
        self._plan = Plan.model_validate_json(ledger.rollout(rollout).plan)
        self._gates = gates.parse(self._plan.gates)
        self._retry = Retry(tries=self._plan.tries, backoff_s=self._plan.backoff_s)
        self._worker = secrets.token_hex(8)

    def leave(self) -> None:
        """Begin no other board, and leave once those at work have ended; called again: at once.

        The rollout is not over: another process goes on with it.
        """
        if self._leaves.is_set():
            self._leaves_at_once.set()
        self._leaves.set()

    def conduct(self, step: Steps) -> str:
        """From the first wave to the end: `done`, `stopped` (by a gate) or `aborted`."""
        for wave in range(1, len(self._plan.ends) + 1):
            ending = self._wave(step, wave)
            if ending is not None:
                state, reason = ending
                step("end", partial(self._end, state, reason))
                return state
        step("end", partial(self._end, "done", ""))
        return "done"

    def _end(self, state: str, reason: str) -> None:
        self._ledger.end(self._rollout, state, reason)

    def _wave(self, step: Steps, wave: int) -> tuple[str, str] | None:
        """A whole wave; where the rollout ends with it, its state and the reason."""

        def timed(name: str, seconds: float, work: Callable[[float], str]) -> str:
            until = step(f"{name} {wave} ends", lambda: self._clock() + seconds)
            return str(step(f"{name} {wave}", lambda: work(float(until or 0))))

        if self._plan.shadow_s and (refused := self._shadow(step, timed, wave)):
            return refused
        deploy, last = (partial(self._work, wave, phase) for phase in (working, ending))
        go_back = partial(self._work, wave, going_back)
        ended = timed("wave", self._plan.wave_s, deploy)
        if ended == OVER:
            ended = timed("soak", self._plan.soak_s, partial(self._soak, wave))
        if ended == OVER:  # boards that joined, or that an operator had tried again meanwhile
            ended = timed("rest", self._plan.wave_s, last)
        if ended == ABORTED:
            return "aborted", "by an operator"
        word = step(f"judge {wave}", lambda: str(self._judge(wave)))
        if word == Word.NO:
            timed("back", self._plan.wave_s, go_back)
            return "stopped", f"wave {wave}: a gate said no"
        if word == Word.NONE or wave == self._plan.approve_after:
            waits = partial(self._approval, wave, working(wave), shadow=False)
            answer = timed("approval", self._plan.approval_s, waits)
            if answer == ABORTED:
                return "aborted", "by an operator"
            if answer == LATE:
                timed("back", self._plan.wave_s, go_back)
                return "stopped", f"wave {wave}: nobody approved in time"
        return None

    def _shadow(
        self, step: Steps, timed: Callable[[str, float, Callable[[float], str]], str], wave: int
    ) -> tuple[str, str] | None:
        """Before any board of a wave is switched; where the rollout ends here, as what and why."""
        ended = timed("shadow", self._plan.wave_s, partial(self._work, wave, shadowing))
        if ended == ABORTED:
            return "aborted", "by an operator"
        word = step(f"judge shadow {wave}", lambda: str(self._judge_shadow(wave)))
        if word == Word.NO:
            return "stopped", f"{shadowing(wave)}: a gate said no"
        if word == Word.NONE:
            waits = partial(self._approval, wave, shadowing(wave), shadow=True)
            answer = timed("shadow approval", self._plan.approval_s, waits)
            if answer == ABORTED:
                return "aborted", "by an operator"
            if answer == LATE:
                return "stopped", f"{shadowing(wave)}: nobody approved in time"
        return None

    # What operators wish

    def _wish(self) -> str:
        return self._ledger.rollout(self._rollout).wish

    def _enter(self, phase: str) -> None:
        if self._ledger.enter(self._rollout, phase):
            self._tell(phase)

    def _wait(self, ticks: float) -> None:
        if self._leaves.wait(ticks * self._tick_s):
            self._go()

    def _go(self) -> None:
        raise InterruptedWorkError(
            f"rollout '{self._rollout}'",
            "left: it is not over",
            next=f"edgewright rollout.resume --name={self._rollout}",
        )

    def _soak(self, wave: int, until: float) -> str:
        """Wait; a pause that lasts longer ends when it ends."""
        self._enter(soaking(wave))
        while (wish := self._wish()) == "pause" or self._clock() < until:
            if wish == "abort":
                return ABORTED
            self._wait(1)
        return ABORTED if wish == "abort" else OVER

    def _approval(self, wave: int, subject: str, until: float, *, shadow: bool) -> str:
        self._enter(f"{subject} waits for approval")
        while self._ledger.approval(self._rollout, wave, shadow=shadow) is None:
            if self._wish() == "abort":
                return ABORTED
            if self._clock() >= until:
                return LATE
            self._wait(2)
        return APPROVED

    # Boards

    def _work(self, wave: int, phase: Callable[[int], str], until: float) -> str:
        """Work on all boards that are ready, until none is left."""
        ledger, goal = self._ledger, GOALS.get(phase, Goal.RELEASE)
        self._enter(phase(wave))
        if goal is not Goal.FORMER:
            ledger.open_wave(self._rollout, wave)
        if goal is Goal.RELEASE:
            ledger.admit(self._rollout, wave)
        self._expire()
        if goal is Goal.FORMER:
            ledger.take_back(self._rollout, wave)
        crew = Crew(self._boards, ledger, self._plan.lease_s, self._plan.board_s, self._clock)
        stop, wish, looked_at, wait_s = "", "", float("-inf"), 0.0
        while True:
            reports = crew.reports(wait_s)
            if reports:
                ledger.finish(reports, self._retry)
                self._tell_failures(reports)
            has_failure = any(report.outcome is not Outcome.DONE for report in reports)
            if has_failure or self._clock() - looked_at >= self._tick_s:
                looked_at = self._clock()
                crew.renew()
                self._expire()
                wish = self._wish()
                stop = self._why_none_begins(wave, goal, wish, until) or stop
            if self._leaves_at_once.is_set() or (self._leaves.is_set() and not crew.at_work):
                self._go()
            may_begin = not stop and not self._leaves.is_set()
            may_begin &= wish == "run" or (goal is Goal.FORMER and wish == "abort")
            if may_begin and self._begin(crew, goal):
                wait_s = 0.0
                continue
            wait_s = self._tick_s  # or until a board ends
            if not crew.at_work:
                counts = self._counts(wave, goal)
                ready = {(each, State.READY) for each in _goals(goal)}
                is_none_left = bool(stop) or (may_begin and not ready & counts.keys())
                if is_none_left and not _any_runs(counts):
                    # A site may have begun a shadow just before its judgement.
                    if goal is Goal.RELEASE and not stop and ledger.admit(self._rollout, wave):
                        continue
                    return stop or OVER

    def _counts(self, wave: int, goal: Goal) -> Counter[tuple[Goal, State]]:
        """Boards by goals and states, once those that sites had begun are to go back too."""
        counts = self._ledger.counts(self._rollout)
        # Not while any is at work: what ended between these two looks would not go back.
        if goal is Goal.FORMER and not _any_runs(counts):
            self._ledger.take_back(self._rollout, wave)
            counts = self._ledger.counts(self._rollout)
        return counts

    def _begin(self, crew: "Crew", goal: Goal) -> int:
        """Begin work on boards that are ready for a goal, as far as there is room; on how many."""
        room = self._plan.parallel - crew.at_work
        if not room:
            return 0
        planned, limit = crew.sites.copy(), self._plan.per_site

        def has_room(site: str) -> bool:
            planned[site] += 1
            return not limit or planned[site] <= limit

        full = [site for site, count in planned.items() if limit and count >= limit]
        count = 0
        for each in _goals(goal):  # boards that may be switched now come before any other content
            claims = self._ledger.claim(
                self._rollout,
                worker=self._worker,
                limit=room - count,
                lease_s=self._plan.lease_s,
                goal=each,
                room=has_room,
                full=[*full, *self._plan.dial_out],
                opening=_at_any_time if each in AT_ANY_TIME else self._boards.opening,
                shadow_s=self._plan.shadow_s,
            )
            crew.start(claims)
            count += len(claims)
        return count

    def _expire(self) -> None:
        self._ledger.expire(
            self._rollout, self._retry, worker=self._worker, apart=self._plan.dial_out
        )

    def _tell_failures(self, reports: Sequence[Report]) -> None:
        for report in reports:
            if report.outcome is not Outcome.DONE:
                self._tell(f"{report.claim.board}: {report.reason}")

    def _why_none_begins(self, wave: int, goal: Goal, wish: str, until: float) -> str | None:
        """Why no other board is begun; those at work come to their end."""
        if goal is not Goal.FORMER and wish == "abort":
            return ABORTED
        # Boards that have had their shadow wait for its gate: a late one takes none of them along.
        skipped = (goal,) if goal is Goal.SHADOW else tuple(Goal)
        skip = partial(self._ledger.skip_rest, self._rollout, wave, goals=skipped)
        if self._clock() >= until:
            skip("the wave's time was over")
            return None
        if goal is Goal.FORMER:
            return None
        limit = next((gate for gate in self._gates if gate.name == "failures"), None)
        counts = Counter[State]()
        for (_, state), count in self._ledger.counts(self._rollout, wave).items():
            counts[state] += count
        failed = sum(counts[state] for state in FAILED)
        boards = counts.total() - counts[State.EXCLUDED]
        if limit is not None and failed > gates.may_fail(limit, boards):
            skip("too many boards of its wave failed")
            return STOPPED
        return None

    # Gates

    def _judge(self, wave: int) -> Word:
        """The first verdict counts: boards that a take-back has changed are not judged again."""
        verdicts = self._ledger.verdicts(self._rollout)
        if wave not in verdicts:
            self._enter(f"wave {wave} is judged")
            self._read_back(wave)
            members = [
                member
                for member in self._ledger.members(self._rollout, wave)
                if member.state is not State.EXCLUDED
            ]
            with ThreadPoolExecutor(self._plan.parallel) as pool:  # of threads as they are needed
                readings = tuple(pool.map(self._reading, members))
            self._ledger.note_results(
                self._rollout,
                {each.board: each.measured.model_dump_json() for each in readings},
            )
            self._note(wave, gates.after_switch(self._gates), readings, shadow=False)
            verdicts = self._ledger.verdicts(self._rollout)
        return gates.worst(VERDICTS.validate_json(verdicts[wave]))

    def _judge_shadow(self, wave: int) -> Word:
        """Likewise, before any board is switched: by what boards have told already."""
        verdicts = self._ledger.verdicts(self._rollout, shadow=True)
        if wave not in verdicts:
            self._enter(f"{shadowing(wave)} is judged")
            readings = [
                Reading(
                    board=member.board,
                    failure=(member.reason or member.state) if member.state in FAILED else None,
                    measured=_measured(member),
                )
                for member in self._ledger.members(self._rollout, wave)
                if member.state is not State.EXCLUDED
            ]
            self._note(wave, gates.before_switch(self._gates), readings, shadow=True)
            verdicts = self._ledger.verdicts(self._rollout, shadow=True)
        return gates.worst(VERDICTS.validate_json(verdicts[wave]))

    def _note(
        self, wave: int, judged: Sequence[Gate], readings: Sequence[Reading], *, shadow: bool
    ) -> None:
        earlier = [
            Reading(board=member.board, failure=None, measured=_measured(member))
            for member in self._ledger.members(self._rollout)
            if member.wave < wave and member.state is State.DONE
        ]
        text = VERDICTS.dump_json(gates.judge(judged, readings, earlier)).decode()
        self._ledger.judge(self._rollout, wave, text, shadow=shadow)

    def _read_back(self, wave: int) -> None:
        """Of an attempt whose end nobody told, the board knows: it may run the release."""

        def runs_release(member: Member) -> bool:
            try:
                return self._boards.look(member.board).current == member.release
            except Exception:  # it counts as failed in any case
                return False

        members = self._ledger.unheard(self._rollout, wave)
        with ThreadPoolExecutor(self._plan.parallel) as pool:
            runs = pool.map(runs_release, members)
            boards = [
                member.board for member, is_true in zip(members, runs, strict=True) if is_true
            ]
        self._ledger.confirm(self._rollout, boards)

    def _reading(self, member: Member) -> Reading:
        if self._leaves.is_set():  # silent boards take minutes each; they are looked at again
            self._go()
        measured = _measured(member)
        if member.state is not State.DONE:
            return Reading(
                board=member.board, failure=member.reason or member.state, measured=measured
            )
        failure, observation = None, None
        for _ in range(LOOKS):
            try:
                observation = self._boards.look(member.board)
            except EdgewrightError as fault:
                failure = f"after the soak time: {fault.problem}"
                continue
            except Exception as bug:  # one board's answer never ends what judges all the others
                failure = f"after the soak time: {bug_words(bug)}"
                continue
            failure = None
            if observation.current != member.release:
                failure = f"after the soak time it runs {observation.current or 'no release'}"
            break
        if observation is not None:
            if observation.restarts is not None and measured.restarts is not None:
                restarted = max(observation.restarts - measured.restarts, 0)
                measured = measured.model_copy(update={"restarted": restarted})
            if observation.celsius is not None:
                after = measured.after or Numbers()
                after = after.model_copy(update={"celsius": observation.celsius})
                measured = measured.model_copy(update={"after": after})
        if gates.counts_instructions(self._gates):
            measured = self._counted(member, measured)
        return Reading(board=member.board, failure=failure, measured=measured)

    def _counted(self, member: Member, measured: Measured) -> Measured:
        """With the instructions of both releases; whatever a site says that they are."""
        before, after = (
            # What was not measured stays so: an empty `before` is a steady release to `leak`.
            numbers
            and numbers.model_copy(
                update={"instructions": self._count(release) if release else None}
            )
            for numbers, release in (
                (measured.before, member.former),
                (measured.after, member.release),
            )
        )
        return measured.model_copy(update={"before": before, "after": after})


def ending(wave: int) -> str:
    """The phase after the soak time: no board joins the wave any more."""
    return f"wave {wave} ends"


def going_back(wave: int) -> str:
    return f"wave {wave} goes back"


# What boards are to reach in a phase; in all others, the release.
GOALS: Mapping[Callable[[int], str], Goal] = {
    shadowing: Goal.SHADOW,
    going_back: Goal.FORMER,
}
# Nothing is switched; and the live frames of a shadow come when a board is in use.
AT_ANY_TIME = (Goal.STAGE, Goal.SHADOW)


def _measured(member: Member) -> Measured:
    return measured_of(member.result, member.shadow) or Measured()


def _goals(goal: Goal) -> tuple[Goal, ...]:
    """What boards do on the way to a goal, the last step first."""
    return (goal, Goal.STAGE) if goal is Goal.RELEASE else (goal,)


def _at_any_time(board: str) -> float:
    return 0.0


def _any_runs(counts: Counter[tuple[Goal, State]]) -> bool:
    return any(state is State.RUNNING for _, state in counts)


class Crew:
    """Boards at work, each in a thread: one that hangs takes nothing from the others but a place.

    The threads end with the process. What one reports after the deadline of its attempt is dropped
    by the ledger.
    """

    def __init__(
        self,
        boards: Boards,
        leases: Leases,
        lease_s: float,
        board_s: float,
        clock: Callable[[], float],
    ) -> None:
        """What is at work for `board_s` seconds is given up."""
        self._boards, self._leases, self._clock = boards, leases, clock
        self._lease_s, self._board_s = lease_s, board_s
        self._ended = SimpleQueue[Report]()
        self._began: dict[int, tuple[Claim, float]] = {}  # by attempt
        self.sites = Counter[str]()  # boards at work

    @property
    def at_work(self) -> int:
        return len(self._began)

    def start(self, claims: Sequence[Claim]) -> None:
        """Begin work on boards."""
        for claim in claims:
            self._began[claim.attempt] = claim, self._clock()
            self.sites[claim.site] += 1
            threading.Thread(target=self._attempt, args=(claim,), daemon=True).start()

    def _attempt(self, claim: Claim) -> None:
        current = claim

        def next_fence(last: int) -> int:
            nonlocal current
            raised = self._leases.raise_fence(current, last)
            if raised is None:
                raise TargetError(claim.board, "its attempt was given up meanwhile")
            current = raised
            return raised.fence

        outcome, reason, result = Outcome.DONE, "", None
        try:
            match claim.goal:
                case Goal.STAGE:
                    self._boards.stage(claim, next_fence)
                case Goal.SHADOW:
                    result = self._boards.shadow(claim, next_fence).model_dump_json()
                case Goal.RELEASE:
                    result = self._boards.install(claim, next_fence).model_dump_json()
                case Goal.FORMER:
                    self._boards.go_back(claim, next_fence)
        except HopelessError as fault:
            outcome, reason = Outcome.HOPELESS, _words(fault)
        except EdgewrightError as fault:
            outcome, reason = Outcome.FAILED, _words(fault)
        except Exception as bug:
            outcome, reason = Outcome.FAILED, bug_words(bug)
        self._ended.put(Report(claim=current, outcome=outcome, reason=reason, result=result))

    def reports(self, wait_s: float) -> list[Report]:
        """The ends since the last call; waits for one at most so long."""
        reports = list[Report]()
        try:
            reports.append(self._ended.get(timeout=wait_s) if wait_s else self._ended.get_nowait())
            while True:
                reports.append(self._ended.get_nowait())
        except Empty:
            pass
        for report in reports:
            self._release(report.claim.attempt)
        return reports

    def renew(self) -> None:
        """Leases go on until the deadlines of their attempts."""
        late = self._clock() - self._board_s
        for attempt in [attempt for attempt, (_, began) in self._began.items() if began < late]:
            self._release(attempt)
        if self._began:
            self._leases.renew([claim for claim, _ in self._began.values()], self._lease_s)

    def _release(self, attempt: int) -> None:
        if attempt in self._began:
            claim, _ = self._began.pop(attempt)
            self.sites[claim.site] -= 1


def _words(fault: EdgewrightError) -> str:
    return "; ".join((fault.problem, *fault.facts[:3]))[:REASON]


def bug_words(bug: Exception) -> str:
    """Its text may be a board's: no database takes half of a surrogate pair, PostgreSQL no zero."""
    return visible(f"a bug: {type(bug).__name__}: {bug}"[:REASON])
