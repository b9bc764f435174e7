"""Put a release on a board: facts → plan → apply, then one atomic switch.

On the board, below the deploy root:

    store/sha256/<hex>   immutable objects
    tmp/                 uploads and directories in the making; empty between deploys
    releases/<id>/       hard links into the store
    current, previous    symbolic links into releases/
    board                the board's `compatible`, written by the first deploy
    lock                 symbolic link that names who is at work

Every step can be cut short: `current` then is what it was, and the next deploy converges.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from edgewright import lock
from edgewright.audit import TargetFacts, judge_target, require
from edgewright.elf import read_elf
from edgewright.errors import TargetError, UserError
from edgewright.probe import APPLETS, probe
from edgewright.release import MANIFEST, Manifest, Release, parse_manifest
from edgewright.remote import Board, CommandError

BLOCK = 4096  # what a file costs beyond its bytes
DAMAGED = 65  # exit code of our scripts: not the bytes that were sent

OnStep = Callable[[str], None]
OnBytes = Callable[[int, int], None]  # bytes sent so far, bytes to send
Gate = Callable[[Board, str], None]  # raises if the release in this folder is not fit


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a release directory."""

    path: str
    sha256: str
    bytes: int
    mode: str


@dataclass(frozen=True, kw_only=True)
class BoardState:
    """What is installed on a board."""

    compatible: str | None = None
    current: str | None = None
    previous: str | None = None
    releases: tuple[str, ...] = ()
    objects: frozenset[str] = frozenset()  # of those asked for: sound in the store
    whole: bool = False  # every file of the release asked about is sound in its directory


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a deploy will do; empty if the release is current and sound."""

    release: str
    compatible: str
    former: str | None
    claim: bool  # write the board's `compatible`
    upload: tuple[Entry, ...]
    build: bool  # make the release directory
    switch: bool

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.upload)

    @property
    def is_noop(self) -> bool:
        return not (self.claim or self.upload or self.build or self.switch)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a deploy did."""

    plan: Plan
    facts: TargetFacts
    removed: tuple[str, ...] = ()

    @property
    def unchanged(self) -> bool:
        """The release was current already; nothing was sent."""
        return self.plan.is_noop


@dataclass(frozen=True, kw_only=True)
class Status:
    """What `invoke status` shows."""

    facts: TargetFacts
    state: BoardState
    manifest: Manifest | None  # of the current release
    objects: int
    holder: str | None  # who has the lock


def deploy(
    board: Board,
    release: Release,
    *,
    reserve_bytes: int,
    gate: Gate | None = None,
    on_step: OnStep | None = None,
    on_bytes: OnBytes | None = None,
) -> Outcome:
    """Make `release` current on the board; the same release again sends nothing.

    `gate` runs with the release's folder on the board before the switch; what it raises goes
    on to the caller, and the former release stays current.
    Raises TargetError for a board that does not fit, is busy, has no space or goes away.
    """
    root, step = release.manifest.deploy_root, on_step or _silent
    step("probe the board")
    facts = probe(board, root)
    require_fit(board, release, facts)
    with lock.locked(board, root) as token:
        state = read_state(board, root, release)
        plan = plan_deploy(
            release, facts, state, reserve_bytes=reserve_bytes, board=str(board.target)
        )
        if plan.is_noop:
            return Outcome(plan=plan, facts=facts)
        _apply(board, root, release, plan, step, on_bytes)
        if gate:
            step("smoke test before the switch")
            gate(board, f"{root}/releases/{release.id}")
        if plan.switch:
            step(f"switch to {release.id}")
            _switch(board, root, release.id, token)
        return Outcome(plan=plan, facts=facts, removed=_collect(board, root, plan, state))


def dry_run(board: Board, release: Release, *, reserve_bytes: int) -> Plan:
    """The plan that `deploy` would carry out; nothing on the board changes."""
    root = release.manifest.deploy_root
    facts = probe(board, root)
    require_fit(board, release, facts)
    state = read_state(board, root, release)
    return plan_deploy(release, facts, state, reserve_bytes=reserve_bytes, board=str(board.target))


def rollback(board: Board, root: str, *, gate: Gate | None = None) -> tuple[str, str]:
    """Switch back to `previous`; returns the ids of the former and the now current release.

    Raises TargetError if there is none, or if its files are not sound.
    """
    with lock.locked(board, root) as token:
        state = read_state(board, root)
        if state.previous is None or state.previous == state.current:
            facts = [f"current: {state.current or 'none'}"]
            raise TargetError(str(board.target), "no previous release to go back to", facts=facts)
        manifest = read_board_manifest(board, root, state.previous)
        _require_sound(board, root, manifest)
        if gate:
            gate(board, f"{root}/releases/{state.previous}")
        _switch(board, root, state.previous, token)
        return state.current or "none", state.previous


def status(board: Board, root: str) -> Status:
    """What is installed and what is free."""
    facts, state = probe(board, root), read_state(board, root)
    manifest = read_board_manifest(board, root, state.current) if state.current else None
    objects = _links(board, root)
    holder = board.run(["readlink", f"{root}/lock"]).stdout.strip()
    return Status(
        facts=facts,
        state=state,
        manifest=manifest,
        objects=len(objects),
        holder=lock.holder_of(holder) if holder else None,
    )


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


