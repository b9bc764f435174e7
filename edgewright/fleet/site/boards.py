"""The boards of a site over SSH, from the site's own machine."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgewright.deploy.edgectl import AbsentError
from edgewright.deploy.signing_policy import SigningPolicy
from edgewright.fleet.rollout.controller import Observation
from edgewright.fleet.rollout.ledger import Order
from edgewright.fleet.rollout.on_boards import FleetBoard, Login, OnBoards, Roster
from edgewright.release.manifest import Release


@dataclass(frozen=True, kw_only=True)
class OwnBoards:
    """`worker.SiteBoards` by a fleet's file of the site."""

    boards: Sequence[FleetBoard]
    signing: SigningPolicy
    login: Login
    outside_window: bool = False

    def names(self) -> Sequence[str]:
        ways, moment = self.with_orders({}, None), time.time()
        return [board.name for board in self.boards if ways.opening(board.name) <= moment]

    def with_orders(self, orders: Mapping[str, Order], release: Release | None) -> OnBoards:
        return OnBoards(
            Roster(boards=self.boards, orders=orders),
            releases={} if release is None else {release.id: release},
            signing=self.signing,
            login=self.login,
            outside_window=self.outside_window,
        )

    def look(self, board: str) -> Observation:
        try:
            return self.with_orders({}, None).look(board)
        except AbsentError:
            return Observation(current=None)
