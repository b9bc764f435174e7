"""A debugger on a board's `edge-infer`."""

import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base import process
from edgewright.base.errors import TargetError, UserError
from edgewright.base.layout import expanded, user_cache
from edgewright.cli import screens
from edgewright.cli.common import ERR, OUT, Json, Reach, task, workspace, write_document
from edgewright.cli.crash import Symbols, symbol_folders
from edgewright.deploy import install
from edgewright.deploy.remote import Board
from edgewright.observe.debug.session import (
    DEBUGGER,
    DebugReport,
    Subject,
    debugger,
    server_command,
    subject_of,
)
from edgewright.observe.tool_bundle import GDBSERVER, debian_tool

SCRIPT_SECONDS = 1800


@task
def debug(
    c: Context,
    reach: Reach,
    run: Annotated[str, "what edge-infer is to do"] = "selftest",
    script: Annotated[str, "file of gdb's commands, after which it ends"] = "",
    symbols: Symbols = "",
    json: Json = False,
) -> None:
    """Debug edge-infer on a board by gdb. Example: invoke debug --board=a53-som --lab"""
    if json and not script:
        raise UserError("--json", "a debugger at work writes no document", next="add --script=FILE")
    arguments, commands = run_arguments(run), expanded(script) if script else None
    if commands and not commands.is_file():
        raise UserError(f"--script={script}", "no such file", next="--script with a file of gdb's")
    if process.which(DEBUGGER) is None:
        raise UserError(DEBUGGER, "is not installed", next=f"apt-get install {DEBUGGER}")
    stores, work = symbol_folders(symbols), workspace()
    log = work.build(reach.board).logs / "gdbserver.log"
    server = debian_tool(GDBSERVER, reach.profile.abi.arch, user_cache(), log)
    with reach.connect() as board:
        with screens.deploy_progress(ERR) as progress:
            board.prepare()
            subject = current_program(board, reach.profile.deploy.root, stores)
            folder = server.install(board, reach.profile.deploy.root, progress)
        command = server_command(server.command(folder), subject, arguments)
        argv = debugger(subject, board.pipe(command), stores, work.resources.root, commands)
        report = DebugReport(
            board=reach.board,
            target=str(board.target),
            emulated=board.target.emulated,
            release=subject.release,
            build_id=subject.build_id,
            output=debug_by_script(argv) if commands else debug_by_hand(argv),
        )
    if json:
        write_document(report)
    elif commands:
        OUT.print("\n".join(report.output), soft_wrap=True)


def run_arguments(run: str) -> list[str]:
    """Raises UserError for a quote that does not end."""
    try:
        return shlex.split(run)
    except ValueError as fault:
        raise UserError(
            f"--run={run}",
            "is no command line",
            facts=[str(fault).lower()],
            next="the same command with each quote closed",
        ) from fault


def watched_arguments(run: str, attach: bool, seconds: int, limit: int) -> list[str]:
    """The arguments to start a program with that is watched for `seconds`, from 1 to `limit`.

    Raises UserError for other seconds, or for a program to start and one that runs already.
    """
    if not 1 <= seconds <= limit:
        raise UserError(
            f"--seconds={seconds}",
            f"expected 1 to {limit:,}",
            next="the same command without --seconds",
        )
    if run and attach:
        raise UserError("--run, --attach", "expected one of them", next="leave one of them out")
    return run_arguments(run)


def current_program(board: Board, root: str, stores: Sequence[Path]) -> Subject:
    """The `edge-infer` of the release that is current there. Raises TargetError and UserError."""
    manifest = install.status(board, root).manifest
    if manifest is None:
        raise TargetError(str(board.target), "no release is installed", next="invoke deploy")
    return subject_of(board, f"{root}/releases/{manifest.id}", manifest.id, stores)


def debug_by_script(argv: list[str]) -> tuple[str, ...]:
    """What gdb and the program wrote. Raises ChildFailed where gdb could not do as it was told."""
    result = process.check(argv, timeout=SCRIPT_SECONDS)
    return tuple((result.stdout + result.stderr).splitlines())


def debug_by_hand(argv: list[str]) -> tuple[str, ...]:
    """The terminal is gdb's until it ends, and so is Ctrl-C, which stops the program."""
    # A handler, as a child inherits what is ignored: gdb would, and its own children.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        subprocess.run(argv, check=False)
    finally:
        signal.signal(signal.SIGINT, before)
    return ()
