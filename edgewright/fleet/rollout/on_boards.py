"""The boards of a rollout over SSH: deploy, measure, go back, look."""

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from edgewright.base.errors import EdgewrightError, UserError
from edgewright.board.profile import BoardProfile
from edgewright.deploy import install, one_board, remote, service
from edgewright.deploy.edgectl import AbsentError, Edgectl, RefusedError
from edgewright.deploy.install import Deployer, NextFence
from edgewright.deploy.one_board import DeploySettings
from edgewright.deploy.remote import Board
from edgewright.deploy.report import SmokeReport, Verdict
from edgewright.deploy.signing_policy import FormerOrder, SigningPolicy
from edgewright.deploy.target import Target
from edgewright.fleet.inventory import Window
from edgewright.fleet.rollout.controller import HopelessError, Observation
from edgewright.fleet.rollout.gates import Measured, Numbers
from edgewright.fleet.rollout.ledger import Claim, Order
from edgewright.fleet.rollout.sites import Sites
from edgewright.observe import heat
from edgewright.observe.board_files import read_files
from edgewright.release.keys import is_ahead
from edgewright.release.manifest import MANIFEST, Release, read_manifest
from edgewright.release.minisign import parse_signature
from edgewright.release.order import parse_order, sign

RELEASE_ID = re.compile(r"[0-9a-f]{16}")
# What a board refuses once more until somebody has changed something about it.
REPEATED = frozenset(
    {
        *("no_keys", "keys_lost", "board_lost", "floor_lost", "signature_unknown_key"),
        *("wrong_board", "no_space", "older", "quarantined"),
    }
)


@dataclass(frozen=True, kw_only=True)
class FleetBoard:
    """A board of a fleet, and the way to it."""

    name: str
    site: str
    target: Target
    profile: BoardProfile
    window: Window | None = None


@dataclass(frozen=True, kw_only=True)
class KeptSignatures(SigningPolicy):
    """Signs nothing: a rollout's orders were signed when it was started."""

    signatures: Mapping[str, bytes]  # by release

    def signature_of(self, release: Release, *, emulated: bool) -> bytes:
        return self.signatures[release.id]


@dataclass(frozen=True, kw_only=True)
class Login:
    """What every connection to a board of the fleet has in common."""

    deployer: Deployer
    known_hosts: tuple[Path, ...]
    password: str | None = field(default=None, repr=False)

    def connect(self, target: Target) -> AbstractContextManager[Board]:
        return remote.connect(target, password=self.password, known_hosts=self.known_hosts)


