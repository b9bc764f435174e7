"""The wheels in a clean environment and an empty folder, as a user meets them: no checkout."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgewright.build.container import DockerBuilder
from edgewright.release.manifest import load_release
from tests.checkout import ROOT
from tests.wheels import build, copy_of_sources

pytestmark = [pytest.mark.docker, pytest.mark.board]

Run = Callable[..., subprocess.CompletedProcess[str]]


def environment_variables() -> dict[str, str]:
    """Ours, but for the one by which pip and Python would find this checkout installed already."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with both wheels; what they need comes from pip's usual places."""
    folder = tmp_path_factory.mktemp("wheel")
    sources, wheels, venv = copy_of_sources(folder / "sources"), folder / "wheels", folder / "venv"
    build("wheel", sources, wheels)
    build("wheel", sources / "models", wheels)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = str(venv / "bin" / "pip")
    install = [pip, "install", "--quiet", "--find-links", str(wheels)]
    subprocess.run([*install, "edgewright[demo]"], check=True, env=environment_variables())
    return venv


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the user works: empty at first."""
    return tmp_path_factory.mktemp("repository")


@pytest.fixture(scope="module")
def run(environment: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs a program of the environment in the user's folder."""
    with user_of(environment, folder, tmp_path_factory.mktemp("config")) as run:
        yield run


@contextmanager
def user_of(environment: Path, folder: Path, config: Path) -> Iterator[Run]:
    """Somebody who works in `folder`, with the environment's programs first and keys of his own."""
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    settings = {"EDGEWRIGHT_CONFIG": str(config), "PATH": path}

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        env = environment_variables() | settings
        return subprocess.run(
            argv, cwd=folder, env=env, capture_output=True, text=True, check=False
        )

    yield run
    run("edgewright", "emulate.down", "--board=a53-som")


def test_demo_works_in_an_empty_folder(run: Run, folder: Path, builder: DockerBuilder) -> None:
    """With the small network: an emulated board takes a minute and a half longer for the other."""
    init = run("edgewright", "init")
    assert init.returncode == 0, init.stderr
    settings = folder / "edgewright.toml"
    settings.write_text(f'default_model = "mobilevit-xxs-elpv"\n{settings.read_text()}')

    demo = run("edgewright", "demo")

    assert demo.returncode == 0, demo.stderr
    assert "release " in demo.stdout
    assert "10 cases within 0.01" in demo.stdout
    assert "is current" in demo.stderr
    again = run("edgewright", "deploy", "--emulated")  # the board and its keys are this folder's
    assert again.returncode == 0, again.stderr
    assert "nothing was sent" in again.stderr


def test_the_release_names_the_wheel_that_built_it(run: Run, folder: Path) -> None:
    out = folder / "build" / "a53-som"

    release = load_release(out / "release" / (out / "release.id").read_text().strip())

    source, version = release.manifest.source, run("edgewright", "--version").stdout.split()[-1]
    assert (source.revision, source.edgewright) == ("unknown", version)


def test_nothing_of_ours_is_in_the_way_of_the_users_own_modules(run: Run) -> None:
    imported = run("python", "-c", "import tasks")

    assert "No module named 'tasks'" in imported.stderr


def test_the_installation_is_only_read(run: Run, environment: Path) -> None:
    """It may belong to root, and to many workspaces."""
    site = environment / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    before = snapshot(site / "edgewright" / "resources")

    again = run("edgewright", "build", "--json", "--no-estimate")

    assert again.returncode == 0, again.stderr
    assert {stage["origin"] for stage in json.loads(again.stdout)["stages"]} == {"cache"}
    assert snapshot(site / "edgewright" / "resources") == before


@pytest.mark.nightly
def test_the_four_commands_of_the_page_on_programs_bring_one_to_the_board(
    environment: Path, builder: DockerBuilder, tmp_path: Path
) -> None:
    """As they stand in docs/programs.md for an emulated board, typed into a new folder."""
    page = (ROOT / "docs" / "programs.md").read_text()
    [commands] = [block for block in page.split("```")[1::2] if "emulate.up" in block]
    folder, config = tmp_path / "line", tmp_path / "config"
    folder.mkdir()
    with user_of(environment, folder, config) as run:
        typed = run("bash", "-euo", "pipefail", "-c", commands)

    assert typed.returncode == 0, typed.stderr
    answer = json.loads(typed.stdout.splitlines()[-1])
    assert (answer["command"], answer["passed"], len(answer["cases"])) == ("selftest", True, 10)


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}
