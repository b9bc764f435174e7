"""Put a release on a board: send what is missing, try it there, switch, confirm.

`edgectl` on the board verifies, stores, switches and reverts (docs/protocol.md). Every step is
an ensure: a deploy that was cut leaves a verified release current, and running it again goes on.
"""

import contextlib
import getpass
import hashlib
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from edgewright.base.digest import text_sha256
from edgewright.base.errors import TargetError, UserError
from edgewright.base.files import locked, read_inside, write_file
from edgewright.base.layout import user_cache
from edgewright.base.progress import Progress
from edgewright.board.audit import TargetFacts, judge_target, require
from edgewright.board.elf import read_elf
from edgewright.deploy import service, transfer
from edgewright.deploy.clocks import require_present
from edgewright.deploy.edgectl import (
    AWAITS_SERVICE,
    NEXT,
    PROGRAM,
    STORAGE,
    ZSTD,
    AbsentError,
    BoardRelease,
    Edgectl,
    Missing,
    PlanAnswer,
    RefusedError,
    StatusAnswer,
    install_edgectl,
    protocol_of,
    signed_input,
)
from edgewright.deploy.probe import APPLETS, probe
from edgewright.deploy.rate import RateLimit
from edgewright.deploy.remote import Board, Result
from edgewright.deploy.transfer import BaseChunks, Outgoing
from edgewright.release.manifest import (
    MANIFEST,
    SIGNATURE,
    Manifest,
    Release,
    parse_manifest,
    read_manifest,
)
from edgewright.release.minisign import parse_signature
from edgewright.release.order import parse_order

TRIAL_SECONDS = 120  # after which the board reverts a switch that nobody confirmed
EMULATED_TRIAL_SECONDS = 600  # in which the service has to load its model and infer an image
SELFTEST_SECONDS = 900  # an emulated board takes its time
BASE_CHUNK = 4096  # bytes; of a base that only the board has
MAX_CHUNKS = 32_768  # of a base
LARGE = 1 << 20  # bytes; for less, a login of its own is not worth while
SMALL = 64 * 1024  # bytes; for less, hashes of a base are not worth asking for

FENCE = re.compile(r"[0-9]{1,18}")

SEND, READ_BACK, SWITCH = "send", "read back", "switch to"  # how these stages begin

# Judges a release on the board, after its self-tests, whose results it gets by program, and before
# the switch. What it raises ends the deploy.
Gate = Callable[[BoardRelease, Mapping[str, Result]], None]
# Signs a former order of a board anew, with a sequence number above the one given; returns a
# signature file. It raises for an order that this user must not repeat.
Sign = Callable[["Order", int], bytes]
# The number that a deploy begins with, by the last one that its board knows. It raises where
# somebody else has the right to this board by now.
NextFence = Callable[[int], int]


@dataclass(frozen=True, kw_only=True)
class Order:
    """A manifest, and the signature that orders a board to run it."""

    manifest: Manifest
    signature: bytes

    @property
    def input(self) -> bytes:
        return signed_input(self.signature, self.manifest.canonical())

    @property
    def sequence(self) -> int:
        """Raises UserError for a signature that is no order."""
        signature = parse_signature(self.signature, SIGNATURE)
        return parse_order(signature.trusted_comment, SIGNATURE).sequence


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a deploy will do; empty if the release is current, sound and committed."""

    release: str
    former: str | None
    installs_edgectl: bool  # which the board lacks, or has in another version
    objects: tuple[Outgoing, ...]
    paths: Mapping[str, str]  # object → the first path that needs it
    is_noop: bool

    @property
    def bytes(self) -> int:
        return sum(outgoing.bytes_to_send for outgoing in self.objects)


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What a deploy did."""

    release: str
    former: str | None
    bytes_sent: int = 0
    unchanged: bool = False  # the release was current and committed already
    staged: bool = False  # it lies on the board, which was not switched to it
    facts: TargetFacts | None = None  # asked for only where something was to be done
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Status:
    """What `invoke status` shows; `edgectl` is None where no helper is installed."""

    facts: TargetFacts
    edgectl: StatusAnswer | None
    manifest: Manifest | None  # of the current release


@dataclass(frozen=True, kw_only=True)
class Deployer:
    """Who deploys."""

    holder: str  # user, host and a number of this machine, as a board tells the next deployer
    locks: Path  # folder of the locks that keep two deploys of one user to one board apart