# State

STATE = r"""
cd "$1" 2>/dev/null || exit 0
shift
[ -f board ] && echo "compatible $(cat board)"
for name in current previous; do
    [ -d "$name/." ] && to=$(readlink "$name") && echo "$name ${to#releases/}"
done
for name in releases/*; do [ -d "$name" ] && echo "release ${name#releases/}"; done
[ $# -eq 0 ] || sha256sum "$@" 2>/dev/null
exit 0
"""


def read_state(board: Board, root: str, release: Release | None = None) -> BoardState:
    """What is installed; with a release, also which of its objects and files are sound."""
    entries = entries_of(release.manifest) if release else ()
    stored = [f"store/sha256/{entry.sha256}" for entry in entries]
    placed = [f"releases/{release.id}/{entry.path}" for entry in entries] if release else []
    text = board.script(STATE, root, *dict.fromkeys(stored), *placed, timeout=300).stdout
    return parse_state(text, entries, release.id if release else "")


def parse_state(text: str, entries: Sequence[Entry], release: str) -> BoardState:
    """State from the output of the state script."""
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        said.setdefault(key, []).append(value.strip())
    hashes = {path: key for key, paths in said.items() for path in paths if len(key) == 64}
    return BoardState(
        compatible=next(iter(said.get("compatible", ())), None),
        current=next(iter(said.get("current", ())), None),
        previous=next(iter(said.get("previous", ())), None),
        releases=tuple(said.get("release", ())),
        objects=frozenset(
            e.sha256 for e in entries if hashes.get(f"store/sha256/{e.sha256}") == e.sha256
        ),
        whole=bool(entries)
        and all(hashes.get(f"releases/{release}/{e.path}") == e.sha256 for e in entries),
    )


def entries_of(manifest: Manifest) -> tuple[Entry, ...]:
    """Every file of a release directory, the manifest among them."""
    raw = manifest.canonical()
    own = Entry(path=MANIFEST, sha256=hashlib.sha256(raw).hexdigest(), bytes=len(raw), mode="0644")
    files = manifest.files
    return (
        *(Entry(path=f.path, sha256=f.sha256, bytes=f.bytes, mode=f.mode) for f in files),
        own,
    )


# Plan


def plan_deploy(
    release: Release, facts: TargetFacts, state: BoardState, *, reserve_bytes: int, board: str
) -> Plan:
    """Pure: facts and state in, plan out. Raises TargetError for a foreign or full board."""
    manifest = release.manifest
    if state.compatible not in (None, manifest.compatible):
        raise _foreign(board, manifest, state.compatible or "")
    missing = {e.sha256: e for e in entries_of(manifest) if e.sha256 not in state.objects}
    plan = Plan(
        release=manifest.id,
        compatible=manifest.compatible,
        former=state.current,
        claim=state.compatible is None,
        upload=tuple(missing.values()),
        build=not state.whole,
        switch=state.current != manifest.id,
    )
    needed = plan.bytes + BLOCK * (len(plan.upload) + 2 * len(manifest.files)) + reserve_bytes
    if (plan.upload or plan.build) and facts.free_bytes < needed:
        raise _no_space(board, plan, needed, facts.free_bytes, reserve_bytes)
    return plan


def _foreign(board: str, manifest: Manifest, compatible: str) -> TargetError:
    return TargetError(
        board,
        f"is not a board for release {manifest.id}",
        facts=[f"expected: compatible {manifest.compatible}", f"found: {compatible}"],
        next="invoke boards; or, if the board has become another kind, "
        f"remove {manifest.deploy_root}/board on it",
    )


def _no_space(board: str, plan: Plan, needed: int, free: int, reserve: int) -> TargetError:
    return TargetError(
        board,
        f"no space for release {plan.release}",
        facts=[
            f"expected: {needed:,} bytes free ({plan.bytes:,} to send, {reserve:,} in reserve)",
            f"found: {free:,} bytes free",
        ],
        next="make room on the board, or lower deploy.reserve_mb in its profile",
    )


# Apply

PREPARE = r"""
set -e
umask 022
cd "$1"
rm -rf tmp
mkdir -p store/sha256 tmp releases
if [ ! -f board ]; then echo "$2" > tmp/board; mv tmp/board board; fi
"""
# `sync FILE` is fsync where the board's sync can do that, and a sync of everything elsewhere.
RECEIVE = r"""
set -e
part=$1/tmp/$2.part
cat > "$part"
found=$(sha256sum "$part")
found=${found%% *}
[ "$found" = "$2" ] || { echo "$found"; exit 65; }
sync "$part"
mv -f "$part" "$1/store/sha256/$2"
"""
BUILD = r"""
set -e
umask 022
cd "$1"
id=$2 synced=
for folder in . $3; do
    mkdir -p "tmp/$id/$folder"
    synced="$synced tmp/$id/$folder"
done
shift 3
while [ $# -gt 0 ]; do
    ln "store/sha256/$1" "tmp/$id/$3"
    chmod "$2" "tmp/$id/$3"
    shift 3
done
sync store/sha256 $synced
[ ! -e "releases/$id" ] || mv "releases/$id" "tmp/$id.damaged"
mv "tmp/$id" releases/
sync releases
"""
# A symbolic link moved into a directory replaces the one of its name by rename(2), with every
# busybox and with coreutils; `mv -T` is missing before busybox 1.34 and `ln -sfn` is not atomic.
SWITCH = r"""
set -e
cd "$1"
[ "$(readlink lock)" = "$3" ] || exit 75
rm -rf tmp/switch
mkdir tmp/switch
if [ -d current/. ]; then
    ln -s "$(readlink current)" tmp/switch/previous
    mv -f tmp/switch/previous .
fi
ln -s "releases/$2" tmp/switch/current
mv -f tmp/switch/current .
sync .
"""


