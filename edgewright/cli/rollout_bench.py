"""What rollouts cost as fleets grow."""

import tempfile
from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base.errors import UserError
from edgewright.cli.common import OUT, Json, say, task, write_document
from edgewright.cli.ledgers import rollout_module
from edgewright.fleet.documents import RolloutCurve, SimulationReport

PARALLEL = 100


@task
def rollout(
    c: Context,
    boards: Annotated[str, "sizes of fleets"] = "10,100,1000,10000",
    ledger: Annotated[str, "postgresql://… of an empty database; default: SQLite"] = "",
    json: Json = False,
) -> None:
    """Measure rollouts to simulated boards, which nobody kills. Example: invoke bench.rollout"""
    sizes = _sizes(boards)
    if ledger and len(sizes) > 1:
        raise UserError("--ledger", "is empty once", next="the same command with one of --boards")
    rows: list[SimulationReport] = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(
                rollout_module("simulate").simulate(
                    Path(folder),
                    boards=size,
                    kills=0,
                    parallel=PARALLEL,
                    plan_waves="100%",
                    ledger_place=ledger,
                )
            )
        say(f"{size} boards: {rows[-1].seconds:g} s")
    if json:
        write_document(RolloutCurve(rows=tuple(rows)))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("boards", "CPU s", "ms a board", "peak MiB", "ledger KiB", "a board", "s"):
        table.add_column(heading, justify="right")
    for row in rows:
        cpu_s, ledger_kib = row.cpu_ms_per_board * row.boards / 1000, row.ledger_kib
        cells = (row.boards, f"{cpu_s:.1f}", f"{row.cpu_ms_per_board:.2f}", f"{row.peak_mib:.0f}")
        per_board = f"{ledger_kib / row.boards:.1f}"
        table.add_row(*map(str, cells), f"{ledger_kib:,}", per_board, f"{row.seconds:.0f}")
    OUT.print(table)


def _sizes(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.isdecimal() and 0 < int(word) <= 1_000_000 for word in words):
        raise UserError(
            f"--boards={text}",
            "expected numbers of boards",
            next="the same command with --boards=10,100",
        )
    return tuple(map(int, words))
