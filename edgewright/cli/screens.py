"""What builds and boards look like: progress for terminals and for logs, and screens."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from edgewright.base.progress import Progress, StageReport
from edgewright.board.audit import Audit
from edgewright.board.elf import ElfFacts
from edgewright.build.pipeline import BuildReport
from edgewright.build.reproduce import ReproduceReport
from edgewright.build.sdk import SdkReport
from edgewright.build.wheel import DISTRIBUTION, WheelReport
from edgewright.deploy.documents import PlanReport, StatusReport
from edgewright.deploy.report import SmokeReport, Verdict
from edgewright.deploy.service import ServiceState
from edgewright.observe.estimate.board_time import Range, TimeEstimate

# Conan's output has many lines; Ninja's alone tell how much of a build remains.
NINJA = re.compile(r"^\[(\d+)/(\d+)\] ")
QUIET_SECONDS = 20.0  # between two lines of one stage in a log


class LiveProgress(Progress):
    """One live line for what is at work, with its time; what has ended is a line above it."""

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), _Amount())
        # Transient: a bar that is done goes, and so does one that an error ends.
        self._bars = Bars(*columns, TimeElapsedColumn(), console=console, transient=True)
        self._stage: TaskID | None = None

    def __enter__(self) -> "LiveProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()
        self._bars.stop()

    def start(self, stage: str) -> None:
        self._finish()
        self._bars.start()  # only now: until there is a stage, a passphrase may be typed
        # No total until something names one: till then the line only shows that it is at work.
        self._stage = self._bars.add_task(stage, total=None, note="")

    def line(self, line: str) -> None:
        if step := NINJA.match(line):
            self._show(int(step[1]), int(step[2]), f"{step[1]}/{step[2]} steps")

    def sent(self, count: int, total: int) -> None:
        self._show(count, total, f"{count:,}/{total:,} bytes")

    def _show(self, completed: int, total: int, note: str) -> None:
        if self._stage is not None:
            self._bars.update(self._stage, completed=completed, total=total, note=note)

    def note(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def end(self, stage: StageReport) -> None:
        self._finish(origin_text(stage))

    def _finish(self, result: str = "") -> None:
        if self._stage is None:
            return
        (task,) = self._bars.tasks
        seconds = f"{task.elapsed:.1f} s" if task.elapsed and task.elapsed >= 0.1 else ""
        facts = ", ".join(filter(None, (result, seconds)))
        self._bars.remove_task(self._stage)
        self._stage = None
        self.note(f"{task.description:20} {facts}".rstrip())


class _Amount(ProgressColumn):
    """How much of it is done, where that is known."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = BarColumn(bar_width=16)

    def render(self, task: Task) -> RenderableType:
        if task.total is None:
            return Text()
        return Columns([self._bar.render(task), Text(task.fields["note"])])


class LineProgress(Progress):
    """One line when a stage ends, and one now and then during a long one: for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._last_line_s = 0.0

    def __enter__(self) -> "LineProgress":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def start(self, stage: str) -> None:
        self._stage, self._last_line_s = stage, time.monotonic()

    def line(self, line: str) -> None:
        step = NINJA.match(line)
        if step and time.monotonic() - self._last_line_s > QUIET_SECONDS:
            self._last_line_s = time.monotonic()
            self._say(f"{self._stage}: {step[1]} of {step[2]} steps")

    def note(self, text: str) -> None:
        self._say(text)

    def end(self, stage: StageReport) -> None:
        self._say(f"{stage.name}: {origin_text(stage)}, {stage.seconds:.1f} s")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)


def progress(console: Console) -> LiveProgress | LineProgress:
    """What a build shows: a live line on a terminal, lines anywhere else."""
    return LiveProgress(console) if console.is_terminal else LineProgress(console)


class DeployLines(Progress):
    """A line for each stage when it begins: for logs, where the next line says that it ended."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> "DeployLines":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def start(self, stage: str) -> None:
        self.note(stage)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def deploy_progress(console: Console) -> LiveProgress | DeployLines:
    """What a deploy or another wait shows: a live line on a terminal, lines anywhere else."""
    return LiveProgress(console) if console.is_terminal else DeployLines(console)


@contextmanager
def waiting(console: Console, what: str) -> Iterator[None]:
    """Show what is waited for, and for how long."""
    with deploy_progress(console) as progress:
        progress.start(what)
        yield


def origin_text(stage: StageReport) -> str:
    return "from cache" if stage.origin == "cache" else "built"


class BuildDocument(BuildReport):
    """`invoke build --json`: the report of the build, and of the estimate where there is one."""

    # Here and not in `BuildReport`: a build does not depend on what observes its release.
    estimate: TimeEstimate | None = None


def build_document(
    report: BuildReport, later_stages: Sequence[StageReport], estimate: TimeEstimate | None
) -> BuildDocument:
    stages = (*report.stages, *later_stages)
    # `dict` and not `model_dump`: the parts are valid models already and stay as they are.
    return BuildDocument(**{**dict(report), "stages": stages, "estimate": estimate})


