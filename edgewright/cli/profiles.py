"""Board profiles, as `boards` lists them. It is quick: nothing here imports more than Pydantic."""

from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.board import catalogue
from edgewright.board.profile import Arch, BoardProfile, schema_json
from edgewright.cli.common import OUT, Json, profile_of, say, task, workspace, write


@task
def boards(
    c: Context,
    check: Annotated[bool, "validate every profile file"] = False,
    json: Json = False,
) -> None:
    """List the boards. Example: edgewright boards --check"""
    profiles = [profile_of(name) for name in catalogue.board_names(*workspace().board_folders)]
    if json:
        body = ",".join(profile.model_dump_json() for profile in profiles)
        write(f'{{"version":1,"boards":[{body}]}}\n')
        return
    OUT.print(_board_table(profiles))
    if check:
        say(f"{len(profiles)} profiles are sound")


def _board_table(profiles: list[BoardProfile]) -> Table:
    """The boards, those with one userland together; 80 columns show a row of the catalogue."""
    table = Table("board", "CPU", box=None, pad_edge=False)
    table.add_column("MiB", justify="right")
    for heading in ("glibc", "linkage", "description"):
        table.add_column(heading)
    for arch in Arch:
        of_arch = [profile for profile in profiles if profile.abi.arch is arch]
        if of_arch:
            table.add_row(f"{arch}:", style="bold")
        for profile in of_arch:
            table.add_row(
                profile.name,
                f"{profile.cpu.cores}x {profile.cpu.core.replace('cortex-', '').upper()}",
                str(profile.memory.total_mb),
                profile.libc.floor,
                profile.runtime.linkage,
                profile.description,
            )
    return table


@task
def schema(c: Context) -> None:
    """Write board_profiles/schema.json from the models. Example: edgewright schema"""
    workspace().resources.board_schema.write_text(schema_json())
    say(str(workspace().resources.board_schema))