def this_user() -> Deployer:
    """Whoever runs this program."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may be a bare number
        user = f"uid{os.getuid()}"
    name = re.sub(r"[^A-Za-z0-9@._-]", "-", f"{user}@{socket.gethostname()}")
    locks = user_cache() / "deploy"
    return Deployer(holder=f"{name[:55]}-{_machine(locks / 'machine')}", locks=locks)


def _machine(path: Path) -> str:
    """Eight digits at random, kept: two machines may have one name, as containers do."""
    if not path.is_file():
        write_file(path, f"{secrets.token_hex(4)}\n")
    return path.read_text().strip()[:8]


def deploy(
    board: Board,
    release: Release,
    signature: bytes,
    *,
    reserve_bytes: int,
    gate: Gate | None = None,
    progress: Progress | None = None,
    take_over: bool = False,
    deployer: Deployer | None = None,
    next_fence: NextFence | None = None,
    rate: RateLimit | None = None,
    only_stage: bool = False,
    trial: Gate | None = None,
) -> Installed:
    """Make `release` current on the board; the same release again sends nothing.

    `gate` runs with the release on the board before the switch; what it raises goes on to the
    caller, and the former release stays current. The default deployer is `this_user`, the default
    fence one more than the board's last.
    With `only_stage` the release is brought to the board and read back, and what the board runs
    stays, wherever this is cut. The deploy that follows sends nothing, unless another one swept
    the release away. There `trial` runs, as `gate` does; not where the release is current already.
    Raises TargetError for a board that does not fit, refuses, has no space or goes away, and
    UserError for a release without `edgectl`.
    """
    progress = progress or Progress()
    sending = _Sending(
        board=board,
        release=release,
        order=Order(manifest=release.manifest, signature=signature),
        reserve_bytes=reserve_bytes,
        take_over=take_over,
        next_fence=next_fence,
        rate=rate,
        progress=progress,
    )
    with only_deploy(sending.edgectl, deployer or this_user()) as holder:
        answer = sending.first_answer()
        if only_stage:
            return _stage(sending, answer, holder, trial)
        if answer.noop:
            _update_edgectl(sending.edgectl, release, answer, progress)
            return Installed(release=answer.release, former=answer.current, unchanged=True)
        installed, begun = sending.send(answer, holder)
        removed = _switch(sending.edgectl, sending.order, begun, gate, progress)
        return replace(installed, removed=removed)


def _stage(sending: "_Sending", answer: PlanAnswer, holder: str, trial: Gate | None) -> Installed:
    """From the board's first answer to a release that was read back, and was tried there."""
    is_current = answer.current == answer.release
    if answer.sound and (is_current or trial is None):
        return Installed(
            release=answer.release,
            former=answer.current,
            unchanged=is_current,
            staged=not is_current,
        )
    installed, begun = sending.send(answer, holder)
    _seal(sending.edgectl, begun, sending.progress)
    if trial is not None:
        progress, stage = sending.progress, "trial beside the release in charge"
        _selftest(sending.edgectl, begun, sending.order, trial, progress, stage)
    return replace(installed, staged=True)


@dataclass(frozen=True, kw_only=True)
class _Sending:
    """A release on its way to a board, up to the read-back of what was sent."""

    board: Board
    release: Release
    order: Order
    reserve_bytes: int
    take_over: bool
    next_fence: NextFence | None
    rate: RateLimit | None
    progress: Progress

    @property
    def edgectl(self) -> Edgectl:
        return Edgectl(board=self.board, root=self.order.manifest.deploy_root)

    def first_answer(self) -> PlanAnswer:
        edgectl, order = self.edgectl, self.order
        return _first_answer(edgectl, self.release, order, self.reserve_bytes, self.progress)

    def send(self, answer: PlanAnswer, holder: str) -> tuple[Installed, PlanAnswer]:
        """Begin, and send what the board lacks; what was done so far, and what `begin` answered."""
        edgectl = self.edgectl
        require_present(edgectl, self.order.sequence, answer.clock)
        if answer.missing_bytes >= LARGE:
            self.board.prepare()
        # Only now: a deploy that has nothing to do takes one round trip.
        facts = _fit_facts(self.board, self.release, self.progress)
        _update_edgectl(edgectl, self.release, answer, self.progress)
        begun = edgectl.begin(
            self.order.input,
            holder=holder,
            reserve_bytes=self.reserve_bytes,
            take_over=self.take_over,
            fence=_next_fence(edgectl, self.next_fence),
        )
        objects = plan_objects(edgectl, self.release, begun)
        sent = _send(edgectl, begun, objects, self.progress, self.rate)
        installed = Installed(
            release=self.release.id, former=answer.current, bytes_sent=sent, facts=facts
        )
        return installed, begun


