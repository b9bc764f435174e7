"""The machine that edgewright runs on."""

from typing import Annotated

from invoke.context import Context
from invoke.exceptions import Exit
from rich.table import Table

from edgewright import host as machine
from edgewright.base.errors import ExitCode
from edgewright.base.layout import user_cache
from edgewright.cli.common import OUT, say, task


@task
def setup(
    c: Context,
    yes: Annotated[
        bool, "install and start what is missing; else print the commands and exit 2"
    ] = False,
    lab: Annotated[bool, "what full-system boards need, too"] = False,
) -> None:
    """Check what this machine lacks, and install it. Example: invoke setup --yes"""
    needs = [*machine.NEEDS, *(machine.LAB_NEEDS if lab else ())]
    findings = machine.inspect(needs)
    table = Table("need", "state", "why", box=None, pad_edge=False)
    for finding in findings:
        table.add_row(finding.need.name, finding.problem or "ready", finding.need.why)
    OUT.print(table)
    actions = machine.plan(findings)
    if not actions:
        machine.require_ready(findings)
        return
    if not yes:
        OUT.print("to install and start what is missing, invoke setup --yes would run:")
        for action in actions:
            OUT.print(f"  {action}", markup=False, soft_wrap=True)
        raise Exit(code=ExitCode.USER)
    log = user_cache() / "logs" / "setup.log"  # it is about the machine, not a workspace
    machine.apply(actions, log, lambda action: say(f"$ {action}"))
    # The commands ended well; whether that was enough only another look tells.
    machine.require_ready(machine.inspect(needs))
    say("this machine is ready")
