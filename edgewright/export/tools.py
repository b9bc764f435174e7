"""The real tools that make others' formats."""

import importlib.util
import sys
from collections.abc import Sequence

from edgewright.base import process
from edgewright.base.errors import UserError


def run(argv: Sequence[str], *, package: str, epoch: int) -> None:
    """Run a program of a Debian package; it takes its times from SOURCE_DATE_EPOCH.

    Raises UserError, which names the command that installs what is not there.
    """
    program = require(argv[0], package)
    process.check([program, *argv[1:]], env=_surroundings(epoch))


def run_module(module: str, arguments: Sequence[str], *, epoch: int) -> None:
    """The same of a package of Python's that the extra `export` brings, by its program's module."""
    package = module.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise UserError(package, "not installed", next="pip install 'edgewright[export]'")
    process.check([sys.executable, "-m", module, *arguments], env=_surroundings(epoch))


def require(program: str, package: str) -> str:
    """Where a program is. Raises UserError."""
    path = process.which(program)
    if path is None:
        raise UserError(program, "program not found", next=f"apt-get install {package}")
    return path


def _surroundings(epoch: int) -> dict[str, str]:
    return {"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC", "LC_ALL": "C.UTF-8"}