class OnBoards:
    """`controller.Boards` over SSH."""

    def __init__(
        self,
        boards: Sequence[FleetBoard],
        *,
        releases: Mapping[str, Release],
        orders: Mapping[str, Order],
        signing: SigningPolicy,
        login: Login,
        outside_window: bool = False,
    ) -> None:
        """`releases` by id; `orders` by release, of these and of those that boards had before."""
        self._boards = {board.name: board for board in boards}
        self._releases, self._orders, self._login = releases, orders, login
        signatures = {release: order.signature for release, order in orders.items()}
        self._signing = KeptSignatures(keys=signing.keys, ask=signing.ask, signatures=signatures)
        self._outside_window = outside_window

    def opening(self, board: str) -> float:
        window, now = self._boards[board].window, datetime.now(UTC)
        if window is None or self._outside_window or window.is_open(now):
            return 0.0
        return window.next_opening(now).timestamp()

    def install(self, claim: Claim, next_fence: NextFence) -> Measured:
        board, release = self._boards[claim.board], self._releases[claim.release]
        settings = DeploySettings(
            target=board.target,
            release=release,
            former_names=board.profile.former_names,
            signing=self._signing,
            deployer=self._login.deployer,
            known_hosts=self._login.known_hosts,
            reserve_bytes=board.profile.deploy.reserve_mb << 20,
            next_fence=next_fence,
            smoke_unchanged=True,
        )
        try:
            with self._login.connect(board.target) as connected:
                before = self._before(connected, board, release)
                report = one_board.deploy_connected(connected, settings)
                state = service.status(connected, board.profile)
        except RefusedError as refused:
            if refused.code in REPEATED:
                raise _hopeless(refused) from refused
            raise
        except UserError as mistake:
            raise _hopeless(mistake) from mistake
        return Measured(
            before=before,
            after=_numbers(report.smoke) if report.smoke else None,
            restarts=state.restarts if state.installed else None,
        )

    def _before(self, connected: Board, board: FleetBoard, release: Release) -> Numbers | None:
        """What the former release measures on this board, now: None where it cannot be run."""
        root = board.profile.deploy.root
        try:
            current = Edgectl(board=connected, root=root).status().current
            if current in (None, release.id):
                return None
            celsius = _celsius(connected)  # before the smoke test heats it
            report = one_board.smoke_current(connected, root, self._login.deployer)
            return _numbers(report).model_copy(update={"celsius": celsius})
        except (AbsentError, RefusedError):
            return None

    def go_back(self, claim: Claim, next_fence: NextFence) -> None:
        board = self._boards[claim.board]
        root = board.profile.deploy.root
        with self._login.connect(board.target) as connected:
            edgectl = Edgectl(board=connected, root=root)
            # Not while a worker of ours whose attempt was given up could still switch the board.
            with install.only_deploy(edgectl, self._login.deployer):
                state = edgectl.status()
            if state.current != claim.release:
                return  # it never came to run it, or went back by itself
            order = self._orders.get(state.previous or "")
            if order is None or state.previous == claim.release:
                raise HopelessError(
                    board.name,
                    "has no former release that an order was signed for",
                    facts=[f"previous: {state.previous or 'none'}"],
                )
            install.rollback(
                connected,
                root,
                lambda former, floor: order.signature,
                deployer=self._login.deployer,
                next_fence=next_fence,
            )

    def look(self, board: str) -> Observation:
        place = self._boards[board]
        with self._login.connect(place.target) as connected:
            edgectl = Edgectl(board=connected, root=place.profile.deploy.root).status()
            state = service.status(connected, place.profile)
            celsius = _celsius(connected)
        return Observation(
            current=edgectl.current,
            restarts=state.restarts if state.installed else None,
            floor=edgectl.floor.sequence if edgectl.floor else 0,
            celsius=celsius,
        )


def _celsius(board: Board) -> float | None:
    """Of the hottest zone; those that an emulator shows are its host's."""
    if board.target.emulated:
        return None
    return heat.hottest(read_files(board, heat.ZONES))


def _hopeless(fault: EdgewrightError) -> HopelessError:
    return HopelessError(fault.subject, fault.problem, facts=fault.facts, next=fault.next)


def _numbers(report: SmokeReport) -> Numbers:
    """An emulator's times and memory are its own."""
    bench = None if report.emulated else report.bench
    judged = [image for image in report.images if image.verdict is not Verdict.NOT_JUDGED]
    right = sum(image.verdict is Verdict.PASSED for image in judged)
    return Numbers(
        p95_ms=bench.p95_ms if bench else None,
        peak_rss_kb=bench.peak_rss_kb if bench else None,
        right=right / len(judged) if judged else None,
    )


# Before a rollout


@dataclass(frozen=True, kw_only=True)
class Former:
    """What a board ran before a rollout."""

    board: str
    release: str | None = None
    floor: int = 0  # the number of its last order: a board takes none that is not above it
    problem: str | None = None  # why nobody knows


def survey(
    boards: Sequence[FleetBoard],
    login: Login,
    releases_of: Callable[[FleetBoard], Path],
    *,
    parallel: int,
) -> tuple[tuple[Former, ...], Mapping[str, FormerOrder]]:
    """Ask each board what it runs; with what is to be signed to go back to each such release.

    `releases_of` is the folder of the releases that were built for a board's kind on this machine.
    A board that does not answer is no obstacle.
    """
    orders: dict[str, FormerOrder] = {}
    alone = Lock()

    def ask(board: FleetBoard) -> Former:
        root = board.profile.deploy.root
        try:
            with login.connect(board.target) as connected:
                state = Edgectl(board=connected, root=root).status()
                with alone:  # one board of each release is asked for its manifest
                    if state.current is not None and state.current not in orders:
                        folder = releases_of(board)
                        order = _former_order(connected, board, state.current, folder)
                        orders[state.current] = order
        except AbsentError:
            return Former(board=board.name)
        except EdgewrightError as fault:
            return Former(board=board.name, problem=fault.problem)
        floor = state.floor.sequence if state.floor else 0
        return Former(board=board.name, release=state.current, floor=floor)

    with ThreadPoolExecutor(min(parallel, len(boards))) as pool:
        return tuple(pool.map(ask, boards)), orders


