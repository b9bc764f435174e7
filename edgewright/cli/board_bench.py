"""`bench.board`: a release measured on its board."""

import contextlib
import re
from dataclasses import dataclass
from typing import Annotated

from invoke.context import Context
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgewright.base.errors import UserError
from edgewright.cli import screens
from edgewright.cli.common import ERR, OUT, Json, Reach, task, write_document
from edgewright.cli.operator_bench import measure_operators, operator_screen
from edgewright.deploy import install, one_board, remote
from edgewright.observe.bench.conditions import Gauge
from edgewright.observe.bench.measure import PAIRS, Bench, Plan, beside, direct
from edgewright.observe.bench.order_statistics import Figure
from edgewright.observe.bench.report import BoardBench, Label, Latency, require_good

# Processes, runs that count and warm-up of each. 400 runs support p99; an emulator's times support
# nothing, so there the way is shown and no more.
ON_BOARD, EMULATED = (5, 80, 4), (2, 3, 1)
WITH_ANOTHER = 8  # pairs
SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How much is measured."""

    processes: Annotated[int, "how many; default: 5, and 8 of each release with --against"] = 0
    runs: Annotated[int, "inferences of each process that count; default: 80"] = 0
    threads: Annotated[str, "thread counts whose throughput is measured, e.g. 1,2,4"] = ""
    against: Annotated[
        str, "previous, or the id of a release on the board, whose processes take turns"
    ] = ""
    margin: Annotated[float, "percent by which it may be slower than the other one"] = 5.0
    soak: Annotated[str, "go on to a thermal plateau, for so long at most, e.g. 10m"] = ""
    sysfs: Annotated[str, "folder of the board that stands for / above sys, for sensors"] = ""

    def plan(self, *, emulated: bool) -> Plan:
        """Raises UserError for a measurement that could say nothing."""
        processes, runs, warmup = EMULATED if emulated else ON_BOARD
        if self.against and not emulated:
            processes = WITH_ANOTHER
        processes, runs = self.processes or processes, self.runs or runs
        if self.against and not emulated and processes < PAIRS:
            raise UserError(
                f"--processes={processes}",
                f"expected at least {PAIRS} with --against: fewer tell no two releases apart",
                next="the same command without --processes",
            )
        if processes < 1 or runs < 1 or self.margin < 0:
            raise UserError(
                "bench.board",
                "expected --processes and --runs of 1 and more, and --margin of 0 and more",
                next="the same command without them",
            )
        return Plan(
            processes=processes,
            runs=runs,
            warmup=warmup,
            threads=_threads(self.threads),
            margin=self.margin / 100,
            soak_s=_seconds(self.soak),
        )


def _threads(text: str) -> tuple[int, ...]:
    if text and not re.fullmatch(r"[1-9][0-9]?(,[1-9][0-9]?)*", text):
        raise UserError(f"--threads={text}", "expected numbers from 1", next="e.g. --threads=1,2,4")
    return tuple(int(part) for part in text.split(",") if part)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smh])", text)
    if text and not match:
        raise UserError(f"--soak={text}", "not a duration", next="e.g. --soak=10m, or 90s, or 1h")
    return int(match[1]) * SECONDS[match[2]] if match else 0.0


@task
def board(
    c: Context,
    reach: Reach,
    measured: Measured,
    by: Annotated[str, "operator: the time of each, beside the instructions it executes"] = "",
    json: Json = False,
) -> None:
    """Measure a release on its board. Example: invoke bench.board --board=a53-som --emulated"""
    if by:
        board_by(by, reach, measured, json=json)
        return
    report = measure(reach, measured)
    if json:
        write_document(report)
    else:
        OUT.print(_screen(report))
    require_good(report)


def board_by(by: str, reach: Reach, measured: Measured, *, json: bool) -> None:
    """Raises UserError for what nothing is measured by, and for options that would not count."""
    if by != "operator":
        raise UserError(f"--by={by}", "expected operator", next="--by=operator")
    if measured != Measured(runs=measured.runs, sysfs=measured.sysfs):
        raise UserError(
            "--by=operator", "takes --runs and --sysfs alone", next="the same with --by and these"
        )
    operators = measure_operators(reach, measured.runs, measured.sysfs or "/")
    if json:
        write_document(operators)
    else:
        OUT.print(operator_screen(operators))


def measure(reach: Reach, measured: Measured) -> BoardBench:
    """The release that is current on a board, measured there. Raises TargetError and UserError."""
    target, password, root = reach.target(), reach.password(), reach.profile.deploy.root
    plan = measured.plan(emulated=target.emulated)
    with contextlib.ExitStack() as stack:
        stack.enter_context(reach.naming_the_way())
        connected = stack.enter_context(remote.connect(target, password=password))
        progress = stack.enter_context(screens.deploy_progress(ERR))
        subject = stack.enter_context(
            one_board.current_release(connected, root, install.this_user())
        )
        gauge = Gauge(board=connected, tree=measured.sysfs or "/")
        second = None
        if gauge.has_sensors():  # else a second login would only take time from the board
            second = stack.enter_context(remote.connect(target, password=password))
        other = beside(subject, measured.against) if measured.against else None
        bench = Bench(
            subject=direct(subject) if other else subject,
            plan=plan,
            gauge=gauge,
            second=second,
            against=other,
            progress=progress,
        )
        return bench.run()


def _screen(report: BoardBench) -> RenderableType:
    """One screen; where an emulator's time would stand, there is the word."""
    head = f"{report.board} at {report.target}: release {report.release}, {report.model}"
    parts: list[RenderableType] = [Text(head)]
    parts += [_latency_table(each) for each in report.latency]
    parts.append(Text("\n".join(_lines(report))))
    return Group(*parts)


