"""The inventory of a fleet."""

from invoke.context import Context
from rich.table import Table

from edgewright.cli.common import OUT, Json, say, task, task_named, write_document
from edgewright.cli.many import FleetFile, Group, Select, inventory_of
from edgewright.fleet.documents import FleetCheck, FleetList, listed


@task_named("list")
def list_(
    c: Context, fleet: FleetFile = "", select: Select = "", group: Group = "", json: Json = False
) -> None:
    """List the boards of a fleet. Example: invoke fleet.list --select='site=lyon'"""
    inventory = inventory_of(fleet)
    boards = tuple(listed(inventory, board) for board in inventory.select(select, group))
    if json:
        write_document(FleetList(file=str(inventory.path), boards=boards))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("board", "site", "kind", "address", "labels"):
        table.add_column(heading, overflow="fold")
    for board in boards:
        labels = " ".join(f"{label}={value}" for label, value in board.labels.items())
        way = f"{board.address} through {board.jump}" if board.jump else board.address
        table.add_row(board.name, board.site, board.kind, way, labels)
    OUT.print(table)


@task
def check(c: Context, fleet: FleetFile = "", json: Json = False) -> None:
    """Name every defect of a fleet's file. Example: invoke fleet.check"""
    inventory = inventory_of(fleet)
    entries = inventory.fleet
    report = FleetCheck(
        file=str(inventory.path),
        sites=len(entries.sites),
        gateways=len(entries.gateways),
        boards=len(entries.boards),
        groups=len(entries.groups),
    )
    if json:
        write_document(report)
        return
    say(
        f"{report.file}: no defect; {report.boards} boards, {report.sites} sites, "
        f"{report.gateways} gateways, {report.groups} groups"
    )