def survey_far(
    boards: Sequence[FleetBoard], sites: Sites, releases_of: Callable[[FleetBoard], Path]
) -> tuple[tuple[Former, ...], Mapping[str, FormerOrder]]:
    """Like `survey`, of boards that their sites alone reach.

    The way back is to releases that were built here: a site's word brings no other manifest.
    """
    numbers = sites.ask({board.name: board.site for board in boards})
    answers = sites.wait(tuple(numbers.values()))
    formers, orders = list[Former](), dict[str, FormerOrder]()
    for board in boards:
        answer = answers.get(numbers[board.name])
        if answer is None:
            formers.append(Former(board=board.name, problem="its site does not answer"))
            continue
        former = Former(
            board=board.name, release=answer.current, floor=answer.floor, problem=answer.problem
        )
        formers.append(former)
        release = former.release or ""
        # A site may name any path; what lies there would be signed as built here.
        if not RELEASE_ID.fullmatch(release) or release in orders:
            continue
        built = releases_of(board) / release
        if (built / MANIFEST).is_file():
            orders[release] = FormerOrder(
                manifest=read_manifest(built / MANIFEST),
                signature=b"",
                subject=str(built),
                kinds=board.profile.names,
                is_built_here=True,
            )
    return tuple(formers), orders


def _former_order(connected: Board, board: FleetBoard, release: str, releases: Path) -> FormerOrder:
    root = board.profile.deploy.root
    order = install.read_board_order(connected, root, release)
    manifest, built = order.manifest, releases / release / MANIFEST
    return FormerOrder(
        manifest=manifest,
        signature=order.signature,
        subject=f"{board.name}: {root}/releases/{release}/{MANIFEST}",
        kinds=board.profile.names,
        is_built_here=built.is_file() and built.read_bytes() == manifest.canonical(),
    )


def sign_orders(
    releases: Mapping[str, Release],
    formers: Sequence[Former],
    back: Mapping[str, FormerOrder],
    signing: SigningPolicy,
) -> tuple[Order, ...]:
    """The orders of a rollout: to its releases, and, with higher numbers, back to the former ones.

    A release whose signature boards would not take any more, as they went back from it, is signed
    anew. Raises UserError for a key that cannot be used, and for a former release that must not be
    ordered.
    """
    # A number from the future, which one board may make up, would bind all others to it.
    floors = [(former.release, former.floor) for former in formers if not is_ahead(former.floor)]
    orders: dict[str, Order] = {}
    for release in releases.values():
        others = [floor for current, floor in floors if current != release.id]
        signature = signing.signature_of(release, emulated=False)
        if sequence(signature) <= max(others, default=0):
            signer = signing.signer(emulated=False)
            signature = sign(release.manifest, signer, at_least=max(others) + 1)
        manifest = release.manifest.canonical()
        orders[release.id] = Order(release=release.id, manifest=manifest, signature=signature)
    signed = [sequence(order.signature) for order in orders.values()]
    highest = max([*signed, *(floor for _, floor in floors)])
    for release_id, former in back.items():
        if release_id not in orders:
            orders[release_id] = Order(
                release=release_id,
                manifest=former.manifest.canonical(),
                signature=signing.sign_anew(former, highest, emulated=False),
            )
    return tuple(orders.values())


def sequence(signature: bytes) -> int:
    """The number of an order. Raises UserError."""
    return parse_order(parse_signature(signature, "order").trusted_comment, "order").sequence
