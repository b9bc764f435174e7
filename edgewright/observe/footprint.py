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
from edgewright.deploy.remote import Board
from edgewright.deploy.report import Check
from edgewright.deploy.smoke import PROGRAM, parse
from edgewright.release.manifest import MANIFEST, Release
from edgewright.release.run_file import CARD, MODEL, RUN_FILE

FOLDER = "/opt/edgewright-bench"
FILES = {PROGRAM, MODEL, CARD, RUN_FILE}
WARMUP, RUNS = 0, 1
SECONDS = 1800.0  # for one benchmark on an emulator that shares its machine


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


def run(
    board: Board, release: Release, threads: Sequence[int], progress: Progress | None = None
) -> Footprint:
    """Benchmark with each number of threads, in a folder of its own that is removed at the end.

    Raises TargetError if the program does not run.
    """
    progress = progress or Progress()
    progress.start(f"send release {release.id}")
    board.check(["mkdir", "-p", f"{FOLDER}/bin", f"{FOLDER}/model"])
    try:
        for name in {MANIFEST} | {file.path for file in release.manifest.files} & FILES:
            with (release.folder / name).open("rb") as source:
                board.put(source, f"{FOLDER}/{name}")
        board.check(["chmod", "755", f"{FOLDER}/{PROGRAM}"])
        options = release.manifest.run_options(FOLDER)
        loads = []
        for count in threads:
            progress.start(f"benchmark, threads: {count}")
            loads.append(_load(board, options, count))
    finally:
        board.run(["rm", "-rf", FOLDER])
    return Footprint(
        release=release.id,
        program_bytes=release.manifest.file(PROGRAM).bytes,
        model_bytes=release.manifest.file(MODEL).bytes,
        loads=tuple(loads),
    )


def _load(board: Board, options: Sequence[str], threads: int) -> Load:
    argv = [f"{FOLDER}/{PROGRAM}", "bench", *options]
    argv += ["--threads", str(threads), "--warmup", str(WARMUP), "--runs", str(RUNS)]
    document = parse(BenchAnswer, board.run(argv, timeout=SECONDS))
    if isinstance(document, Check):
        raise TargetError(
            f"{board.target}: {PROGRAM}", document.found or "no result", facts=document.facts
        )
    return Load(
        threads=threads,
        peak_rss_kb=document.peak_rss_kb,
        emulated_ms=document.latency_ms.median,
    )
