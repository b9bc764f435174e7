"""Kill `edgectl` before every system call of a board's life, and look at what is left.

strace's fault injection does the killing ("inject=write:signal=SIGKILL:when=3"): the call is not
made any more. Boards that a kill leaves in the same state are looked at once.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgewright.base.errors import UserError
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
from edgewright.lab.proof.orders import Helper

KILLED = 137  # strace's exit code for a child that died of SIGKILL
UNSTABLE = {"lease"}  # holds a time


class StepPoints(Part):
    """What became of the kills in one command."""

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
    """A board in a folder, and copies of it to kill on."""

    helper: Helper
    life: Life
    folder: Path

    def copied(self, name: str, root: Path | None = None) -> Helper:
        """The board as it is now, in a folder of its own."""
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        copy_board(root or self.helper.root, target)
        return Helper(program=self.helper.program, root=target, proc=self.helper.proc)


def prove(
    program: Path, *, points: int | None = None, on_step: LineSink | None = None
) -> CrashReport:
    """Play the life with this `edgectl` of this machine, killed at every call of every step.

    `points` bounds the kills of each step, spread evenly. Raises UserError without strace.
    """
    if not shutil.which("strace"):
        raise UserError("strace", "not installed", next="invoke setup --yes")
    with in_memory() as folder:
        helper = Helper(program=program, root=folder / "board", proc=folder / "proc")
        helper.root.mkdir()
        boot(helper.proc)
        bench = _Bench(helper=helper, life=life(folder, helper.root), folder=folder)
        found = [_prove_step(bench, step, points, on_step) for step in bench.life.steps]
    return CrashReport(
        steps=tuple(step for step, _ in found),
        violations=tuple(violation for _, bad in found for violation in bad),
    )


def _prove_step(
    bench: _Bench, step: Step, points: int | None, on_step: LineSink | None
) -> tuple[StepPoints, list[Violation]]:
    calls = _calls(bench, step)
    chosen = list(_spread(len(calls), points))
    seen: set[str] = set()
    bad, killed = [], 0
    if on_step:
        on_step(f"{step.name}: {len(chosen)} kills")
    for point in chosen:
        killed += _kill(bench, step, calls[point])
        state = fingerprint(bench.folder / "killed")
        if state not in seen and (problem := _problem(bench, step)):
            bad.append(
                Violation(step=step.name, call="{} {}".format(*calls[point]), problem=problem)
            )
        seen.add(state)
    _run(bench.helper, step, [])
    found = StepPoints(step=step.name, calls=len(calls), killed=killed, states=len(seen))
    return found, bad


def _spread(calls: int, points: int | None) -> Iterator[int]:
    """Indices of calls: all of them, or as many as asked for."""
    wanted = min(points or calls, calls)
    yield from sorted({(2 * index + 1) * calls // (2 * wanted) for index in range(wanted)})


def _run(helper: Helper, step: Step, tracer: list[str]) -> int:
    argv = [*tracer, *helper.argv(*step.argv)]
    done = subprocess.run(argv, input=step.input, capture_output=True, check=False)
    return done.returncode


def _calls(bench: _Bench, step: Step) -> list[tuple[str, int]]:
    """System calls of the command itself, up to what `start` becomes: name, how often by then."""
    log = bench.folder / "calls"
    _run(bench.copied("counted"), step, ["strace", "-qq", "-o", str(log)])
    names = re.findall(r"^(\w+)\(", log.read_text(errors="replace"), re.MULTILINE)[1:]
    own = names[: names.index("execve") + 1 if "execve" in names else None]
    return [(name, own[: at + 1].count(name)) for at, name in enumerate(own)]


def _kill(bench: _Bench, step: Step, call: tuple[str, int]) -> bool:
    """Whether the call was reached: a lease that ran out meanwhile spares a command some."""
    name, when = call
    inject = f"inject={name}:signal=SIGKILL:when={when}"
    code = _run(bench.copied("killed"), step, ["strace", "-qq", "-o", "/dev/null", "-e", inject])
    return code in (KILLED, -9)


def fingerprint(root: Path) -> str:
    """The same for boards that differ in nothing that counts."""
    digest = hashlib.sha256()
    inodes: dict[int, str] = {}
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted([*files, *folders]):
            path = Path(folder, name)
            status = path.lstat()
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
        known = copies.setdefault(os.lstat(old).st_ino, new)
        if known == new:
            shutil.copy2(old, new)
        else:
            os.link(known, new)

    shutil.copytree(source, target, symlinks=True, copy_function=copy)


def _problem(bench: _Bench, step: Step) -> str | None:
    """What a promise lacks on the board that was killed."""
    killed = bench.folder / "killed"
    installed = (killed / "floor").is_file()
    problem = unsound(killed, bench.life.keys)
    if problem:
        return problem
    begun = bench.copied("started", killed)
    problem = does_not_start(begun, may_be_empty=not installed)
    return problem or does_not_converge(bench.copied("again", killed), bench.life, step)