def _fit_facts(board: Board, release: Release, progress: Progress) -> TargetFacts:
    """What the board says of itself. Raises TargetError where the release does not fit it."""
    progress.start("probe the board")
    facts = probe(board, release.manifest.deploy_root)
    require_fit(board, release, facts)
    return facts


def dry_run(board: Board, release: Release, signature: bytes, *, reserve_bytes: int) -> Plan:
    """The plan that `deploy` would carry out; nothing on the board changes.

    Raises what `deploy` would raise before it sends anything.
    """
    order = Order(manifest=release.manifest, signature=signature)
    edgectl = Edgectl(board=board, root=order.manifest.deploy_root)
    facts = probe(board, edgectl.root)
    require_fit(board, release, facts)
    try:
        answer = edgectl.plan(order.input, reserve_bytes=reserve_bytes)
    except AbsentError:
        return _plan_without_edgectl(board, release, facts, reserve_bytes)
    program, sha256 = _edgectl_of(release)
    missing = {missing.sha256 for missing in answer.missing}
    files = [file for file in release.manifest.files if file.sha256 in missing]
    return Plan(
        release=release.id,
        former=answer.current,
        installs_edgectl=answer.helper.sha256 != sha256
        and answer.helper.protocol <= protocol_of(program),
        objects=plan_objects(edgectl, release, answer),
        paths={file.sha256: file.path for file in reversed(files)},
        is_noop=answer.noop,
    )


def rollback(
    board: Board,
    root: str,
    sign: Sign,
    *,
    gate: Callable[[Manifest], Gate] | None = None,
    progress: Progress | None = None,
    take_over: bool = False,
    deployer: Deployer | None = None,
    next_fence: NextFence | None = None,
) -> tuple[str, str]:
    """Order the previous release anew; returns the ids of the former and the now current one.

    Nothing is sent but the order. Raises TargetError if there is no previous release, or if it
    is not sound on the board.
    """
    progress, deployer = progress or Progress(), deployer or this_user()
    edgectl = Edgectl(board=board, root=root)
    with only_deploy(edgectl, deployer) as holder:
        state = edgectl.status()
        if state.previous is None or state.previous == state.current:
            facts = [f"current: {state.current or 'none'}"]
            raise TargetError(str(board.target), "no previous release to go back to", facts=facts)
        former = read_board_order(board, root, state.previous)
        manifest = former.manifest
        floor = state.floor.sequence if state.floor else 0
        order = Order(manifest=manifest, signature=sign(former, floor))
        require_present(edgectl, order.sequence, state.clock)
        fence = _next_fence(edgectl, next_fence)
        begun = edgectl.begin(
            order.input, holder=holder, reserve_bytes=0, take_over=take_over, fence=fence
        )
        if begun.missing:  # a rollback sends nothing, so what is damaged stays damaged
            raise TargetError(
                str(board.target),
                f"release {begun.release} is damaged on the board",
                facts=[f"missing or damaged: {missing.path}" for missing in begun.missing[:20]],
                next="invoke deploy",
            )
        _switch(edgectl, order, begun, gate(manifest) if gate else None, progress)
        return state.current or "none", state.previous


def _next_fence(edgectl: Edgectl, next_fence: NextFence | None) -> int | None:
    if next_fence is None:
        return None
    words = edgectl.board.run(["cat", f"{edgectl.root}/fence"]).stdout.split()
    # A file that is gone or damaged has a copy, which `begin` goes by: it refuses what is too low.
    return next_fence(int(words[0]) if words and FENCE.fullmatch(words[0]) else 0)


def status(board: Board, root: str) -> Status:
    """What is installed and what is free. Raises TargetError."""
    edgectl, facts = Edgectl(board=board, root=root), probe(board, root)
    try:
        state = edgectl.status()
    except AbsentError:
        return Status(facts=facts, edgectl=None, manifest=None)
    manifest = read_board_manifest(board, root, state.current) if state.current else None
    return Status(facts=facts, edgectl=state, manifest=manifest)


