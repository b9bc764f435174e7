"""How long the command line takes to start, beside the library that it is made with; and a whole
`release.verify`.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Literal

from edgewright.base.errors import CheckError
from edgewright.base.schema import Document, Part

LIMIT = 3.0  # times the processor time of `import invoke`
VERIFY = "edgewright release.verify --complete"
VERIFY_SECONDS = 2.0  # of the processor
REFERENCE = "import invoke"
EDGEWRIGHT = (
    "import sys; sys.argv[0] = 'edgewright'; from edgewright.cli.program import main; main()"
)
INVOKE = "import sys; sys.argv[0] = 'invoke'; from invoke.main import program; program.run()"
COMMANDS = {
    "edgewright --version": (EDGEWRIGHT, "--version"),
    "edgewright --list": (EDGEWRIGHT, "--list"),
    "edgewright boards": (EDGEWRIGHT, "boards"),
    "invoke --list": (INVOKE, "--list"),
}


class Start(Part):
    """One command."""

    command: str
    seconds: float  # of the processor, the least of all rounds
    ratio: float  # to `import invoke`


class StartupReport(Document):
    """What `bench.startup` measured: processor seconds of each command."""

    version: Literal[1] = 1
    reference_seconds: float  # of the processor, for python -c 'import invoke'
    starts: tuple[Start, ...]


def measure(checkout: Path, rounds: int, archive: Path | None = None) -> StartupReport:
    """Start each command once a round, and verify the release in `archive` if one is named.

    The least time counts: other work on the machine can only add to it. Raises CheckError if a
    command does not run.
    """
    commands = {"": (REFERENCE,), **COMMANDS}
    if archive:
        commands[VERIFY] = (EDGEWRIGHT, "release.verify", "--complete", str(archive.resolve()))
    seconds = dict.fromkeys(commands, inf)
    for _ in range(rounds):
        for name, code in commands.items():
            seconds[name] = min(seconds[name], _processor_seconds(code, checkout))
    reference = seconds.pop("")
    return StartupReport(
        reference_seconds=round(reference, 3),
        starts=tuple(
            Start(command=name, seconds=round(least, 3), ratio=round(least / reference, 2))
            for name, least in seconds.items()
        ),
    )


def require_quick(report: StartupReport) -> None:
    """Raises CheckError if a command takes more than `LIMIT` times `import invoke`, or a release is
    verified in more than `VERIFY_SECONDS`.
    """
    starts = {start.command: start for start in report.starts}
    verify = starts.pop(VERIFY, None)
    slow = [start for start in starts.values() if start.ratio > LIMIT]
    if slow:
        raise CheckError(
            "start-up",
            f"more than {LIMIT:g} times the processor time of python -c 'import invoke'",
            facts=[f"{start.command}: {start.ratio:.2f} times" for start in slow],
            next="python -X importtime -m edgewright.cli.program --list shows what is imported",
        )
    if verify and verify.seconds > VERIFY_SECONDS:
        facts = [f"expected: {VERIFY_SECONDS:g} s of the processor", f"found: {verify.seconds:g} s"]
        raise CheckError(
            VERIFY,
            "takes too long",
            facts=facts,
            next="python -X importtime -m edgewright.cli release.verify shows what is imported",
        )


def _processor_seconds(code: Sequence[str], folder: Path) -> float:
    """Of a Python program that finds its modules compiled, as they are from the second start on."""
    child = subprocess.Popen(
        [sys.executable, "-c", *code],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise CheckError(" ".join(code), f"exit code {child.returncode} instead of 0")
    return usage.ru_utime + usage.ru_stime
