"""What tasks about a fleet write as JSON."""

from typing import Literal

from edgewright.base.schema import Document, Part
from edgewright.deploy.known_hosts import pinned_key
from edgewright.fleet.inventory import Board, Inventory


class ListedBoard(Part):
    """A board of the fleet."""

    name: str
    site: str
    kind: str
    address: str
    jump: str | None  # name of the gateway or board before it
    host_key: str | None  # fingerprint; null: known_hosts has the last word
    labels: dict[str, str]


class FleetList(Document):
    """`fleet.list --json`: the boards that are meant."""

    version: Literal[1] = 1
    file: str
    boards: tuple[ListedBoard, ...]


class EnrolledHost(Part):
    """A board or gateway whose host key was listed."""

    name: str
    fingerprint: str  # that was listed
    state: Literal["pinned", "replaced", "unchanged", "failed"]


class FleetTrust(Document):
    """`fleet.trust --json`: what was pinned of the listed keys."""

    version: Literal[1] = 1
    file: str  # of our pins
    hosts: tuple[EnrolledHost, ...]


class FleetCheck(Document):
    """`fleet.check --json`: a fleet without defects."""

    version: Literal[1] = 1
    file: str
    sites: int
    gateways: int
    boards: int
    groups: int


def listed(inventory: Inventory, board: Board) -> ListedBoard:
    jump = inventory.jump(board)
    own = {"name", "site", "kind"}
    return ListedBoard(
        name=board.name,
        site=board.site,
        kind=board.kind,
        address=board.address,
        jump=jump.name if jump else None,
        host_key=pinned_key(board.host_key, "").fingerprint if board.host_key else None,
        labels={label: value for label, value in board.facts.items() if label not in own},
    )
