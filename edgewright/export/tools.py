"""The real tools that make others' formats."""

import importlib.util
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from edgewright.base import process
from edgewright.base.errors import UserError


def program(name: str, package: str = "") -> str:
    """Where the program of a Debian package is; default: of the package of its name.

    Raises UserError with the command that installs it.
    """
    path = process.which(name)
    if path is None:
        raise UserError(name, "program not found", next=f"apt-get install {package or name}")
    return path


def module(name: str) -> list[str]:
    """How a program of Python's is called that the extra `export` brings. Raises UserError."""
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise UserError(package, "not installed", next="pip install 'edgewright[export]'")
    return [sys.executable, "-m", name]


def clock_at(epoch: int) -> list[str]:
    """What a program is started by so that its clock stands still: CMS signatures have a time.

    Raises UserError.
    """
    time = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return [program("faketime"), "-f", time]


def run(argv: Sequence[str], *, epoch: int) -> None:
    """Run a tool, which takes all other times from SOURCE_DATE_EPOCH. Raises UserError."""
    env = {"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    process.check(argv, env=env)
