"""Tasks over SSH as a user calls them, to a board that is a folder of this machine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgewright.cli.common import Reach
from edgewright.deploy import remote
from edgewright.deploy.documents import PlanReport
from edgewright.deploy.remote import Board
from edgewright.deploy.target import Target
from edgewright.release.manifest import Release
from tests.boards import LocalBoard, make_release
from tests.schemas import require_valid
from tests.unit.cli.test_cli import run, start

DRY_RUN = ("deploy", "--board=a53-som", "--host=root@board.test", "--dry-run")


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """The last build for every board; its deploy root is a folder here, empty so far."""
    helper = tmp_path / "edgectl"
    helper.write_bytes(b"helper")
    release = make_release(tmp_path / "built", root=str(tmp_path / "board"), edgectl=helper)
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr("edgewright.release.latest.release_of", lambda build: release)
    monkeypatch.setattr("edgewright.deploy.remote.connect", connect)
    return release


@contextmanager
def connect(target: Target, **options: object) -> Iterator[Board]:
    yield LocalBoard()


@pytest.mark.parametrize("command", ["smoke", "rollback", "bench.board"])
def test_the_next_command_reaches_the_same_board(
    command: str, release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, "--board=a53-som", "--host=root@board.test", "--sudo") == 3

    next = "next: edgewright deploy --board=a53-som --host=root@board.test --sudo\n"
    assert capsys.readouterr().err.endswith(next)


def test_a_dry_run_writes_its_plan_as_one_document(
    release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    start("keys.generate")
    capsys.readouterr()

    start(*DRY_RUN, "--json")

    shown = capsys.readouterr()
    require_valid("deploy--dry-run", shown.out)
    plan = PlanReport.model_validate_json(shown.out)
    assert (plan.version, plan.kind, plan.target) == (1, "plan", "root@board.test")
    assert (plan.release, plan.former, plan.installs_edgectl) == (release.id, None, True)
    assert {file.path for file in plan.files} == {file.path for file in release.manifest.files}
    assert plan.bytes_to_send == sum(file.bytes_to_send for file in plan.files)
    assert shown.err == ""
    assert not Path(release.manifest.deploy_root).exists()


def test_a_dry_run_tells_a_person_what_would_be_done(
    release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    start("keys.generate")

    start(*DRY_RUN)

    lines = capsys.readouterr().err.splitlines()
    assert "install edgectl" in lines
    assert lines[-1] == f"switch from nothing to {release.id}"


def test_a_dry_run_without_a_key_says_how_to_make_one(
    release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*DRY_RUN, "--json") == 2

    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["next"] == "edgewright keys.generate"
    assert shown.err.endswith("next: edgewright keys.generate\n")


def test_the_password_of_a_board_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reach = Reach(board="a53-som", host="root@board.test")
    assert reach.password() is None

    monkeypatch.setenv(remote.PASSWORD, "hunter2")

    assert reach.password() == "hunter2"
