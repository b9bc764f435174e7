"""The rollouts of a ledger as they go on, read once for all who look at them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from edgewright.fleet.documents import RolloutList, RolloutStatus
from edgewright.fleet.rollout import report
from edgewright.fleet.rollout.ledger import Ledger, Member

TICK_SECONDS = 1.0  # between looks at the ledger, while anybody watches
# PostgreSQL may show an event after one with a higher number: the highest alone proves nothing.
FULL_SECONDS = 10.0


@dataclass
class _View:
    """A rollout as it was read last."""

    name: str
    watchers: int = 0
    look: int = 0  # that read it
    head: RolloutStatus | None = None  # without boards
    members: dict[str, Member] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)  # board → look that saw it change last


class Live:
    """Tells watchers what has changed; asks the ledger nothing while there are none."""

    def __init__(self, ledger: Ledger, *, tick_s: float = TICK_SECONDS) -> None:
        self._ledger, self._tick_s = ledger, tick_s
        self._alone = asyncio.Lock()
        self._views: dict[str, _View] = {}
        self._list = RolloutList(rollouts=())
        self._look, self._last_event = 0, -1
        self._asked_at = self._listed_at = float("-inf")

    async def watch(self, name: str) -> AsyncIterator[RolloutList | RolloutStatus | None]:
        """All rollouts, and the one of that name, if any; then each once it has changed.

        The first status has all boards, further ones those that have changed. None tells, once a
        tick, that nothing has. Raises UserError for an unknown name.
        """
        view = self._views.setdefault(name, _View(name))
        view.watchers += 1
        told_list, told_head, look = None, None, 0
        try:
            while True:
                await self._refresh(view)
                if told_list != self._list:
                    told_list = self._list
                    yield told_list
                boards = [board for board, changed in view.changed.items() if changed > look]
                look = view.look
                if view.head is not None and (boards or view.head != told_head):
                    told_head = view.head
                    yield report.with_boards(told_head, [view.members[board] for board in boards])
                yield None
                await asyncio.sleep(self._tick_s)
        finally:
            view.watchers -= 1
            if not view.watchers:
                del self._views[name]

    async def _refresh(self, view: _View) -> None:
        """Read what may have changed, unless another watcher has within this tick."""
        async with self._alone:
            moment = asyncio.get_running_loop().time()
            if moment - self._asked_at >= self._tick_s:
                last_event = await asyncio.to_thread(self._ledger.last_event)
                self._asked_at = moment
                if last_event != self._last_event or moment - self._listed_at >= FULL_SECONDS:
                    self._list = await asyncio.to_thread(report.listed, self._ledger)
                    self._last_event, self._listed_at = last_event, moment
                    self._look += 1
            is_over = view.head is not None and view.head.state != "running"
            if view.name and view.look != self._look and not is_over:
                look = self._look
                head, members = await asyncio.to_thread(self._read, view.name)
                changed = [m for m in members if view.members.get(m.board) != m]
                view.members |= {member.board: member for member in changed}
                view.changed |= {member.board: look for member in changed}
                view.head, view.look = head, look

    def _read(self, name: str) -> tuple[RolloutStatus, tuple[Member, ...]]:
        # The head first: what changes in between is read again, as the rollout is not over in it.
        return report.status(self._ledger, name, ()), self._ledger.members(name)