def _latency_table(latency: Latency) -> Table:
    title = f"{latency.label}, {latency.ms.runs} inferences in {latency.processes} processes"
    table = Table(title, box=None, pad_edge=False)
    for column in ("ms", "from", "to"):
        table.add_column(column, justify="right")
    table.add_column("")
    is_emulated = latency.label is Label.EMULATED
    for name in ("min", "median", "p95", "p99", "p99_9", "jitter"):
        figure: Figure = getattr(latency.ms, name)
        cells = [
            "" if value is None else "emulated" if is_emulated else f"{value:,.2f}"
            for value in (figure.value, figure.low, figure.high)
        ]
        reason = figure.reason if figure.value is None else ""
        table.add_row(name.replace("_", "."), *cells, Text(reason or ""))
    return table


def _lines(report: BoardBench) -> list[str]:
    def ms(value: float | None) -> str:
        if value is None:
            return "not measured"
        return "emulated" if report.emulated else f"{value:,.2f} ms"

    shared = ", the emulator's own included" if report.peak_rss_is_shared else ""
    lines = [
        f"load          {ms(report.load_ms.median)}",
        f"first         {ms(report.first_inference_ms.median)}",
        *(f"{stage.name:13} {ms(stage.median_ms)}" for stage in report.stages),
        f"peak memory   {report.peak_rss_kb / 1024:.1f} MiB{shared}",
    ]
    for each in report.throughput:
        rate = "emulated" if report.emulated else f"{each.per_second:,.1f} inferences a second"
        lines.append(f"{each.threads:2} threads    {rate}, {each.label}")
    lines += _condition_lines(report)
    lines += [
        f"{check.name}: {check.verdict}, expected {check.expected}, "
        f"found {check.found or ', '.join(check.facts)}"
        for check in report.budgets
    ]
    if comparison := report.comparison:
        lines.append(f"against {comparison.against}: {comparison.verdict}, {comparison.reason}")
    if soak := report.soak:
        reached = f"plateau of {soak.plateau_c} °C after {soak.plateau_after_s} s"
        ended = f"; ended early: {soak.cut}" if soak.cut else ""
        lines.append(f"soak: {soak.reason or reached}{ended}")
    return lines


def _condition_lines(report: BoardBench) -> list[str]:
    readings = [reading for p in report.processes for reading in (p.start, p.end)]
    temperatures = [r.temperature_c for r in readings if r.temperature_c is not None]
    clocks = [r.mhz for r in readings if r.mhz is not None]
    unmeasured = "not measured"
    heat = f"{temperatures[0]:.1f} to {temperatures[-1]:.1f} °C" if temperatures else unmeasured
    clock = f"{min(clocks)} to {max(clocks)} MHz" if clocks else unmeasured
    lines = [
        f"kernel        {report.kernel or unmeasured}",
        f"clock         {clock}, governor {report.governor or unmeasured}",
        f"temperature   {heat}",
    ]
    signs = dict.fromkeys(sign for p in report.processes for sign in p.throttled)
    lines += [f"throttled     {sign}" for sign in signs]
    if not report.power:
        lines.append(f"power         {unmeasured}")
    for power in report.power:
        each = power.mj_per_inference
        energy = "" if each is None else f", {each:,.1f} mJ an inference"
        lines.append(
            f"power         {power.mean_w:.2f} W, peak {power.peak_w:.2f} W{energy}: {power.sensor}"
        )
    return lines
