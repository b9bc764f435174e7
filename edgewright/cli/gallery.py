"""The whole way, from import to board, of networks that others made."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from invoke.context import Context
from rich.table import Table

from edgewright.base.errors import UserError, near_miss
from edgewright.base.files import make_folder, update_file
from edgewright.base.layout import user_cache
from edgewright.base.workspace import Settings, Workspace
from edgewright.cli import screens
from edgewright.cli.common import (
    ERR,
    OUT,
    Json,
    checkout,
    heavy,
    profile_of,
    say,
    task,
    workspace,
    write_document,
)
from edgewright.cli.keys import signing_policy
from edgewright.gallery.documents import BoardResult, Gallery, GalleryRow
from edgewright.gallery.networks import NETWORKS, Network
from edgewright.gallery.page import cells_of, with_table

Stage = Literal["host", "board"]
BOARD = "a53-som"


@task
def gallery(
    c: Context,
    only: Annotated[tuple[str, ...], "a network of the table; may be given several times"] = (),
    stage: Annotated[str, "host: what needs no board; board: all"] = "board",
    board: Annotated[str, "profile that they are built for"] = BOARD,
    debian: Annotated[bool, "count Debian's ONNX Runtime on the same files too: slow"] = False,
    write_docs: Annotated[bool, "write the table into docs/models.md of this checkout"] = False,
    json: Json = False,
) -> None:
    """Others' networks on the emulated board. Example: invoke model.gallery --only=mobilenetv2"""
    if stage not in ("host", "board"):
        raise UserError(f"--stage={stage}", "unknown", facts=["expected: host, board"])
    page = checkout().resources.docs / "models.md" if write_docs else None
    rows = _rows(_chosen(only), board, has_board=stage == "board", with_debian=debian)
    document = Gallery(board=board, rows=tuple(rows))
    if page:
        update_file(page, with_table(page.read_text(), document))
        say(str(page))
    if json:
        write_document(document)
    else:
        OUT.print(_screen(document))


def _chosen(names: Sequence[str]) -> list[Network]:
    known = [network.name for network in NETWORKS]
    for name in names:
        if name not in known:
            raise UserError(
                f"--only={name}",
                f"no such network{near_miss(name, known)}",
                facts=[f"networks: {', '.join(known)}"],
            )
    return [network for network in NETWORKS if not names or network.name in names]


def _rows(
    networks: Sequence[Network], board: str, *, has_board: bool, with_debian: bool
) -> Iterator[GalleryRow]:
    """Every network's row; what has not changed since it was made last comes from the cache."""
    root = user_cache() / "gallery"
    host_stages = heavy("host_stages", "gallery")
    board_stages = heavy("board_stages", "gallery")
    resources = workspace().resources
    make_folder(root / "workspace")
    settings = board_stages.BoardSettings(
        profile=profile_of(board),
        workspace=Workspace(
            root=root / "workspace", resources=resources, settings=Settings(name="gallery")
        ),
        signing=signing_policy(),
        known_hosts=_known_hosts(),
        jobs=os.cpu_count() or 1,
        with_debian=with_debian,
    )
    for network in networks:
        folder = root / "networks" / network.name
        host = host_stages.run_host(network, folder, say)
        result: BoardResult | None = None
        if host.refusal is None:
            model = folder / host.precision.lower() / "model.onnx"
            with screens.progress(ERR) as progress:
                result = (
                    board_stages.run_board(model, folder, settings, progress, say)
                    if has_board
                    else board_stages.recorded_board(model, folder, settings)
                )
        yield GalleryRow(name=network.name, task=network.task, host=host, board=result)


def _known_hosts() -> tuple[Path, ...]:
    from edgewright.deploy import remote

    return remote.user_known_hosts()


def _screen(document: Gallery) -> Table:
    rows = Table("network", "host", "board", box=None, pad_edge=False)
    rows.add_column("M instructions", justify="right")
    for row in document.rows:
        rows.add_row(row.name, *cells_of(row))
    return rows
