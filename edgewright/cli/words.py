"""How commands are called in what a person reads."""

import re
import sys
from pathlib import Path

from edgewright.cli import commands

INVOKE = frozenset({"invoke", "inv"})
# Only with a command after it: a sentence about edgewright itself stays as it is.
COMMAND = re.compile(
    rf"\b(?:edgewright|invoke) (?=(?:{'|'.join(map(re.escape, commands.names()))}|TASK)\b|--)"
)


def program_name() -> str:
    """What commands start with: `invoke` for who called that, in a checkout; else `edgewright`."""
    program = Path(sys.argv[0])
    # `python -m invoke` runs invoke/__main__.py.
    called = program.parent.name if program.name == "__main__.py" else program.name
    return called if called in INVOKE else "edgewright"


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def as_called(text: str) -> str:
    """`text` with its commands as they are to be typed by whoever called this program.

    The library names commands in its errors and does not know by which program they are shown.
    """
    return COMMAND.sub(f"{program_name()} ", text)
