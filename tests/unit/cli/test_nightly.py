"""`nightly` at the command line: what is printed, and how it ends."""

import errno
import json
import os
from pathlib import Path

import pytest

from edgewright.base.errors import CheckError
from edgewright.nightly import records
from edgewright.nightly.records import StepRecord
from edgewright.nightly.report import Figures
from edgewright.nightly.settings import Cell
from edgewright.nightly.steps import Result, Step
from tests.schemas import require_valid
from tests.unit.cli.test_program import run
from tests.unit.nightly.nights import Steps, workspace_in

Shown = pytest.CaptureFixture[str]


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Steps:
    """In place of a build's, in a workspace with a night of four cells."""
    root = workspace_in(tmp_path / "workspace").root
    (root / "nightly.toml").write_text('boards = ["a53-som", "rpi2"]\nmodels = ["one", "two"]\n')
    (root / "below").mkdir()
    monkeypatch.chdir(root / "below")
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    steps = Steps()
    monkeypatch.setattr("edgewright.nightly.night.steps_of", steps.of)
    return steps


def grown(place: str) -> Result:
    figures = Figures(inference=687_000_000)
    fault = CheckError("board 'rpi2'", "costs more", next="invoke bench.accept --board=rpi2")
    return Result(figures=figures, fault=fault if place == "rpi2/one/cost" else None)


def test_a_green_night_ends_with_0_and_names_its_page(steps: Steps, capsys: Shown) -> None:
    assert run("nightly") == 0

    shown = capsys.readouterr()
    assert [line.split()[:2] for line in shown.out.splitlines()[1:]] == [
        ["a53-som", "one"],
        ["a53-som", "two"],
        ["rpi2", "one"],
        ["rpi2", "two"],
    ]
    assert "build/nightly/index.html shows it" in shown.err.replace("\n", "")
    assert "all 4 cells are green" in shown.err


def test_a_regression_ends_with_4_and_says_which(steps: Steps, capsys: Shown) -> None:
    steps.work = grown
    assert run("nightly") == 4

    shown = capsys.readouterr()
    assert "rpi2, one: cost: board 'rpi2': costs more\nnext: edgewright bench.accept" in shown.err
    assert "1 of 4 cells failed" in shown.err
    assert "cost failed" in shown.out
    assert "687.0" in shown.out


def test_the_document_is_there_for_a_night_that_failed_too(steps: Steps, capsys: Shown) -> None:
    steps.work = grown
    assert run("nightly", "--json", "--boards=rpi2") == 4

    text = capsys.readouterr().out
    require_valid("nightly", text)
    report = json.loads(text)
    assert [(cell["board"], cell["exit_code"]) for cell in report["cells"]] == [
        ("rpi2", 4),
        ("rpi2", 0),
    ]


def test_a_night_is_resumed_with_its_own_cells(steps: Steps, capsys: Shown) -> None:
    def interrupted(place: str) -> Result:
        if steps.runs.total() == 6:
            raise KeyboardInterrupt
        return Result()

    steps.work = interrupted
    assert run("nightly", "--models=two") == 130
    assert "next: edgewright nightly --resume" in capsys.readouterr().err
    steps.work = lambda _: Result()
    assert run("nightly", "--resume", "--json") == 0

    cells = json.loads(capsys.readouterr().out)["cells"]
    assert [(cell["board"], cell["model"]) for cell in cells] == [
        ("a53-som", "two"),
        ("rpi2", "two"),
    ]
    assert steps.runs.total() == 2 * 4 + 1
    assert run("nightly", "--resume") == 2
    assert "no night was interrupted" in capsys.readouterr().err


def test_a_full_disk_ends_the_night_and_it_goes_on_later(
    steps: Steps, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = records.write_step

    def full(folder: Path, cell: Cell, step: Step, record: StepRecord) -> None:
        if steps.runs.total() == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        write(folder, cell, step, record)

    with monkeypatch.context() as patch:
        patch.setattr(records, "write_step", full)
        assert run("nightly") == 2
    assert "no space left on device" in capsys.readouterr().err
    assert run("nightly", "--resume") == 0
    assert steps.runs.total() == 16 + 1


def test_a_part_and_a_night_to_go_on_with_are_not_named_together(
    steps: Steps, capsys: Shown
) -> None:
    assert run("nightly", "--resume", "--boards=rpi2") == 2
    assert "--resume: goes on with the boards and models" in capsys.readouterr().err
    assert run("nightly", "--boards=rpi3") == 2
    assert "not in nightly.toml; did you mean 'rpi2'" in capsys.readouterr().err


def test_machines_share_a_night_by_a_ledger(
    steps: Steps, tmp_path: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workspaces, each of which has the whole night."""
    ledger = f"--ledger={tmp_path / 'nights.sqlite'}"
    assert run("nightly", ledger) == 0
    other = workspace_in(tmp_path / "other").root
    (other / "nightly.toml").write_text('boards = ["a53-som", "rpi2"]\nmodels = ["one", "two"]\n')
    monkeypatch.chdir(other)
    capsys.readouterr()
    assert run("nightly", "--json", ledger) == 0

    report = json.loads(capsys.readouterr().out)
    assert {step["from_record"] for cell in report["cells"] for step in cell["steps"]} == {True}
    assert steps.runs.total() == 16
    assert len([*(other / "build" / "nightly" / "nights").glob("*.json")]) == 2
    assert run("nightly", "--resume", ledger) == 2
    assert "no night of the ledger was interrupted" in capsys.readouterr().err


def test_a_ledger_that_is_none_is_refused(steps: Steps, capsys: Shown) -> None:
    assert run("nightly", "--ledger=mysql://host/nights") == 2
    assert "--ledger: expected a file, or postgresql://" in capsys.readouterr().err
    assert run("nightly", "--ledger=postgresql://nobody@127.0.0.1:9/nights") == 2
    assert "the ledger cannot be opened" in capsys.readouterr().err