def read_board_manifest(board: Board, root: str, release: str) -> Manifest:
    """`manifest.json` of a release on the board. Raises TargetError."""
    path = f"{root}/releases/{release}/{MANIFEST}"
    raw = board.check(["cat", path]).stdout.encode()
    try:
        return parse_manifest(raw, path)
    except UserError as damaged:
        raise TargetError(
            f"{board.target}: {path}", damaged.problem, facts=damaged.facts, next="invoke deploy"
        ) from damaged


def read_board_order(board: Board, root: str, release: str) -> Order:
    """The manifest of a release on the board, and the signature that it was installed with.

    Whoever signs it anew checks the signature first: a board may hand over any manifest. It is
    empty for a release of the layout before signatures.
    Raises TargetError for a manifest that is damaged, or that is of another release or root.
    """
    manifest = read_board_manifest(board, root, release)
    if (manifest.id, manifest.deploy_root) != (release, root):
        raise TargetError(
            f"{board.target}: {root}/releases/{release}/{MANIFEST}",
            "is of another release",
            facts=[
                f"expected: {release} for {root}",
                f"found: {manifest.id} for {manifest.deploy_root}",
            ],
            next=STORAGE,
        )
    signature = board.run(["cat", f"{root}/releases/{release}/{SIGNATURE}"]).stdout.encode()
    return Order(manifest=manifest, signature=signature)


# Fit


def require_fit(board: Board, release: Release, facts: TargetFacts) -> None:
    """Refuse a board that lacks commands or cannot run the release's programs."""
    lacking = [name for name in APPLETS if name not in facts.applets]
    if lacking:
        raise TargetError(
            str(board.target),
            "lacks commands that a deploy needs",
            facts=[f"command: {name}" for name in lacking],
            next="enable them in the board's busybox",
        )
    for file in release.manifest.files:
        path = release.path(file)
        if file.path.startswith("bin/") and _is_elf(path):
            findings = judge_target(read_elf(path), facts)
            require(findings, f"{board.target}: {file.path}", TargetError)


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


# edgectl on the board


def ensure_edgectl(board: Board, root: str, release: Release) -> Edgectl:
    """A board whose `edgectl` is the one of this release, or speaks a newer protocol.

    What is installed stays as it is. Raises TargetError for a board that does not fit or refuses.
    """
    program, sha256 = _edgectl_of(release)
    edgectl = Edgectl(board=board, root=root, protocol=protocol_of(program))
    try:
        helper = edgectl.status().helper
    except AbsentError:
        require_fit(board, release, probe(board, root))
        install_edgectl(board, root, program, sha256)
        return edgectl
    # A board's word makes it newer only: one that could call itself old would have documents
    # signed that are bound to no board.
    if helper.protocol > edgectl.protocol:
        return replace(edgectl, protocol=helper.protocol)
    if helper.sha256 != sha256:
        install_edgectl(board, root, program, sha256)
    return edgectl


def _edgectl_of(release: Release) -> tuple[bytes, str]:
    """The `edgectl` that a release brings, and its SHA-256."""
    try:
        file = release.manifest.file(PROGRAM)
    except KeyError as none:
        raise UserError(str(release.folder), f"has no {PROGRAM}", next="invoke build") from none
    return release.path(file).read_bytes(), file.sha256


def brought_protocol(release: Release) -> int:
    """The protocol of the `edgectl` that a release brings. Raises UserError for one without."""
    program, _ = _edgectl_of(release)
    return protocol_of(program)


def _first_answer(
    edgectl: Edgectl, release: Release, order: Order, reserve_bytes: int, progress: Progress
) -> PlanAnswer:
    """The board's plan; a board without `edgectl` gets it first."""
    signed = signed_input(order.signature, release.document)
    try:
        return edgectl.plan(signed, reserve_bytes=reserve_bytes)
    except AbsentError:
        progress.start("install edgectl")
        require_fit(edgectl.board, release, probe(edgectl.board, edgectl.root))
        install_edgectl(edgectl.board, edgectl.root, *_edgectl_of(release))
        return edgectl.plan(signed, reserve_bytes=reserve_bytes)


def _update_edgectl(
    edgectl: Edgectl, release: Release, answer: PlanAnswer, progress: Progress
) -> None:
    if answer.helper.sha256 in {file.sha256 for file in release.manifest.files}:
        return  # without reading the program, which a deploy with nothing to do has no need of
    program, sha256 = _edgectl_of(release)
    protocol = protocol_of(program)
    if answer.helper.protocol > protocol:
        progress.start(
            f"keep edgectl: the board's speaks protocol {answer.helper.protocol}, "
            f"the release's {protocol}"
        )
    else:
        install_edgectl(edgectl.board, edgectl.root, program, sha256)


