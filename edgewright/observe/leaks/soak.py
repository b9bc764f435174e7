"""A release that infers for minutes, and what its process holds meanwhile.

`edge-infer bench` infers in one process; over a second login the board tells once a second what
that process holds. What of its heap is in use only the program knows: its `bench` tells, exactly.
Releases that do not tell yet are judged by the rest.
"""

import math
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgewright.base.errors import EdgewrightError, TargetError
from edgewright.base.progress import Progress
from edgewright.deploy import smoke
from edgewright.deploy.edge_infer import BenchAnswer, Heap
from edgewright.deploy.remote import Board, ConnectionLostError
from edgewright.deploy.report import Check
from edgewright.deploy.smoke import PROGRAM, Subject
from edgewright.deploy.survey import limited_lines
from edgewright.observe.bench.measure import PACED_TIMES, PROCESS_S, is_true
from edgewright.observe.leaks.growth import WARM_UP, growth
from edgewright.observe.leaks.report import Resource, SoakReport

FIRST_RUNS = 16  # of the first process: as many steps of its heap
LEAST_SAMPLES = 60
LEAST_HEAP_SAMPLES = 8  # it is exact: a few runs are enough
# Growth that matters: 16 pages, and as many descriptors as one fault may leave behind.
LEAST_KIB, LEAST_DESCRIPTORS = 64, 3
# Of the heap, growth that matters: four threads on a clean program, between any two samples, keep
# less than 1 KiB more or less for themselves.
LEAST_HEAP_KIB = 4

# Every process of the program: its id and descriptors, then what of its memory is resident. Nothing
# but the shell: a sample takes the board's time from what is measured.
SAMPLE = r"""
for folder in /proc/[0-9]*; do
    name=
    IFS= read -r name <"$folder/comm" || continue
    [ "$name" = edge-infer ] || continue
    set -- "$folder"/fd/*
    printf 'process %s %s\n' "${folder#/proc/}" "$#"
    while read -r key value rest; do
        case $key in VmRSS:) printf 'resident %s\n' "$value" ;; esac
    done <"$folder/status"
done 2>/dev/null
exit 0
"""


