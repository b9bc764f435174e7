"""Figures that may not be above their goals."""

from collections.abc import Iterable
from dataclasses import dataclass

from edgewright.base.errors import CheckError


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What something costs, and the most that it may; None: anything."""

    name: str
    value: int
    most: int | None
    unit: str


def require(subject: str, goals: Iterable[Goal], *, next: str) -> None:
    """Raise CheckError with each figure that is above its goal, and the command that goes on."""
    facts = [
        f"{goal.name}: {goal.value:,} {goal.unit}, goal {goal.most:,}"
        for goal in goals
        if goal.most is not None and goal.value > goal.most
    ]
    if facts:
        raise CheckError(subject, "cost more than they may", facts=facts, next=next)
