"""The whole way, from import to board, of networks that others made."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base.errors import UserError, near_miss
from edgewright.base.files import make_folder, update_file
from edgewright.base.layout import user_cache
from edgewright.base.workspace import Settings, Workspace
from edgewright.build import sdk as sdks
from edgewright.build.wheel import LIBRARY
from edgewright.cli import screens
from edgewright.cli.common import (
    ERR,
    OUT,
    BoardName,
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
from edgewright.gallery.documents import (
    BoardResult,
    Gallery,
    GalleryRow,
    HostResult,
    NetworkCosts,
)
from edgewright.gallery.networks import NETWORKS, Network
from edgewright.gallery.page import cells_of, with_table
from edgewright.observe.peers import peers

if TYPE_CHECKING:  # Fabric, ONNX Runtime and more: only who runs the gallery waits for them
    from edgewright.gallery.board_stages import BoardSettings

BOARD = "a53-som"


@task
def gallery(
    c: Context,
    only: Annotated[tuple[str, ...], "a network of the table; may be given several times"] = (),
    stage: Annotated[str, "host: what needs no board; board: all"] = "board",
    board: Annotated[str, "profile that they are built for"] = BOARD,
    shared_runtime: Annotated[
        bool, "build one runtime for all of them: minutes in place of hours, and a larger program"
    ] = False,
    debian: Annotated[bool, "count Debian's ONNX Runtime on the same files too: slow"] = False,
    write_docs: Annotated[bool, "write the table into docs/models.md of this checkout"] = False,
    json: Json = False,
) -> None:
    """Others' networks on the emulated board. Example: invoke model.gallery --only=mobilenetv2"""
    if stage not in ("host", "board"):
        raise UserError(f"--stage={stage}", "unknown", facts=["expected: host, board"])
    if write_docs and only:
        raise UserError(
            "--write-docs",
            "would take every network out of the table that --only does not name",
            next="invoke model.gallery --write-docs, which takes what has not changed from its "
            "records",
        )
    page = checkout().resources.docs / "models.md" if write_docs else None
    settings = _settings(board, with_debian=debian)
    rows = _rows(
        chosen_networks(only), settings, has_board=stage == "board", is_shared=shared_runtime
    )
    document = Gallery(board=board, rows=tuple(rows))
    if page:
        update_file(page, with_table(page.read_text(), document))
        say(str(page))
    if json:
        write_document(document)
    else:
        OUT.print(_screen(document))


@task
def networks(
    c: Context,
    board: BoardName,
    vs: Annotated[str, f"runtimes to count on the same networks: {', '.join(peers.NAMES)}"] = "",
    json: Json = False,
) -> None:
    """Others' networks by the multiplication. Example: invoke bench.networks --board=a53-som"""
    network_cost = heavy("network_cost", "gallery")
    profile = profile_of(board)
    names = peers.parse_names(vs, peers.NAMES, "peer")
    sdk = sdks.SdkRequest(
        profile=profile,
        models=(),
        operators="all",
        workspace=workspace(),
        jobs=os.cpu_count() or 1,
    )
    with screens.progress(ERR) as progress:
        folder = sdks.build_sdk(sdk, progress).folder
    request = network_cost.Request(
        profile=profile,
        workspace=workspace(),
        library=folder / "lib" / LIBRARY,
        peers=names,
        log=workspace().build(board).logs / "networks.log",
    )
    costs: NetworkCosts = network_cost.measure(request, say)
    if json:
        write_document(costs)
    else:
        OUT.print(f"{board}: an inference on {costs.cpu}, 1 thread", markup=False)
        OUT.print(_cost_table(costs))
    network_cost.require_goals(costs)  # after the table, which says by how much


def _cost_table(costs: NetworkCosts) -> Table:
    table = Table("network", "runtime", "", box=None, pad_edge=False)
    for column in ("M MACs", "M instructions", "a MAC", "goal"):
        table.add_column(column, justify="right")
    for cost in costs.networks:
        goal = "" if cost.goal is None else f"{cost.goal / cost.macs:.2f}"
        own = (f"{cost.instructions / 1e6:,.1f}", f"{cost.per_mac:.3f}", goal)
        table.add_row(cost.network, "SDK", "INT8", f"{cost.macs / 1e6:,.0f}", *own)
        for peer in cost.peers:
            count = f"{peer.instructions / 1e6:,.1f}"
            per_mac = f"{peer.instructions / cost.macs:.3f}"
            table.add_row("", peer.runtime, peer.precision, "", count, per_mac, "")
    return table


def chosen_networks(names: Sequence[str]) -> list[Network]:
    """All where none is named. Raises UserError for one that the table lacks."""
    networks = [network.name for network in NETWORKS]
    for name in names:
        if name not in networks:
            raise UserError(
                f"--only={name}",
                f"no such network{near_miss(name, networks)}",
                facts=[f"networks: {', '.join(networks)}"],
                next="the same command with one of them",
            )
    return [network for network in NETWORKS if not names or network.name in names]


def _settings(board: str, *, with_debian: bool) -> "BoardSettings":
    root = user_cache() / "gallery" / "workspace"
    make_folder(root)
    settings: BoardSettings = heavy("board_stages", "gallery").BoardSettings(
        profile=profile_of(board),
        workspace=Workspace(
            root=root, resources=workspace().resources, settings=Settings(name="gallery")
        ),
        signing=signing_policy(),
        known_hosts=_known_hosts(),
        jobs=os.cpu_count() or 1,
        with_debian=with_debian,
    )
    return settings


def _rows(
    networks: Sequence[Network], settings: "BoardSettings", *, has_board: bool, is_shared: bool
) -> Iterator[GalleryRow]:
    """Every network's row; what has not changed since it was made last comes from the cache."""
    folders = {
        network.name: user_cache() / "gallery" / "networks" / network.name for network in networks
    }
    host_stages, board_stages = heavy("host_stages", "gallery"), heavy("board_stages", "gallery")
    hosts: dict[str, HostResult] = {
        network.name: host_stages.run_host(network, folders[network.name], say)
        for network in networks
    }
    models = {
        name: folders[name] / host.precision.lower() / "model.onnx"
        for name, host in hosts.items()
        if host.refusal is None
    }
    if has_board and is_shared:
        ops = board_stages.write_runtime_ops([*models.values()], settings)
        settings = replace(settings, runtime_ops=ops)
    for network in networks:
        result: BoardResult | None = None
        if model := models.get(network.name):
            folder = folders[network.name]
            if has_board:
                with screens.progress(ERR) as progress:
                    result = board_stages.run_board(model, folder, settings, progress, say)
            else:
                result = board_stages.recorded_board(model, folder, settings)
        yield GalleryRow(
            name=network.name, task=network.task, host=hosts[network.name], board=result
        )


def _known_hosts() -> tuple[Path, ...]:
    from edgewright.deploy import remote

    return remote.user_known_hosts()


def _screen(document: Gallery) -> Table:
    rows = Table("network", "host", "board", box=None, pad_edge=False)
    rows.add_column("M instructions", justify="right")
    for row in document.rows:
        rows.add_row(row.name, *cells_of(row))
    return rows