# Asks a benchmark, its id in `$1`, to end with what it has measured. Another process may have that
# id by now, and a service that was started meanwhile is not to end.
END = r"""
IFS= read -r name <"/proc/$1/comm" && [ "$name" = edge-infer ] &&
    grep -q bench "/proc/$1/cmdline" && kill -TERM "$1"
exit 0
"""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one process holds."""

    pid: int
    descriptors: int
    resident_kib: int


def parse_samples(text: str) -> list[Sample]:
    """The answer of `SAMPLE`; a process that ended in the middle of it is left out."""
    samples, process = [], None
    for line in limited_lines(text):
        if match := re.fullmatch(r"process ([0-9]{1,9}) ([0-9]{1,7})", line):
            process = (int(match[1]), int(match[2]))
        elif process and (match := re.fullmatch(r"resident ([0-9]{1,12})", line)):
            pid, descriptors = process
            resident_kib = int(match[1])
            samples.append(Sample(pid=pid, descriptors=descriptors, resident_kib=resident_kib))
            process = None
    return samples


@dataclass(kw_only=True)
class Soak:
    """Soaks the release that is current on a board, for `seconds` and what an inference and a
    sample take; the release of an edge-infer that does not tell its heap may take longer where its
    board is throttled, as it cannot be asked to end.
    """

    subject: Subject
    second: Board  # another login to the same board
    seconds: float
    interval_s: float = 1.0
    progress: Progress = field(default_factory=Progress)
    clock: Callable[[], float] = time.monotonic
    _series: list[list[Sample]] = field(default_factory=list)
    _heaps: list[Heap] = field(default_factory=list)
    _inferences: int = 0

    def run(self) -> SoakReport:
        """Raises TargetError for a program that does not run, or a line that is lost early on."""
        board, began = self.subject.release.edgectl.board, self.clock()
        self.progress.start("time of an inference")
        first = self._bench(2, FIRST_RUNS)
        if not is_true(first.latency_ms.median):
            raise TargetError(
                f"{board.target}: {PROGRAM}", "did not tell a time", next="invoke smoke"
            )
        cut = self._processes(first, began)
        samples = sum(map(len, self._series))
        per_sample = max(self._inferences, 1) / max(samples, 1)
        manifest, target = self.subject.manifest, board.target
        return SoakReport(
            board=manifest.board,
            target=str(target),
            emulated=target.emulated,
            release=manifest.id,
            seconds=round(self.clock() - began, 3),
            processes=len(self._series),
            inferences=self._inferences,
            samples=samples,
            cut=cut,
            resources=(
                judge_heap(self._heaps),
                *judge(self._series, per_sample, is_shared=target.shares_memory),
            ),
        )

    def _processes(self, first: BenchAnswer, began: float) -> str | None:
        """One after the other until the time is over; why that was earlier."""
        inference_ms = first.latency_ms.median
        process_s = PROCESS_S / PACED_TIMES if first.thermal else PROCESS_S
        count = math.ceil(self.seconds / process_s)
        runs = max(round(self.seconds / count * 1000 / inference_ms), 1)
        end = began + self.seconds if first.heap else math.inf
        for number in range(1, count + 1):
            if self._series and self.clock() - began >= self.seconds:
                break  # it was paced, and took longer
            self.progress.start(f"soak, process {number} of {count}, {runs:,} inferences")
            process_began = self.clock()
            try:
                # Not by the time of one: a governor's pauses are not in it.
                self._inferences += self._process(runs, end)
            except ConnectionLostError as lost:
                if sum(map(len, self._series)) < LEAST_SAMPLES:
                    raise
                # It was not heard how many; without pauses they were so many.
                unpaced = (self.clock() - process_began) * 1000 / inference_ms
                self._inferences += min(round(unpaced), runs)
                return lost.problem
        return None

    def _process(self, runs: int, end: float) -> int:
        """One process from its start to its end, sampled; how many inferences it made."""
        others = {sample.pid for sample in self._sample()}  # a service that runs meanwhile
        samples: list[Sample] = []
        self._series.append(samples)
        ended = threading.Event()

        def watch() -> None:
            try:
                while not ended.wait(self.interval_s):
                    new = [sample for sample in self._sample() if sample.pid not in others]
                    # Of one that starts others the largest is meant.
                    samples.extend(sorted(new, key=lambda sample: -sample.resident_kib)[:1])
                    # One that was seen before: it listens by now.
                    if len(samples) > 1 and self.clock() >= end:
                        self.second.script(END, str(samples[-1].pid))
            except EdgewrightError:  # a lost line is told by the one that measures
                return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            return min(max(self._bench(0, runs).runs, 1), runs)
        finally:
            ended.set()
            thread.join()

    def _sample(self) -> list[Sample]:
        return parse_samples(self.second.script(SAMPLE).stdout)

    def _bench(self, warmup: int, runs: int) -> BenchAnswer:
        result = self.subject.infer("bench", "--warmup", str(warmup), "--runs", str(runs))
        document = smoke.parse(BenchAnswer, result)
        if isinstance(document, Check):
            raise TargetError(
                f"{self.subject.release.edgectl.board.target}: {PROGRAM}",
                document.found or "no result",
                facts=document.facts,
                next="invoke smoke",
            )
        if document.heap:
            self._heaps.append(document.heap)
        return document


def judge_heap(heaps: Sequence[Heap]) -> Resource:
    """Of the latest processes that told enough, of as many runs from one sample to the next: one
    that was asked to end early may tell little, one that was cut off tells nothing.
    """
    by_runs = defaultdict[int, list[list[float]]](list)
    for heap in heaps:
        by_runs[heap.runs].append([size / 1024 for size in heap.bytes])
    enough = [runs for runs in by_runs if sum(map(len, by_runs[runs])) >= LEAST_HEAP_SAMPLES]
    runs = [1, *by_runs, *enough][-1]
    series = by_runs[runs]
    resource = _resource(
        "heap", "KiB", series, runs, least=LEAST_HEAP_KIB, needed=LEAST_HEAP_SAMPLES
    )
    if heaps:
        return resource
    reason = "this release's edge-infer does not tell what of its heap is in use"
    return resource.model_copy(update={"reason": reason})


def judge(
    series: Sequence[Sequence[Sample]], per_sample: float, *, is_shared: bool
) -> tuple[Resource, ...]:
    """What grows, of processes that made so many inferences from one sample to the next.

    An emulator's memory grows by what it translates: where it is in the figure, nothing is judged.
    """
    memory = [[float(sample.resident_kib) for sample in samples] for samples in series]
    descriptors = [[float(sample.descriptors) for sample in samples] for samples in series]
    return (
        _resource(
            "resident memory", "KiB", memory, per_sample, least=LEAST_KIB, is_shared=is_shared
        ),
        _resource(
            "descriptors",
            "descriptors",
            descriptors,
            per_sample,
            least=LEAST_DESCRIPTORS,
            is_shared=is_shared,
        ),
    )


def _resource(
    name: Literal["resident memory", "descriptors", "heap"],
    unit: Literal["KiB", "descriptors"],
    series: Sequence[Sequence[float]],
    per_sample: float,
    *,
    least: float,
    needed: int = LEAST_SAMPLES,
    is_shared: bool = False,
) -> Resource:
    count = sum(map(len, series))
    trend = growth(series) if count >= needed else None
    settled = [samples[round(len(samples) * WARM_UP) :] for samples in series]
    last = settled[-1] if settled and settled[-1] else None
    scale = 1000 / per_sample
    verdict: Literal["leak", "steady", "not judged"] = "not judged"
    if is_shared:
        reason = "the emulator's own is in the figure"
    elif trend is None:
        reason = f"{count} samples; it needs {needed}"
    elif trend.low * trend.steps >= least:
        verdict = "leak"
        reason = (
            f"grows by {trend.low * scale:,.2f} to {trend.high * scale:,.2f} {unit} "
            "in 1,000 inferences"
        )
    else:
        verdict = "steady"
        noticed = least / trend.steps * scale
        reason = f"a leak of {noticed:,.2f} {unit} in 1,000 inferences would hardly be seen below"
    return Resource(
        name=name,
        unit=unit,
        first=last[0] if last else None,
        last=last[-1] if last else None,
        per_1000_inferences=None if trend is None else trend.mean * scale,
        low=None if trend is None else trend.low * scale,
        high=None if trend is None else trend.high * scale,
        verdict=verdict,
        reason=reason,
    )
