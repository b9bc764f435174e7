"""What an operator may do to a rollout, from the command line or over the network."""

import contextlib
from collections.abc import Callable

import sqlalchemy as sa

from edgewright.base.errors import TargetError, UserError
from edgewright.fleet.rollout.database import LOOK_SECONDS
from edgewright.fleet.rollout.ledger import Ledger, Rollout, shadowing
from edgewright.fleet.rollout.states import Retry


class _ConductedError(Exception):
    """A controller is alive, which ends the rollout once its boards have."""


def require_running(ledger: Ledger, name: str) -> Rollout:
    """Raises UserError for a rollout that is over, or unknown."""
    rollout = ledger.rollout(name)
    if rollout.is_over:
        raise UserError(
            f"rollout '{name}'",
            f"is over: {rollout.state}",
            next="edgewright rollout.start --select=all",
        )
    return rollout


def pause(ledger: Ledger, name: str, who: str) -> None:
    """No other board is begun, those at work end. Raises UserError."""
    require_running(ledger, name)
    ledger.wish(name, "pause", who)


def unpause(ledger: Ledger, name: str, who: str) -> None:
    """Whoever conducts the rollout goes on with it. Raises UserError."""
    require_running(ledger, name)
    ledger.wish(name, "run", who)


def is_conducted(ledger: Ledger, name: str) -> bool:
    """Whether a process is at work on the rollout."""
    with contextlib.suppress(_ConductedError), ledger.database.only_one(name, on_busy=_leave):
        return False
    return True


def abort(ledger: Ledger, name: str, who: str) -> None:
    """End a rollout, at once where no controller would. Raises UserError."""
    require_running(ledger, name)
    ledger.wish(name, "abort", who)
    alone = ledger.database.only_one(name, on_busy=_leave, patience_s=LOOK_SECONDS)
    with contextlib.suppress(_ConductedError), alone:
        ledger.expire(name, Retry(), worker="")
        ledger.end(name, "aborted", "by an operator")


def approve(ledger: Ledger, name: str, who: str, reason: str) -> None:
    """Let a rollout go on after the wave that waits for it. Raises UserError."""
    rollout = ledger.rollout(name)
    if not rollout.phase.endswith("waits for approval") or rollout.is_over:
        raise UserError(
            f"rollout '{name}'",
            "does not wait for approval",
            facts=[f"phase: {rollout.phase}", f"state: {rollout.state}"],
            next=f"edgewright rollout.status --name={name}",
        )
    if not reason.strip():
        raise UserError("--reason", "is empty", next="say why it may go on")
    is_shadow = rollout.phase.startswith(shadowing(rollout.wave))
    ledger.approve(name, rollout.wave, who, reason, shadow=is_shadow)


def fence_by_hand(ledger: Ledger, board: str, who: str, *, take_over: bool) -> Callable[[int], int]:
    """`install.NextFence` of a deploy to a board that no rollout makes: above all workers' fences.

    It raises TargetError where a rollout has the board, unless it is to `take_over`, and where the
    ledger is gone: what it does not know of, it cannot keep away.
    """

    def next_fence(last: int) -> int:
        try:
            return ledger.fence_by_hand(board, last, who, take_over=take_over)
        except sa.exc.DBAPIError as failed:
            raise TargetError(
                board,
                "the ledger does not answer",
                facts=[str(failed.orig).strip()],
                next="the same command, once it does",
            ) from failed

    return next_fence


def _leave() -> None:
    raise _ConductedError
