"""The image of edgewright itself, as a CI server runs it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgewright import __version__
from edgewright.base.layout import user_cache
from edgewright.base.runtime_version import runtime_version
from edgewright.board.catalogue import board_names
from edgewright.build.pipeline import BuildReport
from edgewright.release.manifest import Release, load_release
from tests.checkout import checkout
from tests.schemas import require_valid

pytestmark = [pytest.mark.docker, pytest.mark.nightly]
NOBODY = "61234:61234"  # a user that the image does not know


def run(image: str, *argv: str) -> str:
    """What a command in the image prints, without network and as a user who may do nothing."""
    command = ["docker", "run", "--rm", "--network", "none", "--user", NOBODY, image, *argv]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def test_it_is_the_program_with_its_boards(own_image: str) -> None:
    assert run(own_image, "edgewright", "--version").strip() == f"edgewright {__version__}"
    listed = json.loads(run(own_image, "edgewright", "boards", "--json"))
    names = {board["name"] for board in listed["boards"]}
    assert names == set(board_names(checkout().boards))


def test_builds_run_in_it_with_all_that_they_need(own_image: str) -> None:
    script = "from edgewright.build.container import missing_tools; print(missing_tools())"
    assert run(own_image, "/opt/edgewright/bin/python", "-c", script).strip() == "[]"
    assert run(own_image, "printenv", "EDGEWRIGHT_BUILDER").strip() == "local"
    workspace = "edgewright init >/dev/null && ls edgewright.toml"
    assert run(own_image, "sh", "-c", workspace).strip() == "edgewright.toml"


def test_a_release_is_built_in_it_that_has_the_same_programs(
    own_image: str, built: BuildReport, tmp_path: Path
) -> None:
    """As docs/ci.md has it, without a network: sources, objects and wheels are there before."""
    workspace, wheels = tmp_path / "workspace", tmp_path / "wheels"
    shutil.copytree(checkout().default_model.parent, workspace / "models" / "cells")
    settings = '[models]\ncells = "models/cells/model.onnx"\n'
    (workspace / "edgewright.toml").write_text(f'name = "own"\ndefault_model = "cells"\n{settings}')
    runtime = f"onnxruntime=={runtime_version().wheel}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels)]
    pip += ["--python-version=3.13", "--only-binary=:all:", runtime]
    subprocess.run(pip, check=True)
    (tmp_path / "cache").mkdir()
    folders = {
        workspace: "/workspace",
        tmp_path / "cache": "/cache",
        **{user_cache() / name: f"/cache/{name}" for name in ("ccache", "sources")},
        wheels: "/wheels",
    }
    command = ["docker", "run", "--rm", "--network", "none", f"--user={os.getuid()}:{os.getgid()}"]
    command += [f"--volume={folder}:{place}" for folder, place in folders.items()]
    command += ["--env=PIP_NO_INDEX=1", "--env=PIP_FIND_LINKS=/wheels", own_image]
    command += ["edgewright", "build", "--board=a53-som", "--json"]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)

    assert ended.returncode == 0, ended.stderr
    require_valid("build", ended.stdout)
    report = json.loads(ended.stdout)
    assert report["builder"].startswith("local-")
    own = load_release(workspace / "build" / "a53-som" / "release" / report["release"])
    assert programs(own) == programs(load_release(built.folder))


def programs(release: Release) -> dict[str, str]:
    """SHA-256 of what was compiled."""
    return {
        file.path: file.sha256 for file in release.manifest.files if file.path.startswith("bin/")
    }
