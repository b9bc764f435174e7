"""A release measured on its board, process by process.

`edge-infer run` tells the time of each image's stages; so every inference counts as it was, and
none has been averaged on the board. Golden images are taken in turn, as often as asked for.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from statistics import fmean, median
from typing import Literal

from edgewright.base.errors import TargetError, UserError
from edgewright.base.progress import Progress
from edgewright.deploy import install, smoke
from edgewright.deploy.edge_infer import BenchAnswer, RunAnswer, Times
from edgewright.deploy.edgectl import PATIENCE, BoardRelease
from edgewright.deploy.remote import Board, ConnectionLostError, Result
from edgewright.deploy.report import Check, Verdict
from edgewright.deploy.smoke import PROGRAM, Subject
from edgewright.observe.bench.conditions import (
    Gauge,
    Reading,
    System,
    firmware_events,
    power_of,
    sampled,
    system_of,
)
from edgewright.observe.bench.order_statistics import figures, signed_rank_interval
from edgewright.observe.bench.report import (
    BoardBench,
    Comparison,
    Label,
    Latency,
    Process,
    Soak,
    Spread,
    Stage,
    Throughput,
)

# Of inferences in one process, the pauses of a governor included: `edgectl infer` ends a command
# after 900 s.
PROCESS_S = 780
PACED_TIMES = 10  # as long, at most, an inference is with a governor's pauses (governor.hpp)
COMMAND_BYTES = 8000  # of a command line: dropbear takes 9,000
PAIRS = 6  # fewer cannot tell two releases apart at 95 %
LEAST_MS, MOST_MS = 1e-6, PATIENCE * 1000  # of an inference: a nanosecond; a board's command ends
PLATEAU_C = 1.0  # what the hottest zone moves on it, at most
PLATEAU_S = 120.0  # for how long


@dataclass(frozen=True, kw_only=True)
class DirectRelease(BoardRelease):
    """A release that need not be current: `edgectl infer` runs the current one alone.

    Its processes come to their own end if we are cut off.
    """

    def infer(self, arguments: Sequence[str]) -> Result:
        argv = [f"{self.folder}/{PROGRAM}", *arguments]
        result = self.edgectl.board.run(argv, timeout=PATIENCE)
        return Result(
            argv=("edge-infer", *arguments),
            returncode=result.returncode,
            stdout=result.stdout,
            stderr=result.stderr,
        )


def direct(subject: Subject) -> Subject:
    """The same release, started as `beside` starts another one."""
    release = subject.release
    started = DirectRelease(edgectl=release.edgectl, release=release.release, right=release.right)
    return Subject(release=started, manifest=subject.manifest)


def beside(subject: Subject, against: str) -> Subject:
    """Another release on the same board: `previous`, or an id.

    Raises TargetError for one that is not there.
    """
    edgectl, current = subject.release.edgectl, subject.manifest.id
    state = edgectl.status()
    release = state.previous if against == "previous" else against
    if release is None or release not in state.releases or release == current:
        others = [name for name in state.releases if name != current]
        raise TargetError(
            str(edgectl.board.target),
            f"no other release '{against}' on the board",
            facts=[f"current: {current}", f"others: {', '.join(others) or 'none'}"],
            next="invoke status lists its releases",
        )
    manifest = install.read_board_manifest(edgectl.board, edgectl.root, release)
    started = DirectRelease(edgectl=edgectl, release=release, right=subject.release.right)
    return Subject(release=started, manifest=manifest)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    processes: int
    runs: int  # that count, of each process
    warmup: int  # that do not, the first inference included
    threads: tuple[int, ...] = ()  # for the throughput
    margin: float = 0.05  # by which a release may be slower than the one it is compared with
    soak_s: float = 0.0


@dataclass(kw_only=True)
class Bench:
    """Measures one release, and another beside it."""

    subject: Subject
    plan: Plan
    gauge: Gauge
    second: Board | None = None  # a login of its own, to read sensors while a process runs
    against: Subject | None = None
    progress: Progress = field(default_factory=Progress)
    clock: Callable[[], float] = time.monotonic
    _readings: list[Reading] = field(default_factory=list)
    _paths: dict[str, list[str]] = field(default_factory=dict)
    _threads: int = 1  # of the releases, as they say
    _image_ms: float = 0.0  # at most, by as many threads

    @property
    def board(self) -> Board:
        return self.subject.release.edgectl.board

    def run(self) -> BoardBench:
        """Raises TargetError for a board that goes away or is started anew, or a program that
        does not run; UserError for more runs than a command line can name.
        """
        system = system_of(self.gauge.files())
        self._fit_plan()
        processes, others = self._processes()
        throughput = tuple(map(self._throughput, self.plan.threads))
        peak_kb = self._peak_kb()
        self._require_same_boot(system)
        soak = self._soak() if self.plan.soak_s else None
        if soak and soak.cut is None:
            self._require_same_boot(system)
        manifest, target = self.subject.manifest, self.board.target
        latency = latencies(processes)
        counted = [process for process in processes if process.label is latency[0].label]
        mean_ms = None if target.emulated else fmean(times_of(counted, latency[0].label))
        return BoardBench(
            board=manifest.board,
            target=str(target),
            emulated=target.emulated,
            release=manifest.id,
            model=manifest.model.name,
            threads=processes[0].threads,
            warmup=self.plan.warmup,
            kernel=system.kernel,
            boot_id=system.boot_id,
            governor=system.governor,
            latency=latency,
            load_ms=spread([process.load_ms for process in counted]),
            first_inference_ms=spread([process.first_inference_ms for process in counted]),
            stages=stages(counted),
            peak_rss_kb=peak_kb,
            peak_rss_is_shared=target.shares_memory,
            throughput=throughput,
            power=power_of(self._readings, mean_ms),
            budgets=self._budgets(latency, peak_kb),
            comparison=self._comparison(processes, others),
            soak=soak,
            processes=tuple(processes),
        )

    def _fit_plan(self) -> None:
        """As many inferences as planned, by more processes where one would not end in time."""
        self.progress.start("time of an inference")
        for subject in filter(None, (self.subject, self.against)):
            answer, times = self._infer(subject, image_paths(subject, 2))
            last = times[-1]  # the first inference takes longer than others
            longest_ms = last.inference * (PACED_TIMES if answer.thermal else 1)
            image_ms = max(0.0, last.decode + last.preprocess) + longest_ms
            self._image_ms = max(self._image_ms, image_ms)
            self._threads = max(self._threads, answer.threads)
        runs = self._most_images(self._threads) - self.plan.warmup
        if runs < self.plan.runs:
            processes = math.ceil(self.plan.processes * self.plan.runs / runs)
            self.plan = replace(self.plan, processes=processes, runs=runs)

    def _most_images(self, threads: int, seconds: float = PROCESS_S) -> int:
        """How many a process with so many threads has time for; one that counts in any case."""
        slower = max(self._threads / threads, 1)
        return max(int(seconds * 1000 / self._image_ms / slower), self.plan.warmup + 1)

    def _processes(self) -> tuple[list[Process], list[Process]]:
        """Of the release and of the other one, which take turns: A, B, A, B."""
        own, others = list[Process](), list[Process]()
        for number in range(1, self.plan.processes + 1):
            self.progress.start(f"process {number} of {self.plan.processes}")
            own.append(self.process(self.subject))
            if self.against:
                others.append(self.process(self.against))
        return own, others

    def process(
        self, subject: Subject, threads: int | None = None, seconds: float = PROCESS_S
    ) -> Process:
        """One process of a release, of so many images as it has time for. Raises TargetError."""
        most = self._most_images(threads or self._threads, min(seconds, PROCESS_S))
        paths = self._paths_of(subject)[:most]
        options = ["--threads", str(threads)] if threads else []
        start = self.gauge.read()
        with sampled(self.gauge, self.second) as between:
            answer, times = self._infer(subject, paths, options)
        end = self.gauge.read()
        readings = [start, *between, end]
        if subject is self.subject and threads is None:  # else the watts are of other work
            self._readings += between
        signs = [sign for reading in readings for sign in reading.throttled]
        signs += firmware_events(start, end)
        if answer.thermal and answer.thermal.least_effort < 1:
            signs.append(f"paced by edge-infer: {answer.thermal.words}")
        counted = [time.inference for time in times[self.plan.warmup :]]
        label = Label.THROTTLED if signs else Label.MEASURED
        return Process(
            release=subject.manifest.id,
            threads=answer.threads,
            label=Label.EMULATED if self.board.target.emulated else label,
            throttled=tuple(dict.fromkeys(signs)),
            load_ms=answer.load_ms,
            first_inference_ms=times[0].inference,
            inference_ms=tuple(counted),
            decode_ms=median(time.decode for time in times),
            preprocess_ms=median(time.preprocess for time in times),
            postprocess_ms=_median_of([time.postprocess for time in times]),
            median_ms=median(counted),
            start=start,
            end=end,
            meanwhile=tuple(between),
        )

    def _infer(
        self, subject: Subject, paths: Sequence[str], options: Sequence[str] = ()
    ) -> tuple[RunAnswer, list[Times]]:
        """The times of these images in one process. Raises TargetError for any that is not told."""
        document = smoke.parse(RunAnswer, subject.infer("run", *options, *paths), exit_codes=(0,))
        if isinstance(document, Check):
            raise self._unusable(document)
        times = [line.ms for line in document.results if line.ms]
        if len(times) != len(paths) or not all(is_true(time.inference) for time in times):
            raise TargetError(
                f"{self.board.target}: {PROGRAM}",
                "did not tell the time of each image",
                facts=[
                    f"expected: {len(paths)} times, each above 0 ms and below {MOST_MS:,.0f} ms",
                    f"found: {len(times)}",
                ],
                next="invoke smoke",
            )
        return document, times

    def _paths_of(self, subject: Subject) -> list[str]:
        """The golden set is read once for each release: its file takes a round trip."""
        release = subject.manifest.id
        if release not in self._paths:
            self._paths[release] = image_paths(subject, self.plan.runs + self.plan.warmup)
        return self._paths[release]

    def _unusable(self, check: Check) -> TargetError:
        return TargetError(
            f"{self.board.target}: {PROGRAM}",
            check.found or "no result",
            facts=check.facts,
            next="invoke smoke",
        )

    def _throughput(self, threads: int) -> Throughput:
        self.progress.start(f"throughput, threads: {threads}")
        process = self.process(self.subject, threads)
        mean_ms = sum(process.inference_ms) / len(process.inference_ms)
        return Throughput(threads=threads, label=process.label, per_second=1000 / mean_ms)

    def _peak_kb(self) -> int:
        self.progress.start("peak memory")
        result = self.subject.infer("bench", "--warmup", "0", "--runs", "1")
        document = smoke.parse(BenchAnswer, result)
        if isinstance(document, Check):
            raise self._unusable(document)
        return document.peak_rss_kb

    def _require_same_boot(self, before: System) -> None:
        after = system_of(self.gauge.files())
        if before.boot_id != after.boot_id:
            raise TargetError(
                str(self.board.target),
                "was started anew in the middle of the measurement",
                facts=[f"boot id before: {before.boot_id}", f"boot id after: {after.boot_id}"],
                next="look why, then run the same command again",
            )

    def _budgets(self, latency: Sequence[Latency], peak_kb: int) -> tuple[Check, ...]:
        """Memory where it is the board's own, latency where it was measured on a board."""
        budgets, target = self.subject.manifest.budgets, self.board.target
        peak = peak_kb / 1024
        over = Verdict.NOT_JUDGED if target.shares_memory else Verdict.FAILED
        memory = Check(
            name="peak memory",
            verdict=Verdict.PASSED if peak <= budgets.peak_rss_mb else over,
            expected=f"at most {budgets.peak_rss_mb:g} MiB",
            found=f"{peak:.1f} MiB",
        )
        return (memory, *(_latency_check(each, budgets.latency_ms) for each in latency))

    def _comparison(self, own: Sequence[Process], others: Sequence[Process]) -> Comparison | None:
        if not self.against:
            return None
        return compare(own, others, self.against.manifest.id, self.plan.margin)

    def _soak(self) -> Soak:
        """Processes until the heat stays, or for the time that was given.

        Where the line is lost, it ends with what it has: hours may have gone into it.
        """
        began, processes, reached = self.clock(), list[Process](), None
        cut: str | None = None
        while reached is None and (passed := self.clock() - began) < self.plan.soak_s:
            self.progress.start(f"soak, {passed:.0f} of {self.plan.soak_s:.0f} s")
            try:
                left = self.plan.soak_s - passed
                processes.append(self.process(self.subject, seconds=left))
            except ConnectionLostError as lost:
                if not processes:
                    raise
                cut = lost.problem
                break
            reached = plateau([process.end for process in processes])
        readings = [process.end for process in processes]
        reason = None
        if reached is None:
            is_blind = all(reading.temperature_c is None for reading in readings)
            reason = "no temperature is measured" if is_blind else "not reached within the time"
        after = [p for p in processes if reached is None or p.start.at_s >= reached.at_s]
        return Soak(
            seconds=round(self.clock() - began, 3),
            plateau_after_s=None if reached is None else reached.at_s - processes[0].start.at_s,
            plateau_c=None if reached is None else reached.temperature_c,
            reason=reason,
            cut=cut,
            latency=latencies(after),
        )


