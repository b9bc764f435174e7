"""The boards of a rollout over SSH: deploy, measure, go back, look."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from edgewright.base.errors import EdgewrightError, TargetError, UserError
from edgewright.board.profile import BoardProfile
from edgewright.deploy import install, one_board, remote, service, smoke
from edgewright.deploy.edgectl import AbsentError, Edgectl, RefusedError
from edgewright.deploy.install import Deployer, NextFence
from edgewright.deploy.one_board import DeploySettings
from edgewright.deploy.rate import RateLimit
from edgewright.deploy.remote import Board
from edgewright.deploy.report import SmokeReport, Verdict
from edgewright.deploy.signing_policy import FormerOrder, SigningPolicy
from edgewright.deploy.target import Target
from edgewright.fleet.inventory import Window
from edgewright.fleet.rollout.controller import HopelessError, Observation
from edgewright.fleet.rollout.gates import MOST_PAIRS, WORDS, Measured, Numbers, Shadowed
from edgewright.fleet.rollout.ledger import Claim, Order
from edgewright.fleet.rollout.sites import Sites
from edgewright.observe import heat
from edgewright.observe.board_files import read_files
from edgewright.observe.shadow.run import shadow_connected
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
        return remote.connect(
            target, password=self.password, known_hosts=self.known_hosts, brief=True
        )


@dataclass(frozen=True, kw_only=True)
class Roster:
    """The boards of a rollout, and what they may be ordered to run."""

    boards: Sequence[FleetBoard]
    orders: Mapping[str, Order]  # by release: of the rollout, and of those that boards had before


class OnBoards:
    """`controller.Boards` over SSH."""

    def __init__(
        self,
        roster: Roster,
        *,
        releases: Mapping[str, Release],
        signing: SigningPolicy,
        login: Login,
        outside_window: bool = False,
        site_kbps: int = 0,
        read_anew: Callable[[], Roster] | None = None,
    ) -> None:
        """`releases` by id; `site_kbps` kB a second go to the boards of one site, 0: no limit.

        `read_anew` is asked for boards that joined meanwhile.
        """
        self._releases, self._base, self._login = releases, signing, login
        self._outside_window, self._site_kbps = outside_window, site_kbps
        self._read_anew, self._alone = read_anew, Lock()
        self._rates: dict[str, RateLimit] = {}  # by site
        self._call_in(roster)

    def _call_in(self, roster: Roster) -> None:
        signatures = {release: order.signature for release, order in roster.orders.items()}
        keys, ask = self._base.keys, self._base.ask
        self._signing = KeptSignatures(keys=keys, ask=ask, signatures=signatures)
        self._orders = roster.orders
        self._boards = {board.name: board for board in roster.boards}

    def _board(self, name: str) -> FleetBoard:
        """Raises TargetError for one that the inventory does not have, or has no more."""
        with self._alone:
            if name not in self._boards and self._read_anew is not None:
                self._call_in(self._read_anew())
            board = self._boards.get(name)
        if board is None:
            raise TargetError(
                name, "is not in the inventory", next="add it there; then edgewright rollout.retry"
            )
        return board

    def site_of(self, board: str) -> str:
        """Raises TargetError, UserError."""
        return self._board(board).site

    def opening(self, board: str) -> float:
        try:
            window = self._board(board).window
        except EdgewrightError:
            return 0.0  # its attempt will say so
        moment = datetime.now(UTC)
        if window is None or self._outside_window or window.is_open(moment):
            return 0.0
        return window.next_opening(moment).timestamp()

    def install(self, claim: Claim, next_fence: NextFence) -> Measured:
        board, settings = self._board(claim.board), self._settings(claim, next_fence)
        with _repeated_refusals(), self._login.connect(board.target) as connected:
            former = self._before(connected, board, settings.release)
            report = one_board.deploy_connected(connected, settings)
            after = _numbers(report.smoke) if report.smoke else None
            if former is not None and after is not None:
                # Its own golden set, made by it, it has passed: or it would not be current.
                right = self._right(connected, board, former.release)
                after = after.model_copy(update={"right": right})
            state = service.status(connected, board.profile)
        return Measured(
            before=former.numbers if former else None,
            after=after,
            restarts=state.restarts if state.installed else None,
        )

    def stage(self, claim: Claim, next_fence: NextFence) -> None:
        board = self._board(claim.board)
        settings = replace(self._settings(claim, next_fence), only_stage=True)
        with _repeated_refusals(), self._login.connect(board.target) as connected:
            one_board.deploy_connected(connected, settings)

    def shadow(self, claim: Claim, next_fence: NextFence) -> Shadowed:
        board, settings = self._board(claim.board), self._settings(claim, next_fence)
        with _repeated_refusals(), self._login.connect(board.target) as connected:
            report = shadow_connected(connected, settings, board.profile, claim.shadow_s)
        return Shadowed(
            offered=report.offered,
            agreed=report.agreed,
            differing=report.disagreed + report.failed,
            fault=report.fault and report.fault[:WORDS],
            reason=report.reason and report.reason[:WORDS],
            pairs=tuple(pair for pair in report.pairs if pair.fate != "agreed")[:MOST_PAIRS],
        )

    def _settings(self, claim: Claim, next_fence: NextFence) -> DeploySettings:
        board = self._board(claim.board)
        return DeploySettings(
            target=board.target,
            release=self._releases[claim.release],
            former_names=board.profile.former_names,
            signing=self._signing,
            deployer=self._login.deployer,
            known_hosts=self._login.known_hosts,
            reserve_bytes=board.profile.deploy.reserve_mb << 20,
            next_fence=next_fence,
            rate=self._rate(board.site),
            smoke_unchanged=True,
            runs=smoke.RUNS,  # on emulated boards, too: one inference tells no leak
        )

    def _rate(self, site: str) -> RateLimit | None:
        if not self._site_kbps:
            return None
        with self._alone:
            return self._rates.setdefault(site, RateLimit(1000 * self._site_kbps))

    def _before(self, connected: Board, board: FleetBoard, release: Release) -> "_Before | None":
        """The former release on this board, measured now: None where it cannot be run."""
        root = board.profile.deploy.root
        try:
            current = Edgectl(board=connected, root=root).status().current
            if current in (None, release.id):
                return None
            celsius = _celsius(connected)  # before the smoke test heats it
            deployer = self._login.deployer
            report = one_board.smoke_current(connected, root, deployer, runs=smoke.RUNS)
            numbers = _numbers(report).model_copy(update={"celsius": celsius})
            return _Before(release=report.release, numbers=numbers)
        except (AbsentError, RefusedError):
            return None

    def _right(self, connected: Board, board: FleetBoard, former: str) -> float | None:
        """How many of the former release's golden images the current one answers as that did."""
        root = board.profile.deploy.root
        with one_board.installed_release(connected, root, self._login.deployer) as subject:
            return smoke.share_right(subject, f"{root}/releases/{former}")

    def go_back(self, claim: Claim, next_fence: NextFence) -> None:
        board = self._board(claim.board)
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
        member = self._board(board)
        with self._login.connect(member.target) as connected:
            edgectl = Edgectl(board=connected, root=member.profile.deploy.root).status()
            state = service.status(connected, member.profile)
            celsius = _celsius(connected)
        trial = edgectl.txn if edgectl.txn and edgectl.txn.state == "trial" else None
        return Observation(
            current=trial.old if trial else edgectl.current,  # a trial may yet be undone
            restarts=state.restarts if state.installed else None,
            floor=edgectl.floor.sequence if edgectl.floor else 0,
            celsius=celsius,
        )


