"""Samples of stacks, as `runtime_cpp/src/sampler.cpp` writes them and docs/formats.md specifies."""

from dataclasses import dataclass

from edgewright.observe.board_stream import MOST_BYTES
from edgewright.observe.stacks.dump import (
    BUILD_ID,
    COMMAND,
    THREAD,
    DumpLines,
    Machine,
    Mapping,
    Thread,
)

MOST_SAMPLES = 50_000
END = "end ([0-9]{1,9})"


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Threads as the timer met them, in the order of time."""

    machine: Machine
    command: str  # of edge-infer
    build_id: str
    interval_us: int  # of the process' CPU time; a kernel with a coarser clock takes longer
    mappings: tuple[Mapping, ...]
    threads: tuple[Thread, ...]
    dropped: int | None  # met while another one was written; None: it was cut before it told


def parse_samples(text: str, subject: str) -> Samples:
    """Raises TargetError for what is none. Of samples that were cut the last one is left out."""
    is_whole = text.endswith("\n") and text[:-1].rpartition("\n")[2].startswith("end ")
    if not is_whole:
        text = text[: text.rfind("\n") + 1]
        text = text[: text.rfind("\nthread ") + 1] or text
    lines = DumpLines(text, subject, kind="file of samples", limit=MOST_BYTES)
    lines.take("edgewright profile 1")
    machine = lines.machine()
    command = lines.take(COMMAND)[1]
    build_id = lines.take(BUILD_ID)[1]
    interval_us = int(lines.take("interval ([1-9][0-9]{0,6})")[1])
    mappings = lines.mappings()
    threads = [lines.thread(head, machine) for head in lines.all(THREAD, MOST_SAMPLES)]
    dropped = int(lines.take(END)[1]) if is_whole else None
    lines.end()
    return Samples(
        machine=machine,
        command=command,
        build_id=build_id,
        interval_us=interval_us,
        mappings=mappings,
        threads=tuple(threads),
        dropped=dropped,
    )
