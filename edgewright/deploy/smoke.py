"""The smoke test: a release's own golden set and budgets, on the board itself."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Literal, Self, TypeVar

from pydantic import model_validator

from edgewright.base.errors import CheckError, TargetError, UserError
from edgewright.base.files import write_file
from edgewright.base.progress import Progress
from edgewright.base.schema import Foreign, Many, parse_json
from edgewright.base.text import last_lines
from edgewright.deploy.edge_infer import (
    Answer,
    BenchAnswer,
    Heap,
    ImageLine,
    Prediction,
    ProgramSelftest,
    RunAnswer,
    SelftestAnswer,
    difference,
)
from edgewright.deploy.edgectl import BoardRelease
from edgewright.deploy.remote import Board, Result
from edgewright.deploy.report import Bench, Check, ImageResult, SmokeReport, Verdict, passed
from edgewright.deploy.target import Target
from edgewright.release.manifest import Manifest
from edgewright.release.programs import DEFAULT_PROGRAM, ReleasedProgram
from edgewright.release.run_file import GOLDEN

PROGRAM = DEFAULT_PROGRAM.path
RUNS, EMULATED_RUNS = (3, 20), (1, 1)  # warm-up and timed inferences of a bench
TAIL_LINES = 5
# Checks by which a measurement says no; all others are the board's fault or the program's.
BUDGETED = {"peak memory": "budgets.peak_rss_mb", "latency": "budgets.latency_ms"}


class GoldenCase(Prediction):
    image: str | None = None
    tensors: Many[str] = ()

    @property
    def files(self) -> tuple[str, ...]:
        return self.tensors or (self.image or "",)

    @property
    def name(self) -> str:
        """As `edge-infer` names it: the image, or the files of all tensors."""
        return ",".join(self.files)


class Golden(Foreign):
    """`golden/expected.json`; of schema 2 are the tasks beyond classification."""

    schema_: Literal[1, 2]
    tolerance: float
    cases: Many[GoldenCase]

    @model_validator(mode="after")
    def _cases_are_whole(self) -> Self:
        for case in self.cases:
            is_classified = case.class_ is not None and case.probabilities
            if not case.name or (self.schema_ == 1 and not is_classified):
                raise ValueError("a case lacks its files, class or probabilities")
        return self


Doc = TypeVar("Doc", bound=Answer)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A release on a board, and what its manifest says."""

    release: BoardRelease
    manifest: Manifest

    @property
    def golden(self) -> str:
        return f"{self.release.folder}/{GOLDEN}"

    def infer(self, command: str, *arguments: str) -> Result:
        """Run the default program as the release says."""
        run_options = self.manifest.run_options(self.release.folder)
        return self.release.infer([command, *run_options, *arguments])

    def require_default_program(self) -> None:
        """Raises TargetError for a release of other programs alone."""
        if self.manifest.has_default_program:
            return
        names = ", ".join(program.name for program in self.manifest.programs)
        raise TargetError(
            f"{self.release.edgectl.board.target}: release {self.manifest.id}",
            f"has no {DEFAULT_PROGRAM.name}",
            facts=[f"programs: {names}"],
            next=f"set default_program = true in edgewright.toml, then invoke build "
            f"--board={self.manifest.board} and invoke deploy",
        )


