"""Put a release on a board: send what is missing, try it there, switch, confirm.

`edgectl` on the board verifies, stores, switches and reverts (docs/protocol.md). Every step is
an ensure: a deploy that was cut leaves a verified release current, and running it again goes on.
"""

import contextlib
import fcntl
import getpass
import hashlib
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from edgewright.base.digest import text_sha256
from edgewright.base.errors import TargetError, UserError
from edgewright.base.layout import user_cache
from edgewright.board.audit import TargetFacts, judge_target, require
from edgewright.board.elf import read_elf
from edgewright.deploy import edgectl, transfer
from edgewright.deploy.edgectl import AbsentError, Edgectl, Missing, PlanAnswer, StatusAnswer
from edgewright.deploy.probe import APPLETS, probe
from edgewright.deploy.remote import Board, Result
from edgewright.deploy.transfer import BaseChunks, Outgoing
from edgewright.release.manifest import MANIFEST, Manifest, Release, parse_manifest, read_manifest

TRIAL_SECONDS = 120  # after which the board reverts a switch that nobody confirmed
SELFTEST_SECONDS = 900  # an emulated board takes its time
BASE_CHUNK = 4096  # bytes; of a base that only the board has
LARGE = 1 << 20  # bytes; for less, a login of its own is not worth while
SMALL = 64 * 1024  # bytes; for less, hashes of a base are not worth asking for

SEND, READ_BACK = "send", "read back"  # how steps begin

OnStep = Callable[[str], None]
OnBytes = Callable[[int, int], None]  # bytes sent so far, bytes to send
Gate = Callable[[Board, str, Result], None]  # folder, self-test; raises if it is not fit
Sign = Callable[[Manifest, int], bytes]  # a signature file; its number is beyond this one


@dataclass(frozen=True, kw_only=True)
class Order:
    """A manifest, and the signature that orders a board to run it."""

    manifest: Manifest
    signature: bytes

    @property
    def input(self) -> bytes:
        return edgectl.signed_input(self.signature, self.manifest.canonical())


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a deploy will do; empty if the release is current, sound and committed."""

    release: str
    former: str | None
    helper: bool  # put `edgectl` on the board, or replace it
    objects: tuple[Outgoing, ...]
    paths: Mapping[str, str]  # object → the first path that needs it
    is_noop: bool

    @property
    def bytes(self) -> int:
        return sum(one.bytes_to_send for one in self.objects)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a deploy did."""

    release: str
    former: str | None
    bytes_sent: int = 0
    unchanged: bool = False  # the release was current and committed already
    facts: TargetFacts | None = None  # asked for only where something was to be done
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Status:
    """What `invoke status` shows; `board` is None where no helper is installed."""

    facts: TargetFacts
    board: StatusAnswer | None
    manifest: Manifest | None  # of the current release


@dataclass(frozen=True, kw_only=True)
class _Told:
    """Whom to tell what goes on, and who judges the release before the switch."""

    step: OnStep
    bytes: OnBytes | None = None
    gate: Gate | None = None


def deploy(
    board: Board,
    release: Release,
    signature: bytes,
    *,
    reserve_bytes: int,
    gate: Gate | None = None,
    on_step: OnStep | None = None,
    on_bytes: OnBytes | None = None,
    take_over: bool = False,
) -> Outcome:
    """Make `release` current on the board; the same release again sends nothing.

    `gate` runs with the release's folder on the board before the switch; what it raises goes
    on to the caller, and the former release stays current.
    Raises TargetError for a board that does not fit, refuses, has no space or goes away.
    """
    told = _Told(step=on_step or _silent, bytes=on_bytes, gate=gate)
    order = Order(manifest=release.manifest, signature=signature)
    there = Edgectl(board=board, root=order.manifest.deploy_root)
    with _alone(there):
        answer = _first_answer(there, release, order, reserve_bytes, told.step)
        if answer.noop:
            _update_helper(there, release, answer)
            return Outcome(release=answer.release, former=answer.current, unchanged=True)
        if answer.missing_bytes >= LARGE:
            board.prepare()
        told.step("probe the board")
        facts = probe(board, there.root)
        require_fit(board, release, facts)
        _update_helper(there, release, answer)
        begun = there.begin(
            order.input, holder=holder(), reserve_bytes=reserve_bytes, take_over=take_over
        )
        sent = _send(there, begun, plan_objects(there, release, begun), told)
        removed = _install(there, order, begun, told)
        return Outcome(
            release=order.manifest.id,
            former=answer.current,
            bytes_sent=sent,
            facts=facts,
            removed=removed,
        )


