"""What a build looks like: progress for terminals and for logs, and its one screen at the end."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console, Group, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from edgewright.base.progress import StageReport
from edgewright.board.audit import Audit
from edgewright.board.elf import ElfFacts
from edgewright.build.pipeline import BuildReport
from edgewright.deploy.edgectl import StatusAnswer
from edgewright.deploy.install import Outcome, Plan, Status
from edgewright.deploy.report import SmokeReport
from edgewright.observe.estimate.board_time import Range, TimeEstimate

NINJA = re.compile(r"^\[(\d+)/(\d+)\] ")
QUIET_SECONDS = 20.0  # between two lines of one stage in a log


class LiveProgress:
    """A bar for each stage, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._current: TaskID | None = None

    def __enter__(self) -> "LiveProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start(self, stage: str) -> None:
        self._current = self._bars.add_task(f"{stage:20}", total=None, note="")

    def line(self, line: str) -> None:
        step = NINJA.match(line)
        if step and self._current is not None:
            done, total = int(step[1]), int(step[2])
            self._bars.update(
                self._current, completed=done, total=total, note=f"{done}/{total} steps"
            )

    def note(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False)

    def done(self, stage: StageReport) -> None:
        if self._current is not None:
            self._bars.update(self._current, completed=1, total=1, note=told_origin(stage))


class LineProgress:
    """One line when a stage ends, and one now and then during a long one: for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._told = 0.0

    def __enter__(self) -> "LineProgress":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def start(self, stage: str) -> None:
        self._stage, self._told = stage, time.monotonic()

    def line(self, line: str) -> None:
        step = NINJA.match(line)
        if step and time.monotonic() - self._told > QUIET_SECONDS:
            self._told = time.monotonic()
            self._say(f"{self._stage}: {step[1]} of {step[2]} steps")

    def note(self, text: str) -> None:
        self._say(text)

    def done(self, stage: StageReport) -> None:
        self._say(f"{stage.name}: {told_origin(stage)}, {stage.seconds:.1f} s")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)


def progress(console: Console) -> LiveProgress | LineProgress:
    """Bars on a terminal, lines anywhere else."""
    return LiveProgress(console) if console.is_terminal else LineProgress(console)


@contextmanager
def upload(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A bar with rate and remaining time; off a terminal, nothing: the end is told anyway."""
    if not console.is_terminal:
        yield lambda sent, total: None
        return
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("upload"), *columns, console=console, transient=True) as bars:
        bar = bars.add_task("upload", total=None, visible=False)
        yield lambda sent, total: bars.update(bar, completed=sent, total=total, visible=True)


def told_origin(stage: StageReport) -> str:
    return "from cache" if stage.origin == "cache" else "built"


class BuildDocument(BuildReport):
    """`invoke build --json`: the report of the build, and of the estimate where there is one."""

    estimate: TimeEstimate | None = None


def build_document(
    report: BuildReport, later_stages: Sequence[StageReport], estimate: TimeEstimate | None
) -> BuildDocument:
    stages = (*report.stages, *later_stages)
    return BuildDocument(**{**dict(report), "stages": stages, "estimate": estimate})


def build_screen(report: BuildDocument) -> RenderableType:
    """The end of a build: sizes, ELF facts, coverage, stages."""
    return Group(
        Text(f"release {report.release} for {report.board}", style="bold"),
        Text(str(report.folder), overflow="fold"),
        Text(),
        _sizes(report),
        Text(),
        _elf_facts(report.audit),
        Text(),
        Text(told_coverage(report)),
        *([told_estimate(report.estimate)] if report.estimate else []),
        Text(),
        _stages(report),
        Text(told_total(report), style="bold"),
    )


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
        for index, (name, found) in enumerate(elf_rows(file.facts)):
            table.add_row(file.path if index == 0 else "", name, found)
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


def told_coverage(report: BuildReport) -> str:
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