def run(
    release: BoardRelease,
    manifest: Manifest,
    *,
    selftests: Mapping[str, Result] = MappingProxyType({}),
    runs: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> SmokeReport:
    """Self-tests, golden images and budgets for a release on a board.

    `runs` are warm-up and timed inferences; None: few on an emulated board, which takes its time.
    A self-test that has just run there is not run again: `selftests` has its result, by program.

    What the release does wrong is in the report; raises TargetError only if the board goes
    away, another takes it over, or the release has no golden set.
    """
    subject, target = Subject(release=release, manifest=manifest), release.edgectl.board.target
    progress, started, clock = progress or Progress(), datetime.now(UTC), time.monotonic()
    checks: list[Check] = []
    images: tuple[ImageResult, ...] = ()
    bench = None
    if manifest.has_default_program:
        selftest = selftests.get(DEFAULT_PROGRAM.name)
        images, bench, checks = _run_default(subject, selftest, runs, progress)
    for program in manifest.own_programs:
        result = selftests.get(program.name)
        if result is None:
            progress.start(f"self-test of {program.name}")
            result = release.selftest(program)
        checks.append(judge_own_selftest(result, program))
    return SmokeReport(
        board=manifest.board,
        target=str(target),
        emulated=target.emulated,
        release=manifest.id,
        model=manifest.model.name,
        threads=manifest.runtime.threads,
        started=started,
        seconds=round(time.monotonic() - clock, 3),
        passed=passed(checks),
        checks=tuple(checks),
        images=images,
        bench=bench,
    )


def _run_default(
    subject: Subject, selftest: Result | None, runs: tuple[int, int] | None, progress: Progress
) -> tuple[tuple[ImageResult, ...], Bench | None, list[Check]]:
    """What the default program does with the golden set, and what it measures."""
    target = subject.release.edgectl.board.target
    golden = read_golden(subject.release.edgectl.board, subject.release.folder)
    if selftest is None:
        progress.start("self-test")
        selftest = subject.infer("selftest")
    checks = [judge_selftest(selftest, golden)]
    progress.start(f"{len(golden.cases)} golden images")
    paths = [_paths(subject.golden, case) for case in golden.cases]
    answered = subject.infer("run", *paths)
    if golden.schema_ == 1:
        images, check = judge_images(answered, golden)
    else:
        images, check = (), judge_answered(answered, golden)
    checks.append(check)
    progress.start("benchmark and budgets")
    warmup, timed = runs or (EMULATED_RUNS if target.emulated else RUNS)
    measured = subject.infer("bench", "--warmup", str(warmup), "--runs", str(timed))
    bench, budget_checks = judge_budgets(measured, subject.manifest, target)
    return images, bench, [*checks, *budget_checks]


def require_passed(report: SmokeReport) -> None:
    """Raise TargetError with every failed check; CheckError if only a budget was not met."""
    if report.passed:
        return
    over_budget = all(check.name in BUDGETED for check in report.failed)
    blame = CheckError if over_budget else TargetError
    facts = []
    for check in report.failed:
        facts.append(f"{check.name}:")
        facts += [f"  expected: {check.expected}"] if check.expected else []
        facts += [f"  found: {check.found}"] if check.found else []
        facts += [f"  {fact}" for fact in check.facts]
    raise blame(
        f"{report.target}: release {report.release}",
        "smoke test failed",
        facts=facts,
        next=_remedy(report, over_budget=over_budget),
    )


def _remedy(report: SmokeReport, *, over_budget: bool) -> str:
    if not over_budget:
        return f"mend it, then invoke build --board={report.board} and invoke deploy"
    # The same model built anew costs the same.
    keys = " and ".join(BUDGETED[check.name] for check in report.failed)
    return (
        f"take a smaller model, or raise {keys} of board '{report.board}'; then "
        f"invoke build --board={report.board} and invoke deploy"
    )


class Gate:
    """The smoke test between self-test and switch (`install.Gate`): raises for an unfit release.

    Its report is written to `smoke_file`, where one is given, before anything is raised.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        runs: tuple[int, int] | None = None,
        progress: Progress | None = None,
        smoke_file: Path | None = None,
    ) -> None:
        self.report: SmokeReport | None = None  # None until the test has run
        self._manifest, self._runs = manifest, runs
        self._progress = progress
        self._smoke_file = smoke_file

    def __call__(self, release: BoardRelease, selftests: Mapping[str, Result]) -> None:
        self.report = run(
            release,
            self._manifest,
            selftests=selftests,
            runs=self._runs,
            progress=self._progress,
        )
        if self._smoke_file:
            write_file(self._smoke_file, self.report.to_json())
        require_passed(self.report)


def read_golden(board: Board, release: str) -> Golden:
    """`golden/expected.json` of the folder `release` as the board has it. Raises TargetError."""
    path = f"{release}/{GOLDEN}/expected.json"
    text = board.check(["cat", path]).stdout
    where = f"{board.target}: {path}"
    return parse_json(
        Golden, text, where, "not a golden set", blame=TargetError, next="invoke build"
    )


# Judging: pure


def judge_selftest(result: Result, golden: Golden) -> Check:
    """`edge-infer selftest`: exit code 0, and every golden case passed."""
    document = parse(SelftestAnswer, result)
    if isinstance(document, Check):
        return document
    failed = [case for case in document.cases if not case.passed]
    fine = document.passed and not failed and len(document.cases) == len(golden.cases)
    return Check(
        name="selftest",
        verdict=Verdict.PASSED if fine else Verdict.FAILED,
        expected=f"{len(golden.cases)} cases within {golden.tolerance:g}",
        found=f"{len(document.cases) - len(failed)} cases",
        facts=tuple(f"{case.image}: {difference(case)}" for case in failed),
    )


def judge_own_selftest(result: Result, program: ReleasedProgram) -> Check:
    """Of a user's program: exit code 0, and a document in which every case passed.

    What the document says of the cases is told, whatever the exit code.
    """
    name, code = f"selftest of {program.name}", result.returncode
    ending = [f"ended with {_ending(code)}"] if code else []
    document = parse(ProgramSelftest, result, exit_codes=(code,))
    if isinstance(document, Check):
        return document.model_copy(update={"name": name, "facts": (*ending, *document.facts)})
    failures = document.failures()
    verdict = [] if document.passed or failures else ["passed: false, and no case says why"]
    fine = code == 0 and document.passed and document.cases and not failures
    return Check(
        name=name,
        verdict=Verdict.PASSED if fine else Verdict.FAILED,
        expected="exit code 0, passed: true, at least one case, and all passed",
        found=f"{len(document.cases) - len(failures)} of {len(document.cases)} cases passed",
        facts=(*ending, *verdict, *failures),
    )


def _paths(folder: str, case: GoldenCase) -> str:
    """What `edge-infer run` takes for a case."""
    return ",".join(f"{folder}/{name}" for name in case.files)


def _diff(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def judge_images(result: Result, golden: Golden) -> tuple[tuple[ImageResult, ...], Check]:
    """`edge-infer run`: class and probabilities of every golden image."""
    document = parse(RunAnswer, result, exit_codes=(0, 3))
    if isinstance(document, Check):
        return (), document
    lines = {line.image.rpartition("/")[2]: line for line in document.results}
    images = tuple(judge_image(case, lines.get(case.name), golden) for case in golden.cases)
    wrong = [image for image in images if image.verdict is Verdict.FAILED]
    check = Check(
        name="run",
        verdict=Verdict.FAILED if wrong else Verdict.PASSED,
        expected=f"{len(images)} images, same class, within {golden.tolerance:g}",
        found=f"{len(images) - len(wrong)} images",
        facts=tuple(_wrong(image, lines.get(image.image)) for image in wrong),
    )
    return images, check


def share_right(subject: Subject, other: str) -> float | None:
    """The share of another release's golden images that a release on its board answers alike.

    `other` is that release's folder. None where the answers are no classes, or there is none, or
    the release has other programs alone.
    Raises TargetError if the board goes away, or the other release has no golden set.
    """
    if not subject.manifest.has_default_program:
        return None
    golden = read_golden(subject.release.edgectl.board, other)
    if golden.schema_ != 1:
        return None
    paths = [_paths(f"{other}/{GOLDEN}", case) for case in golden.cases]
    images, _ = judge_images(subject.infer("run", *paths), golden)
    right = sum(image.found == image.expected for image in images)
    return right / len(images) if images else None


def judge_answered(result: Result, golden: Golden) -> Check:
    """`edge-infer run` for a task beyond classification: every golden case is answered.

    Whether rightly the self-test has judged, which compares as the task does.
    """
    document = parse(RunAnswer, result, exit_codes=(0, 3))
    if isinstance(document, Check):
        return document
    faults = [line for line in document.results if line.error]
    missing = len(golden.cases) - len(document.results)
    return Check(
        name="run",
        verdict=Verdict.FAILED if faults or missing else Verdict.PASSED,
        expected=f"{len(golden.cases)} answers",
        found=f"{len(document.results) - len(faults)} answers",
        facts=tuple(
            f"{line.image}: {line.error.code}: {line.error.message}"
            for line in faults
            if line.error
        ),
    )


def judge_image(case: GoldenCase, line: ImageLine | None, golden: Golden) -> ImageResult:
    """One image against its golden outcome."""
    answer = line.class_ if line else None
    difference = None
    if line and len(line.probabilities) == len(case.probabilities):
        pairs = zip(line.probabilities, case.probabilities, strict=True)
        difference = max(abs(measured - golden_value) for measured, golden_value in pairs)
    near = difference is not None and difference <= golden.tolerance
    is_right = answer == case.class_ or (line is not None and _is_at_border(case, line, golden))
    return ImageResult(
        image=case.name,
        expected=case.class_ or "",
        found=answer,
        max_abs_diff=difference,
        inference_ms=line.ms.inference if line and line.ms else None,
        verdict=Verdict.PASSED if near and is_right else Verdict.FAILED,
    )


def _is_at_border(case: GoldenCase, line: ImageLine, golden: Golden) -> bool:
    """Whether the image is so near to the threshold that either label is right."""
    decision = line.decision
    if decision is None or not 0 <= decision.index < len(case.probabilities):
        return False
    return abs(case.probabilities[decision.index] - decision.threshold) <= golden.tolerance


def _wrong(image: ImageResult, line: ImageLine | None) -> str:
    if line and line.error:
        return f"{image.image}: {line.error.code}: {line.error.message}"
    return (
        f"{image.image}: expected {image.expected}, found {image.found or 'nothing'}, "
        f"probabilities differ by {_diff(image.max_abs_diff)}"
    )


def judge_budgets(
    result: Result, manifest: Manifest, target: Target
) -> tuple[Bench | None, list[Check]]:
    """`edge-infer bench` against the budgets of the release."""
    document = parse(BenchAnswer, result)
    if isinstance(document, Check):
        return None, [document]
    if document.ended_early:
        return None, [_broken("bench", result, f"ended by a signal after {document.runs} runs")]
    bench = Bench(
        runs=document.runs,
        load_ms=document.load_ms,
        median_ms=document.latency_ms.median,
        p95_ms=document.latency_ms.p95,
        max_ms=document.latency_ms.max,
        peak_rss_kb=document.peak_rss_kb,
        rss_growth_kb=document.rss_growth_kb,
        leak_kb=_leak_kb(document.heap),
    )
    return bench, [
        _memory(bench, manifest, shared=target.shares_memory),
        _latency(bench, manifest, emulated=target.emulated),
    ]


def _leak_kb(heap: Heap | None) -> float | None:
    """The median of all slopes (Sen 1968): what threads allocate once, in their first inferences,
    is no leak."""
    if heap is None or len(heap.bytes) < 2:
        return None
    pairs = combinations(enumerate(heap.bytes), 2)
    slope = median((last - first) / (end - start) for (start, first), (end, last) in pairs)
    return round(slope / heap.runs / 1024, 3)


def _memory(bench: Bench, manifest: Manifest, *, shared: bool) -> Check:
    """An emulator's own memory is in the figure too: less than the budget is proof, more is not."""
    peak, budget = bench.peak_rss_kb / 1024, manifest.budgets.peak_rss_mb
    over = Verdict.NOT_JUDGED if shared else Verdict.FAILED
    return Check(
        name="peak memory",
        verdict=Verdict.PASSED if peak <= budget else over,
        expected=f"at most {budget:g} MiB",
        found=f"{peak:.1f} MiB",
        facts=("the emulator's own included",) if shared else (),
    )


def _latency(bench: Bench, manifest: Manifest, *, emulated: bool) -> Check:
    expected = f"median at most {manifest.budgets.latency_ms:g} ms"
    if emulated:
        return Check(
            name="latency", verdict=Verdict.NOT_JUDGED, expected=expected, facts=("emulated",)
        )
    fits = bench.median_ms <= manifest.budgets.latency_ms
    return Check(
        name="latency",
        verdict=Verdict.PASSED if fits else Verdict.FAILED,
        expected=expected,
        found=f"median {bench.median_ms:.1f} ms, p95 {bench.p95_ms:.1f} ms",
    )


def parse(kind: type[Doc], result: Result, *, exit_codes: Sequence[int] = (0, 6)) -> Doc | Check:
    """The document on standard output, or a failed check that says what came instead."""
    name = result.argv[1]
    if result.returncode not in exit_codes:
        return _broken(name, result, _ending(result.returncode))
    try:
        return parse_json(kind, result.stdout, name, "no valid document", blame=TargetError)
    except TargetError as invalid:
        return _broken(name, result, invalid.problem, invalid.facts[:TAIL_LINES])


def _broken(name: str, result: Result, outcome: str, facts: Sequence[str] = ()) -> Check:
    tail = [f"| {line}" for line in last_lines(result.stderr, TAIL_LINES)]
    return Check(
        name=name,
        verdict=Verdict.FAILED,
        expected="one JSON document, version 1",
        found=outcome,
        facts=(*facts, *(_problem(result) or tail)),
    )


def _problem(result: Result) -> list[str]:
    """`edge-infer`'s own words for what went wrong, if it wrote any."""
    try:
        problem = parse_json(Answer, result.stdout, PROGRAM, "no valid document").error
    except UserError:
        return []
    return [f"{problem.code}: {problem.message}"] if problem else []


def _ending(code: int) -> str:
    """128 + n is how a shell reports signal n."""
    if code < 0:
        return "ended by a signal"
    return f"exit code {code}, signal {code - 128}" if code > 128 else f"exit code {code}"