def is_true(ms: float) -> bool:
    """Whether an inference can have taken so long: what a board makes up has no logarithm."""
    return LEAST_MS <= ms <= MOST_MS


def plateau(readings: Sequence[Reading]) -> Reading | None:
    """The first reading since when the hottest zone has moved by `PLATEAU_C` at most, if that was
    `PLATEAU_S` ago.
    """
    temperatures = [reading.temperature_c for reading in readings]
    for index, reading in enumerate(readings):
        since = [celsius for celsius in temperatures[index:] if celsius is not None]
        is_long = readings[-1].at_s - reading.at_s >= PLATEAU_S
        is_whole = len(since) == len(temperatures) - index
        if is_long and is_whole and max(since) - min(since) <= PLATEAU_C:
            return reading
    return None


def image_paths(subject: Subject, count: int) -> list[str]:
    """Golden images of a release, in turn. Raises UserError for more than a command can name."""
    golden = smoke.read_golden(subject.release.edgectl.board, subject.release.folder)
    names = [",".join(f"{subject.golden}/{file}" for file in case.files) for case in golden.cases]
    if not names:
        raise TargetError(str(subject.release.edgectl.board.target), "the golden set is empty")
    paths = list(islice(cycle(names), count))
    most = COMMAND_BYTES // (max(map(len, names)) + 1)
    if count > most:
        raise UserError(
            f"{count} inferences",
            "more than a command line to the board can name",
            facts=[f"at most: {most} in each process, the warm-up included"],
            next="the same command with fewer --runs and more --processes",
        )
    return paths


