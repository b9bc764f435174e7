"""What becomes of a board in a rollout, as pure functions.

waiting → ready → running → done | ready (later, once more) | quarantined | skipped | excluded
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Of a board in a rollout."""

    WAITING = "waiting"  # for its wave
    READY = "ready"  # to be worked on, from a time on
    RUNNING = "running"  # under a fence and a lease
    DONE = "done"  # its goal is reached
    QUARANTINED = "quarantined"  # it failed too often, or in a way that would repeat
    SKIPPED = "skipped"  # nothing was done: it was late, or its wave was ended
    EXCLUDED = "excluded"  # a person kept it out: in quarantine, or deployed to by hand


class Goal(StrEnum):
    """What a board is to run."""

    STAGE = "stage"  # to hold its release, and not to switch to it yet
    SHADOW = "shadow"  # to have had its release beside the one in charge, and not to switch either
    RELEASE = "release"
    FORMER = "former"  # after a gate said no


class Outcome(StrEnum):
    """Of an attempt on a board."""

    DONE = "done"
    FAILED = "failed"
    HOPELESS = "hopeless"  # the next attempt would fail in the same way
    LOST = "lost"  # nothing was heard of it in time, so it counts as failed
    CUT = "cut"  # its controller died, which says nothing about the board


OVER = frozenset({State.DONE, State.QUARANTINED, State.SKIPPED, State.EXCLUDED})
FAILED = frozenset({State.QUARANTINED, State.SKIPPED})  # as a gate counts


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often a board is tried, and how long it is left alone in between."""

    tries: int = 3
    backoff_s: float = 30.0  # after the first failure; twice as long after each further one
    longest_s: float = 3600.0


@dataclass(frozen=True, kw_only=True)
class Next:
    """What comes after an attempt."""

    state: State
    tries: int
    ready_at: float  # Unix seconds


def after(outcome: Outcome, tries: int, retry: Retry, at: float) -> Next:
    """The state of a board after an attempt that ended at a time; `tries` counts it."""
    if outcome is Outcome.DONE:
        return Next(state=State.DONE, tries=tries, ready_at=at)
    if outcome is Outcome.CUT:
        return Next(state=State.READY, tries=tries - 1, ready_at=at)
    if outcome is Outcome.HOPELESS or tries >= retry.tries:
        return Next(state=State.QUARANTINED, tries=tries, ready_at=at)
    pause = min(retry.backoff_s * 2 ** (tries - 1), retry.longest_s)
    return Next(state=State.READY, tries=tries, ready_at=at + pause)
