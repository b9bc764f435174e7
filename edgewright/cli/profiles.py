"""Board profiles, as `boards` lists them. It is quick: nothing here imports more than Pydantic."""

from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base.errors import UserError
from edgewright.base.files import update_file
from edgewright.board import catalogue
from edgewright.board.profile import Arch, BoardProfile, LibcFamily, schema_json
from edgewright.cli.common import (
    OUT,
    Json,
    board_folders,
    profile_of,
    say,
    task,
    workspace,
    write_document,
)
from edgewright.cli.documents import written_files


@task
def boards(
    c: Context,
    check: Annotated[bool, "validate every profile file"] = False,
    json: Json = False,
) -> None:
    """List the boards. Example: edgewright boards --check"""
    folders = board_folders()
    # A fault of one file does not hide the other boards, nor the other files' faults.
    profiles, faults = [], []
    for name in catalogue.board_names(*folders):
        try:
            profiles.append(profile_of(name))
        except UserError as fault:
            faults.append(fault)
    # A program takes a document for the whole list, so there is none beside a fault.
    if json and not faults:
        write_document(catalogue.BoardList(boards=tuple(profiles)))
        return
    if not json:
        users = catalogue.board_names(folders[0]) if len(folders) > 1 else []
        OUT.print(_board_table(profiles, users))
    if json and faults:
        lines = [f"{fault.subject}: {fact}" for fault in faults for fact in fault.facts]
        problem = f"{len(faults)} of the files are not valid"
        raise UserError("board profiles", problem, facts=lines, next=faults[-1].next)
    for earlier in faults[:-1]:
        say(str(earlier))
    if faults:
        raise faults[-1]
    if check:
        say(f"{len(profiles)} profiles are sound")


def _board_table(profiles: list[BoardProfile], users: list[str]) -> Table:
    """The user's boards and the catalogue's, by userland. Most rows fit 80 columns."""
    table = Table("board", "CPU", box=None, pad_edge=False)
    table.add_column("MiB", justify="right")
    for heading in ("libc", "linkage", "description"):
        table.add_column(heading)
    groups = [("your own", arch, [p for p in profiles if p.name in users]) for arch in Arch]
    groups += [("catalogue", arch, [p for p in profiles if p.name not in users]) for arch in Arch]
    for origin, arch, members in groups:
        of_arch = [profile for profile in members if profile.abi.arch is arch]
        if of_arch:
            table.add_row(f"{origin}, {arch}:", style="bold")
        for profile in of_arch:
            table.add_row(
                profile.name,
                f"{profile.cpu.cores}x {profile.cpu.core.replace('cortex-', '').upper()}",
                str(profile.memory.total_mb),
                _libc(profile),
                profile.runtime.linkage,
                profile.description,
            )
    return table


def _libc(profile: BoardProfile) -> str:
    """Most boards have glibc: only another family is named."""
    family = "" if profile.libc.family is LibcFamily.GLIBC else f"{profile.libc.family} "
    return f"{family}{profile.libc.floor}"


@task
def schema(c: Context, json: Json = False) -> None:
    """Write the JSON schemas of profiles and documents. Example: edgewright schema"""
    path = workspace().boards / "schema.json"
    update_file(path, schema_json())
    say(str(path))
    if json:
        write_document(written_files([path]))
    if workspace().root == workspace().resources.root:  # edgewright's own checkout
        from edgewright.cli.schemas import write_schemas  # imports every room

        write_schemas(workspace().root / "docs" / "schemas")