def build_screen(report: BuildDocument) -> RenderableType:
    """The end of a build: sizes, ELF facts, coverage, stages."""
    return Group(
        Text(f"release {report.release} for {report.board}", style="bold"),
        Text(str(report.folder)),
        Text(),
        _sizes(report),
        Text(),
        _elf_facts(report.audit),
        Text(),
        Text(coverage_text(report)),
        *([estimate_text(report.estimate)] if report.estimate else []),
        Text(),
        _stages(report.stages),
        Text(total_text(report), style="bold"),
    )


def sdk_screen(report: SdkReport) -> RenderableType:
    """The end of `invoke sdk`: sizes, ELF facts, stages."""
    sizes = Table("file", box=None, pad_edge=False)
    sizes.add_column("bytes", justify="right")
    for name, size in report.sizes.items():
        sizes.add_row(name, f"{size:,}")
    return Group(
        Text(f"SDK {report.sdk} for {report.board}", style="bold"),
        Text(str(report.folder)),
        Text(),
        sizes,
        Text(),
        _elf_facts(report.audit),
        Text(),
        Text(f"operators: {len(report.operators)}, for {', '.join(report.models)}"),
        Text(),
        _stages(report.stages),
    )


def wheel_screen(report: WheelReport) -> RenderableType:
    """The end of `invoke wheel`: the file, what it is for, and how a board installs it."""
    # By its whole version: pip would take the highest hash among several boards or models.
    named = f"--find-links={report.index} {DISTRIBUTION}=={report.wheel_version}"
    wanted = named if report.index else report.wheel
    return Group(
        Text(f"wheel {report.wheel_version} for {report.board}", style="bold"),
        Text(str(report.wheel)),
        Text(),
        Text(f"{report.bytes:,} bytes, {report.platform}, Python {report.requires_python}"),
        Text(f"operators: {len(report.operators)}, for {', '.join(report.models)}"),
        Text(f"on the board: pip install {wanted}"),
    )


def reproduce_screen(report: ReproduceReport) -> Table:
    """Under which conditions a release was built again, and what came of it."""
    table = Table.grid(padding=(0, 2))
    table.add_row("release", f"{report.release} for {report.board}")
    table.add_row("again from", f"commit {report.revision}")
    for condition in report.conditions:
        table.add_row(condition.name, condition.value or f"the same: {condition.reason}")
    table.add_row("packages", f"compared: {', '.join(report.packages) or 'none'}")
    if report.not_compared:
        table.add_row("", f"not here any more: {', '.join(report.not_compared)}")
    same = len(report.files) - len(report.differing)
    table.add_row("files", f"{same} of {len(report.files)} are the same bytes")
    return table


def _sizes(report: BuildReport) -> Table:
    table = Table("file", box=None, pad_edge=False)
    table.add_column("bytes", justify="right")
    table.add_column("budget", justify="right")
    for name, size in report.sizes.items():
        budget = report.budgets.get(name)
        table.add_row(name, f"{size:,}", f"{budget:,}" if budget else "")
    return table


def _elf_facts(audit: Audit) -> Table:
    table = Table("ELF", "fact", "found", box=None, pad_edge=False)
    for file in audit.files:
        for index, (name, value) in enumerate(elf_rows(file.facts)):
            table.add_row(file.path if index == 0 else "", name, value)
    return table


def elf_rows(facts: ElfFacts) -> list[tuple[str, str]]:
    """The facts that release engineers ask for first."""
    rows = [("machine", f"{facts.machine}, {facts.bits} bits")]
    if facts.arm:
        rows += [
            ("CPU", f"{facts.arm.cpu_name}, {facts.arm.cpu_arch}"),
            ("FPU, SIMD", f"{facts.arm.fp_arch}, {facts.arm.simd_arch}"),
            ("float arguments in", facts.arm.vfp_args),
        ]
    glibc = facts.highest("GLIBC")
    return [
        *rows,
        ("needed libraries", ", ".join(facts.needed) or "none"),
        ("newest glibc symbol", glibc.version if glibc else "none"),
        ("build id", facts.build_id or "none"),
    ]


def coverage_text(report: BuildReport) -> str:
    coverage = report.coverage
    return (
        f"operators: {len(coverage.required)} needed by {coverage.nodes} nodes, "
        f"all of them among the {len(coverage.built)} built in"
    )


VERDICTS = {
    "within": "within",
    "undecided": "not decided by the estimate",
    "above": "missed by the whole range: take a smaller network, or raise budgets.latency_ms",
}


def estimate_text(estimate: TimeEstimate) -> Text:
    """The board's time against its budget; a range that is wholly above it stands out."""
    text = (
        f"estimate, not a measurement: {range_text(estimate.ms)}, on {estimate.threads} threads\n"
    )
    text += f"latency budget: {estimate.budget_ms:,.0f} ms, {VERDICTS[estimate.judgement]}"
    return Text(text, style="bold red" if estimate.judgement == "above" else "")


