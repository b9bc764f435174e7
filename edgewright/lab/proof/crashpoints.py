"""Kill `edgectl` before every system call of a board's life, and examine what is left.

strace's fault injection does the killing ("inject=write:signal=SIGKILL:when=3"): the call is not
made any more. Boards that kills leave in the same state are examined once.
"""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
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
)
from edgewright.lab.proof.orders import Helper, floor_of

KILLED = 137  # strace's exit code for a child that died of SIGKILL
UNSTABLE = {"lease"}  # holds a time


class StepPoints(Part):
    """The kills in one command, and how many different boards they left."""

    step: str
    calls: int  # system calls that it makes
    killed: int
    states: int  # different boards left behind


class Violation(Part):
    """A promise that a kill broke."""

    step: str
    call: str  # that was not made any more
    problem: str


class CrashReport(Document):
    """Every kill, and every promise that one of them broke."""

    version: Literal[1] = 1
    steps: tuple[StepPoints, ...]
    violations: tuple[Violation, ...]

    @property
    def killed(self) -> int:
        return sum(step.killed for step in self.steps)

    @property
    def states(self) -> int:
        return sum(step.states for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """A board in a folder, and its copies, on which edgectl is killed."""

    helper: Helper
    life: Life
    folder: Path

    def copied(self, name: str, root: Path | None = None) -> Helper:
        """A copy of the board in its present state."""
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        copy_board(root or self.helper.root, target)
        return Helper(program=self.helper.program, root=target, proc=self.helper.proc)


def prove(
    program: Path, *, points: int | None = None, on_step: LineSink | None = None
) -> CrashReport:
    """Play a board's life with an `edgectl` for this machine, killed at every call of every step.

    `points` bounds the kills of each step, spread evenly. Raises UserError without strace.
    """
    if not shutil.which("strace"):
        raise UserError("strace", "not installed", next="invoke setup --yes")
    with in_memory() as folder:
        helper = Helper(program=program, root=folder / "board", proc=folder / "proc")
        helper.root.mkdir()
        boot(helper.proc)
        bench = _Bench(helper=helper, life=life(folder, helper.root), folder=folder)
        proven = [_prove_step(bench, step, points, on_step) for step in bench.life.steps]
    return CrashReport(
        steps=tuple(step for step, _ in proven),
        violations=tuple(violation for _, bad in proven for violation in bad),
    )


def _prove_step(
    bench: _Bench, step: Command, points: int | None, on_step: LineSink | None
) -> tuple[StepPoints, list[Violation]]:
    calls = _calls(bench, step)
    count = min(points or len(calls), len(calls))  # of kills, evenly spread over the calls
    chosen = sorted({(2 * index + 1) * len(calls) // (2 * count) for index in range(count)})
    states: set[str] = set()
    violations, killed = [], 0
    if on_step:
        on_step(f"{step.name}: {len(chosen)} kills")
    for point in chosen:
        killed += _kill(bench, step, calls[point])
        state = fingerprint(bench.folder / "killed")
        if state not in states and (problem := _problem(bench, step)):
            violations.append(
                Violation(step=step.name, call="{} {}".format(*calls[point]), problem=problem)
            )
        states.add(state)
    _run(bench.helper, step, [])  # now whole, on the board itself: the next command needs it
    points_of_step = StepPoints(step=step.name, calls=len(calls), killed=killed, states=len(states))
    return points_of_step, violations


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


def _kill(bench: _Bench, step: Command, call: tuple[str, int]) -> bool:
    """Kill a copy of the board at one call; whether the command got there.

    A lease that ran out in the meantime saves a command some calls.
    """
    name, when = call
    inject = f"inject={name}:signal=SIGKILL:when={when}"
    code = _run(bench.copied("killed"), step, ["strace", "-qq", "-o", "/dev/null", "-e", inject])
    return code in (KILLED, -9)


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
    """The promise that the killed board breaks, or None."""
    killed = bench.folder / "killed"
    installed = floor_of(killed) > 0
    problem = unsound(killed, bench.life.keys)
    if problem:
        return problem
    started = bench.copied("started", killed)
    problem = does_not_start(started, may_be_empty=not installed)
    return problem or does_not_converge(bench.copied("again", killed), bench.life, step)
