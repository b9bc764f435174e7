"""What the tasks share: errors into words, options, output."""

import errno
import functools
import getpass
import importlib
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from invoke.exceptions import Exit
from invoke.tasks import Task
from rich.console import Console

from edgewright.base.errors import EdgewrightError, ExitCode, UserError
from edgewright.base.faults import fault_of
from edgewright.base.layout import docker_config, installed_resources
from edgewright.base.workspace import SETTINGS, Workspace, find_workspace, workspace_root
from edgewright.board import catalogue
from edgewright.board.profile import BoardProfile
from edgewright.cli import commands
from edgewright.cli.documents import failure
from edgewright.cli.options import Body, flatten, make_task
from edgewright.cli.words import as_called

if TYPE_CHECKING:  # Fabric, and more: only who reaches a board waits for their import
    from rich.table import Table

    from edgewright.base.schema import Document
    from edgewright.deploy.remote import Board
    from edgewright.deploy.target import Target
    from edgewright.lab.emulate import Instance
    from edgewright.lab.machine import Lab
    from edgewright.release.manifest import Release
    from edgewright.release.store import Contents


class _Output(Console):
    """Rich's console on standard output, which holds one document alone under --json."""

    has_document = False

    @contextmanager
    def of_task(self, *, as_document: bool) -> Iterator[None]:
        """While a task runs: what it prints for a person gives way to its document."""
        self.stderr, self.has_document = as_document, False
        try:
            yield
        finally:
            self.stderr = False

    def write_line(self, text: str) -> None:
        """A line as it is, one of many: Rich takes thirty times as long to lay it out."""
        self.file.write(f"{text}\n")
        self.file.flush()

    # Rich's own idea of a reader that has gone would end the program with code 1.
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


# Answers go to standard output and all that is said meanwhile to standard error, so that a pipe
# or a file gets the answer alone. Rich's own ideas are off: it colours whatever looks like a number
# and makes a picture of a `:name:`. In a pipe it takes a line for 80 columns: what holds a path is
# printed with `soft_wrap=True`, or the path would be cut in two. Markup is off everywhere, tables
# included: in what others wrote, `[brackets]` would vanish as Rich's tags, or become links.
OUT = _Output(soft_wrap=False, highlight=False, emoji=False, markup=False)
ERR = Console(stderr=True, highlight=False, emoji=False, markup=False)

WIDE = 500  # columns, more than a line of any table has

# What lower rooms name without knowing how the board was reached.
ON_A_BOARD = re.compile(
    r"(invoke (?:deploy|smoke|status|rollback|keys\.revoke|service\.(?:status|remove|install)))"
    r"(?: --board=[\w-]+)?(?![\w.-]| --)"
)

BOARD = "board profile, e.g. a53-som; invoke boards lists them"

DEFAULT_BOARD = "default: default_board of edgewright.toml"

BoardName = Annotated[str, f"{BOARD}; {DEFAULT_BOARD}"]
Host = Annotated[str, "user@addr[:port] of the board"]
Json = Annotated[bool, "one JSON document instead of a screen"]
OF_FLEET = ("fleet", "select", "group")  # options that name boards by their inventory
Emulated = Annotated[bool, "the emulated board of invoke emulate.up"]
OfLab = Annotated[bool, "the full-system board of invoke lab.up"]
AskPassword = Annotated[
    bool, "ask for the board's password; else keys, the agent or EDGEWRIGHT_PASSWORD"
]
Sudo = Annotated[bool, "run the board's commands by its sudo, where that asks for no password"]


def task(body: Body) -> Task[Body]:
    """Make an Invoke task of `body(context, options…)` (`cli.options`) that reports its errors."""
    return task_named(body.__name__)(body)


def task_named(name: str) -> Callable[[Body], Task[Body]]:
    """`task`, where the function cannot have the task's name."""

    def make(body: Body) -> Task[Body]:
        command = functools.partial(commands.command_of, body.__module__, name)
        return make_task(report_errors(default_board(flatten(body)), command), name=name)

    return make


def default_board(body: Body) -> Body:
    """`body` with a `BoardName` that need not be given: the workspace's settings may name one."""
    parameters = inspect.signature(body).parameters
    board = parameters.get("board")
    if board is None or board.annotation is not BoardName or board.default is not board.empty:
        return body

    @functools.wraps(body)
    def run(c: Any, *, board: str | None, **options: Any) -> None:
        if board == "":  # a variable of a script that was never set
            raise UserError("--board", "is empty", next="invoke boards")
        # A board of a fleet has its kind there.
        is_of_fleet = any(options.get(name) for name in OF_FLEET)
        body(c, board=board or ("" if is_of_fleet else _settings_board()), **options)

    # Invoke makes its flags from the signature, and one without a default would be required.
    changed = {**parameters, "board": board.replace(default=None)}
    run.__signature__ = inspect.Signature([*changed.values()])  # type: ignore[attr-defined]
    return run


