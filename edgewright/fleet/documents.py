"""What tasks about a fleet write as JSON."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from edgewright.base.schema import Document, Part, Shown
from edgewright.deploy.known_hosts import pinned_key
from edgewright.fleet.inventory import Board, Inventory
from edgewright.fleet.rollout.gates import Measured, Shadowed, Verdict, Word


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


# States of boards that do not run the release, and will not.
WITHOUT_RELEASE = ("quarantined", "skipped", "excluded")
SHOWN_STATES = ("waiting", "ready", "staged", "running", "done", "went back", *WITHOUT_RELEASE)


class RolloutBoard(Part):
    """A board of a rollout."""

    board: str
    site: str
    wave: int
    # What it is to run, or to hold ahead of that, or to have run beside the former release.
    goal: Literal["stage", "shadow", "release", "former"]
    state: Literal["waiting", "ready", "running", "done", "quarantined", "skipped", "excluded"]
    tries: int
    release: str
    former: str | None  # that it ran when the rollout was started; null: none, or nobody knows
    reason: str  # why it failed, was skipped or excluded
    measured: Measured | None
    joined: datetime | None  # after the rollout had been planned
    staged: datetime | None  # the release lay on the board, ahead of the switch

    @property
    def shown_state(self) -> str:
        """One of `SHOWN_STATES`."""
        if self.goal == "former" and self.state == "done":
            return "went back"
        if self.goal == "release" and self.state == "ready" and self.staged:
            return "staged"
        return self.state


class RolloutGates(Part):
    """What the gates said of a wave."""

    wave: int
    shadow: bool = False  # before any of its boards was switched
    word: Word  # of all gates: the worst
    gates: tuple[Verdict, ...]
    approved: str | None  # by whom, and why


class RolloutStatus(Document):
    """`rollout.status --json`, and what the tasks that conduct a rollout write at its end."""

    version: Literal[1] = 1
    name: str
    state: Literal["running", "done", "stopped", "aborted"]
    wish: Literal["run", "pause", "abort"]  # of its operators
    phase: str
    reason: str  # why it was stopped or aborted
    started: datetime
    ended: datetime | None
    wave: int  # that was begun last
    waves: tuple[int, ...]  # boards that run the release after each wave, those that joined too
    releases: dict[str, str]  # kind of board → release
    verdicts: tuple[RolloutGates, ...]
    boards: tuple[RolloutBoard, ...]


class RolloutLine(Part):
    name: str
    state: Literal["running", "done", "stopped", "aborted"]
    phase: str
    reason: str
    started: datetime
    ended: datetime | None


class RolloutList(Document):
    """`rollout.list --json`: all rollouts of a ledger, the last one first."""

    version: Literal[1] = 1
    rollouts: tuple[RolloutLine, ...]


class RolloutChange(Document):
    """What an operator wishes of a rollout, or has approved; `boards` are those it is about."""

    version: Literal[1] = 1
    name: str
    change: Literal["pause", "resume", "abort", "approve", "retry", "join"]
    boards: int


class ListedPerson(Part):
    """Somebody who may look at rollouts over the network."""

    name: str
    role: Literal["viewer", "operator"]
    until: datetime  # the token counts


class PeopleList(Document):
    """`fleet.people --json`: who may log in to `fleet.serve`."""

    version: Literal[1] = 1
    people: tuple[ListedPerson, ...]
    token: str | None  # of the one who was added just now: it is shown this once


class Served(Document):
    """`fleet.serve --json`, as soon as it listens."""

    version: Literal[1] = 1
    url: str


class Login(Document):
    """`GET /v1/login`: who has logged in."""

    version: Literal[1] = 1
    name: str
    role: Literal["viewer", "operator"]


class Refusal(Document):
    """What `fleet.serve` answers to a request that it does not meet."""

    version: Literal[1] = 1
    message: str
    next: str | None = None


# What sites that dial out and `fleet.serve` say to each other


class Invitation(Document):
    """What a site enrols with, once: a file of `site.invite`, carried there by hand."""

    version: Literal[1] = 1
    site: str
    server: str = Field(pattern=r"^https://[^/]+$")
    token: str
    authority: str  # PEM, of who signs the server's certificate and the site's


class EnrolledSite(Document):
    """`site.enrol --json`, and `site.json` of the site's machine."""

    version: Literal[1] = 1
    site: str
    server: str


class DismissedSite(Document):
    """`site.dismiss --json`: how many certificates and invitations count no more."""

    version: Literal[1] = 1
    site: str
    count: int


