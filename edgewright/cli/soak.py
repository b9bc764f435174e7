"""Whether a release leaks on its board."""

from typing import Annotated

from invoke.context import Context
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgewright.base.errors import UserError
from edgewright.cli import screens
from edgewright.cli.common import ERR, OUT, Json, Reach, task, write_document
from edgewright.deploy import install, one_board, remote
from edgewright.observe.leaks.report import SoakReport, require_steady
from edgewright.observe.leaks.soak import Soak

LEAST_MINUTES, MOST_MINUTES = 2, 7 * 24 * 60


@task
def soak(
    c: Context,
    reach: Reach,
    minutes: Annotated[int, "for how long it infers"] = 10,
    json: Json = False,
) -> None:
    """Tell whether a release leaks. Example: invoke soak --board=a53-som --lab --minutes=10"""
    if not LEAST_MINUTES <= minutes <= MOST_MINUTES:
        raise UserError(
            f"--minutes={minutes}",
            f"expected {LEAST_MINUTES} to {MOST_MINUTES:,}",
            next="the same command without --minutes",
        )
    target, password, root = reach.target(), reach.password(), reach.profile.deploy.root
    with (
        reach.naming_the_way(),
        remote.connect(target, password=password) as board,
        remote.connect(target, password=password) as second,
        screens.deploy_progress(ERR) as progress,
        one_board.current_release(board, root, install.this_user()) as subject,
    ):
        soaked = Soak(subject=subject, second=second, seconds=minutes * 60.0, progress=progress)
        report = soaked.run()
    if json:
        write_document(report)
    else:
        OUT.print(_screen(report))
    require_steady(report)


def _screen(report: SoakReport) -> RenderableType:
    ended = f"; ended early: {report.cut}" if report.cut else ""
    about = "at most " if report.cut else ""
    head = (
        f"{report.board} at {report.target}: release {report.release}, {report.seconds:,.0f} s, "
        f"{report.processes} processes, {about}{report.inferences:,} inferences{ended}"
    )
    table = Table("resource", "", "first", "last", box=None, pad_edge=False)
    table.add_column("")
    for resource in report.resources:
        ends = (
            "not measured" if end is None else f"{end:,.0f}"
            for end in (resource.first, resource.last)
        )
        table.add_row(resource.name, Text(resource.verdict), *ends, Text(resource.reason))
    return Group(Text(head), table)
