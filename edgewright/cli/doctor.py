"""What about a board could hurt."""

from invoke.context import Context
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgewright.board.profile import BoardProfile
from edgewright.cli import many
from edgewright.cli.common import OUT, Json, task
from edgewright.cli.many import BoardEnds, Boards
from edgewright.deploy import remote
from edgewright.observe.doctor import facts
from edgewright.observe.doctor.judge import judge
from edgewright.observe.doctor.report import HURTS, DoctorReport, Grade, require_well

STYLES = {Grade.BROKEN: "bold red", Grade.RISK: "red", Grade.NOTE: "yellow"}


@task
def doctor(c: Context, boards: Boards, json: Json = False) -> None:
    """Tell what about a board could hurt. Example: invoke doctor --board=a53-som --emulated"""
    many.run_connected(
        "doctor",
        boards,
        lambda board, member, _: examine(board, member.profile),
        show=lambda report: OUT.print(_screen(report)),
        line=_line,
        document=BoardEnds[DoctorReport],
        judge=require_well,
        json=json,
    )


def examine(board: remote.Board, profile: BoardProfile) -> DoctorReport:
    """Everything about a board that could hurt. Raises TargetError for one that does not answer."""
    health = facts.ask(board, profile.deploy.root)
    checks = judge(health, profile)
    return DoctorReport(
        target=str(board.target),
        board=profile.name,
        emulated=board.target.emulated,
        host_key=board.host_key,
        hurts=sum(check.grade in HURTS for check in checks),
        checks=checks,
    )


def _line(report: DoctorReport) -> str:
    notes = [check.name for check in report.checks if check.grade is Grade.NOTE]
    return f"nothing would hurt; notes: {', '.join(notes) or 'none'}"


def _screen(report: DoctorReport) -> RenderableType:
    """What hurts with its remedy, and what is well in one line."""
    table = Table("check", "", "found", box=None, pad_edge=False)
    for check in report.checks:
        if check.grade in (Grade.WELL, Grade.UNKNOWN):
            continue
        lines = [check.found, *(f"| {line}" for line in check.facts)]
        lines += [check.harm] if check.harm else []
        lines += [f"next: {check.next}"] if check.next else []
        table.add_row(check.name, Text(check.grade, STYLES[check.grade]), Text("\n".join(lines)))
    verdicts = [
        Text(f"{grade}: {', '.join(names)}")
        for grade in (Grade.UNKNOWN, Grade.WELL)
        if (names := [check.name for check in report.checks if check.grade is grade])
    ]
    beneath = "; emulated: memory, heat, clock and kernel are this machine's"
    head = f"{report.board} at {report.target}{beneath if report.emulated else ''}"
    return Group(Text(head), *([table] if table.row_count else []), *verdicts)