class SiteRun(Document):
    """`site.run --json`, at its end: how many attempts on boards ended how."""

    version: Literal[1] = 1
    site: str
    attempts: dict[str, int]


class Enrolment(Document):
    """The answer of `POST /v1/enrol`."""

    version: Literal[1] = 1
    site: str
    certificate: str  # PEM


class EnrolRequest(Part):
    token: str
    request: str  # PEM: a certificate signing request


class SiteRequest(Part):
    """`POST /v1/lease`: boards of the site that may be changed now."""

    worker: str = Field(pattern=r"^[0-9a-f]{16}$")
    boards: tuple[str, ...]
    room: int = Field(ge=0, le=200)
    wait_s: float = Field(ge=0, le=30)


class SiteClaim(Part):
    """The right to work on a board while the lease is renewed."""

    attempt: int
    rollout: str
    board: str
    goal: Literal["stage", "shadow", "release", "former"]
    release: str
    fence: int
    tries: int
    shadow_s: float | None = Field(None, gt=0)  # of a shadow: how long


class SiteQuestion(Part):
    id: int
    board: str


class SiteWork(Document):
    """The answer of `POST /v1/lease`: what the site is to do."""

    version: Literal[1] = 1
    claims: tuple[SiteClaim, ...]
    questions: tuple[SiteQuestion, ...]


class SiteAnswer(Shown, Part):
    """What a board runs."""

    current: str | None = None
    restarts: int | None = Field(None, ge=0)  # of its service
    floor: int = Field(0, ge=0)  # the number of its last order
    celsius: float | None = Field(None, ge=-40, le=150)  # of its hottest zone
    problem: str | None = Field(None, max_length=1000)  # why nobody knows


class SiteAnswers(Part):
    """`POST /v1/answers`."""

    answers: dict[int, SiteAnswer]


class SiteRenewal(Part):
    """`POST /v1/renew`."""

    attempts: tuple[int, ...]


# Eighteen digits, as on a board: what is above it does not fit into the ledger's column.
MOST_FENCE = 10**18 - 1


class SiteFence(Document):
    """`POST /v1/fence`, and its answer: a fence above the board's own."""

    version: Literal[1] = 1
    attempt: int
    fence: int
    last: int = Field(ge=0, le=MOST_FENCE)  # the board's


class SiteReport(Shown, Part):
    """`POST /v1/report`: how an attempt ended."""

    attempt: int
    fence: int
    outcome: Literal["done", "failed", "hopeless"]
    reason: str = Field("", max_length=1000)
    measured: Measured | None = None
    shadow: Shadowed | None = None


class SiteReceipt(Document):
    """Whether a report counted: one of an old fence does not, nor does one that was there."""

    version: Literal[1] = 1
    counts: bool


class SiteOrder(Part):
    release: str
    manifest: str  # base64
    signature: str  # base64


class SiteOrders(Document):
    """`GET /v1/orders/ROLLOUT`: what the boards of a rollout may be ordered to run."""

    version: Literal[1] = 1
    orders: tuple[SiteOrder, ...]


class Quarantine(Document):
    """`rollout.quarantine --json`: boards that no rollout takes, and why."""

    version: Literal[1] = 1
    boards: dict[str, str]


class SimulationReport(Document):
    """`rollout.simulate --json`: what a simulated rollout and its controllers came to."""

    version: Literal[1] = 1
    boards: int
    database: Literal["sqlite", "postgresql"]
    parallel: int
    kills: int  # of controllers
    worker_kills: int  # of workers of sites
    seconds: float
    state: str  # of the rollout
    done: int
    quarantined: int
    at_once: int  # deploys that began while another was at work on the same board: to be 0
    lost: int  # boards that are in no final state: to be 0
    different: int  # boards of which ledger and truth say different things: to be 0
    falling: int  # attempts whose fence was not above all earlier ones of its board: to be 0
    unstaged: int  # with --stage-first: switches to content that was not there yet: to be 0
    refused: int  # deploys that a board refused for their old fences
    cut: int  # deploys that ended with their controllers
    attempts: int
    # From the start of a controller, its modules loaded, to its first board.
    resumed_median_s: float | None
    resumed_max_s: float | None
    cpu_ms_per_board: float  # of all controllers, their starts included
    peak_mib: float  # of memory, of the controller that had most
    ledger_kib: int  # at the end


class RolloutCurve(Document):
    """`bench.rollout --json`: rollouts to fleets of several sizes."""

    version: Literal[1] = 1
    rows: tuple[SimulationReport, ...]


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