# Plan


def plan_objects(edgectl: Edgectl, release: Release, answer: PlanAnswer) -> tuple[Outgoing, ...]:
    """For each missing object, what is to be sent of it.

    Asks the board for hashes of a base that this machine does not have.
    """
    pack = ZSTD in answer.helper.encodings
    files = {file.sha256: file for file in release.manifest.files}
    foreign = [missing for missing in answer.missing if missing.sha256 not in files]
    if foreign:
        raise TargetError(
            str(edgectl.board.target),
            f"asks for files that are not of release {release.id}",
            facts=[f"found: {missing.sha256} as {missing.path}" for missing in foreign[:5]],
            next="look at what runs on this board: its edgectl would never ask for them",
        )
    if len({missing.sha256 for missing in answer.missing}) < len(answer.missing):
        raise TargetError(
            str(edgectl.board.target),
            "asks for a file twice",  # each would be held in memory as often
            next="look at what runs on this board: its edgectl never does",
        )
    return tuple(
        transfer.plan_object(
            missing.sha256,
            # By hash, from our own manifest: the path that a board names could be any file's.
            release.path(files[missing.sha256]).read_bytes(),
            base=missing.base.sha256 if missing.base else None,
            base_content=_base_content(edgectl, release, missing),
            part_bytes=missing.part.bytes if missing.part else 0,
            part_chunks=missing.part.chunks if missing.part else (),
            pack=pack,
        )
        for missing in answer.missing
    )


def _base_content(
    edgectl: Edgectl, release: Release, missing: Missing
) -> bytes | BaseChunks | None:
    """The base of an object: its bytes if they were built here, else hashes of its chunks."""
    if missing.base is None:
        return None
    content = _built_before(release, missing.base.sha256)
    if content is not None or missing.bytes < SMALL:
        return content
    size = BASE_CHUNK  # doubled for a large base: an answer has room for a certain number of hashes
    while missing.base.bytes > size * MAX_CHUNKS and size < LARGE:
        size *= 2
    answer = edgectl.chunks(missing.base.sha256, size)
    return BaseChunks(size=size, hashes=answer.chunks)


def _built_before(release: Release, sha256: str) -> bytes | None:
    """An object of a release that was built here earlier, found by its hash."""
    for path in sorted(release.folder.parent.glob(f"*/{MANIFEST}")):
        # A build that another process cleans up meanwhile, or a damaged one, is only not a base.
        with contextlib.suppress(UserError, OSError):
            for file in read_manifest(path).files:
                if file.sha256 != sha256:
                    continue
                content = read_inside(path.parent, file.path, limit=file.bytes)
                if hashlib.sha256(content).hexdigest() == sha256:
                    return content
    return None


def _plan_without_edgectl(
    board: Board, release: Release, facts: TargetFacts, reserve_bytes: int
) -> Plan:
    """Of a board that cannot be asked, the most that a deploy may do."""
    files = {file.sha256: file for file in release.manifest.files}
    objects = [
        transfer.plan_object(sha256, release.path(file).read_bytes())
        for sha256, file in files.items()
    ]
    plan = Plan(
        release=release.id,
        former=None,
        installs_edgectl=True,
        objects=tuple(objects),
        paths={sha256: file.path for sha256, file in files.items()},
        is_noop=False,
    )
    if facts.free_bytes < plan.bytes + reserve_bytes:
        raise TargetError(
            str(board.target),
            f"no space for release {release.id}",
            facts=[
                f"expected: {plan.bytes:,} bytes for the release, and {reserve_bytes:,} that "
                "deploy.reserve_mb keeps free",
                f"found: {facts.free_bytes:,} bytes free",
            ],
            next=NEXT["no_space"],
        )
    return plan


# Apply


def _send(
    edgectl: Edgectl,
    begun: PlanAnswer,
    objects: Sequence[Outgoing],
    progress: Progress,
    rate: RateLimit | None,
) -> int:
    """Send one stream with all objects; returns the bytes that went over the line."""
    if not objects:
        return 0
    stream = BytesIO()
    transfer.write_stream(objects, stream)
    total = stream.tell()
    stream.seek(0)
    progress.start(f"{SEND} {len(objects)} files, {total:,} bytes")
    sent = 0

    def add(count: int) -> None:
        nonlocal sent
        sent += count
        progress.sent(sent, total)

    edgectl.receive(_fence(begun), rate.slow(stream) if rate else stream, add)
    return total


