"""Every state that a power cut may leave of a board's life: any write that was not synced is lost.

The life is played once under strace. Its writes are then replayed in a model of a file system
that promises no more than POSIX does: what fsync was called on survives; of all else, any part
may. (The idea is that of ALICE, Pillai et al., OSDI 2014.) Two things are taken as given, as
every journalling file system has them: a rename is whole or not at all, and so is a link.
"""

import multiprocessing
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from edgewright.base.progress import LineSink
from edgewright.base.schema import Document, Part
from edgewright.lab.proof.life import (
    Command,
    Life,
    boot,
    does_not_converge,
    does_not_start,
    in_memory,
    life,
    unsound,
    untried,
)
from edgewright.lab.proof.orders import Helper, floor_of, linked, release_problem

TRACED = "open,write,pwrite64,ftruncate,fchmod,rename,link,symlink,unlink,mkdir,rmdir,fsync"
AT = "openat,renameat,renameat2,linkat,symlinkat,unlinkat,mkdirat,fchmodat,truncate,fdatasync"
CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+)")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
OPENED = re.compile(r"^\d+<((?:\\x[0-9a-f]{2})+)>")
REPEATED = frozenset(
    {
        "releases, after releases/<id>/manifest.json.minisig",
        "releases/<id>/bin, after releases/<id>/manifest.json.minisig",
        "releases/<id>/model, after releases/<id>/manifest.json.minisig",
        "releases/<id>/model/golden, after releases/<id>/manifest.json.minisig",
        "root, after lease",
    }
)
NEWEST = 12  # unsynced changes that are lost or kept one by one: all subsets would be 2^n
ZEROS, OLD, NEW = "zeros", "old", "new"  # what is left of a file that was written, not synced


@dataclass(eq=False)
class Node:
    """A file, a folder or a symbolic link of the model."""

    kind: Literal["file", "folder", "link"]
    target: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A name in a folder; `node` is None where the name is removed."""

    folder: Node
    name: str
    node: Node | None


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names that change together; durable when `folder` is synced."""

    entries: tuple[Entry, ...]
    folder: Node
    summary: str


@dataclass(frozen=True, kw_only=True)
class Content:
    """The new content of a file."""

    node: Node
    data: bytes
    mode: int


@dataclass(frozen=True, kw_only=True)
class Sync:
    """An fsync; `site` is the same for syncs of the same purpose."""

    node: Node
    site: str


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A command has succeeded: its promise holds from here on."""

    step: Command


Event = Names | Content | Sync | Answered


@dataclass(frozen=True, kw_only=True)
class Record:
    """A board's life as events on a file system that is empty at first."""

    top: Node
    events: tuple[Event, ...]
    life: Life
    program: Path

    @property
    def sites(self) -> tuple[str, ...]:
        """Purposes of syncs."""
        return tuple(sorted({event.site for event in self.events if isinstance(event, Sync)}))


# Record


