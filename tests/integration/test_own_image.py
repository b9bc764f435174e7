"""The image of edgewright itself, as a CI server runs it."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from edgewright import __version__
from edgewright.base.files import unique_name
from edgewright.board.catalogue import board_names
from tests.checkout import ROOT, checkout

pytestmark = [pytest.mark.docker, pytest.mark.nightly]
NOBODY = "61234:61234"  # a user that the image does not know


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    tag = unique_name("edgewright-of-test")
    command = [sys.executable, str(ROOT / "docker/edgewright/build.py"), tag]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=1800)
    yield tag
    subprocess.run(["docker", "image", "rm", tag], check=True, stdout=subprocess.DEVNULL)


def run(image: str, *argv: str) -> str:
    """What a command in the image prints, without network and as a user who may do nothing."""
    command = ["docker", "run", "--rm", "--network", "none", "--user", NOBODY, image, *argv]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def test_it_is_the_program_with_its_boards(image: str) -> None:
    assert run(image, "edgewright", "--version").strip() == f"edgewright {__version__}"
    listed = json.loads(run(image, "edgewright", "boards", "--json"))
    names = {board["name"] for board in listed["boards"]}
    assert names == set(board_names(checkout().boards))


def test_builds_run_in_it_with_all_that_they_need(image: str) -> None:
    script = "from edgewright.build.container import missing_tools; print(missing_tools())"
    assert run(image, "/opt/edgewright/bin/python", "-c", script).strip() == "[]"
    assert run(image, "printenv", "EDGEWRIGHT_BUILDER").strip() == "local"
    workspace = "edgewright init >/dev/null && ls edgewright.toml"
    assert run(image, "sh", "-c", workspace).strip() == "edgewright.toml"