def dry_run(board: Board, release: Release, signature: bytes, *, reserve_bytes: int) -> Plan:
    """The plan that `deploy` would carry out, or its refusal; nothing on the board changes."""
    order = Order(manifest=release.manifest, signature=signature)
    there = Edgectl(board=board, root=order.manifest.deploy_root)
    facts = probe(board, there.root)
    require_fit(board, release, facts)
    try:
        answer = there.plan(order.input, reserve_bytes=reserve_bytes)
    except AbsentError:
        return _plan_without_helper(board, release, facts, reserve_bytes)
    return Plan(
        release=release.id,
        former=answer.current,
        helper=answer.helper.sha256 != _helper(release)[1],
        objects=plan_objects(there, release, answer),
        paths={one.sha256: one.path for one in answer.missing},
        is_noop=answer.noop,
    )


def rollback(
    board: Board,
    root: str,
    sign: Sign,
    *,
    gate: Callable[[Manifest], Gate] | None = None,
    on_step: OnStep | None = None,
) -> tuple[str, str]:
    """Order the previous release anew; returns the ids of the former and the now current one.

    Nothing is sent but the order. Raises TargetError if there is no previous release, or if it
    is not sound on the board.
    """
    there = Edgectl(board=board, root=root)
    with _alone(there):
        now = there.status()
        if now.previous is None or now.previous == now.current:
            facts = [f"current: {now.current or 'none'}"]
            raise TargetError(str(board.target), "no previous release to go back to", facts=facts)
        manifest = read_board_manifest(board, root, now.previous)
        floor = now.floor.sequence if now.floor else 0
        order = Order(manifest=manifest, signature=sign(manifest, floor))
        begun = there.begin(order.input, holder=holder(), reserve_bytes=0)
        _require_complete(there, begun)
        told = _Told(step=on_step or _silent, gate=gate(manifest) if gate else None)
        _install(there, order, begun, told)
        return now.current or "none", now.previous


def status(board: Board, root: str) -> Status:
    """What is installed and what is free."""
    there, facts = Edgectl(board=board, root=root), probe(board, root)
    try:
        now = there.status()
    except AbsentError:
        return Status(facts=facts, board=None, manifest=None)
    manifest = read_board_manifest(board, root, now.current) if now.current else None
    return Status(facts=facts, board=now, manifest=manifest)


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


def holder() -> str:
    """Who deploys, as the board tells the next one: `user@host`."""
    return re.sub(r"[^A-Za-z0-9@._-]", "-", f"{getpass.getuser()}@{socket.gethostname()}")[:64]


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


# The helper


def ensure_helper(board: Board, root: str, release: Release) -> Edgectl:
    """A board whose helper is the one of this release; what is installed stays as it is."""
    there = Edgectl(board=board, root=root)
    program, sha256 = _helper(release)
    try:
        if there.status().helper.sha256 == sha256:
            return there
    except AbsentError:
        require_fit(board, release, probe(board, root))
    edgectl.install(board, root, program, sha256)
    return there


def _helper(release: Release) -> tuple[bytes, str]:
    """The helper that a release brings, and its SHA-256."""
    try:
        file = release.manifest.file(edgectl.PROGRAM)
    except KeyError as none:
        raise UserError(
            str(release.folder), f"has no {edgectl.PROGRAM}", next="invoke build"
        ) from none
    return release.path(file).read_bytes(), file.sha256


def _first_answer(
    there: Edgectl, release: Release, order: Order, reserve_bytes: int, step: OnStep
) -> PlanAnswer:
    try:
        return there.plan(order.input, reserve_bytes=reserve_bytes)
    except AbsentError:
        step("install edgectl")
        require_fit(there.board, release, probe(there.board, there.root))
        edgectl.install(there.board, there.root, *_helper(release))
        return there.plan(order.input, reserve_bytes=reserve_bytes)


def _update_helper(there: Edgectl, release: Release, answer: PlanAnswer) -> None:
    program, sha256 = _helper(release)
    if answer.helper.sha256 != sha256:
        edgectl.install(there.board, there.root, program, sha256)


# Plan


def plan_objects(there: Edgectl, release: Release, answer: PlanAnswer) -> tuple[Outgoing, ...]:
    """For each missing object, what is to be sent of it. Asks the board for hashes of a base
    that this machine has not."""
    pack = edgectl.ZSTD in answer.helper.encodings
    return tuple(_plan_object(there, release, one, pack=pack) for one in answer.missing)


