"""The wheels in a clean environment and an empty folder, as a user meets them: no checkout."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewright.build.container import DockerBuilder
from edgewright.release.manifest import load_release
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
    settings = {"EDGEWRIGHT_CONFIG": str(tmp_path_factory.mktemp("config"))}

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [environment / "bin" / program, *arguments],
            cwd=folder,
            env=environment_variables() | settings,
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    run("edgewright", "emulate.down", "--board=a53-som")


def test_demo_works_in_an_empty_folder(run: Run, folder: Path, builder: DockerBuilder) -> None:
    """With the small network: an emulated board takes a minute and a half longer for the other."""
    made = run("edgewright", "init")
    assert made.returncode == 0, made.stderr
    settings = folder / "edgewright.toml"
    settings.write_text(f'default_model = "mobilevit-xxs-elpv"\n{settings.read_text()}')

    done = run("edgewright", "demo")

    assert done.returncode == 0, done.stderr
    assert "release " in done.stdout
    assert "10 cases within 0.01" in done.stdout
    assert "is current" in done.stderr
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


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}
