"""What the tasks share: errors into words, options, output."""

import functools
import getpass
import importlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from invoke.exceptions import Exit
from rich.console import Console

from edgewright import emulate, lab, remote
from edgewright import profile as boards
from edgewright import target as targets
from edgewright.errors import EdgewrightError, ExitCode, UserError
from edgewright.layout import RepoLayout
from edgewright.profile import BoardProfile
from edgewright.target import Target

LAYOUT = RepoLayout()
OUT = Console(soft_wrap=False, highlight=False)
ERR = Console(stderr=True, highlight=False)

BOARD = "board profile, e.g. a53-som; invoke boards lists them"
HOST = "user@addr[:port] of the board"
EMULATED = "the emulated board of invoke emulate.up"
JSON = "one JSON document instead of a screen"
REACH = {
    "board": BOARD,
    "host": HOST,
    "emulated": EMULATED,
    "lab": "the full-system board of invoke lab.up",
    "ask-password": "ask for the board's password; else keys, the agent or EDGEWRIGHT_PASSWORD",
}


def told(body: Callable[..., None]) -> Callable[..., None]:
    """Turn edgewright's exceptions into words and exit codes."""

    @functools.wraps(body)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            body(*args, **kwargs)
        except EdgewrightError as fault:
            ERR.print(str(fault), markup=False, soft_wrap=True)
            raise Exit(code=fault.exit_code) from None
        except KeyboardInterrupt:
            ERR.print("interrupted: what was there before is unchanged")
            raise Exit(code=ExitCode.INTERRUPTED) from None

    return run


def say(text: str) -> None:
    ERR.print(text, markup=False, soft_wrap=True)


def write(text: str) -> None:
    sys.stdout.write(text)


def heavy(module: str, package: str = "model") -> Any:
    """A module of the model pipeline, or another one that may need the extra [model]."""
    try:
        return importlib.import_module(f"edgewright.{package}.{module}")
    except ModuleNotFoundError as missing:
        raise UserError(
            f"edgewright.{package}.{module}",
            f"needs {missing.name}",
            next="pip install -e '.[model]'",
        ) from missing


def profile_of(board: str) -> BoardProfile:
    return boards.load_board(board, LAYOUT.boards)


def instance_of(board: str) -> emulate.Instance:
    return emulate.Instance(profile=profile_of(board), folder=LAYOUT.build(board).emulator)


def lab_of(board: str) -> lab.Lab:
    return lab.Lab(profile=profile_of(board), folder=LAYOUT.build(board).lab)


def target_of(board: str, host: str, emulated: bool, in_lab: bool) -> Target:
    if [bool(host), emulated, in_lab].count(True) != 1:
        raise UserError(
            f"board '{board}'",
            "expected one of --host=user@addr[:port], --emulated and --lab",
            next=f"invoke deploy --board={board} --emulated",
        )
    if in_lab:
        return lab.running(lab_of(board)).target
    return targets.parse_host(host) if host else emulate.running(instance_of(board)).target


def connected(
    board: str, host: str, emulated: bool, in_lab: bool, ask_password: bool
) -> AbstractContextManager[remote.Board]:
    password = getpass.getpass("board's password: ") if ask_password else None
    return remote.connect(target_of(board, host, emulated, in_lab), password=password)
