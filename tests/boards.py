"""Releases to deploy, and a board that is a folder of this machine with its own shell."""

import copy
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from edgewright.base.progress import Progress
from edgewright.deploy.line import patience
from edgewright.deploy.remote import Board, ByteCount, Result, Timeouts
from edgewright.deploy.target import Target
from edgewright.fleet.bench import stand_in
from edgewright.fleet.bench.stand_in import program
from edgewright.release.manifest import Release, build_release, inputs_of

COMPATIBLE = "acme,board"
NAMES = (COMPATIBLE,)  # of the kind of board
CASES = [
    {"image": "a.png", "class": "ok", "probabilities": [0.9, 0.1]},
    {"image": "b.png", "class": "defective", "probabilities": [0.2, 0.8]},
]
BENCH: dict[str, Any] = {
    "version": 1,
    "command": "bench",
    "model": "small",
    "threads": 1,
    "runs": 20,
    "load_ms": 31.5,
    "latency_ms": {"min": 1.0, "median": 2.0, "p95": 3.0, "p99": 3.5, "max": 4.0},
    "peak_rss_kb": 30000,
    "rss_growth_kb": 0,
    "heap": {"runs": 1, "bytes": [8_000_000] * 17},
    "thermal": None,
}
THERMAL: dict[str, Any] = {
    "limit_c": 80,
    "sensor": "good",
    "celsius": 76.9,
    "highest_c": 78.2,
    "effort": 0.62,
    "least_effort": 0.55,
    "threads": 4,
    "waited_s": 12.5,
    "samples": 60,
    "doubts": 0,
    "capped": 0,
}


def documents(cases: Sequence[dict[str, Any]] = CASES) -> dict[str, dict[str, Any]]:
    """What an `edge-infer` with nothing to complain about writes."""
    selftest = [_golden_line(case) for case in cases]
    times = {"decode": 1.5, "preprocess": 0.5, "inference": 2.5}
    results = [case | {"index": int(case["class"] != "ok"), "ms": times} for case in cases]
    return {
        "selftest": {
            "version": 1,
            "command": "selftest",
            "model": "small",
            "passed": True,
            "tolerance": 0.01,
            "cases": selftest,
        },
        "run": {
            "version": 1,
            "command": "run",
            "model": "small",
            "threads": 1,
            "load_ms": 31.5,
            "results": results,
        },
        "bench": copy.deepcopy(BENCH),
    }


def _golden_line(case: dict[str, Any]) -> dict[str, Any]:
    prediction = {"class": case["class"], "probabilities": case["probabilities"]}
    line = {"image": case["image"], "expected": prediction, "got": prediction}
    return line | {"max_abs_diff": 0.001, "passed": True}


def make_release(
    folder: Path,
    *,
    root: str,
    edge_infer: bytes | None = None,
    model: bytes = b"model one",
    compatible: str = COMPATIBLE,
    edgectl: Path | None = None,
) -> Release:
    """A release with two golden images; other contents make another id."""
    return stand_in.make_release(
        folder,
        board="board",
        compatible=compatible,
        root=root,
        edgectl=edgectl,
        model=model,
        edge_infer=edge_infer or program(documents()),
        cases=CASES,
        threads=2,
    )


def rebuilt(release: Release, folder: Path, **changes: Any) -> Release:
    """The same release anew, but for these fields of its inputs."""
    return build_release(replace(inputs_of(release), **changes), folder)


class Watched(Progress):
    """Hands what a deploy shows to functions, and keeps the stages."""

    def __init__(
        self,
        *,
        on_start: Callable[[str], object] | None = None,
        on_sent: Callable[[int, int], object] | None = None,
    ) -> None:
        self.stages: list[str] = []
        self.uploads: list[tuple[int, int]] = []
        self._on_start, self._on_sent = on_start, on_sent

    def start(self, stage: str) -> None:
        self.stages.append(stage)
        if self._on_start:
            self._on_start(stage)

    def sent(self, count: int, total: int) -> None:
        self.uploads.append((count, total))
        if self._on_sent:
            self._on_sent(count, total)


class NotedError(Exception):
    """A remark for the user, which ends the work that made it."""


class EndedByNote(Progress):
    """Whoever waits says so: there the test ends."""

    def note(self, text: str) -> None:
        raise NotedError(text)


class StandIn(Board):
    """A board without a line to it: `answer` says what each command leaves behind."""

    def __init__(self, *, emulated: bool = False) -> None:
        self.target = Target(address="board.test", user="root", emulated=emulated)
        self.commands = 0
        self._second, self._limits = None, Timeouts()

    @property
    def host_key(self) -> str:
        return "SHA256:of-this-machine"

    def prepare(self) -> None:
        """There is no line to log in over."""

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        raise NotImplementedError

    def _exchange(
        self,
        argv: Sequence[str],
        source: BinaryIO,
        timeout: float | None,
        on_bytes: ByteCount | None,
    ) -> Result:
        self.commands += 1
        assert patience(timeout or self._limits.idle) <= 1800
        data = source.read()
        result = self.answer(argv, data)
        if on_bytes:
            on_bytes(len(data))
        return result


class LocalBoard(StandIn):
    """Runs what a deploy sends on this machine; can be cut at any command.

    `cut_at` counts commands from 1. The command is not run, or is run with half its input, or
    is killed after a while, or is run and its answer lost.
    """

    def __init__(
        self,
        *,
        cut_at: int = 0,
        how: str = "before",
        after: float = 0.0,
        proc: Path | None = None,
        emulated: bool = False,
    ) -> None:
        super().__init__(emulated=emulated)
        self.sent: list[tuple[str, ...]] = []
        self.proc = proc  # stands in for /proc: boot id and uptime
        self._cut_at, self._how, self._after = cut_at, how, after

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        self.sent.append(tuple(argv))
        cut = len(self.sent) == self._cut_at
        if cut and self._how == "before":
            raise self._lost("connection lost", ())
        if cut and self._how == "half":
            data = data[: len(data) // 2]
        done = self._run(argv, data, kill=cut and self._how == "killed")
        if cut:
            raise self._lost("connection lost", ())
        return done

    def _run(self, argv: Sequence[str], data: bytes, *, kill: bool) -> Result:
        pipe, own = subprocess.PIPE, list(argv)
        if self.proc and argv[0].endswith("edgectl"):
            own.insert(2, f"--proc={self.proc}")
        try:
            child = subprocess.Popen(own, stdin=pipe, stdout=pipe, stderr=pipe)
        except OSError as absent:  # not there, or no program: as a shell tells it
            return Result(argv=tuple(argv), returncode=127, stdout="", stderr=str(absent))
        if kill:
            threading.Timer(self._after, child.kill).start()
        stdout, stderr = child.communicate(data)
        return Result(
            argv=tuple(argv),
            returncode=child.returncode,
            stdout=stdout.decode(errors="replace"),
            stderr=stderr.decode(errors="replace"),
            raw=stdout,
        )
