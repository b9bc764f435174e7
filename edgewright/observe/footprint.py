"""Memory and threads of a release on a full-system board.

There the guest's kernel counts a program's memory as a real board's would; under user-mode
emulation the emulator's own is in the figure. Times are an emulator's, so only their ratio
within one run is kept, and it is labelled.
"""

import contextlib
import tempfile
from collections.abc import Sequence
from typing import Literal

from edgewright.base.errors import TargetError
from edgewright.base.progress import Progress
from edgewright.base.schema import Document, Part
from edgewright.deploy.edge_infer import BenchAnswer
from edgewright.deploy.remote import ConnectionLostError
from edgewright.deploy.report import Check
from edgewright.deploy.smoke import PROGRAM, Subject, parse
from edgewright.observe import frame_cost
from edgewright.release.run_file import MODEL

WARMUP, RUNS = 0, 1


class Load(Part):
    """One benchmark."""

    threads: int
    peak_rss_kb: int  # VmHWM of the guest
    emulated_ms: float  # median of one inference; comparable within this document only


class FrameLoad(Part):
    """One inference of a camera's picture, read from its file."""

    frame: str
    peak_rss_kb: int  # VmHWM of the guest


class Footprint(Document):
    """The report of `invoke lab.bench`; `emulated` is always true: times are an emulator's."""

    version: Literal[1] = 1
    emulated: Literal[True] = True
    release: str
    program_bytes: int
    model_bytes: int
    loads: tuple[Load, ...]
    frames: tuple[FrameLoad, ...] = ()

    def speedup(self, load: Load) -> float:
        """The speed relative to the first benchmark, on this emulator."""
        return self.loads[0].emulated_ms / load.emulated_ms


def run(subject: Subject, threads: Sequence[int], progress: Progress | None = None) -> Footprint:
    """Benchmark the release that is current on a board with each number of threads.

    Raises TargetError if the program does not run.
    """
    progress, loads = progress or Progress(), []
    for count in threads:
        progress.start(f"benchmark, threads: {count}")
        loads.append(_load(subject, count))
    return Footprint(
        release=subject.manifest.id,
        program_bytes=subject.manifest.file(PROGRAM).bytes,
        model_bytes=subject.manifest.file(MODEL).bytes,
        loads=tuple(loads),
    )


def frames(subject: Subject, progress: Progress | None = None) -> tuple[FrameLoad, ...]:
    """The peak of one inference for each of a camera's pictures, decoded and all, on one thread.

    Raises TargetError if the program does not run, or the board has no room for a picture.
    """
    progress, board = progress or Progress(), subject.release.edgectl.board
    loads = []
    path = board.check(["mktemp"]).stdout.strip()
    try:
        for kind in frame_cost.KINDS:
            progress.start(f"benchmark, {kind.name}")
            with tempfile.TemporaryFile() as picture:
                kind.write_to(picture)
                picture.seek(0)
                board.put(picture, path)
            peak = _bench(subject, 1, "--image", path).peak_rss_kb
            loads.append(FrameLoad(frame=kind.name, peak_rss_kb=peak))
    finally:
        with contextlib.suppress(ConnectionLostError):  # the first error is the one to show
            board.run(["rm", "-f", path])
    return tuple(loads)


def _load(subject: Subject, threads: int) -> Load:
    document = _bench(subject, threads)
    return Load(
        threads=threads,
        peak_rss_kb=document.peak_rss_kb,
        emulated_ms=document.latency_ms.median,
    )


def _bench(subject: Subject, threads: int, *options: str) -> BenchAnswer:
    runs = ["--warmup", str(WARMUP), "--runs", str(RUNS)]
    answer = subject.infer("bench", "--threads", str(threads), *runs, *options)
    document = parse(BenchAnswer, answer)
    if isinstance(document, Check):
        raise TargetError(
            f"{subject.release.edgectl.board.target}: {PROGRAM}",
            document.found or "no result",
            facts=document.facts,
        )
    return document
