"""Memory and threads of a release on a full-system board.

There the guest's kernel counts a program's memory as a real board's would; under user-mode
emulation the emulator's own is in the figure. Times are an emulator's, so only their ratio
within one run is kept, and it is labelled.
"""

from collections.abc import Sequence
from typing import Literal

from edgewright.base.errors import TargetError
from edgewright.base.progress import Progress
from edgewright.base.schema import Document, Part
from edgewright.deploy.edge_infer import BenchAnswer
from edgewright.deploy.report import Check
from edgewright.deploy.smoke import PROGRAM, Subject, parse
from edgewright.release.run_file import MODEL

WARMUP, RUNS = 0, 1


class Load(Part):
    """One benchmark."""

    threads: int
    peak_rss_kb: int  # VmHWM of the guest
    emulated_ms: float  # median of one inference; comparable within this document only


class Footprint(Document):
    """The report of `invoke lab.bench`; `emulated` is always true: times are an emulator's."""

    version: Literal[1] = 1
    emulated: Literal[True] = True
    release: str
    program_bytes: int
    model_bytes: int
    loads: tuple[Load, ...]

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


def _load(subject: Subject, threads: int) -> Load:
    runs = ["--warmup", str(WARMUP), "--runs", str(RUNS)]
    document = parse(BenchAnswer, subject.infer("bench", "--threads", str(threads), *runs))
    if isinstance(document, Check):
        raise TargetError(
            f"{subject.release.edgectl.board.target}: {PROGRAM}",
            document.found or "no result",
            facts=document.facts,
        )
    return Load(
        threads=threads,
        peak_rss_kb=document.peak_rss_kb,
        emulated_ms=document.latency_ms.median,
    )