def range_text(ms: Range) -> str:
    return f"{ms.low:,.0f} to {ms.high:,.0f} ms, most likely {ms.likely:,.0f}"


def _stages(stages: Sequence[StageReport]) -> Table:
    table = Table("stage", "result", box=None, pad_edge=False)
    table.add_column("seconds", justify="right")
    for stage in stages:
        table.add_row(stage.name, origin_text(stage), f"{stage.seconds:.1f}")
    return table


def total_text(report: BuildReport) -> str:
    if report.from_cache:
        return f"nothing changed: all of it came from cache, {report.seconds:.1f} s"
    built = [stage.name for stage in report.stages if stage.origin == "built"]
    return f"built: {', '.join(built)}; {report.seconds:.1f} s"


def plan_lines(plan: PlanReport) -> list[str]:
    """What a deploy would do, a line each."""
    if plan.unchanged:
        return [f"release {plan.release} is current and sound: nothing to do"]
    steps = ["install edgectl"] if plan.installs_edgectl else []
    steps += [
        f"send {file.path}: {file.new_bytes:,} of {file.bytes:,} bytes" for file in plan.files
    ]
    steps.append(f"{plan.bytes_to_send:,} bytes to send in {len(plan.files)} files")
    steps.append("verify signature and files on the board, read back, self-test, smoke test")
    return [*steps, f"switch from {plan.former or 'nothing'} to {plan.release}"]


BOARD_FACTS = ("machine", "free_bytes", "model", "edgectl")
EDGECTL_FACTS = (
    *("current", "previous", "sequence", "ordered", "trial", "keys", "releases", "quarantine"),
    *("objects", "service_pid", "deployer"),
)


def status_screen(status: StatusReport) -> Table:
    """`invoke status` for a person; where there is no `edgectl`, what the board alone tells."""
    facts = [*BOARD_FACTS, *(EDGECTL_FACTS if status.edgectl else ())]
    table = Table(status.target, "", box=None, pad_edge=False)
    document = status.model_dump(mode="json")
    for name in facts:
        value = document[name]
        text = f"{value:,}" if name.endswith("bytes") else value
        text = ", ".join(text) if isinstance(text, list) else text
        table.add_row(name.replace("_", " "), str(text or "none"))
    return table


def service_lines(state: ServiceState) -> list[str]:
    """What `invoke status` says of the service."""
    if not state.installed:
        return ["service    not installed"]
    health = "well" if state.healthy else "no heartbeat"
    beat = "" if state.silent_s is None else f", last heartbeat {state.silent_s} s ago"
    since = "unknown" if state.since_s is None else f"{state.since_s} s"
    lines = [
        f"service    {health}{beat}",
        f"running    {since}, {state.restarts} restarts since power-on",
        f"images     {state.images}, {state.failed} of them failed",
    ]
    if state.heap_bytes is not None:
        lines.append(f"heap       {state.heap_bytes:,} bytes in use")
    if state.thermal:
        lines.append(f"heat       {state.thermal.words}")
    return [*lines, *(f"log        {line}" for line in state.log)]


STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.NOT_JUDGED: "yellow"}


def smoke_screen(report: SmokeReport) -> RenderableType:
    """A smoke report for a person."""
    verdict = Verdict.PASSED if report.passed else Verdict.FAILED
    head = Text(f"{report.board} at {report.target}: release {report.release}, {report.model}")
    return Group(
        head,
        _smoke_checks(report),
        *([_smoke_images(report)] if report.images else []),
        Text(f"smoke test {verdict} in {report.seconds:.1f} s", style=STYLES[verdict]),
    )


def _smoke_checks(report: SmokeReport) -> Table:
    table = Table("check", "verdict", "expected", "found", box=None, pad_edge=False)
    for check in report.checks:
        answers = [check.found or "", *check.facts]
        table.add_row(
            check.name,
            Text(check.verdict, style=STYLES[check.verdict]),
            Text(check.expected or ""),
            Text("\n".join(line for line in answers if line)),
        )
    return table


def _smoke_images(report: SmokeReport) -> Table:
    table = Table(
        "image", "expected", "found", "difference", "inference", "", box=None, pad_edge=False
    )
    for image in report.images:
        milliseconds = "" if image.inference_ms is None else f"{image.inference_ms:.1f} ms"
        if milliseconds and report.emulated:  # the emulator's time says nothing of a board's
            milliseconds = "emulated"
        table.add_row(
            image.image,
            image.expected,
            image.found or "none",
            "" if image.max_abs_diff is None else f"{image.max_abs_diff:.4f}",
            milliseconds,
            Text(image.verdict, style=STYLES[image.verdict]),
        )
    return table