def _apply(
    board: Board, root: str, release: Release, plan: Plan, step: OnStep, on_bytes: OnBytes | None
) -> None:
    """Everything that comes before the switch."""
    board.script(PREPARE, root, plan.compatible)
    sources = {entry.sha256: _content(release, entry) for entry in plan.upload}
    step(f"send {len(plan.upload)} files, {plan.bytes:,} bytes")
    sent = 0
    for entry in plan.upload:
        _send(board, root, entry, sources[entry.sha256], _adder(sent, plan.bytes, on_bytes))
        sent += entry.bytes
    if plan.build:
        _build(board, root, release)


def _build(board: Board, root: str, release: Release) -> None:
    """Make the release directory of hard links. Paths have no spaces: the manifest sees to it."""
    entries = entries_of(release.manifest)
    folders = {str(up) for entry in entries for up in PurePosixPath(entry.path).parents}
    words = [word for entry in entries for word in (entry.sha256, entry.mode, entry.path)]
    board.script(BUILD, root, release.id, " ".join(sorted(folders - {"."})), *words)


def _content(release: Release, entry: Entry) -> Path | bytes:
    if entry.path == MANIFEST:
        return release.manifest.canonical()
    return release.folder / entry.path


def _send(
    board: Board, root: str, entry: Entry, content: Path | bytes, progress: Callable[[int], None]
) -> None:
    argv = ["sh", "-c", RECEIVE, "_", root, entry.sha256]
    try:
        with BytesIO(content) if isinstance(content, bytes) else content.open("rb") as source:
            board.feed(argv, source, progress=progress)
    except CommandError as failed:
        if failed.result.returncode != DAMAGED:
            raise
        raise TargetError(
            f"{board.target}: {entry.path}",
            "arrived damaged",
            facts=[f"expected: {entry.sha256}", f"found: {failed.result.stdout.strip()}"],
            next="run the same command again; if it happens again, look at the board's storage",
        ) from failed


def _adder(before: int, total: int, on_bytes: OnBytes | None) -> Callable[[int], None]:
    """Adds up the bytes of one file on top of those sent before it."""
    done = before

    def add(count: int) -> None:
        nonlocal done
        done += count
        if on_bytes:
            on_bytes(done, total)

    return add


def _switch(board: Board, root: str, release: str, token: str) -> None:
    try:
        board.script(SWITCH, root, release, token)
    except CommandError as failed:
        if failed.result.returncode != lock.BUSY:
            raise
        raise TargetError(
            str(board.target),
            "the lock was lost before the switch",
            facts=["the board heard nothing for too long; the former release is still current"],
            next="run the same command again",
        ) from failed


def _require_sound(board: Board, root: str, manifest: Manifest) -> None:
    entries = entries_of(manifest)
    placed = [f"releases/{manifest.id}/{entry.path}" for entry in entries]
    text = board.script(STATE, root, *placed, timeout=300).stdout
    if not parse_state(text, entries, manifest.id).whole:
        raise TargetError(
            str(board.target),
            f"release {manifest.id} is damaged on the board",
            next="invoke deploy",
        )


# Garbage

SWEEP = r"""
set -e
cd "$1"
shift
for name in "$@"; do mv "releases/$name" "tmp/$name.old"; done
rm -rf tmp
mkdir tmp
"""


def _collect(board: Board, root: str, plan: Plan, state: BoardState) -> tuple[str, ...]:
    """Keep current and previous; remove other releases and the objects that none refers to."""
    kept = (plan.release, plan.former if plan.switch else state.previous)
    gone = tuple(name for name in state.releases if name not in kept)
    board.script(SWEEP, root, *gone)
    loose = [f"{root}/store/sha256/{name}" for name, links in _links(board, root) if links == 1]
    if loose:
        board.check(["rm", "-f", *loose])
    return gone


def _links(board: Board, root: str) -> list[tuple[str, int]]:
    """Objects in the store and their link counts, by `ls -l`."""
    listing = board.run(["ls", "-l", f"{root}/store/sha256"]).stdout.splitlines()
    rows = [line.split() for line in listing if line.startswith("-")]
    return [(row[-1], int(row[1])) for row in rows]


def _silent(_: str) -> None:
    return