def times_of(processes: Sequence[Process], label: Label) -> list[float]:
    """All times of one label."""
    return [ms for process in processes if process.label is label for ms in process.inference_ms]


def latencies(processes: Sequence[Process]) -> tuple[Latency, ...]:
    """Figures of each label by itself: a throttled time never hides in the others' mean."""
    return tuple(
        Latency(
            label=label,
            processes=sum(process.label is label for process in processes),
            ms=figures(times_of(processes, label)),
        )
        for label in Label
        if any(process.label is label for process in processes)
    )


def stages(processes: Sequence[Process]) -> tuple[Stage, ...]:
    """Of processes of one label."""
    postprocess = _median_of([process.postprocess_ms for process in processes])
    return (
        Stage(name="decode", median_ms=median(p.decode_ms for p in processes)),
        Stage(name="preprocess", median_ms=median(p.preprocess_ms for p in processes)),
        Stage(name="inference", median_ms=median(p.median_ms for p in processes)),
        Stage(
            name="postprocess",
            median_ms=postprocess,
            reason="this release's edge-infer does not tell" if postprocess is None else None,
        ),
    )


def _median_of(times: Sequence[float | None]) -> float | None:
    """None unless all are told."""
    numbers = [time for time in times if time is not None]
    return median(numbers) if len(numbers) == len(times) else None


