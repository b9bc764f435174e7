"""Kill `edgectl` before every system call of a board's life, or let the call fail.

strace injects the fault ("inject=write:signal=SIGKILL:when=3"): the call is not made any more, or
returns an error. What is left is examined; boards in the same state are examined once.
"""

import errno
import hashlib
import os
import re
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Literal

from edgewright.base.errors import UserError
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
from edgewright.lab.proof.orders import Helper, floor_of

KILLED = (137, -9)  # strace's exit code for a child that died of SIGKILL, or its own
UNSTABLE = {"lease"}  # holds a time


class StepPoints(Part):
    """The faults in one command, and how many different boards they left."""

    step: str
    calls: int  # system calls that it makes
    killed: int  # before one of them
    failed: int  # of them, where they are to fail
    states: int  # different boards left behind


class Violation(Part):
    """A promise that a fault broke."""

    step: str
    call: str  # that was not made any more, or failed
    problem: str


class CrashReport(Document):
    """Every fault, and every promise that one of them broke."""

    version: Literal[1] = 1
    error: str | None  # of the call, as EIO; null: killed before it
    steps: tuple[StepPoints, ...]
    violations: tuple[Violation, ...]

    @property
    def killed(self) -> int:
        return sum(step.killed for step in self.steps)

    @property
    def failed(self) -> int:
        return sum(step.failed for step in self.steps)

    @property
    def states(self) -> int:
        return sum(step.states for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """A board in a folder, and its copies, on which edgectl is killed or a call of it fails."""

    helper: Helper
    life: Life
    folder: Path  # of the copies
    error: str | None
    call: str | None
    jobs: int  # faults side by side

    def copied(self, name: str, root: Path | None = None) -> Helper:
        """A copy of the board in its present state."""
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        copy_board(root or self.helper.root, target)
        return Helper(program=self.helper.program, root=target, proc=self.helper.proc)


def prove(
    program: Path,
    *,
    points: int | None = None,
    error: str | None = None,
    call: str | None = None,
    jobs: int | None = None,
    on_step: LineSink | None = None,
) -> CrashReport:
    """Play a board's life with an `edgectl` for this machine, killed at every call of every step.

    With `error`, as EIO, the call fails instead. `call`, as readlink, leaves the other calls alone.
    `points` bounds the faults of each step, spread evenly. `jobs` of them are examined side by
    side, which changes nothing of the report: None takes twice the cores, since a self-test waits
    more than it computes. Raises UserError without strace, or for
    what is no error.
    """
    if error and error not in errno.errorcode.values():
        raise UserError(f"error '{error}'", "unknown", next="take one of errno.h, as EIO or ENOSPC")
    if not shutil.which("strace"):
        raise UserError("strace", "not installed", next="invoke setup --yes")
    with in_memory() as folder:
        helper = Helper(program=program, root=folder / "board", proc=folder / "proc")
        helper.root.mkdir()
        boot(helper.proc)
        bench = _Bench(
            helper=helper,
            life=life(folder, helper.root),
            folder=folder,
            error=error,
            call=call,
            jobs=jobs or 2 * (os.cpu_count() or 1),
        )
        proven = [_prove_step(bench, step, points, on_step) for step in bench.life.steps]
    return CrashReport(
        error=error,
        steps=tuple(step for step, _ in proven),
        violations=tuple(violation for _, bad in proven for violation in bad),
    )


def _prove_step(
    bench: _Bench, step: Command, points: int | None, on_step: LineSink | None
) -> tuple[StepPoints, list[Violation]]:
    calls = [call for call in _calls(bench, step) if bench.call in (None, call[0])]
    count = min(points or len(calls), len(calls))  # of faults, evenly spread over the calls
    chosen = sorted({(2 * index + 1) * len(calls) // (2 * count) for index in range(count)})
    if on_step:
        on_step(f"{step.name}: {len(chosen)} {'failing calls' if bench.error else 'kills'}")
    faults = _strike_all(bench, step, [calls[point] for point in chosen])
    _run(bench.helper, step, [])  # now whole, on the board itself: the next command needs it
    struck = sum(fault.is_struck for fault in faults)
    points_of_step = StepPoints(
        step=step.name,
        calls=len(calls),
        killed=0 if bench.error else struck,
        failed=struck if bench.error else 0,
        states=len({fault.state for fault in faults}),
    )
    violations = [
        Violation(step=step.name, call="{} {}".format(*fault.call), problem=fault.problem)
        for fault in faults
        if fault.problem
    ]
    return points_of_step, violations


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """What one fault did to a copy of the board."""

    call: tuple[str, int]
    is_struck: bool  # the command got as far as the call
    state: str  # fingerprint of what was left
    problem: str | None


def _strike_all(bench: _Bench, step: Command, calls: list[tuple[str, int]]) -> list[_Fault]:
    """Strike a copy of the board at each call, `bench.jobs` side by side; in the calls' order."""
    benches: SimpleQueue[_Bench] = SimpleQueue()
    for number in range(bench.jobs):
        folder = bench.folder / f"bench-{number}"
        folder.mkdir(exist_ok=True)
        benches.put(replace(bench, folder=folder))
    states: set[str] = set()
    lock = Lock()

    def fault_at(call: tuple[str, int]) -> _Fault:
        free = benches.get()
        try:
            is_struck, problem = _strike(free, step, call)
            state = fingerprint(free.folder / "struck")
            with lock:
                is_new = state not in states
                states.add(state)
            if problem is None and is_new:
                problem = _problem(free, step)
            return _Fault(call=call, is_struck=is_struck, state=state, problem=problem)
        finally:
            benches.put(free)

    pool = ThreadPoolExecutor(bench.jobs)
    try:
        return list(pool.map(fault_at, calls))
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C no fault is begun any more


def _run(helper: Helper, step: Command, tracer: list[str]) -> int:
    argv = [*tracer, *helper.argv(*step.argv)]
    child = subprocess.run(argv, input=step.input, capture_output=True, check=False)
    return child.returncode


def _calls(bench: _Bench, step: Command) -> list[tuple[str, int]]:
    """System calls of a command: name, and how many of that name so far.

    Calls of the program that `start` becomes by execve are not edgectl's and do not count.
    """
    log = bench.folder / "calls"
    _run(bench.copied("counted"), step, ["strace", "-qq", "-o", str(log)])
    # The first call is the execve of edgectl itself.
    names = re.findall(r"^(\w+)\(", log.read_text(errors="replace"), re.MULTILINE)[1:]
    calls = names[: names.index("execve") + 1 if "execve" in names else None]
    return [(name, calls[: at + 1].count(name)) for at, name in enumerate(calls)]


def _strike(bench: _Bench, step: Command, call: tuple[str, int]) -> tuple[bool, str | None]:
    """Strike a copy of the board at one call: whether the command got there, and what is wrong.

    A lease that ran out in the meantime saves a command some calls.
    """
    (name, when), log = call, bench.folder / "struck-calls"
    fault = f"error={bench.error}" if bench.error else "signal=SIGKILL"
    tracer = ["strace", "-qq", "-o", str(log), "-e", f"trace={name}"]
    board = bench.copied("struck")
    code = _run(board, step, [*tracer, "-e", f"inject={name}:{fault}:when={when}"])
    if not bench.error:
        return code in KILLED, None
    is_struck = "(INJECTED)" in log.read_text(errors="replace")
    # Without memory it aborts, which leaves what a kill does.
    if code < 0 and code != -signal.SIGABRT:
        return is_struck, f"edgectl died of {signal.Signals(-code).name}"
    # The exit code of `start` is that of the release, which starts whatever fails.
    has_answered = code == 0 and step.argv[0] != "start"
    return is_struck, step.keeps(board.root) if has_answered else None


def fingerprint(root: Path) -> str:
    """A hash of names, modes, links and content: equal for boards that behave the same."""
    digest = hashlib.sha256()
    inodes: dict[int, str] = {}
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted([*files, *folders]):
            path = Path(folder, name)
            status = path.lstat()
            # Which names share an inode counts, not its number.
            first = inodes.setdefault(status.st_ino, str(path.relative_to(root)))
            digest.update(f"{path.relative_to(root)} {status.st_mode:o} {first}\n".encode())
            if path.is_symlink():
                digest.update(str(path.readlink()).encode())
            elif path.is_file() and name not in UNSTABLE:
                digest.update(path.read_bytes())
    return digest.hexdigest()


def copy_board(source: Path, target: Path) -> None:
    """Copy a tree; hard links within it stay links."""
    copies: dict[int, str] = {}

    def copy(old: str, new: str) -> None:
        first_copy = copies.setdefault(os.lstat(old).st_ino, new)
        if first_copy == new:
            shutil.copy2(old, new)
        else:
            os.link(first_copy, new)

    # Whether an object has a second link decides on what gc removes.
    shutil.copytree(source, target, symlinks=True, copy_function=copy)


def _problem(bench: _Bench, step: Command) -> str | None:
    """The promise that the board breaks after the fault, or None."""
    struck = bench.folder / "struck"
    installed = floor_of(struck) > 0
    problem = unsound(struck, bench.life.keys) or untried(struck)
    if problem:
        return problem
    started = bench.copied("started", struck)
    problem = does_not_start(started, may_be_empty=not installed)
    return problem or does_not_converge(bench.copied("again", struck), bench.life, step)
