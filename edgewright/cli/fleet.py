"""The inventory of a fleet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base.errors import EdgewrightError, UserError
from edgewright.base.files import write_file
from edgewright.cli import many
from edgewright.cli.common import OUT, Json, say, task, task_named, workspace, write_document
from edgewright.cli.documents import written_files
from edgewright.cli.many import FleetFile, Group, Parallel, Select, inventory_of
from edgewright.cli.words import counted
from edgewright.deploy import remote
from edgewright.deploy.known_hosts import write_pins
from edgewright.fleet import enrol, imported, side_by_side
from edgewright.fleet.ansible import from_ansible
from edgewright.fleet.documents import EnrolledHost, FleetCheck, FleetList, FleetTrust, listed
from edgewright.fleet.enrol import Enrolled, Listed
from edgewright.fleet.inventory import FILE, Inventory
from edgewright.fleet.side_by_side import End, Job
from edgewright.release.keys import user_keys


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
        f"{report.file}: no defect; {counted(report.boards, 'board')}, "
        f"{counted(report.sites, 'site')}, {counted(report.gateways, 'gateway')}, "
        f"{counted(report.groups, 'group')}"
    )


@task_named("import")
def import_(
    c: Context,
    ssh_config: Annotated[str, "from an SSH configuration: its named hosts"] = "",
    csv: Annotated[str, f"from a table with the columns {', '.join(imported.COLUMNS)}"] = "",
    ansible: Annotated[str, "from an Ansible inventory, INI or YAML"] = "",
    site: Annotated[str, "of hosts whose site the source does not tell"] = "",
    kind: Annotated[str, "board profile of hosts whose kind the source does not tell"] = "",
    out: Annotated[str, "file to write; default: fleet.toml at the workspace's root"] = "",
    json: Json = False,
) -> None:
    """Write a fleet's file from another inventory. Example: invoke fleet.import --csv=hall.csv"""
    sources = {
        imported.from_ssh_config: ssh_config,
        imported.from_csv: csv,
        from_ansible: ansible,
    }
    chosen = [(read, Path(source).expanduser()) for read, source in sources.items() if source]
    if len(chosen) != 1:
        raise UserError(
            "fleet.import",
            "expected one of --ssh-config, --csv and --ansible",
            next="edgewright fleet.import --ssh-config=FILE",
        )
    path = Path(out) if out else workspace().root / FILE
    if path.exists():
        raise UserError(str(path), "is there already", next="the same command with another --out")
    (read, source), *_ = chosen
    write_file(path, imported.fleet_text(read(source), site=site or None, kind=kind or None))
    say(f"{path}: written")
    inventory_of(str(path))  # names what is still to be mended
    if json:
        write_document(written_files([path]))


@task
def trust(
    c: Context,
    keys: Annotated[
        str, "file with a line NAME KEY for each board, signed by a key of your key folder"
    ] = "",
    fingerprint: Annotated[
        tuple[str, ...], "NAME=SHA256:… of a board, which you have compared; may be repeated"
    ] = (),
    replace: Annotated[bool, "pin a key in place of another one, too"] = False,
    fleet: FleetFile = "",
    parallel: Parallel = 8,
    json: Json = False,
) -> None:
    """Pin the host keys of many boards. Example: invoke fleet.trust --keys=hall.keys"""
    many.require_pool(parallel)
    inventory = inventory_of(fleet)
    entries = _listed(keys, fingerprint, inventory)
    ends, faults = _enrol_all(entries, inventory, may_replace=replace, parallel=parallel)
    new = [end.result.pin for end in ends if end.result and end.result.state != "unchanged"]
    if new:
        write_pins(remote.pins(), new)  # all at once: each writing reads the whole file
    hosts = tuple(
        EnrolledHost(
            name=entry.name,
            fingerprint=entry.key.fingerprint,
            state=end.result.state if end.result else "failed",
        )
        for entry, end in zip(entries, ends, strict=True)
    )
    if json:
        write_document(FleetTrust(file=str(remote.pins()), hosts=hosts))
    many.end_all(len(hosts), faults, f"{len(new)} pinned in {remote.pins()}")


def _enrol_all(
    entries: Sequence[Listed], inventory: Inventory, *, may_replace: bool, parallel: int
) -> tuple[tuple[End[Enrolled], ...], Mapping[str, EdgewrightError]]:
    """Ask each board for its key, and tell a line of each; the faults by the boards' names."""
    faults: dict[str, EdgewrightError] = {}

    def tell(end: End[Enrolled]) -> None:
        if end.result is not None:
            OUT.print(f"{end.name}: {end.result.state} {end.result.fingerprint}", soft_wrap=True)
            return
        fault = faults[end.name] = many.fault_of_end(end)
        OUT.print(f"{end.name}: {fault.problem}", soft_wrap=True)

    def job(entry: Listed) -> Job[Enrolled]:
        return Job(
            name=entry.name,
            work=lambda _: enrol.enrol(entry, inventory, may_replace=may_replace),
        )

    ends = side_by_side.run(
        [job(entry) for entry in entries],
        parallel=parallel,
        on_end=tell,
        on_interrupt=many.tell_interrupt,
    )
    return ends, faults


def _listed(keys: str, fingerprints: tuple[str, ...], inventory: Inventory) -> tuple[Listed, ...]:
    if bool(keys) == bool(fingerprints):
        raise UserError(
            "host keys",
            "expected --keys or --fingerprint",
            next="edgewright fleet.trust --keys=FILE, whose signature is FILE.minisig",
        )
    if keys:
        trusted = [key.public for key in user_keys().listed()]
        return enrol.parse_list(enrol.read_list(Path(keys), trusted), keys, inventory)
    lines = [(f"--fingerprint={text}", " ".join(text.partition("=")[::2])) for text in fingerprints]
    return enrol.listed(lines, inventory)