def told_estimate(found: TimeEstimate) -> Text:
    """The board's time against its budget; a range that is wholly above it stands out."""
    told = f"estimate, not a measurement: {told_range(found.ms)}, on {found.threads} threads\n"
    told += f"latency budget: {found.budget_ms:,.0f} ms, {VERDICTS[found.judgement]}"
    return Text(told, style="bold red" if found.judgement == "above" else "")


def told_range(ms: Range) -> str:
    return f"{ms.low:,.0f} to {ms.high:,.0f} ms, most likely {ms.likely:,.0f}"


def _stages(report: BuildReport) -> Table:
    table = Table("stage", "result", box=None, pad_edge=False)
    table.add_column("seconds", justify="right")
    for stage in report.stages:
        table.add_row(stage.name, told_origin(stage), f"{stage.seconds:.1f}")
    return table


def told_total(report: BuildReport) -> str:
    if report.from_cache:
        return f"nothing changed: all of it came from cache, {report.seconds:.1f} s"
    built = [stage.name for stage in report.stages if stage.origin == "built"]
    return f"built: {', '.join(built)}; {report.seconds:.1f} s"


def told_plan(plan: Plan) -> list[str]:
    """What a deploy would do, a line each."""
    if plan.is_noop:
        return [f"release {plan.release} is current and sound: nothing to do"]
    steps = ["install edgectl"] if plan.helper else []
    for one in plan.objects:
        share = f"{one.new_bytes:,} of {len(one.content):,} bytes"
        steps.append(f"send {plan.paths[one.sha256]}: {share}")
    steps.append(f"{plan.bytes:,} bytes to send in {len(plan.objects)} files")
    steps.append("verify signature and files on the board, read back, self-test, smoke test")
    return [*steps, f"switch from {plan.former or 'nothing'} to {plan.release}"]


def deploy_document(
    outcome: Outcome, report: SmokeReport | None, subject: str
) -> dict[str, object]:
    """`invoke deploy --json`; `smoke` is null where the release was current already."""
    return {
        "version": 1,
        "target": subject,
        "release": outcome.release,
        "former": outcome.former,
        "unchanged": outcome.unchanged,
        "bytes_sent": outcome.bytes_sent,
        "removed": list(outcome.removed),
        "smoke": report.model_dump(mode="json") if report else None,
    }


def status_document(status: Status, subject: str) -> dict[str, object]:
    """`invoke status --json`."""
    now = status.board
    return {
        "version": 1,
        "target": subject,
        "machine": status.facts.machine,
        "free_bytes": status.facts.free_bytes,
        "model": status.manifest.model.name if status.manifest else None,
        "edgectl": now.helper.version if now else None,
        **(_installed(now) if now else {}),
    }


def _installed(now: StatusAnswer) -> dict[str, object]:
    """What the board's own helper tells, and when the release in force was ordered."""
    return {
        "current": now.current,
        "previous": now.previous,
        "sequence": now.floor.sequence if now.floor else None,
        "ordered": _told_time(now.floor.sequence) if now.floor else None,
        "trial": now.txn.new if now.txn else None,
        "keys": list(now.keys),
        "releases": list(now.releases),
        "quarantine": list(now.quarantine),
        "objects": now.objects,
        "service_pid": now.service.pid if now.service else None,
        "deployer": now.lease.holder if now.lease else None,
    }


def _told_time(sequence: int) -> str | None:
    """A sequence number is the Unix time of the signature, unless it was counted up."""
    try:
        return datetime.fromtimestamp(sequence, UTC).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return None


def status_screen(status: Status, subject: str) -> Table:
    """`invoke status` for a person."""
    table = Table(subject, "", box=None, pad_edge=False)
    for name, value in status_document(status, subject).items():
        if name in ("version", "target"):
            continue
        told = f"{value:,}" if name.endswith("bytes") else value
        told = ", ".join(told) if isinstance(told, list) else told
        table.add_row(name.replace("_", " "), str(told or "none"))
    return table