def _plan_object(there: Edgectl, release: Release, one: Missing, *, pack: bool) -> Outgoing:
    return transfer.plan_object(
        one.sha256,
        (release.folder / one.path).read_bytes(),
        base=one.base.sha256 if one.base else None,
        base_content=_base(there, release, one),
        part_bytes=one.part.bytes if one.part else 0,
        part_chunks=one.part.chunks if one.part else (),
        pack=pack,
    )


def _base(there: Edgectl, release: Release, one: Missing) -> bytes | BaseChunks | None:
    if one.base is None:
        return None
    here = _built_before(release, one.base.sha256)
    if here is not None or one.bytes < SMALL:
        return here
    answer = there.chunks(one.base.sha256, BASE_CHUNK)
    return BaseChunks(size=answer.chunk_bytes, hashes=answer.chunks)


def _built_before(release: Release, sha256: str) -> bytes | None:
    """An object of a release that was built here earlier, found by its hash."""
    for path in sorted(release.folder.parent.glob(f"*/{MANIFEST}")):
        with contextlib.suppress(UserError, OSError):
            for file in read_manifest(path).files:
                content = (path.parent / file.path).read_bytes() if file.sha256 == sha256 else b""
                if hashlib.sha256(content).hexdigest() == sha256:
                    return content
    return None


def _plan_without_helper(
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
        helper=True,
        objects=tuple(objects),
        paths={sha256: file.path for sha256, file in files.items()},
        is_noop=False,
    )
    if facts.free_bytes < plan.bytes + reserve_bytes:
        raise TargetError(
            str(board.target),
            f"no space for release {release.id}",
            facts=[
                f"expected: {plan.bytes + reserve_bytes:,} bytes free",
                f"found: {facts.free_bytes:,} bytes free",
            ],
            next=edgectl.NEXT["no_space"],
        )
    return plan


# Apply


def _send(there: Edgectl, begun: PlanAnswer, objects: Sequence[Outgoing], told: _Told) -> int:
    """Send one stream with all objects; returns the bytes that went over the line."""
    if not objects:
        return 0
    stream = BytesIO()
    transfer.write_stream(objects, stream)
    total = stream.tell()
    stream.seek(0)
    told.step(f"{SEND} {len(objects)} files, {total:,} bytes")
    there.receive(_fence(begun), stream, _adder(total, told.bytes))
    return total


def _install(there: Edgectl, order: Order, begun: PlanAnswer, told: _Told) -> tuple[str, ...]:
    """From whole objects to a committed release; returns the releases that were removed."""
    fence, release = _fence(begun), order.manifest.id
    told.step(READ_BACK)
    there.seal(fence)
    told.step("self-test on the board")
    selftest = there.selftest(fence, timeout_s=SELFTEST_SECONDS)
    if told.gate:
        told.step("smoke test before the switch")
        told.gate(there.board, f"{there.root}/releases/{release}", selftest)
    told.step(f"switch to {release}")
    there.switch(fence, deadline_s=TRIAL_SECONDS)
    _confirm(there, fence, release)
    return there.gc(fence).removed.releases


def _confirm(there: Edgectl, fence: int, release: str) -> None:
    """Look at the board after the switch; commit, or revert at once.

    If the connection is lost here, the board reverts by itself at the deadline.
    """
    now = there.status(verify=True)
    if now.current == release and now.sound:
        there.commit(fence)
        return
    there.revert(fence, bad="not current or not sound after the switch")
    raise TargetError(
        str(there.board.target),
        f"release {release} did not hold after the switch: the former one is current again",
        facts=[f"current: {now.current or 'none'}", f"sound: {now.sound}"],
        next=edgectl.STORAGE,
    )


def _require_complete(there: Edgectl, begun: PlanAnswer) -> None:
    if begun.missing:
        raise TargetError(
            str(there.board.target),
            f"release {begun.release} is damaged on the board",
            facts=[f"missing or damaged: {one.path}" for one in begun.missing],
            next="invoke deploy",
        )


def _fence(begun: PlanAnswer) -> int:
    assert begun.fence is not None, "begin answers with a fence"
    return begun.fence


@contextlib.contextmanager
def _alone(there: Edgectl) -> Iterator[None]:
    """One deploy of this user to a board at a time; the board itself sees to other users."""
    name = text_sha256(str(there.board.target), there.root)[:32]
    path = user_cache() / "deploy" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            raise TargetError(
                str(there.board.target),
                "another deploy of yours is at work",
                next=edgectl.NEXT["busy"],
            ) from held
        yield


def _adder(total: int, on_bytes: OnBytes | None) -> Callable[[int], None]:
    """Adds up the bytes of a stream."""
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        if on_bytes:
            on_bytes(done, total)

    return add


def _silent(_: str) -> None:
    return