def spread(values: Sequence[float]) -> Spread:
    return Spread(least=min(values), median=median(values), most=max(values))


def _latency_check(latency: Latency, budget_ms: float) -> Check:
    name, expected = f"latency, {latency.label}", f"median at most {budget_ms:g} ms"
    value = latency.ms.median.value
    if latency.label is Label.EMULATED or value is None:
        reason = "emulated" if latency.label is Label.EMULATED else latency.ms.median.reason
        facts = (reason or "",)
        return Check(name=name, verdict=Verdict.NOT_JUDGED, expected=expected, facts=facts)
    return Check(
        name=name,
        verdict=Verdict.PASSED if value <= budget_ms else Verdict.FAILED,
        expected=expected,
        found=f"median {value:.1f} ms",
    )


def compare(
    own: Sequence[Process], others: Sequence[Process], against: str, margin: float
) -> Comparison:
    """Pairs of processes that ran one after the other; the unit is the process.

    Inferences of one process share its luck with memory and clock: compared by inferences, two
    equal releases differ in 48 of 100 cases.
    """
    pairs = list(zip(own, others, strict=True))
    comparable = [(a, b) for a, b in pairs if Label.THROTTLED not in (a.label, b.label)]
    interval = signed_rank_interval([math.log(a.median_ms / b.median_ms) for a, b in comparable])
    ratio, low, high = map(math.exp, interval) if interval else (None, None, None)
    verdict, reason = _verdict(comparable, low, high, margin)
    return Comparison(
        against=against,
        pairs=len(pairs),
        left_out=len(pairs) - len(comparable),
        margin=margin,
        ratio=ratio,
        low=low,
        high=high,
        verdict=verdict,
        reason=reason,
        processes=tuple(others),
    )


def _verdict(
    pairs: Sequence[tuple[Process, Process]],
    low: float | None,
    high: float | None,
    margin: float,
) -> tuple[Literal["regression", "within", "undecided", "not judged"], str]:
    if any(process.label is Label.EMULATED for pair in pairs for process in pair):
        return "not judged", "emulated: an emulator's times say nothing about a board"
    if low is None or high is None:
        return "undecided", f"{len(pairs)} pairs that were not throttled; it needs {PAIRS}"
    change = f"{low - 1:+.1%} to {high - 1:+.1%} of its time, margin {margin:.0%}"
    if low > 1 + margin:
        return "regression", f"slower: {change}"
    if high <= 1 + margin:
        return "within", change
    return "undecided", f"{change}: more --processes narrow it"