def _settings_board() -> str:
    root = workspace_root(Path.cwd())
    board = workspace().settings.default_board if root else None
    if board is None:
        settings = f"default_board in {root / SETTINGS}" if root else "edgewright init"
        raise UserError(
            "--board", "missing", next=f"edgewright boards, then --board=NAME, or {settings}"
        )
    return board


def report_errors(body: Body, command: Callable[[], str]) -> Body:
    """Turn edgewright's exceptions into a message on standard error and an exit code.

    Under --json standard output gets the message too, unless the task's document is there.
    """

    @functools.wraps(body)
    def run(*args: Any, **options: Any) -> None:
        as_document = bool(options.get("json"))
        try:
            with OUT.of_task(as_document=as_document):
                body(*args, **options)
        # Invoke ends with an `Exit`'s code and is silent; any other exception, a bug of ours,
        # goes through it with its traceback.
        except (Exit, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as raised:
            fault = fault_of(raised)
            if as_document and not OUT.has_document:
                write_document(failure(command(), fault))
            if fault.exit_code is ExitCode.BUG:
                raise
            say(str(fault))
            raise Exit(code=fault.exit_code) from None

    return run


def print_uncut(table: "Table") -> None:
    """Print a table whose cells are copied and compared: in a narrow terminal its lines wrap, and
    in a pipe, which Rich takes for 80 columns, they do not."""
    table.width = OUT.measure(table, options=OUT.options.update(max_width=WIDE)).maximum
    OUT.print(table, soft_wrap=True)


def say(text: str) -> None:
    """Tell a person, on standard error."""
    ERR.print(as_called(text), markup=False, soft_wrap=True)


def ask_secret(name: str, variable: str) -> str:
    """What somebody types unseen. Raises UserError without a terminal: `variable` may have it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)  # it would be seen
            return getpass.getpass(f"{name}: ")
    except (EOFError, getpass.GetPassWarning):
        raise UserError(name, "no terminal to type it at", next=f"set {variable}") from None


def ask_line(prompt: str) -> str:
    """A line from the terminal; empty where there is none."""
    if not sys.stdin.isatty():
        return ""
    try:
        return ERR.input(prompt, markup=False).strip()
    except EOFError:
        return ""


def write(text: str) -> None:
    """Write text as it is: a console would wrap it and take `[…]` for markup."""
    OUT.file.write(text)


def write_document(document: "Document") -> None:
    """What `--json` asks for: nothing else is on standard output, so a program can parse it."""
    OUT.has_document = True  # or a part of it: an error must not follow it
    sys.stdout.write(document.to_json())


def heavy(module: str, package: str = "model", extra: str = "model") -> Any:
    """A module of the model pipeline, or another one that may need an extra."""
    try:
        return importlib.import_module(f"edgewright.{package}.{module}")
    except ModuleNotFoundError as missing:
        raise UserError(
            f"edgewright.{package}.{module}",
            f"needs {missing.name}",
            next=f"pip install 'edgewright[{extra}]'",
        ) from missing


def workspace() -> Workspace:
    """The one that the current folder lies in. Raises UserError if it lies in none."""
    return find_workspace(Path.cwd(), installed_resources())


def checkout() -> Workspace:
    """The workspace, if it is a checkout of edgewright. Raises UserError for the user's own."""
    current = workspace()
    if current.root != current.resources.root:
        raise UserError(
            str(current.root),
            "not a checkout of edgewright",
            facts=["this works on edgewright's own sources and tests"],
            next="repeat it in a checkout",
        )
    return current


def board_folders() -> tuple[Path, ...]:
    """Where boards are looked up; outside of a workspace there is the catalogue alone."""
    resources = installed_resources()
    return workspace().board_folders if workspace_root(Path.cwd()) else (resources.boards,)


def model_path(model: str) -> Path:
    """The model that an option names, by its file or its name in the settings; else the default.

    A file wins over a name. Raises UserError for what is neither.
    """
    if not model:
        return workspace().default_model
    path = Path(model)
    if path.exists():
        return path.resolve()
    if len(path.parts) > 1 or path.suffix in (".onnx", ".ort"):
        raise UserError(
            str(path.absolute()),
            "no such model",
            next=f"the same command with a file that is there, or a name of {SETTINGS}",
        )
    return workspace().model(model)


def latest_release(board: str) -> "Release":
    """The release that the last build of a board made. Raises UserError if there is none."""
    from edgewright.release import latest

    try:
        return latest.release_of(workspace().build(board))
    except UserError:
        profile_of(board)  # of a name that no board has it would say: build it
        raise


def one_release(board: str, path: str) -> "Release":
    """The release in a folder, or the last build for a board; default: the settings' board."""
    if board and path:
        raise UserError(
            "--board, --path", "expected one of them", next="the same command with one of them"
        )
    if path:
        from edgewright.release.manifest import load_release

        return load_release(Path(path))
    return latest_release(board or _settings_board())


def open_store(place: str, *, make: bool = False) -> "Contents":
    """The store of releases that an option names. Raises UserError where there is none."""
    from edgewright.release import http_store, oci_store, store

    authorization = os.environ.get("EDGEWRIGHT_STORE_AUTHORIZATION")
    if place.partition("://")[0] in oci_store.SCHEMES:
        return oci_store.oci_store(place, authorization, docker_config())
    if "://" in place:
        return http_store.http_store(place, authorization)
    return store.folder_store(place, make=make)


def profile_of(board: str) -> BoardProfile:
    return catalogue.load_board(board, *board_folders())


def instance_of(board: str) -> "Instance":
    from edgewright.lab import emulate

    return emulate.Instance(
        profile=profile_of(board),
        folder=workspace().build(board).emulator,
        docker=workspace().resources.docker,
    )


def lab_of(board: str) -> "Lab":
    from edgewright.lab import machine as lab

    return lab.Lab(
        profile=profile_of(board),
        folder=workspace().build(board).lab,
        docker=workspace().resources.docker,
    )


def password(*, ask: bool) -> str | None:
    """A board's password: typed if that was asked for, else from the environment."""
    if ask:
        return ask_secret("board's password", "EDGEWRIGHT_PASSWORD")
    from edgewright.deploy import remote

    return os.environ.get(remote.PASSWORD)


@contextmanager
def naming_the_way(way: str, service_way: str = "") -> Iterator[None]:
    """Put the options that lead to a board into the next command that an error names.

    `service_way` is for tasks that take no board of a fleet.
    """

    def named(words: re.Match[str]) -> str:
        is_of_service = words[1].startswith("invoke service.")
        return f"{words[1]} {service_way if service_way and is_of_service else way}"

    try:
        yield
    except EdgewrightError as fault:
        if fault.next:
            fault.next = ON_A_BOARD.sub(named, fault.next)
        raise


@dataclass(frozen=True, kw_only=True)
class Reach:
    """A board, and the way to it: the options that every task over SSH has."""

    board: BoardName
    host: Host = ""
    emulated: Emulated = False
    lab: OfLab = False
    ask_password: AskPassword = False
    sudo: Sudo = False

    def __post_init__(self) -> None:
        _ = self.profile  # an unknown board is refused before anything else

    @functools.cached_property
    def profile(self) -> BoardProfile:
        return profile_of(self.board)

    def target(self) -> "Target":
        if [bool(self.host), self.emulated, self.lab].count(True) != 1:
            raise UserError(
                f"board '{self.board}'",
                "expected one of --host=user@addr[:port], --emulated and --lab",
                next="the same command with one of them, e.g. --host=root@192.0.2.7",
            )
        if self.lab:
            from edgewright.lab import machine as lab

            return lab.running(lab_of(self.board)).target
        if self.host:
            from edgewright.deploy import target as targets

            return replace(targets.parse_host(self.host), sudo=self.sudo)
        from edgewright.lab import emulate

        return emulate.running(instance_of(self.board)).target

    def password(self) -> str | None:
        """The board's password: typed if that was asked for, else from the environment."""
        return password(ask=self.ask_password)

    @contextmanager
    def connect(self) -> "Iterator[Board]":
        from edgewright.deploy import remote

        login = remote.connect(self.target(), password=self.password())
        with self.naming_the_way(), login as board:
            yield board

    def naming_the_way(self) -> AbstractContextManager[None]:
        """The next command that an error names reaches this board, as this one does."""
        return naming_the_way(self.way)

    @property
    def way(self) -> str:
        """The options that lead to this board."""
        options = [f"--board={self.profile.name}"]
        options += [f"--host={self.host}"] if self.host else []
        flags = {"--emulated": self.emulated, "--lab": self.lab, "--sudo": self.sudo}
        return " ".join([*options, *(flag for flag, is_given in flags.items() if is_given)])
