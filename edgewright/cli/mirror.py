"""Mirrors: builds without a network."""

from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base.layout import installed_resources, user_cache
from edgewright.build import mirror
from edgewright.build.mirror import MirrorReport, MirrorRequest
from edgewright.build.supply import Network
from edgewright.cli import screens
from edgewright.cli.common import ERR, OUT, Json, say, task, workspace, write_document

Folder = Annotated[str, "folder of the mirror"]


@task
def create(c: Context, folder: Folder, json: Json = False) -> None:
    """Gather all that builds take from elsewhere. Example: edgewright mirror.create DIR"""
    request = MirrorRequest(
        folder=Path(folder).absolute(),
        workspace=workspace(),
        cache=user_cache(),
        log=user_cache() / "logs" / "mirror.log",
        supply=Network(),
    )
    with screens.progress(ERR) as progress:
        created = mirror.create(request, progress)
    _print(created, json=json)
    say(f"the same command with --mirror={folder} builds from it, and from no network")


@task
def verify(c: Context, folder: Folder, json: Json = False) -> None:
    """Compare every byte of a mirror with its hash. Example: edgewright mirror.verify DIR"""
    with screens.waiting(ERR, f"read {folder}"):
        verified = mirror.verify(Path(folder).absolute(), installed_resources())
    _print(verified, json=json)
    mirror.require_whole(verified)


def _print(report: MirrorReport, *, json: bool) -> None:
    if json:
        write_document(report)
        return
    table = Table("", box=None, pad_edge=False)
    table.add_column("files", justify="right")
    table.add_column("MB", justify="right")
    for share in report.contents:
        table.add_row(share.kind, f"{share.files:,}", f"{share.bytes / 1e6:,.1f}")
    OUT.print(table)
    OUT.print(f"index {report.index_sha256}", soft_wrap=True)
