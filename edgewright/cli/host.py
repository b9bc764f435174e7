"""The machine that edgewright runs on."""

from collections.abc import Sequence
from typing import Annotated

from invoke.context import Context
from invoke.exceptions import Exit
from rich.table import Table

from edgewright import host as machine
from edgewright.base.errors import ExitCode, UserError
from edgewright.base.layout import user_cache
from edgewright.cli.common import OUT, Json, checkout, say, task, write_document
from edgewright.cli.documents import MachineNeed, MachineState
from edgewright.host import Action, Finding, Need


@task
def setup(
    c: Context,
    yes: Annotated[
        bool, "install and start what is missing; else print the commands and exit 2"
    ] = False,
    lab: Annotated[bool, "what full-system boards need, too"] = False,
    json: Json = False,
) -> None:
    """Check what this machine lacks, and install it. Example: invoke setup --yes"""
    needs = [*machine.NEEDS, *(machine.LAB_NEEDS if lab else ()), *_test_needs()]
    findings = machine.inspect(needs)
    table = Table("need", "state", "why", box=None, pad_edge=False)
    for finding in findings:
        table.add_row(finding.need.name, finding.problem or "ready", finding.need.why)
    OUT.print(table)
    actions = machine.plan(findings)
    if json and not (yes and actions):
        write_document(_state(findings, actions))
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
    findings = machine.inspect(needs)
    if json:
        write_document(_state(findings, machine.plan(findings)))
    machine.require_ready(findings)
    say("this machine is ready")


def _test_needs() -> tuple[Need, ...]:
    try:
        checkout()
    except UserError:
        return ()
    return machine.TEST_NEEDS


def _state(findings: Sequence[Finding], actions: Sequence[Action]) -> MachineState:
    needs = (
        MachineNeed(need=finding.need.name, problem=finding.problem, why=finding.need.why)
        for finding in findings
    )
    return MachineState(needs=tuple(needs), commands=tuple(map(str, actions)))
