"""The deploy of one board, from the signature to the smoke report, as a function.

It shares nothing with other deploys but files that are locked: fifty may run in fifty threads of
one process, each with settings and a progress sink of its own. Settings carry everything that
depends on the machine or its user; nothing below looks into the environment.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgewright.base.errors import TargetError
from edgewright.base.files import write_file
from edgewright.base.progress import Progress
from edgewright.deploy import install, remote, smoke
from edgewright.deploy.documents import DeployReport, PlanReport, deploy_report, plan_report
from edgewright.deploy.edgectl import BoardRelease, Edgectl, RefusedError
from edgewright.deploy.install import Deployer, Gate, NextFence, Order
from edgewright.deploy.rate import RateLimit
from edgewright.deploy.remote import Board, Timeouts, UserSsh
from edgewright.deploy.report import SmokeReport
from edgewright.deploy.signing_policy import FormerOrder, SigningPolicy
from edgewright.deploy.target import Target
from edgewright.release.manifest import MANIFEST, Manifest, Release


@dataclass(frozen=True, kw_only=True)
class DeploySettings:
    """All that the deploy of one board depends on."""

    target: Target
    release: Release
    signing: SigningPolicy
    deployer: Deployer
    known_hosts: tuple[Path, ...]  # files of host keys; the first that knows the host decides
    ssh: UserSsh | None = None  # shared by deploys to many boards; None: read for this one
    password: str | None = field(default=None, repr=False)  # else keys and the SSH agent
    timeouts: Timeouts = field(default_factory=Timeouts)
    former_names: tuple[str, ...] = ()  # of the board's kind, by its profile
    reserve_bytes: int = 0  # of the board's storage, which stay free
    take_over: bool = False  # end another's deploy that is at work on the board
    next_fence: NextFence | None = None  # by a ledger; else one more than the board's last
    rate: RateLimit | None = None  # of what is sent, shared by all deploys that have this one
    only_stage: bool = False  # bring the release there, and do not switch to it
    trial: Gate | None = None  # of a release that is only staged
    smoke_unchanged: bool = False  # test a release that was current already, too
    runs: tuple[int, int] | None = None  # of the smoke test's bench: `smoke.run`
    smoke_file: Path | None = None  # where the smoke report is written


def deploy(settings: DeploySettings, progress: Progress | None = None) -> DeployReport:
    """Deploy: sign, connect, plan, send, self-test, smoke test, switch, confirm.

    The smoke test is the gate: a release that fails it is not switched to, and the former one
    stays current. The same release again sends nothing. A deploy that was cut leaves a verified
    release current, and doing it again goes on.

    Raises TargetError for a board that is not reached, does not fit, refuses, is full or busy, or
    whose smoke test fails (`ConnectionLostError`, `RefusedError` and `AbsentError` are kinds of
    it), and UserError for keys, known hosts and releases that cannot be used.
    """
    # Before the login: a board would not wait for a passphrase that somebody looks for.
    signature = settings.signing.signature_of(settings.release, emulated=settings.target.emulated)
    with _connect(settings) as board:
        return _deploy_signed(board, settings, signature, progress or Progress())


def _connect(settings: DeploySettings) -> AbstractContextManager[Board]:
    return remote.connect(
        settings.target,
        password=settings.password,
        known_hosts=settings.known_hosts,
        timeouts=settings.timeouts,
        brief=True,
        ssh=settings.ssh,
    )


def deploy_connected(
    board: Board, settings: DeploySettings, progress: Progress | None = None
) -> DeployReport:
    """`deploy` over a connection that is open. Raises TargetError, UserError."""
    signature = settings.signing.signature_of(settings.release, emulated=board.target.emulated)
    return _deploy_signed(board, settings, signature, progress or Progress())


def _deploy_signed(
    board: Board, settings: DeploySettings, signature: bytes, progress: Progress
) -> DeployReport:
    release = settings.release
    root = release.manifest.deploy_root
    if board.target.emulated:
        edgectl = install.ensure_edgectl(board, root, release)
        settings.signing.trust_emulated(edgectl, release, signature)
    gate = smoke.Gate(
        release.manifest,
        runs=settings.runs,
        progress=progress,
        smoke_file=settings.smoke_file,
    )
    with _told_its_name(board, settings):
        installed = install.deploy(
            board,
            release,
            signature,
            gate=gate,
            only_stage=settings.only_stage,
            trial=settings.trial,
            reserve_bytes=settings.reserve_bytes,
            progress=progress,
            take_over=settings.take_over,
            deployer=settings.deployer,
            next_fence=settings.next_fence,
            rate=settings.rate,
        )
    smoke_report = gate.report
    if installed.unchanged and settings.smoke_unchanged:
        smoke_report = smoke_current(
            board,
            root,
            settings.deployer,
            runs=settings.runs,
            progress=progress,
            smoke_file=settings.smoke_file,
        )
        smoke.require_passed(smoke_report)
    return deploy_report(installed, smoke_report, str(board.target))


def plan(settings: DeploySettings) -> PlanReport:
    """What `deploy` would do; nothing on the board changes, but the release is signed.

    Raises what `deploy` would raise before it sends anything.
    """
    signature = settings.signing.signature_of(settings.release, emulated=settings.target.emulated)
    reserve_bytes = settings.reserve_bytes
    with _connect(settings) as board, _told_its_name(board, settings):
        dry_run = install.dry_run(board, settings.release, signature, reserve_bytes=reserve_bytes)
    return plan_report(dry_run, str(settings.target))


@contextmanager
def _told_its_name(board: Board, settings: DeploySettings) -> Iterator[None]:
    """A board that goes by a former name of its kind is not one of another kind."""
    try:
        yield
    except RefusedError as refused:
        manifest = settings.release.manifest
        if refused.code != "wrong_board":
            raise
        name = Edgectl(board=board, root=manifest.deploy_root).status().compatible
        if name not in settings.former_names:
            raise
        raise TargetError(
            str(board.target),
            f"goes by a former name of '{manifest.board}'",
            facts=[f"expected: {manifest.compatible}", f"found: {name}"],
            next=f"invoke keys.provision --board={manifest.board} with the same way to the board: "
            "it signs the new name, and releases of the former one go on",
        ) from refused


def smoke_current(
    board: Board,
    root: str,
    deployer: Deployer,
    *,
    runs: tuple[int, int] | None = None,
    progress: Progress | None = None,
    smoke_file: Path | None = None,
) -> SmokeReport:
    """Smoke-test the release that is current below the deploy root `root`.

    What the release does wrong is in the report. Raises TargetError for a board without a
    release, or where a deploy is at work.
    """
    with installed_release(board, root, deployer) as subject:
        report = smoke.run(subject.release, subject.manifest, runs=runs, progress=progress)
    if smoke_file:
        write_file(smoke_file, report.to_json())
    return report


@contextmanager
def current_release(board: Board, root: str, deployer: Deployer) -> Iterator[smoke.Subject]:
    """The release that is current below the deploy root `root`, to run its default program.

    Raises TargetError for a board without a release, or with one that lacks that program, or where
    a deploy is at work.
    """
    with installed_release(board, root, deployer) as subject:
        subject.require_default_program()
        yield subject


@contextmanager
def installed_release(board: Board, root: str, deployer: Deployer) -> Iterator[smoke.Subject]:
    """The same, whatever programs it has."""
    state = install.status(board, root)
    if state.edgectl is None or state.manifest is None:
        raise TargetError(str(board.target), "no release is installed", next="invoke deploy")
    edgectl = Edgectl(board=board, root=root, protocol=state.edgectl.helper.protocol)
    with install.only_deploy(edgectl, deployer) as holder:
        right = f"--holder={holder}"
        release = BoardRelease(edgectl=edgectl, release=state.manifest.id, right=right)
        yield smoke.Subject(release=release, manifest=state.manifest)


@dataclass(frozen=True, kw_only=True)
class RollbackSettings:
    """All that going back on one board depends on."""

    root: str  # the deploy root
    kinds: tuple[str, ...]  # of the board, by its profile: `compatible` and former names
    releases: Path  # folder of the releases that were built for it here
    signing: SigningPolicy
    deployer: Deployer
    take_over: bool = False  # end another's deploy that is at work on the board
    next_fence: NextFence | None = None  # by a ledger; else one more than the board's last
    smoke_file: Path | None = None  # where the smoke report is written


def rollback(
    board: Board, settings: RollbackSettings, progress: Progress | None = None
) -> tuple[str, str]:
    """Order the previous release anew, with the smoke test as the gate.

    Only a release for this kind of board, and that was built on this machine or signed by a key
    of this user's folder, is ordered. Returns the ids of the former and of the current release.
    Raises TargetError if there is no previous release, if it is damaged, or if it fails the smoke
    test; UserError for a key that cannot be used, and for a release that must not be ordered.
    """

    def sign(order: Order, floor: int) -> bytes:
        manifest = order.manifest
        built = settings.releases / manifest.id / MANIFEST
        former = FormerOrder(
            manifest=manifest,
            signature=order.signature,
            subject=f"{board.target}: {settings.root}/releases/{manifest.id}/{MANIFEST}",
            kinds=settings.kinds,
            is_built_here=built.is_file() and built.read_bytes() == manifest.canonical(),
        )
        return settings.signing.sign_anew(former, floor, emulated=board.target.emulated)

    def gate(manifest: Manifest) -> smoke.Gate:
        return smoke.Gate(manifest, progress=progress, smoke_file=settings.smoke_file)

    return install.rollback(
        board,
        settings.root,
        sign,
        gate=gate,
        progress=progress,
        take_over=settings.take_over,
        deployer=settings.deployer,
        next_fence=settings.next_fence,
    )
