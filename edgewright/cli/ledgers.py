"""The ledger of rollouts: which one is meant, and what it says to deploys by hand."""

import functools
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from edgewright.base.errors import UserError
from edgewright.base.workspace import workspace_root
from edgewright.cli.common import heavy, workspace
from edgewright.cli.many import inventory_of
from edgewright.deploy import install, remote
from edgewright.deploy.install import NextFence
from edgewright.deploy.target import Target
from edgewright.fleet import inventory

if TYPE_CHECKING:  # it needs the extra [rollout]
    from edgewright.fleet.rollout.ledger import Ledger

LEDGER = "EDGEWRIGHT_LEDGER"
FILE = "fleet.sqlite"

LedgerPlace = Annotated[
    str,
    "the ledger: a file, or postgresql://…; default: EDGEWRIGHT_LEDGER, else fleet.sqlite at the "
    "workspace's root",
]


def rollout_module(name: str) -> Any:
    return heavy(name, "fleet.rollout", "rollout")


def open_ledger(place: str) -> "Ledger":
    database = rollout_module("database").open_database(_place(place))
    ledger: Ledger = rollout_module("ledger").Ledger(database, time.time)
    return ledger


def existing_ledger(place: str) -> "Ledger":
    """A ledger of rollouts that were started. Who asks for one by a wrong name makes none there."""
    if not _exists(_place(place)):
        raise UserError(
            _place(place),
            "no such ledger: no rollout was started with it",
            next="edgewright rollout.start --select=all, or the same command with --ledger=FILE",
        )
    return open_ledger(place)


def releases_of_rollouts(place: str) -> frozenset[str]:
    """Releases that rollouts which are not over need; none where no rollout was ever started.

    Raises UserError for a ledger that is named and not there: its rollouts are not known.
    """
    root = workspace_root(Path.cwd())
    is_named = bool(place or os.environ.get(LEDGER))
    if not is_named and (root is None or not (root / FILE).exists()):
        return frozenset()
    return existing_ledger(place).needed_releases()


def _place(place: str) -> str:
    return place or os.environ.get(LEDGER, "") or str(workspace().root / FILE)


def _exists(path: str) -> bool:
    return "://" in path or Path(path).exists()


class HandFences:
    """Fences of deploys that no rollout makes, from the ledger of rollouts.

    Without a ledger, and for what is no board of the fleet, there are none: the board itself counts
    one up.
    """

    def __init__(self, ledger: str, *, take_over: bool) -> None:
        """With `take_over` a board is taken from its rollout. Raises UserError."""
        self._take_over = take_over
        has_ledger = bool(ledger) or _exists(_place(""))
        self._ledger = existing_ledger(ledger) if has_ledger else None

    def of_board(self, name: str) -> NextFence | None:
        """Of a board of the fleet; it raises TargetError where a rollout has the board."""
        if self._ledger is None:
            return None
        next_fence: NextFence = rollout_module("operate").fence_by_hand(
            self._ledger, name, install.this_user().holder, take_over=self._take_over
        )
        return next_fence

    def of_target(self, target: Target) -> NextFence | None:
        """Of a host, which the workspace's inventory may have under a name."""
        if self._ledger is None or target.emulated:
            return None
        name = self._names.get(remote.place(target))
        return self.of_board(name) if name else None

    @functools.cached_property
    def _names(self) -> Mapping[str, str]:
        """Boards of the workspace's inventory, by their places."""
        if not (workspace().root / inventory.FILE).exists():
            return {}
        fleet = inventory_of("")
        return {remote.place(fleet.target(board)): board.name for board in fleet.fleet.boards}
