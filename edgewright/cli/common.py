"""What the tasks share: errors into words, options, output."""

import functools
import getpass
import importlib
import inspect
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit
from rich.console import Console

from edgewright.base.errors import EdgewrightError, ExitCode, UserError
from edgewright.base.layout import RepoLayout
from edgewright.board import profile as boards
from edgewright.board.profile import BoardProfile
from edgewright.deploy import remote
from edgewright.deploy import target as targets
from edgewright.deploy.target import Target
from edgewright.lab import emulate
from edgewright.lab import machine as lab

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


@dataclass(frozen=True, kw_only=True)
class Reach:
    """A board, and the way to it: the options that every task over SSH has."""

    board: str
    host: str = ""
    emulated: bool = False
    lab: bool = False
    ask_password: bool = False

    @property
    def profile(self) -> BoardProfile:
        return profile_of(self.board)

    def target(self) -> Target:
        if [bool(self.host), self.emulated, self.lab].count(True) != 1:
            raise UserError(
                f"board '{self.board}'",
                "expected one of --host=user@addr[:port], --emulated and --lab",
                next=f"invoke deploy --board={self.board} --emulated",
            )
        if self.lab:
            return lab.running(lab_of(self.board)).target
        if self.host:
            return targets.parse_host(self.host)
        return emulate.running(instance_of(self.board)).target

    def connect(self) -> AbstractContextManager[remote.Board]:
        password = getpass.getpass("board's password: ") if self.ask_password else None
        return remote.connect(self.target(), password=password)


def over_ssh(body: Callable[..., None]) -> Callable[..., None]:
    """Give a task the options of `Reach`, where its parameter `reach` stands."""
    context, _, *own = inspect.signature(body).parameters.values()
    ways = [
        way.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for way in inspect.signature(Reach).parameters.values()
    ]

    @functools.wraps(body)
    def run(c: Context, **options: Any) -> None:
        reach = Reach(**{way.name: options.pop(way.name) for way in ways})
        profile_of(reach.board)  # an unknown board is refused before anything else
        body(c, reach, **options)

    run.__signature__ = inspect.Signature([context, *ways, *own])  # type: ignore[attr-defined]
    return run