@dataclass
class _Recorder:
    """Turns lines of strace into events."""

    root: Path
    top: Node = field(default_factory=lambda: Node("folder"))
    events: list[Event] = field(default_factory=list)
    names: dict[tuple[Node, str], Node] = field(default_factory=dict)
    contents: dict[Node, tuple[bytes, int]] = field(default_factory=dict)
    last: str = ""  # the target of the latest rename

    def line(self, line: str) -> None:
        # A call that failed changed nothing, and neither does one that only reads.
        match = CALL.match(line)
        if not match or match[3].startswith("-") or "O_RDONLY" in match[2]:
            return
        call, arguments = match[1], match[2]
        if call == "symlink":  # alone has its path as the second text
            target, new = (_decoded(text).decode() for text in TEXT.findall(arguments))
            self._create(str(Path(new).relative_to(self.root)), Node("link", target))
            return
        texts = [_decoded(text) for text in TEXT.findall(arguments)]
        opened = OPENED.match(arguments)
        subject = _decoded(opened[1]) if opened else texts[0] if texts else b""
        handler = getattr(self, f"_{call}", None)
        if handler is None:
            # Silence would prove a life without this call.
            raise AssertionError(f"a system call that the model does not know: {line}")
        path = self._inside(subject)
        if path is not None:
            handler(path, texts, arguments)

    def _inside(self, path: bytes) -> str | None:
        """A path relative to the board's folder; None for a path outside it."""
        inside = Path(path.decode(errors="replace"))
        return str(inside.relative_to(self.root)) if inside.is_relative_to(self.root) else None

    def _at(self, path: str) -> tuple[Node, str]:
        """Folder and name of a path."""
        node = self.top
        parts = Path(path).parts
        for part in parts[:-1]:
            node = self.names[node, part]
        return node, parts[-1] if parts else ""

    def _node(self, path: str) -> Node:
        return self.top if path == "." else self.names[self._at(path)]

    def _change_names(
        self, summary: str, folder: Node, *entries: tuple[tuple[Node, str], Node | None]
    ) -> None:
        for place, node in entries:
            if node is None:
                self.names.pop(place, None)
            else:
                self.names[place] = node
        changes = tuple(Entry(folder=at[0], name=at[1], node=node) for at, node in entries)
        self.events.append(Names(entries=changes, folder=folder, summary=summary))

    def _create(self, path: str, node: Node) -> None:
        place = self._at(path)
        self._change_names(f"{node.kind} {path}", place[0], (place, node))

    def _set_content(self, node: Node, data: bytes, mode: int) -> None:
        self.contents[node] = (data, mode)
        self.events.append(Content(node=node, data=data, mode=mode))

    def _open(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        if "O_CREAT" in arguments and self._at(path) not in self.names:
            node = Node("file")
            self._create(path, node)
            self._set_content(node, b"", 0o644)

    _openat = _open

    def _write(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        node = self._node(path)
        data, mode = self.contents[node]
        self._set_content(node, data + texts[-1], mode)

    def _pwrite64(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        node, offset = self._node(path), int(arguments.rsplit(",", 1)[1])
        data, mode = self.contents[node]
        data = data.ljust(offset, b"\0")
        self._set_content(node, data[:offset] + texts[-1] + data[offset + len(texts[-1]) :], mode)

    def _ftruncate(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        node, size = self._node(path), int(arguments.rsplit(",", 1)[1])
        data, mode = self.contents[node]
        self._set_content(node, data[:size].ljust(size, b"\0"), mode)

    def _fchmod(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        node = self._node(path)
        self._set_content(node, self.contents[node][0], int(arguments.rsplit(",", 1)[1], 8))

    def _mkdir(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        if path != ".":
            self._create(path, Node("folder"))

    def _link(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        new = self._inside(texts[1])
        if new:
            self._create(new, self._node(path))

    def _unlink(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        place = self._at(path)
        self._change_names(f"no {path}", place[0], (place, None))

    _rmdir = _unlink

    def _rename(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        new = self._inside(texts[1])
        if new:
            place, node = self._at(new), self._node(path)
            self._change_names(f"{path} -> {new}", place[0], (self._at(path), None), (place, node))
            self.last = _purpose(new)

    def _fsync(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        node = self._node(path)
        # A folder is synced for the name that changed in it last, so that names its purpose.
        after = f", after {self.last}" if node.kind == "folder" else ""
        self.events.append(Sync(node=node, site=f"{_purpose(path)}{after}"))


def _decoded(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _purpose(path: str) -> str:
    """A path without what differs from release to release."""
    named = re.sub(r"[0-9a-f]{64}", "<hash>", path)
    named = re.sub(r"(tmp|releases|quarantine)/[0-9a-f]{16}", r"\1/<id>", named)
    # A state and its copy are made at once, before anything counts on them: either alone would do.
    named = re.sub(r"^(tmp/\w+)\.copy\.new$", r"\1.new", named)
    return "root" if named == "." else named


def record(program: Path, folder: Path) -> Record:
    """Play a life with this `edgectl`, and record what it does to the file system."""
    helper = Helper(program=program, root=folder / "board", proc=folder / "proc")
    helper.root.mkdir()
    boot(helper.proc)
    life_played = life(folder, helper.root)
    recorder = _Recorder(root=helper.root)
    for step in life_played.steps:
        for line in _traced(helper, step, folder / "strace"):
            recorder.line(line)
        recorder.events.append(Answered(step=step))
    return Record(
        top=recorder.top, events=tuple(recorder.events), life=life_played, program=program
    )


def _traced(helper: Helper, step: Command, log: Path) -> list[str]:
    # -y names what a descriptor is open on, -xx keeps every byte, -s the whole of each write.
    tracer = ["strace", "-qq", "-y", "-xx", "-s", "10000000", "-o", str(log)]
    argv = [*tracer, "-e", f"trace={TRACED},{AT}", *helper.argv(*step.argv)]
    child = subprocess.run(argv, input=step.input, capture_output=True, check=False)
    if child.returncode != 0:
        raise AssertionError(f"{step.name}: {child.stderr.decode()}")
    return log.read_text().splitlines()


# Power cut


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A moment, and what survives of the writes that were not synced by then."""

    at: int  # events before it
    persisted: frozenset[int]  # changes of names that survive although nothing synced them
    contents: str = OLD  # ZEROS, OLD or NEW, for files that were not synced


def unsynced(record: Record, at: int, without: str | None = None) -> list[int]:
    """Changes of names before `at` that no sync made durable; syncs of `without` are ignored."""
    pending: list[int] = []
    for index, event in enumerate(record.events[:at]):
        if isinstance(event, Names):
            pending.append(index)
        elif isinstance(event, Sync) and event.site != without:
            synced = {
                change
                for change in pending
                if isinstance(names := record.events[change], Names) and names.folder is event.node
            }
            pending = [change for change in pending if change not in synced]
    return pending


@dataclass(frozen=True, kw_only=True)
class TreeItem:
    """A file, a folder or a symbolic link after a cut."""

    node: Node
    data: bytes = b""
    mode: int = 0o755


Tree = dict[str, TreeItem]  # by path; folders come before what is in them


def tree_after(record: Record, cut: Cut, without: str | None = None) -> Tree:
    """The board's files after the cut."""
    lost = set(unsynced(record, cut.at, without)) - cut.persisted
    names: dict[Node, dict[str, Node]] = {}
    cached: dict[Node, tuple[bytes, int]] = {}
    durable: dict[Node, tuple[bytes, int]] = {}
    for index, event in enumerate(record.events[: cut.at]):
        if isinstance(event, Names) and index not in lost:
            _apply(event, names)
        elif isinstance(event, Content):
            cached[event.node] = (event.data, event.mode)
        elif isinstance(event, Sync) and event.node in cached and event.site != without:
            durable[event.node] = cached[event.node]
    contents = {node: _content_after(node, cached, durable, cut.contents) for node in cached}
    return dict(_walk(record.top, "", names, contents))


def _apply(event: Names, names: dict[Node, dict[str, Node]]) -> None:
    moved = {entry.node for entry in event.entries} - {None}
    for entry in event.entries:
        folder = names.setdefault(entry.folder, {})
        if entry.node is not None:
            folder[entry.name] = entry.node
        elif not moved or folder.get(entry.name) in moved:
            folder.pop(entry.name, None)


def _content_after(
    node: Node,
    cached: dict[Node, tuple[bytes, int]],
    durable: dict[Node, tuple[bytes, int]],
    contents: str,
) -> tuple[bytes, int]:
    old = durable.get(node, (b"", 0o644))
    if contents == NEW or cached[node] == old:
        return cached[node]
    return old if contents == OLD else (bytes(len(cached[node][0])), cached[node][1])


def _walk(
    folder: Node,
    prefix: str,
    names: dict[Node, dict[str, Node]],
    contents: dict[Node, tuple[bytes, int]],
) -> Iterator[tuple[str, TreeItem]]:
    for name, node in names.get(folder, {}).items():
        data, mode = contents.get(node, (b"", 0o755))
        yield prefix + name, TreeItem(node=node, data=data, mode=mode)
        if node.kind == "folder":
            yield from _walk(node, f"{prefix}{name}/", names, contents)


def make(tree: Tree, target: Path) -> None:
    """Write a tree to the folder `target` of this machine, hard links as hard links."""
    linked_paths: dict[Node, Path] = {}
    target.mkdir()
    for name, item in tree.items():
        path = target / name
        if item.node.kind == "folder":
            path.mkdir()
        elif item.node.kind == "link":
            path.symlink_to(item.node.target)
        elif item.node in linked_paths:
            path.hardlink_to(linked_paths[item.node])
        else:
            path.write_bytes(item.data)
            path.chmod(item.mode)
            linked_paths[item.node] = path


# Files that no promise is about.
UNPROMISED = ("tmp/", "locks/", "store/", "lease")


def _fingerprint(tree: Tree, without: tuple[str, ...] = ()) -> int:
    """A hash that is equal for trees that differ only in what is below these paths."""
    first_names: dict[Node, str] = {}  # which names are links to one file counts
    return hash(
        frozenset(
            (
                path,
                first_names.setdefault(item.node, path),
                item.node.kind,
                item.node.target,
                item.data,
                item.mode,
            )
            for path, item in tree.items()
            if not path.startswith(without)
        )
    )


def _answers_before(record: Record, at: int) -> int:
    return sum(isinstance(event, Answered) for event in record.events[:at])


def different(record: Record, every: Sequence[Cut]) -> list[Cut]:
    """The first of all cuts that leave the same files behind after the same answers.

    A cut is judged by both alone, so the others are judged with it.
    """
    first: dict[tuple[int, int], Cut] = {}
    for cut in every:
        state = (_fingerprint(tree_after(record, cut)), _answers_before(record, cut.at))
        first.setdefault(state, cut)
    return list(first.values())


# Judge


class LossReport(Document):
    """States after a power cut, and every promise that one of them breaks."""

    version: Literal[1] = 1
    cuts: int
    states: int  # that the cuts leave behind and that differ
    judged: int  # of these states
    violations: tuple[str, ...]


class Bite(Part):
    """The promise that breaks if the syncs of a site are left out; None if none does."""

    site: str
    problem: str | None


class TeethReport(Document):
    """The proof's own test: for each site of a sync, what breaks without it."""

    version: Literal[1] = 1
    bites: tuple[Bite, ...]


def prove(
    program: Path,
    *,
    states: int | None = None,
    jobs: int | None = None,
    on_state: LineSink | None = None,
) -> LossReport:
    """Judge every state that power cuts may leave of a life, or `states` of them evenly spread.

    `jobs` of them are judged side by side, by default twice as many as there are cores.
    """
    with in_memory() as folder:
        played = record(program, folder)
        every = list(cuts(played))
        distinct = different(played, every)
        count = min(states or len(distinct), len(distinct))
        chosen = [distinct[number * len(distinct) // count] for number in range(count)]
        violations = []
        for number, problem in enumerate(_side_by_side(played, chosen, folder, jobs)):
            if on_state and number % 500 == 0:
                on_state(f"{number} of {count} states")
            violations += [problem] if problem else []
    return LossReport(
        cuts=len(every), states=len(distinct), judged=count, violations=tuple(violations)
    )


def _side_by_side(
    record: Record, cuts: Sequence[Cut], folder: Path, jobs: int | None
) -> Iterator[str | None]:
    """What `judge_aside` says of each cut, in no order; raises what it raises.

    By processes: where threads fork, a child of one holds open for writing what another is about
    to start (ETXTBSY). They are forked, as a record's steps hold functions.
    """
    context = multiprocessing.get_context("fork")
    verdicts: SimpleQueue[str | Exception | None] = context.SimpleQueue()

    def work(part: Sequence[Cut]) -> None:
        for cut in part:
            try:
                verdicts.put(judge_aside(record, cut, folder))
            except Exception as raised:
                verdicts.put(raised)

    count = jobs or 2 * (os.cpu_count() or 1)
    workers = [context.Process(target=work, args=(cuts[n::count],)) for n in range(count)]
    try:
        for worker in workers:
            worker.start()
        for _ in cuts:
            verdict = verdicts.get()
            if isinstance(verdict, Exception):
                raise verdict
            yield verdict
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def judge_aside(record: Record, cut: Cut, folder: Path) -> str | None:
    """`judge` in a folder below `folder`, which is removed afterwards."""
    with TemporaryDirectory(dir=folder) as aside:
        problem = judge(record, cut, Path(aside))
    return f"in '{_interrupted_step(record, cut.at).name}': {problem}" if problem else None


def teeth(program: Path, on_site: LineSink | None = None) -> TeethReport:
    """Leave out the syncs of each site in turn, and look for the promise that breaks then."""
    with in_memory() as folder:
        played = record(program, folder)
        bites = []
        for site in (site for site in played.sites if not is_repeated(site)):
            if on_site:
                on_site(site)
            bites.append(Bite(site=site, problem=first_violation(played, folder, site)))
    return TeethReport(bites=tuple(bites))


def is_repeated(site: str) -> bool:
    """Whether a sync repeats that of an earlier run, which was killed before it made its own.

    No run is killed in this life, so leaving such a sync out breaks nothing here.
    """
    return site in REPEATED


def broken(record: Record, at: int, root: Path) -> str | None:
    """The promise that a board breaks, read without edgectl; None if it keeps all."""
    previous = linked(root, "previous")
    problem = previous and release_problem(root, previous, record.life.keys)
    return (
        unsound(root, record.life.keys)
        or (f"previous: {problem}" if problem else None)
        or untried(root)
        or next(_broken_promises(record, at, root), None)
    )


def _broken_promises(record: Record, at: int, root: Path) -> Iterator[str]:
    answered = [event.step for event in record.events[:at] if isinstance(event, Answered)]
    # A later promise about the same subject takes the place of an earlier one.
    latest = {
        "keys" if step.argv[0] == "keys" else step.name.split(": ")[-1]: step for step in answered
    }
    for step in latest.values():
        problem = step.keeps(root)
        if problem:
            yield f"after '{step.name}': {problem}"


def judge(record: Record, cut: Cut, folder: Path) -> str | None:
    """The promise that a power cut breaks, or None: read from outside, then by starting and
    deploying again. `folder` is filled and may be thrown away.
    """
    root, proc = folder / "board", folder / "proc"
    make(tree_after(record, cut), root)
    # Before edgectl starts: what it repairs then must not have been promised as whole.
    problem = broken(record, cut.at, root)
    if problem:
        return problem
    boot(proc)
    helper = Helper(program=record.program, root=root, proc=proc)
    problem = does_not_start(helper, may_be_empty=floor_of(root) == 0)
    return problem or does_not_converge(helper, record.life, _interrupted_step(record, cut.at))


def _interrupted_step(record: Record, at: int) -> Command:
    """The command during which the cut came, or the last one."""
    later = (event.step for event in record.events[at:] if isinstance(event, Answered))
    return next(later, record.life.steps[-1])


def cuts(record: Record, without: str | None = None) -> Iterator[Cut]:
    """The cuts before every sync and after every answer, with every state of what is unsynced.

    Nothing becomes durable in between, so these moments have every other moment's states. Of
    the newest changes each is left out, kept alone, and kept with all before it.
    """
    for at in _moments(record, without):
        pending = unsynced(record, at, without)
        for persisted in _subsets(pending):
            for contents in _contents(record, at, without):
                yield Cut(at=at, persisted=persisted, contents=contents)


def _moments(record: Record, without: str | None) -> Iterator[int]:
    """Only from the first sync on that is left out: before it nothing is different."""
    differs = without is None
    for index, event in enumerate(record.events):
        is_ignored = isinstance(event, Sync) and event.site == without
        differs = differs or is_ignored
        if differs and isinstance(event, Answered):
            yield index + 1
        elif differs and isinstance(event, Sync) and not is_ignored:
            yield index


def _subsets(pending: list[int]) -> list[frozenset[int]]:
    """The unsynced changes that survive a cut: none, all, and around each of the newest."""
    every = frozenset(pending)
    newest = range(max(0, len(pending) - NEWEST), len(pending))
    subsets = [frozenset(), every]
    for at in newest:
        subsets += [every - {pending[at]}, frozenset({pending[at]}), frozenset(pending[:at])]
    return list(dict.fromkeys(subsets))


def _contents(record: Record, at: int, without: str | None) -> tuple[str, ...]:
    """The contents that unsynced files may have; one if there are no such files."""
    open_files: set[Node] = set()
    for event in record.events[:at]:
        if isinstance(event, Content):
            open_files.add(event.node)
        elif isinstance(event, Sync) and event.site != without:
            open_files.discard(event.node)
    return (OLD, ZEROS, NEW) if open_files else (NEW,)


def first_violation(record: Record, folder: Path, without: str | None = None) -> str | None:
    """The first promise that breaks, read from outside, if the syncs of a site are left out."""
    states: set[tuple[int, int]] = set()
    for cut in cuts(record, without):
        tree = tree_after(record, cut, without)
        state = (_fingerprint(tree, UNPROMISED), _answers_before(record, cut.at))
        if state in states:
            continue
        states.add(state)
        root = folder / "cut"
        make(tree, root)
        try:
            problem = broken(record, cut.at, root)
        finally:
            shutil.rmtree(root)
        if problem:
            return problem
    return None
