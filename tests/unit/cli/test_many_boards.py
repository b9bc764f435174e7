"""Tasks for several boards at once, to boards that are folders of this machine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import CheckError, ExitCode, TargetError, UserError, worst
from edgewright.base.progress import Progress
from edgewright.deploy import one_board
from edgewright.deploy.documents import DeployReport, StatusReport
from edgewright.deploy.one_board import DeploySettings, RollbackSettings
from edgewright.deploy.remote import Board
from edgewright.deploy.target import Target
from edgewright.fleet import inventory
from edgewright.release.manifest import Release
from tests.boards import LocalBoard, make_release
from tests.schemas import require_valid
from tests.unit.cli.test_cli import run, start

HOSTS = [f"root@board-{n}.test" for n in range(4)]
TO_ALL = ("--board=a53-som", *(f"--host={host}" for host in HOSTS))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """The last build for every board."""
    helper = tmp_path / "edgectl"
    helper.write_bytes(b"helper")
    release = make_release(tmp_path / "built", root=str(tmp_path / "board"), edgectl=helper)
    monkeypatch.setattr("edgewright.release.latest.release_of", lambda build: release)
    return release


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch, release: Release) -> dict[str, Exception]:
    """Deploys go well, but for the boards with a fault here."""
    table: dict[str, Exception] = {}

    def deploy(settings: DeploySettings, progress: Progress) -> DeployReport:
        progress.start("send")
        if fault := table.get(str(settings.target)):
            raise fault
        return DeployReport(
            target=str(settings.target),
            release=settings.release.id,
            former=None,
            unchanged=False,
            staged=False,
            bytes_sent=1234,
            removed=(),
            smoke=None,
        )

    monkeypatch.setattr(one_board, "deploy", deploy)
    start("keys.generate")
    return table


def deployed(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    shown = capsys.readouterr()
    require_valid("deploy--many", shown.out)
    document: dict[str, Any] = json.loads(shown.out)
    return document, shown.err


def test_a_line_for_each_board_and_a_summary(
    faults: dict[str, Exception], release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    start("deploy", *TO_ALL)

    shown = capsys.readouterr()
    assert sorted(shown.out.splitlines()) == [
        f"{host}: release {release.id} is current; 1,234 bytes sent" for host in HOSTS
    ]
    assert shown.err.endswith("4 boards: 4 done\n")


def test_one_board_that_fails_stops_no_other(
    faults: dict[str, Exception], release: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    faults[HOSTS[1]] = TargetError(HOSTS[1], "connection refused", facts=["port: 22"], next="power")

    assert run("deploy", *TO_ALL, "--json", "--parallel=2") == ExitCode.TARGET

    document, messages = deployed(capsys)
    assert document["exit_code"] == ExitCode.TARGET
    assert [board["state"] for board in document["boards"]] == ["done", "failed", "done", "done"]
    assert [board["name"] for board in document["boards"]] == HOSTS
    failed = document["boards"][1]
    assert failed["report"] is None
    assert failed["error"] == {
        "code": "target",
        "message": f"{HOSTS[1]}: connection refused\nport: 22",
        "next": "power",
    }
    assert f"{HOSTS[1]}: connection refused\n  port: 22\nnext: power\n" in messages
    assert messages.endswith("4 boards: 3 done, 1 failed\n")


def test_the_worst_code_is_the_command_s(
    faults: dict[str, Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    faults[HOSTS[0]] = CheckError(HOSTS[0], "latency")
    assert run("deploy", *TO_ALL) == ExitCode.CHECK
    faults[HOSTS[1]] = TargetError(HOSTS[1], "full")
    assert run("deploy", *TO_ALL) == ExitCode.TARGET
    faults[HOSTS[2]] = UserError("a key", "is locked")
    assert run("deploy", *TO_ALL) == ExitCode.USER


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([], 0),
        ([0, 0], 0),
        ([0, 4, 3], 3),
        ([4, 0], 4),
        ([2, 3], 2),
        ([1, 2, 3], 1),
        ([1, 130], 130),
    ],
)
def test_which_code_is_the_worst(codes: list[int], code: int) -> None:
    assert worst(codes) == code


def test_a_bug_shows_where_it_is_and_stops_no_other(
    faults: dict[str, Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    faults[HOSTS[3]] = ZeroDivisionError("of ours")

    with pytest.raises(Exception, match="4 boards: 3 done, 1 failed"):
        start("deploy", *TO_ALL, "--json")

    document, messages = deployed(capsys)
    assert document["exit_code"] == ExitCode.BUG
    assert "ZeroDivisionError: of ours" in messages
    assert "Traceback" in messages


def test_a_board_that_is_named_twice_is_refused(
    faults: dict[str, Exception], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host oven\n  HostName board-2.test\n")

    assert run("deploy", *TO_ALL, "--host=oven") == ExitCode.USER

    assert "boards: one is named twice\n  oven is root@board-2.test: board-2.test\n" in (
        capsys.readouterr().err
    )


def test_a_pool_of_no_size_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("deploy", *TO_ALL, "--parallel=0") == ExitCode.USER

    assert capsys.readouterr().err.startswith("--parallel=0: expected 1 to 200\n")


def test_a_password_is_typed_once_for_all(
    faults: dict[str, Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str] = []

    def ask(name: str, variable: str) -> str:
        prompts.append(name)
        return "hunter2"

    monkeypatch.setattr("edgewright.cli.common.ask_secret", ask)

    start("deploy", *TO_ALL, "--ask-password")

    assert len(prompts) == 1


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch, release: Release) -> None:
    """Every board is this machine."""

    @contextmanager
    def connect(target: Target, **options: object) -> Iterator[Board]:
        board = LocalBoard()
        board.target = target
        yield board

    monkeypatch.setattr("edgewright.deploy.remote.connect", connect)


@pytest.mark.usefixtures("folders")
def test_a_dry_run_to_many(release: Release, capsys: pytest.CaptureFixture[str]) -> None:
    start("keys.generate")
    capsys.readouterr()

    start("deploy", *TO_ALL, "--dry-run", "--json")

    shown = capsys.readouterr()
    require_valid("deploy--many-dry-run", shown.out)
    boards = json.loads(shown.out)["boards"]
    assert {board["report"]["release"] for board in boards} == {release.id}
    assert shown.err.endswith("4 boards: 4 done\n")


@pytest.mark.usefixtures("folders")
def test_the_status_of_many(capsys: pytest.CaptureFixture[str]) -> None:
    start("status", *TO_ALL, "--json")

    shown = capsys.readouterr()
    require_valid("status--many", shown.out)
    assert [board["target"] for board in json.loads(shown.out)["boards"]] == HOSTS
    assert f"{HOSTS[0]}: no release is installed\n" in shown.err


@pytest.mark.usefixtures("folders")
def test_the_smoke_test_of_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("smoke", *TO_ALL, "--json") == ExitCode.TARGET

    shown = capsys.readouterr()
    require_valid("smoke--many", shown.out)
    messages = {board["error"]["message"] for board in json.loads(shown.out)["boards"]}
    assert messages == {f"{host}: no release is installed" for host in HOSTS}


@pytest.mark.usefixtures("folders")
def test_each_board_s_error_names_the_way_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("smoke", *TO_ALL, "--sudo", "--json") == ExitCode.TARGET

    boards = json.loads(capsys.readouterr().out)["boards"]
    assert [board["error"]["next"] for board in boards] == [
        f"edgewright deploy --board=a53-som --host={host} --sudo" for host in HOSTS
    ]


@pytest.mark.usefixtures("folders")
def test_a_rollback_of_many(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rollback(board: Board, settings: RollbackSettings, progress: Progress) -> tuple[str, str]:
        assert settings.smoke_file is None  # they would write over each other's
        if str(board.target) == HOSTS[1]:
            raise TargetError(HOSTS[1], "no previous release to go back to")
        return "new", "old"

    monkeypatch.setattr(one_board, "rollback", rollback)

    assert run("rollback", *TO_ALL, "--json") == ExitCode.TARGET

    shown = capsys.readouterr()
    require_valid("rollback--many", shown.out)
    boards = json.loads(shown.out)["boards"]
    assert [board["state"] for board in boards] == ["done", "failed", "done", "done"]
    assert boards[0]["report"] == {
        "version": 1, "target": HOSTS[0], "release": "old", "former": "new",
    }  # fmt: skip
    assert f"{HOSTS[0]}: release old is current again, in place of new\n" in shown.err


# Boards of a fleet


FLEET = """version = 1
[[sites]]
name = "lyon"
[[sites]]
name = "turin"
[[boards]]
name = "oven-1"
site = "lyon"
kind = "a53-som"
address = "root@board-0.test"
[[boards]]
name = "oven-2"
site = "lyon"
kind = "rpi2"
address = "root@board-1.test"
labels = { canary = true }
[[boards]]
name = "saw-1"
site = "turin"
kind = "a53-som"
address = "root@board-2.test"
[groups]
ovens = "site=lyon"
"""


@pytest.fixture
def fleet(tmp_path: Path) -> str:
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET)
    return f"--fleet={path}"


def test_boards_of_a_fleet_are_deployed_to_by_their_names(
    faults: dict[str, Exception], fleet: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    start("deploy", fleet, "--select=not canary", "--json")

    document, messages = deployed(capsys)
    assert [(board["name"], board["kind"]) for board in document["boards"]] == [
        ("oven-1", "a53-som"),
        ("saw-1", "a53-som"),
    ]
    assert messages.endswith("2 boards: 2 done\n")


def test_a_failure_is_told_by_the_board_s_name(
    faults: dict[str, Exception], fleet: str, capsys: pytest.CaptureFixture[str]
) -> None:
    faults[HOSTS[2]] = TargetError(HOSTS[2], "is full")

    assert run("deploy", fleet, "--select=site=turin") == ExitCode.TARGET

    assert f"saw-1: {HOSTS[2]}: is full\n" in capsys.readouterr().err


@pytest.mark.usefixtures("folders")
def test_the_way_to_a_board_of_a_fleet_is_its_name(
    fleet: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("smoke", fleet, "--select=site=turin") == ExitCode.TARGET
    assert f"next: edgewright deploy --select=name=saw-1 {fleet}\n" in capsys.readouterr().err

    def has_service(board: Board, *_: object) -> StatusReport:
        raise TargetError(str(board.target), "its service is dead", next="invoke service.status")

    monkeypatch.setattr("edgewright.cli.board._status_of", has_service)
    assert run("status", fleet, "--select=site=turin") == ExitCode.TARGET
    way = "--board=a53-som --host=root@board-2.test"
    assert f"next: edgewright service.status {way}\n" in capsys.readouterr().err


def test_a_group_of_the_fleet_and_a_selection_count_both(
    faults: dict[str, Exception], fleet: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    start("deploy", fleet, "--group=ovens", "--select=kind=rpi2", "--json")

    document, _ = deployed(capsys)
    assert [board["name"] for board in document["boards"]] == ["oven-2"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((), "--fleet: expected --select or --group besides"),
        (("--select=all", "--host=root@a"), "boards: are named by --fleet, --select or --group"),
        (("--select=all", "--board=rpi2"), "boards: are named by --fleet, --select or --group"),
        (("--select=site=lion",), "--select: column 6: no board has site=lion; did you mean"),
        (("--group=oven",), "--group=oven: no group of"),
        (("--select=site=turin", "--group=ovens"), "no board is selected"),
    ],
)
def test_a_selection_that_means_nothing_is_refused(
    options: tuple[str, ...], problem: str, fleet: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("status", fleet, *options) == ExitCode.USER

    assert problem in capsys.readouterr().err


def test_a_closed_window_keeps_a_deploy_away_unless_told_otherwise(
    faults: dict[str, Exception], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tomorrow = inventory.DAYS[(datetime.now(UTC) + timedelta(days=1)).weekday()]
    window = f'window = {{ days = ["{tomorrow}"], from = "12:00", to = "13:00" }}\n'
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET.replace('name = "turin"\n', f'name = "turin"\n{window}'))
    to_all = ("deploy", f"--fleet={path}", "--select=all")

    assert run(*to_all) == ExitCode.TARGET
    shown = capsys.readouterr()
    assert "saw-1: its maintenance window is closed\n" in shown.out
    assert "  opens: " in shown.err
    assert shown.err.endswith("3 boards: 2 done, 1 failed\n")

    start(*to_all, "--outside-window")
    assert capsys.readouterr().err.endswith("3 boards: 3 done\n")


def test_a_fleet_is_listed(fleet: str, capsys: pytest.CaptureFixture[str]) -> None:
    start("fleet.list", fleet, "--select=canary", "--json")

    shown = capsys.readouterr().out
    require_valid("fleet.list", shown)
    assert [board["name"] for board in json.loads(shown)["boards"]] == ["oven-2"]

    start("fleet.list", fleet)
    assert "canary=true" in capsys.readouterr().out


def test_a_fleet_is_checked(fleet: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start("fleet.check", fleet, "--json")
    require_valid("fleet.check", capsys.readouterr().out)
    bad = FLEET.replace('kind = "rpi2"', 'kind = "rpi-2"').replace(
        'site = "turin"', 'site = "turn"'
    )
    (tmp_path / "fleet.toml").write_text(bad)

    assert run("fleet.check", fleet, "--json") == ExitCode.USER

    shown = capsys.readouterr()
    lines = json.loads(shown.out)["error"]["message"].splitlines()
    assert lines[0].endswith("fleet.toml: 2 defects")
    assert [line.split("fleet.toml:")[1].split(";")[0] for line in lines[1:]] == [
        "14: board 'oven-2': kind 'rpi-2' is unknown",
        "19: board 'saw-1': site 'turn' is unknown",
    ]
