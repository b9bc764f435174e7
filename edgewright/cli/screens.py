"""What builds and boards look like: progress for terminals and for logs, and screens."""

import re
import time
from collections.abc import Iterator
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
from edgewright.deploy.documents import PlanReport, StatusReport
from edgewright.deploy.report import SmokeReport, Verdict
from edgewright.deploy.service import ServiceState

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
