"""A board that 0.1.0 provisioned, and its releases, in the hands of this version."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewright.deploy import install, one_board, smoke
from edgewright.deploy.remote import Board, connect
from edgewright.lab.emulate import EmulatedBoard
from edgewright.release.manifest import Release
from tests import signing, v0_1_0
from tests.integration.conftest import shell

pytestmark = pytest.mark.board

Make = Callable[..., Release]


@pytest.fixture
def old_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user who provisioned the board goes on with a newer edgewright."""
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    v0_1_0.install_keys(tmp_path / "config", monkeypatch)


@pytest.fixture
def old_board(own_board: EmulatedBoard, old_keys: None) -> Iterator[Board]:
    """An emulated board with the deploy root that 0.1.0 left."""
    unpack = ["docker", "exec", "-i", own_board.container, "tar", "-C", "/opt", "-xf", "-"]
    raw = subprocess.run(["xz", "-dc", v0_1_0.BOARD_ROOT], capture_output=True, check=True).stdout
    subprocess.run(unpack, input=raw, check=True)
    with connect(own_board.target) as board:
        yield board


def current(emulated: EmulatedBoard) -> str:
    return shell(emulated, f"basename $(readlink {v0_1_0.ROOT}/current)")


def test_its_release_is_known_smoke_tested_and_rolled_back(
    old_board: Board, own_board: EmulatedBoard
) -> None:
    status = install.status(old_board, v0_1_0.ROOT)
    assert status.manifest is not None
    assert status.manifest.id == v0_1_0.CURRENT

    assert one_board.smoke_current(old_board, v0_1_0.ROOT, install.this_user()).passed
    install.rollback(old_board, v0_1_0.ROOT, signing.sign_anew, gate=smoke.Gate)

    assert current(own_board) == v0_1_0.PREVIOUS


def test_a_new_release_goes_there_and_the_old_one_comes_back(
    old_board: Board, own_board: EmulatedBoard, tmp_path: Path, make: Make
) -> None:
    new = make("new", root=v0_1_0.ROOT)
    signing.install(old_board, new)
    assert current(own_board) == new.id

    install.rollback(old_board, v0_1_0.ROOT, signing.sign_anew, gate=smoke.Gate)

    assert current(own_board) == v0_1_0.CURRENT


def test_its_release_is_deployed_to_an_empty_board(
    own_board: EmulatedBoard, old_keys: None, tmp_path: Path
) -> None:
    release = v0_1_0.release(tmp_path / "release")
    gate = smoke.Gate(release.manifest)
    with connect(own_board.target) as board:
        signing.install(board, release, release.signature.read_bytes(), gate=gate)

    assert current(own_board) == v0_1_0.CURRENT
    assert gate.report is not None
    assert gate.report.passed
