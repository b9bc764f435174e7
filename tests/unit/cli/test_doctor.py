"""`doctor` as a user calls it, about boards whose answers a test makes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edgewright.base.errors import ExitCode
from edgewright.board.survey import Survey
from edgewright.deploy.remote import Board
from edgewright.deploy.target import Target
from edgewright.observe.board_files import BoardFiles
from edgewright.observe.doctor.facts import Health
from tests.boards import LocalBoard
from tests.schemas import require_valid
from tests.unit.cli.test_cli import run, start
from tests.unit.observe.doctor.test_doctor import SURVEY

HOT = BoardFiles(
    {
        "sys/class/thermal/thermal_zone0/type": "cpu[/thermal]",
        "sys/class/thermal/thermal_zone0/temp": "85000",
        "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive",
        "sys/class/thermal/thermal_zone0/trip_point_0_temp": "80000",
    }
)
TO_ONE = ("doctor", "--board=a53-som", "--host=root@hot.test")


@pytest.fixture(autouse=True)
def boards(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is hot, one that is full and hot, and others that are well."""

    @contextmanager
    def connect(target: Target, **options: object) -> Iterator[Board]:
        board = LocalBoard()
        board.target = target
        yield board

    def ask(board: Board, root: str) -> Health:
        survey: Survey = SURVEY
        if board.target.address == "full.test":
            survey = survey.model_copy(update={"free_mb": 1})
        is_well = board.target.address == "well.test"
        return Health(survey=survey, files=BoardFiles({}) if is_well else HOT)

    monkeypatch.setattr("edgewright.deploy.remote.connect", connect)
    monkeypatch.setattr("edgewright.observe.doctor.facts.ask", ask)


def test_what_hurts_is_shown_with_its_remedy_and_ends_with_4(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*TO_ONE) == ExitCode.CHECK

    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "a53-som at root@hot.test"
    assert " ".join(lines[2].split()) == "heat cpu[/thermal] risk 85.0 °C, slows down at 80 °C"
    assert lines[3].strip() == "it runs slower than it was measured to"
    assert any(line.startswith("not known: ") and "memory" in line for line in lines)
    assert shown.err.startswith("root@hot.test: 1 thing would hurt: heat cpu[/thermal]\n")


def test_a_board_that_is_well_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    start("doctor", "--board=a53-som", "--host=root@well.test", "--json")  # ends with no error

    shown = capsys.readouterr()
    require_valid("doctor", shown.out)
    assert json.loads(shown.out)["hurts"] == 0


def test_several_boards_are_examined_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    hosts = [f"--host=root@{name}.test" for name in ("well", "hot", "full")]

    assert run("doctor", "--board=a53-som", *hosts, "--json") == ExitCode.CHECK

    shown = capsys.readouterr()
    require_valid("doctor--many", shown.out)
    ends = json.loads(shown.out)["boards"]
    assert [end["report"]["hurts"] for end in ends] == [0, 1, 2]
    assert [end["exit_code"] for end in ends] == [0, 4, 4]
    assert [check["name"] for check in ends[2]["report"]["checks"][:2]] == [
        "space",
        "heat cpu[/thermal]",
    ]
    assert shown.err.endswith("3 boards: 1 done, 2 failed\n")