@dataclass(frozen=True, kw_only=True)
class _Before:
    """The release that a board ran before its deploy."""

    release: str
    numbers: Numbers


def _celsius(board: Board) -> float | None:
    """Of the hottest zone; those that an emulator shows are its host's."""
    if board.target.emulated:
        return None
    return heat.hottest(read_files(board, heat.ZONES))


@contextmanager
def _repeated_refusals() -> Iterator[None]:
    """Raises HopelessError for what the board would say again."""
    try:
        yield
    except RefusedError as refused:
        if refused.code in REPEATED:
            raise _hopeless(refused) from refused
        raise
    except UserError as mistake:
        raise _hopeless(mistake) from mistake


def _hopeless(fault: EdgewrightError) -> HopelessError:
    return HopelessError(fault.subject, fault.problem, facts=fault.facts, next=fault.next)


def _numbers(report: SmokeReport) -> Numbers:
    """An emulator's times and memory are its own; what lies on the program's heap is not."""
    bench = None if report.emulated else report.bench
    judged = [image for image in report.images if image.verdict is not Verdict.NOT_JUDGED]
    right = sum(image.verdict is Verdict.PASSED for image in judged)
    return Numbers(
        p95_ms=bench.p95_ms if bench else None,
        peak_rss_kb=bench.peak_rss_kb if bench else None,
        leak_kb=report.bench.leak_kb if report.bench else None,
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
    return (*orders.values(), *_sign_back(back, orders, highest, signing))


def require_older(
    formers: Sequence[Former], releases: Collection[str], orders: Mapping[str, Order]
) -> None:
    """Raises UserError for boards whose last order is not older than the rollout's: they would
    refuse that one."""
    first = min(sequence(orders[release].signature) for release in releases)
    newer = [f for f in formers if f.floor >= first and f.release not in releases]
    if newer:
        raise UserError(
            "boards",
            f"{len(newer)} had an order after the rollout was started",
            facts=[f"{former.board}: {former.release or 'no release'}" for former in newer[:20]],
            next="the same command without them; another rollout.start once this one is over",
        )


def sign_back(
    orders: Mapping[str, Order], back: Mapping[str, FormerOrder], signing: SigningPolicy
) -> tuple[Order, ...]:
    """What a rollout with these orders lacks for boards that join it: their way back."""
    highest = max(sequence(order.signature) for order in orders.values())
    return _sign_back(back, orders, highest, signing)


def _sign_back(
    back: Mapping[str, FormerOrder],
    orders: Collection[str],
    highest: int,
    signing: SigningPolicy,
) -> tuple[Order, ...]:
    return tuple(
        Order(
            release=release,
            manifest=former.manifest.canonical(),
            signature=signing.sign_anew(former, highest, emulated=False),
        )
        for release, former in back.items()
        if release not in orders
    )


def sequence(signature: bytes) -> int:
    """The number of an order. Raises UserError."""
    return parse_order(parse_signature(signature, "order").trusted_comment, "order").sequence
