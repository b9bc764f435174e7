"""What a power cut may leave of a board's life: every write that was not synced may be missing.

The life is played once under strace. Its writes are then replayed in a model of a file system
that promises no more than POSIX does: what fsync was called on is there; of all else, any part
may be. (The idea is that of ALICE, Pillai et al., OSDI 2014.) Two things are taken as given, as
every journalling file system has them: a rename is whole or not at all, and so is a link.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgewright.base.progress import LineSink
from edgewright.base.schema import Document, Part
from edgewright.lab.proof.life import (
    Life,
    Step,
    boot,
    does_not_converge,
    does_not_start,
    in_memory,
    life,
    unsound,
)
from edgewright.lab.proof.orders import Helper, linked, release_problem

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
NEWEST = 12  # unsynced changes that are lost or kept one by one
ZEROS, OLD, NEW = "zeros", "old", "new"  # what is left of a file that was written, not synced


@dataclass(eq=False)
class Node:
    """A file, a folder or a symbolic link of the model."""

    kind: Literal["file", "folder", "link"]
    target: str = ""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A name in a folder; `node` is None where the name goes."""

    folder: Node
    name: str
    node: Node | None


@dataclass(frozen=True, kw_only=True)
class Names:
    """Names that change as one; durable when `folder` is synced."""

    entries: tuple[Entry, ...]
    folder: Node
    told: str


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a file holds from now on."""

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
    """A command has ended well: what it promised holds from now on."""

    step: Step


Event = Names | Content | Sync | Answered


@dataclass(frozen=True, kw_only=True)
class Record:
    """A life as events on a file system that begins empty."""

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
    last: str = ""  # name that a rename gave last

    def line(self, line: str) -> None:
        match = CALL.match(line)
        if not match or match[3].startswith("-") or "O_RDONLY" in match[2]:
            return
        call, arguments = match[1], match[2]
        texts = [_decoded(text) for text in TEXT.findall(arguments)]
        opened = OPENED.match(arguments)
        subject = _decoded(opened[1]) if opened else texts[0] if texts else b""
        handler = getattr(self, f"_{call}", None)
        if handler is None:
            raise AssertionError(f"a system call that the model does not know: {line}")
        path = self._inside(subject)
        if path is not None:
            handler(path, texts, arguments)

    def _inside(self, path: bytes) -> str | None:
        """Relative to the board's folder; None for what is elsewhere."""
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

    def _named(
        self, told: str, folder: Node, *entries: tuple[tuple[Node, str], Node | None]
    ) -> None:
        for place, node in entries:
            if node is None:
                self.names.pop(place, None)
            else:
                self.names[place] = node
        made = tuple(Entry(folder=at[0], name=at[1], node=node) for at, node in entries)
        self.events.append(Names(entries=made, folder=folder, told=told))

    def _made(self, path: str, node: Node) -> None:
        place = self._at(path)
        self._named(f"{node.kind} {path}", place[0], (place, node))

    def _filled(self, node: Node, data: bytes, mode: int) -> None:
        self.contents[node] = (data, mode)
        self.events.append(Content(node=node, data=data, mode=mode))

    def _open(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        if "O_CREAT" in arguments and self._at(path) not in self.names:
            node = Node("file")
            self._made(path, node)
            self._filled(node, b"", 0o644)

    _openat = _open

    def _write(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        node = self._node(path)
        data, mode = self.contents[node]
        self._filled(node, data + texts[-1], mode)

    def _pwrite64(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        node, offset = self._node(path), int(arguments.rsplit(",", 1)[1])
        data, mode = self.contents[node]
        data = data.ljust(offset, b"\0")
        self._filled(node, data[:offset] + texts[-1] + data[offset + len(texts[-1]) :], mode)

    def _ftruncate(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        node, size = self._node(path), int(arguments.rsplit(",", 1)[1])
        data, mode = self.contents[node]
        self._filled(node, data[:size].ljust(size, b"\0"), mode)

    def _fchmod(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        node = self._node(path)
        self._filled(node, self.contents[node][0], int(arguments.rsplit(",", 1)[1], 8))

    def _mkdir(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        if path != ".":
            self._made(path, Node("folder"))

    def _link(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        new = self._inside(texts[1])
        if new:
            self._made(new, self._node(path))

    def _unlink(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        place = self._at(path)
        self._named(f"no {path}", place[0], (place, None))

    _rmdir = _unlink

    def _rename(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        new = self._inside(texts[1])
        if new:
            place, node = self._at(new), self._node(path)
            self._named(f"{path} -> {new}", place[0], (self._at(path), None), (place, node))
            self.last = _purpose(new)

    def _fsync(self, path: str, texts: Sequence[bytes], arguments: str) -> None:
        node = self._node(path)
        after = f", after {self.last}" if node.kind == "folder" else ""
        self.events.append(Sync(node=node, site=f"{_purpose(path)}{after}"))

    def symlink(self, target: str, path: str) -> None:
        self._made(path, Node("link", target))


def _decoded(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _purpose(path: str) -> str:
    """A path without what differs from release to release."""
    named = re.sub(r"[0-9a-f]{64}", "<hash>", path)
    named = re.sub(r"(tmp|releases|quarantine)/[0-9a-f]{16}", r"\1/<id>", named)
    return "root" if named == "." else named


def record(program: Path, folder: Path) -> Record:
    """Play a life with this `edgectl` and write down what it did to the file system."""
    helper = Helper(program=program, root=folder / "board", proc=folder / "proc")
    helper.root.mkdir()
    boot(helper.proc)
    played = life(folder, helper.root)
    recorder = _Recorder(root=helper.root)
    for step in played.steps:
        for line in _traced(helper, step, folder / "strace"):
            _feed(recorder, line)
        recorder.events.append(Answered(step=step))
    return Record(top=recorder.top, events=tuple(recorder.events), life=played, program=program)


def _traced(helper: Helper, step: Step, log: Path) -> list[str]:
    tracer = ["strace", "-qq", "-y", "-xx", "-s", "10000000", "-o", str(log)]
    argv = [*tracer, "-e", f"trace={TRACED},{AT}", *helper.argv(*step.argv)]
    done = subprocess.run(argv, input=step.input, capture_output=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{step.name}: {done.stderr.decode()}")
    return log.read_text().splitlines()


def _feed(recorder: _Recorder, line: str) -> None:
    if not line.startswith("symlink("):
        recorder.line(line)
        return
    target, path = (_decoded(text).decode() for text in TEXT.findall(line))
    recorder.symlink(target, str(Path(path).relative_to(recorder.root)))


# Power cut


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A moment, and what the storage made of that which was not synced by then."""

    at: int  # events before it
    kept: frozenset[int]  # unsynced changes of names that are there all the same
    contents: str = OLD  # ZEROS, OLD or NEW, for files that were not synced


def unsynced(record: Record, at: int, without: str | None = None) -> list[int]:
    """Changes of names before `at` that nothing made durable; syncs of `without` do not count."""
    pending: list[int] = []
    for index, event in enumerate(record.events[:at]):
        if isinstance(event, Names):
            pending.append(index)
        elif isinstance(event, Sync) and event.site != without:
            pending = [old for old in pending if not _makes_durable(event, record.events[old])]
    return pending


def _makes_durable(sync: Sync, names: Event) -> bool:
    return isinstance(names, Names) and names.folder is sync.node


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file, a folder or a symbolic link that is there after a cut."""

    node: Node
    data: bytes = b""
    mode: int = 0o755


Tree = dict[str, Found]  # by path; folders come before what is in them


def left_behind(record: Record, cut: Cut, without: str | None = None) -> Tree:
    """What is found after the cut."""
    lost = set(unsynced(record, cut.at, without)) - cut.kept
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
    contents = {node: _left(node, cached, durable, cut.contents) for node in cached}
    return dict(_walk(record.top, "", names, contents))


def _apply(event: Names, names: dict[Node, dict[str, Node]]) -> None:
    moved = {entry.node for entry in event.entries} - {None}
    for entry in event.entries:
        folder = names.setdefault(entry.folder, {})
        if entry.node is not None:
            folder[entry.name] = entry.node
        elif not moved or folder.get(entry.name) in moved:
            folder.pop(entry.name, None)


def _left(
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
) -> Iterator[tuple[str, Found]]:
    for name, node in names.get(folder, {}).items():
        data, mode = contents.get(node, (b"", 0o755))
        yield prefix + name, Found(node=node, data=data, mode=mode)
        if node.kind == "folder":
            yield from _walk(node, f"{prefix}{name}/", names, contents)


def make(tree: Tree, target: Path) -> None:
    """Make the folder on this machine; hard links are links."""
    made: dict[Node, Path] = {}
    target.mkdir()
    for name, found in tree.items():
        path = target / name
        if found.node.kind == "folder":
            path.mkdir()
        elif found.node.kind == "link":
            path.symlink_to(found.node.target)
        elif found.node in made:
            path.hardlink_to(made[found.node])
        else:
            path.write_bytes(found.data)
            path.chmod(found.mode)
            made[found.node] = path


def _visible(tree: Tree) -> int:
    """The same for trees that differ only in what no promise is about."""
    hidden = ("tmp/", "locks/", "store/", "lease")
    return hash(
        frozenset(
            (path, found.node.kind, found.node.target, found.data, found.mode)
            for path, found in tree.items()
            if not path.startswith(hidden)
        )
    )


# Judge


class LossReport(Document):
    """States after a power cut, and every promise that one of them breaks."""

    version: Literal[1] = 1
    cuts: int
    judged: int
    violations: tuple[str, ...]


class Bite(Part):
    """What is seen to break if a sync is left out; None if nothing is."""

    site: str
    problem: str | None


class TeethReport(Document):
    version: Literal[1] = 1
    bites: tuple[Bite, ...]


def prove(
    program: Path, *, states: int | None = None, on_state: LineSink | None = None
) -> LossReport:
    """Look at what power cuts may leave of a life: all of it, or some states spread evenly."""
    with in_memory() as folder:
        played = record(program, folder)
        every = list(cuts(played))
        wanted = min(states or len(every), len(every))
        violations = []
        for number in range(wanted):
            if on_state and number % 500 == 0:
                on_state(f"{number} of {wanted} states")
            problem = judge_aside(played, every[number * len(every) // wanted], folder)
            violations += [problem] if problem else []
    return LossReport(cuts=len(every), judged=wanted, violations=tuple(violations))


def judge_aside(record: Record, cut: Cut, folder: Path) -> str | None:
    """`judge` in a folder below `folder` that is gone afterwards."""
    aside = folder / "judged"
    aside.mkdir()
    try:
        problem = judge(record, cut, aside)
    finally:
        shutil.rmtree(aside)
    return f"in '{_under_way(record, cut.at).name}': {problem}" if problem else None


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
    """Syncs that are there for a former run that was killed before its own: none in this life."""
    return site in REPEATED


def broken(record: Record, at: int, root: Path) -> str | None:
    """The promise that a board does not keep, seen from outside; None if it keeps all."""
    return (
        unsound(root, record.life.keys)
        or _unsound_previous(record, root)
        or _untried(root)
        or next(_broken_promises(record, at, root), None)
    )


def _unsound_previous(record: Record, root: Path) -> str | None:
    previous = linked(root, "previous")
    problem = previous and release_problem(root, previous, record.life.keys)
    return f"previous: {problem}" if problem else None


def _untried(root: Path) -> str | None:
    """A release that was never committed is current, and nothing would ever undo it."""
    current, floor, txn = linked(root, "current"), root / "floor", root / "txn"
    committed = floor.read_text(errors="replace").split()[1:] if floor.is_file() else []
    trial = txn.read_text(errors="replace").split()[1:2] if txn.is_file() else []
    if current is None or current in (*committed, *trial):
        return None
    return f"{current} is current, neither committed nor on trial"


def _broken_promises(record: Record, at: int, root: Path) -> Iterator[str]:
    answered = [event.step for event in record.events[:at] if isinstance(event, Answered)]
    latest = {_subject(step): step for step in answered}
    for step in latest.values():
        problem = step.keeps(root)
        if problem:
            yield f"after '{step.name}': {problem}"


def _subject(step: Step) -> str:
    """A later promise about the same thing takes the place of an earlier one."""
    return "keys" if step.argv[0] == "keys" else step.name.split(": ")[-1]


def judge(record: Record, cut: Cut, folder: Path) -> str | None:
    """Everything that is promised after a power cut; `folder` is made, and may be thrown away."""
    root, proc = folder / "board", folder / "proc"
    make(left_behind(record, cut), root)
    problem = broken(record, cut.at, root)
    if problem:
        return problem
    boot(proc)
    helper = Helper(program=record.program, root=root, proc=proc)
    problem = does_not_start(helper, may_be_empty=not (root / "floor").is_file())
    return problem or does_not_converge(helper, record.life, _under_way(record, cut.at))


def _under_way(record: Record, at: int) -> Step:
    """The command that the cut fell into, or the one before it."""
    later = (event.step for event in record.events[at:] if isinstance(event, Answered))
    return next(later, record.life.steps[-1])


def cuts(record: Record, without: str | None = None) -> Iterator[Cut]:
    """Before every sync and after every answer: what may be there of all that is unsynced.

    Nothing becomes durable in between, so these moments have every other moment's states. Of
    the newest changes each is left out, kept alone, and kept with all before it.
    """
    for at in _moments(record, without):
        pending = unsynced(record, at, without)
        for kept in _subsets(pending):
            for contents in _contents(record, at, without):
                yield Cut(at=at, kept=kept, contents=contents)


def _moments(record: Record, without: str | None) -> Iterator[int]:
    """Only from the first sync on that is left out: before it nothing is different."""
    differs = without is None
    for index, event in enumerate(record.events):
        left_out = isinstance(event, Sync) and event.site == without
        differs = differs or left_out
        if differs and isinstance(event, Answered):
            yield index + 1
        elif differs and isinstance(event, Sync) and not left_out:
            yield index


def _subsets(pending: list[int]) -> list[frozenset[int]]:
    every = frozenset(pending)
    newest = range(max(0, len(pending) - NEWEST), len(pending))
    found = [frozenset(), every]
    for at in newest:
        found += [every - {pending[at]}, frozenset({pending[at]}), frozenset(pending[:at])]
    return list(dict.fromkeys(found))


def _contents(record: Record, at: int, without: str | None) -> tuple[str, ...]:
    """Ways in which unsynced files may be found; one if there are none."""
    open_files: set[Node] = set()
    for event in record.events[:at]:
        if isinstance(event, Content):
            open_files.add(event.node)
        elif isinstance(event, Sync) and event.site != without:
            open_files.discard(event.node)
    return (OLD, ZEROS, NEW) if open_files else (NEW,)


def first_violation(record: Record, folder: Path, without: str | None = None) -> str | None:
    """The first promise that is seen broken from outside if syncs of a site are left out."""
    seen: set[tuple[int, int]] = set()
    for cut in cuts(record, without):
        tree = left_behind(record, cut, without)
        state = (_visible(tree), _answers(record, cut.at))
        if state not in seen and (problem := _broken_tree(record, cut, tree, folder / "cut")):
            return problem
        seen.add(state)
    return None


def _answers(record: Record, at: int) -> int:
    return sum(isinstance(event, Answered) for event in record.events[:at])


def _broken_tree(record: Record, cut: Cut, tree: Tree, root: Path) -> str | None:
    make(tree, root)
    try:
        return broken(record, cut.at, root)
    finally:
        shutil.rmtree(root)
