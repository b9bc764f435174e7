"""The whole of it, and development."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base.errors import CheckError
from edgewright.cli import build_screens, screens
from edgewright.cli.board import DeployOptions, deploy_board, deploy_settings
from edgewright.cli.build import BuildOptions, build_release
from edgewright.cli.common import (
    ERR,
    OUT,
    BoardName,
    Json,
    checkout,
    instance_of,
    profile_of,
    say,
    task,
    workspace,
    write_document,
)
from edgewright.cli.documents import ChecksPassed
from edgewright.lab import emulate
from edgewright.release import latest

# A test file stays in one process: its tests share a board or a build. Four boards are enough.
# More processes than cores cost more than they win: training tests compute on all cores by
# themselves.
# In the order of the files, so that integration tests, of which one file can take minutes, begin
# first: xdist's own order, by number of tests, has them last, and one process idle meanwhile.
PARALLEL = (
    "--numprocesses=auto",
    "--maxprocesses=4",
    "--dist=loadfile",
    "--no-loadscope-reorder",
)


@task
def demo(c: Context, board: BoardName = "a53-som", json: Json = False) -> None:
    """Build, emulate, deploy and smoke-test. Example: invoke demo"""
    build = build_release(BuildOptions(board=board, estimate=False))
    OUT.print(build_screens.build_screen(build), soft_wrap=True)
    with screens.deploy_progress(ERR) as progress:
        up = emulate.up(instance_of(board), progress)
    say(f"{board} answers at {up.target}")
    release = latest.release_of(workspace().build(board))
    settings = deploy_settings(profile_of(board), release, up.target, DeployOptions())
    # A second demo finds its release current, and shows all the same that it works.
    report = deploy_board(replace(settings, smoke_unchanged=True))
    assert report.smoke is not None, "a deploy that is asked to smoke-test has a smoke report"
    OUT.print(screens.smoke_screen(report.smoke))
    if json:
        write_document(report)


@task
def test(
    c: Context,
    unit: Annotated[bool, "only the fast, offline tests"] = False,
    select: Annotated[str, "pytest -k expression"] = "",
    json: Json = False,
) -> None:
    """Lint, types and every test. Example: invoke test --unit"""
    checks = _lint()
    argv = [sys.executable, "-m", "pytest", *PARALLEL, *(["tests/unit"] if unit else [])]
    _run([*argv, *(["-k", select] if select else [])])
    if json:
        write_document(ChecksPassed(checks=(*checks, "pytest")))


@task
def lint(c: Context, json: Json = False) -> None:
    """ruff, mypy and clang-format. Example: invoke lint"""
    checks = _lint()
    if json:
        write_document(ChecksPassed(checks=checks))


def _lint() -> tuple[str, ...]:
    """Run the checks of the sources; returns their names. Raises CheckError."""
    sources = sorted(
        str(path)
        for folder in ("cli", "common", "edgectl", "include", "src", "tests")
        for path in (checkout().resources.runtime_cpp / folder).rglob("*.[ch]pp")
    )
    # The programs beside this Python, not on PATH: an environment need not be activated.
    checks = (
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["clang-format", "--dry-run", "--Werror", *sources],
    )
    for argv in checks:
        _run([str(Path(sys.executable).parent / argv[0]), *argv[1:]])
    return ("ruff check", "ruff format", "mypy", "clang-format")


def _run(argv: list[str]) -> None:
    # Where a document is asked for, what the program prints is no part of it.
    child = subprocess.run(argv, cwd=checkout().root, stdout=OUT.file, check=False)
    if child.returncode != 0:
        raise CheckError(Path(argv[0]).name, f"exit code {child.returncode}")
