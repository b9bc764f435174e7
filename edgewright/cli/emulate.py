"""Emulated boards."""

from invoke.context import Context

from edgewright.cli import screens
from edgewright.cli.common import ERR, OUT, BoardName, Json, instance_of, say, task, write_document
from edgewright.lab import emulate
from edgewright.lab.documents import LabStatus


@task
def up(c: Context, board: BoardName, json: Json = False) -> None:
    """Start an emulated board. Example: invoke emulate.up --board=a53-som"""
    with screens.deploy_progress(ERR) as progress:
        up = emulate.up(instance_of(board), progress)
    say(f"{board} answers at {up.target}")
    if json:
        state = emulate.State.RUNNING
        write_document(LabStatus(board=board, state=state, target=str(up.target)))
    else:  # alone on standard output, for scripts
        OUT.print(up.ssh_command, markup=False, soft_wrap=True)


@task
def down(c: Context, board: BoardName, json: Json = False) -> None:
    """Remove an emulated board. Example: invoke emulate.down --board=a53-som"""
    with screens.waiting(ERR, f"remove emulated board '{board}'"):
        removed = emulate.down(instance_of(board))
    say(f"{board}: {'removed' if removed else 'was not there'}")
    if json:
        write_document(LabStatus(board=board, state=emulate.State.ABSENT, target=None))


@task
def status(c: Context, board: BoardName, json: Json = False) -> None:
    """Tell whether an emulated board runs. Example: invoke emulate.status --board=a53-som"""
    board_status = emulate.status(instance_of(board))
    address = str(board_status.board.target) if board_status.board else None
    if json:
        write_document(LabStatus(board=board, state=board_status.state, target=address))
    else:
        OUT.print(f"{board}: {board_status.state}{f', {address}' if address else ''}")
