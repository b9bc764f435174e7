"""A rollout as a document."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from edgewright.fleet.documents import (
    RolloutBoard,
    RolloutGates,
    RolloutLine,
    RolloutList,
    RolloutStatus,
)
from edgewright.fleet.rollout import gates
from edgewright.fleet.rollout.gates import VERDICTS
from edgewright.fleet.rollout.ledger import Ledger, Member, Rollout
from edgewright.fleet.rollout.plan import Plan


def status(ledger: Ledger, name: str, members: Sequence[Member] | None = None) -> RolloutStatus:
    """What the ledger knows of a rollout, and of these of its boards; default: of all.

    Raises UserError for a name that none has.
    """
    rollout = ledger.rollout(name)
    plan = Plan.model_validate_json(rollout.plan)
    return RolloutStatus(
        **_head(rollout),
        wish=rollout.wish,
        wave=rollout.wave,
        waves=_ends(plan, ledger.joined(name)),
        releases=plan.releases,
        verdicts=_verdicts(ledger, name),
        boards=tuple(map(_board, ledger.members(name) if members is None else members)),
    )


def _ends(plan: Plan, joined: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(
        end + sum(count for of_wave, count in joined.items() if of_wave <= wave)
        for wave, end in enumerate(plan.ends, 1)
    )


def with_boards(head: RolloutStatus, members: Sequence[Member]) -> RolloutStatus:
    """A status with these of its boards in place of its own."""
    return head.model_copy(update={"boards": tuple(map(_board, members))})


def listed(ledger: Ledger) -> RolloutList:
    return RolloutList(rollouts=tuple(RolloutLine(**_head(each)) for each in ledger.rollouts()))


def _head(rollout: Rollout) -> dict[str, Any]:
    return {
        "name": rollout.name,
        "state": rollout.state,
        "phase": rollout.phase,
        "reason": rollout.reason,
        "started": _time(rollout.started),
        "ended": None if rollout.ended is None else _time(rollout.ended),
    }


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _verdicts(ledger: Ledger, name: str) -> tuple[RolloutGates, ...]:
    """By waves; what was said of a wave's shadow comes before what was said of the wave."""
    verdicts = [
        _gates(ledger, name, wave, text, shadow=shadow)
        for shadow in (True, False)
        for wave, text in ledger.verdicts(name, shadow=shadow).items()
    ]
    return tuple(sorted(verdicts, key=lambda each: each.wave))


def _gates(ledger: Ledger, name: str, wave: int, text: str, *, shadow: bool) -> RolloutGates:
    verdicts = VERDICTS.validate_json(text)
    approval = ledger.approval(name, wave, shadow=shadow)
    return RolloutGates(
        wave=wave,
        shadow=shadow,
        word=gates.worst(verdicts),
        gates=verdicts,
        approved=f"{approval.who}: {approval.reason}" if approval else None,
    )


def _board(member: Member) -> RolloutBoard:
    return RolloutBoard(
        board=member.board,
        site=member.site,
        wave=member.wave,
        goal=member.goal.value,
        state=member.state.value,
        tries=member.tries,
        release=member.release,
        former=member.former,
        reason=member.reason,
        measured=gates.measured_of(member.result, member.shadow),
        joined=None if member.joined is None else _time(member.joined),
        staged=None if member.staged is None else _time(member.staged),
    )
