"""The system calls of `edge-infer` on a board."""

from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgewright.base.errors import TargetError
from edgewright.base.files import replacing
from edgewright.base.layout import expanded, user_cache
from edgewright.cli import screens
from edgewright.cli.common import ERR, OUT, Json, Reach, say, task, workspace, write_document
from edgewright.cli.debug import watched_arguments
from edgewright.deploy import install
from edgewright.deploy.remote import Board
from edgewright.observe.tool_bundle import STRACE, ToolBundle, debian_tool
from edgewright.observe.trace.session import TraceReport, attached, follow, running, started
from edgewright.release.manifest import Manifest
from edgewright.release.run_file import GOLDEN

SHOWN_CALLS = 18
MOST_SECONDS = 3600


@task
def trace(
    c: Context,
    reach: Reach,
    run: Annotated[str, "what edge-infer is to do; default: its first golden image"] = "",
    attach: Annotated[bool, "trace the edge-infer that run there, as a service's"] = False,
    seconds: Annotated[int, "for how long at most"] = 60,
    follow: Annotated[bool, "show every call as it comes"] = False,
    out: Annotated[str, "file of all calls; default: trace.txt in build/BOARD/reports"] = "",
    json: Json = False,
) -> None:
    """Trace system calls of edge-infer on a board. Example: invoke trace --board=a53-som --lab"""
    arguments = watched_arguments(run, attach, seconds, MOST_SECONDS)
    build = workspace().build(reach.board)
    log = build.logs / "strace.log"
    strace = debian_tool(STRACE, reach.profile.abi.arch, user_cache(), log)
    file = expanded(out) if out else build.reports / "trace.txt"
    with reach.connect() as board:
        report = _traced(
            reach, board, strace, arguments, file, attach=attach, seconds=seconds, show=follow
        )
    if json:
        write_document(report)
    else:
        OUT.print(_screen(report))


def _traced(
    reach: Reach,
    board: Board,
    strace: ToolBundle,
    arguments: list[str],
    file: Path,
    *,
    attach: bool,
    seconds: int,
    show: bool,
) -> TraceReport:
    """Raises TargetError for a board that cannot be traced."""
    _require_tracing(board)
    root, processes = reach.profile.deploy.root, tuple[int, ...]()
    with screens.deploy_progress(ERR) as progress:
        board.prepare()
        manifest = install.status(board, root).manifest
        if manifest is None:
            raise TargetError(str(board.target), "no release is installed", next="invoke deploy")
        command = strace.command(strace.install(board, root, progress))
    folder = f"{root}/releases/{manifest.id}"
    if attach:
        processes = running(board)
        argv = attached(command, folder, processes)
    else:
        arguments = arguments or ["run", _golden_image(manifest)]
        argv = started(command, folder, arguments)
    with replacing(file) as aside, aside.open("wb") as lines:
        result = follow(
            board.pipe(argv),
            lines,
            seconds=seconds,
            subject=str(board.target),
            on_line=say if show else lambda line: None,
        )
    return TraceReport(
        board=reach.board,
        target=str(board.target),
        emulated=board.target.emulated,
        release=manifest.id,
        run=() if attach else tuple(arguments),
        processes=processes,
        ended=result.ended,
        exit_code=result.exit_code,
        lines=result.lines,
        file=str(file),
        calls=result.calls,
    )


def _require_tracing(board: Board) -> None:
    if board.target.shares_memory:
        raise TargetError(
            str(board.target),
            "is emulated by processes, where none can trace another",
            next="invoke lab.up, then the same with --lab",
        )


def _golden_image(manifest: Manifest) -> str:
    """The first one of the release, in its folder."""
    paths = (file.path for file in manifest.files if file.path.startswith(f"{GOLDEN}/"))
    return next(path for path in paths if not path.endswith(".json"))


def _screen(report: TraceReport) -> RenderableType:
    """Where the time went, by system call."""
    program = f"run of {' '.join(report.run)}" if report.run else "what runs there"
    code = "" if report.exit_code is None else f", exit code {report.exit_code}"
    head = (
        f"{report.board} at {report.target}: release {report.release}, {program}; "
        f"ended {report.ended}{code}"
    )
    table = Table("call", box=None, pad_edge=False)
    for column in ("calls", "errors", "seconds", "longest, ms"):
        table.add_column(column, justify="right")
    for call in report.calls[:SHOWN_CALLS]:
        table.add_row(
            Text(call.name),
            f"{call.calls:,}",
            f"{call.errors:,}" if call.errors else "",
            f"{call.seconds:,.4f}",
            f"{call.longest_s * 1000:,.2f}",
        )
    parts: list[RenderableType] = [Text(head), table if report.calls else Text("no system call")]
    if (more := len(report.calls) - SHOWN_CALLS) > 0:
        parts.append(Text(f"{more} more calls: --json"))
    parts.append(Text(f"{report.lines:,} lines in {report.file}"))
    return Group(*parts)
