"""What a fleet costs the machine that conducts it, beside other tools."""

import tempfile
from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base.errors import UserError
from edgewright.base.layout import user_cache
from edgewright.cli import screens
from edgewright.cli.common import (
    ERR,
    OUT,
    Json,
    heavy,
    profile_of,
    say,
    task,
    write_document,
)
from edgewright.cli.many import Parallel, require_pool
from edgewright.cli.proof import edgectl_program
from edgewright.fleet.bench import measure
from edgewright.fleet.bench.measure import Bench, FleetCosts

BOARD = "a53-som"  # whose profile the servers go by


@task
def fleet(
    c: Context,
    boards: Annotated[int, "SSH servers of this machine, four of five dropbear's"] = 500,
    parallel: Parallel = 16,
    json: Json = False,
) -> None:
    """Compare deploys to many boards with pyinfra and Ansible. Example: invoke bench.fleet"""
    require_pool(parallel)
    if boards < 1:
        next = "the same command with --boards=100"
        raise UserError(f"--boards={boards}", "expected one board at least", next=next)
    heavy("libssh2", "deploy", "rollout")  # without it, Paramiko would be measured
    edgectl = edgectl_program()
    with tempfile.TemporaryDirectory(prefix="edgewright-fleet-") as scratch:
        bench = Bench(
            folder=Path(scratch),
            cache=user_cache(),
            edgectl=edgectl,
            profile=profile_of(BOARD),
            boards=boards,
            parallel=parallel,
        )
        with screens.deploy_progress(ERR) as progress:
            report = measure.run(bench, progress)
    if json:
        write_document(report)
    else:
        OUT.print(_table(report))
        say(f"{report.boards} boards, {report.openssh} of them OpenSSH; login by {report.login}")


def _table(report: FleetCosts) -> Table:
    table = Table("task", "tool", box=None, pad_edge=False)
    for column in ("CPU ms a board", "times edgewright", "s"):
        table.add_column(column, justify="right")
    for cost in report.costs:
        figures = (f"{cost.cpu_ms:.1f}", f"{cost.ratio:.1f}", f"{cost.seconds:.1f}")
        table.add_row(cost.task, cost.tool, *figures)
    return table