def _seal(edgectl: Edgectl, begun: PlanAnswer, progress: Progress) -> None:
    progress.start(READ_BACK)
    edgectl.seal(_fence(begun))


def _switch(
    edgectl: Edgectl, order: Order, begun: PlanAnswer, gate: Gate | None, progress: Progress
) -> tuple[str, ...]:
    """From whole objects to a committed release; returns the releases that were removed."""
    board, fence, release = edgectl.board, _fence(begun), order.manifest.id
    if order.manifest.has_own_service:
        service.require_own_programs(board, release)
    _seal(edgectl, begun, progress)
    _selftest(edgectl, begun, order, gate, progress, "smoke test before the switch")
    progress.start(f"{SWITCH} {release}")
    has_service = begun.helper.protocol >= AWAITS_SERVICE and service.is_installed(board)
    seconds = EMULATED_TRIAL_SECONDS if board.target.emulated else TRIAL_SECONDS
    edgectl.switch(fence, deadline_s=seconds, awaits_service=has_service)
    if has_service:
        progress.start("wait for the service to infer a golden image")
    _confirm(edgectl, fence, release)
    return edgectl.gc(fence).removed.releases


def _selftest(
    edgectl: Edgectl,
    begun: PlanAnswer,
    order: Order,
    gate: Gate | None,
    progress: Progress,
    stage: str,
) -> None:
    """The self-tests of a release that is not current yet, and then its gate."""
    fence = _fence(begun)
    progress.start("self-test on the board")
    selftests = edgectl.selftest(fence, timeout_s=SELFTEST_SECONDS)
    if gate:
        progress.start(stage)
        helper = replace(edgectl, protocol=begun.helper.protocol)
        right = f"--fence={fence}"
        gate(BoardRelease(edgectl=helper, release=order.manifest.id, right=right), selftests)


def _confirm(edgectl: Edgectl, fence: int, release: str) -> None:
    """Look at the board after the switch; commit, or revert at once.

    If the connection is lost here, the board reverts by itself at the deadline.
    """
    state = edgectl.status(verify=True)
    if state.current == release and state.sound:
        _commit(edgectl, fence, release)
        return
    with contextlib.suppress(RefusedError):  # its guard may have been quicker
        edgectl.revert(fence, bad="not current or not sound after the switch")
    raise TargetError(
        str(edgectl.board.target),
        f"release {release} did not hold after the switch: the former one is current again",
        facts=[f"current: {state.current or 'none'}", f"sound: {state.sound}"],
        next=STORAGE,
    )


def _commit(edgectl: Edgectl, fence: int, release: str) -> None:
    """Commit; a release whose service does not work is reverted, if the board has not yet."""
    try:
        edgectl.commit(fence)
    except RefusedError as refused:
        if refused.code not in ("not_ready", "no_trial"):
            raise
        if refused.code == "not_ready":
            with contextlib.suppress(RefusedError):  # its guard may have been quicker
                edgectl.revert(fence)
        board = edgectl.board
        raise TargetError(
            str(board.target),
            f"release {release} did not hold after the switch: the former one is current again",
            facts=[refused.problem, *(f"| {line}" for line in service.recent_log(board))],
            next="invoke service.status; then mend the release, or invoke service.remove",
        ) from refused


def _fence(begun: PlanAnswer) -> int:
    if begun.fence is None:
        raise TargetError(PROGRAM, "began a deploy without a fence", next=STORAGE)
    return begun.fence


@contextlib.contextmanager
def only_deploy(edgectl: Edgectl, deployer: Deployer) -> Iterator[str]:
    """One deploy or smoke test of this user to a board at a time; yields its holder's name.

    A board lets its holder begin anew, as it must after a cut, and ends what that one left
    running: without this lock, two deploys of one user would end each other. By two names of one
    board they have two locks, so they are two holders, and the board sees to them as to two users.
    Raises TargetError.
    """
    name = text_sha256(str(edgectl.board.target), edgectl.root)[:32]

    def refuse() -> None:
        raise TargetError(
            str(edgectl.board.target),
            "another deploy of yours is at work",
            next=NEXT["busy"],
        )

    with locked(deployer.locks / f"{name}.lock", on_busy=refuse):
        yield f"{deployer.holder}-{name[:8]}"
