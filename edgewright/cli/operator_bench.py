"""`bench.board --by=operator`: where the time of an inference goes on its board."""

import contextlib

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgewright.base import process
from edgewright.base.errors import EdgewrightError
from edgewright.cli import screens
from edgewright.cli.common import ERR, Reach, workspace
from edgewright.deploy import install, one_board, remote
from edgewright.observe.bench.conditions import Gauge
from edgewright.observe.bench.operators import OperatorBench, bench_operators
from edgewright.observe.count import counts
from edgewright.observe.count.instructions import (
    InstructionReport,
    measure,
    program_of_release,
)

ON_BOARD, EMULATED = 10, 2  # inferences; ten of some 460 nodes come to 2.5 MB
SHOWN_NODES, NAME = 8, 32


def measure_operators(reach: Reach, runs: int, tree: str) -> OperatorBench:
    """Of the release that is current on a board. Raises TargetError and UserError."""
    target, root = reach.target(), reach.profile.deploy.root
    runs = runs or (EMULATED if target.emulated else ON_BOARD)
    with contextlib.ExitStack() as stack:
        stack.enter_context(reach.naming_the_way())
        connected = stack.enter_context(remote.connect(target, password=reach.password()))
        progress = stack.enter_context(screens.deploy_progress(ERR))
        subject = stack.enter_context(
            one_board.current_release(connected, root, install.this_user())
        )
        progress.start("count the instructions of an inference")
        counted = _counted(reach, subject.manifest.id)
        progress.start(f"{runs} inferences")
        return bench_operators(subject, Gauge(board=connected, tree=tree), runs, counted)


def _counted(reach: Reach, release: str) -> InstructionReport | str:
    """What the release executes, by the copy of it that was built here; or why that is not told."""
    build = workspace().build(reach.board)
    folder = build.release / release
    if not folder.is_dir():
        return "the release was not built on this machine"
    lacking = [tool for tool in counts.tools(reach.profile.abi.arch) if not process.which(tool)]
    if lacking:
        return f"this machine lacks {', '.join(lacking)}: invoke setup --yes"
    try:
        program = program_of_release(folder, reach.profile, build)
        return measure(program, reach.board, workspace().resources)
    except EdgewrightError as fault:  # of the count; the board's times are there without it
        return f"{fault.subject}: {fault.problem}"


def operator_screen(report: OperatorBench) -> RenderableType:
    """Operators, and the slowest nodes; where an emulator's time would stand, there is the word."""
    head = (
        f"{report.board} at {report.target}: release {report.release}, {report.model}; "
        f"{report.label}, medians of {report.inferences} inferences, threads: {report.threads}"
    )
    table = Table("operator", box=None, pad_edge=False)
    for column in ("nodes", "ms", "share", "M instructions", "share"):
        table.add_column(column, justify="right")
    for each in report.operators:
        counted = each.instruction_share
        table.add_row(
            Text(each.operator),
            str(each.nodes),
            _ms(report, each.ms),
            f"{each.share:.1%}",
            _millions(each.instructions),
            "" if counted is None else f"{counted:.1%}",
        )
    nodes = Table(box=None, pad_edge=False)
    nodes.add_column("node", no_wrap=True)
    for column in ("ms", "share", "M instructions"):
        nodes.add_column(column, justify="right", no_wrap=True)
    slowest = sorted(report.nodes, key=lambda node: -node.ms)[:SHOWN_NODES]
    for node in slowest:
        # The end of a name tells nodes apart, its beginning is the network's.
        name = Text(f"{node.operator} …{node.name[-NAME:]}")
        row = (_ms(report, node.ms), f"{node.share:.1%}", _millions(node.instructions))
        nodes.add_row(name, *row)
    unit = "" if report.emulated else " ms"
    lines = [f"inference with the profiler: {_ms(report, report.inference_ms)}{unit}"]
    lines += [f"throttled: {sign}" for sign in report.throttled]
    lines += (
        [f"instructions: not counted, {report.counted_reason}"] if report.counted_reason else []
    )
    return Group(Text(head), table, Text(""), nodes, Text("\n".join(lines)))


def _ms(report: OperatorBench, ms: float) -> str:
    return "emulated" if report.emulated else f"{ms:,.2f}"


def _millions(instructions: int | None) -> str:
    return "" if instructions is None else f"{instructions / 1e6:,.1f}"
