"""A night and its records: what is done again, what is not, and what one failure stops."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from edgewright.base.errors import CheckError, InterruptedWorkError, UserError
from edgewright.base.files import locked
from edgewright.nightly import history, records
from edgewright.nightly.report import CellReport, Figures
from edgewright.nightly.steps import Result
from tests.unit.nightly.nights import NAMES, Nights, Steps, Work, nights_in

WORKS = 2 * 2 * len(NAMES)  # of two boards and two models


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """In place of a build's."""
    steps = Steps()
    monkeypatch.setattr("edgewright.nightly.night.steps_of", steps.of)
    return steps


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return nights_in(tmp_path / "workspace")


def outcomes(cell: CellReport) -> dict[str, str]:
    return {step.step: step.outcome for step in cell.steps}


def refuse(*places: str) -> Work:
    """Work that ends with a verdict at these places."""

    def work(place: str) -> Result:
        if place in places:
            figures = Figures(inference=103)
            return Result(figures=figures, fault=CheckError(place, "costs more", next="mend it"))
        return Result(figures=Figures(inference=100))

    return work


def interrupt_after(count: int, steps: Steps) -> Work:
    """Work that Ctrl-C ends once so many steps were taken."""

    def work(place: str) -> Result:
        if steps.runs.total() > count:
            raise KeyboardInterrupt
        return Result()

    return work


def test_what_is_unchanged_is_taken_from_its_record(steps: Steps, nights: Nights) -> None:
    first = nights.run("2026-01-01")
    second = nights.run("2026-01-02")

    assert steps.runs.total() == WORKS
    assert [step.from_record for cell in first.cells for step in cell.steps] == [False] * WORKS
    assert [step.from_record for cell in second.cells for step in cell.steps] == [True] * WORKS
    assert [cell.figures for cell in second.cells] == [cell.figures for cell in first.cells]
    assert second.exit_code == 0


def test_other_inputs_are_worked_on_again(steps: Steps, nights: Nights) -> None:
    nights.run("2026-01-01")
    steps.inputs = "changed"
    nights.run("2026-01-02")

    assert set(steps.runs.values()) == {2}


def test_one_failure_stops_no_other_cell(steps: Steps, nights: Nights) -> None:
    steps.work = refuse("a53-som/two/sign")
    report = nights.run()

    bad = next(cell for cell in report.cells if cell.exit_code)
    assert (bad.board, bad.model, report.exit_code) == ("a53-som", "two", 4)
    assert outcomes(bad) == {
        "accuracy": "passed",
        "sign": "failed",
        "smoke": "skipped",
        "cost": "passed",
    }
    assert all(set(outcomes(cell).values()) == {"passed"} for cell in report.cells if cell != bad)
    failed = bad.steps[1]
    assert (failed.problem, failed.next) == ("a53-som/two/sign: costs more", "mend it")


def test_a_regression_is_in_the_figures(steps: Steps, nights: Nights) -> None:
    steps.work = refuse("rpi2/one/cost")

    grown = next(cell for cell in nights.run().cells if cell.exit_code)

    assert grown.figures.inference == 103


def test_the_next_night_tries_again_what_failed(steps: Steps, nights: Nights) -> None:
    steps.work = refuse("rpi2/one/cost")
    nights.run("2026-01-01")
    steps.work = refuse()

    assert nights.run("2026-01-02").exit_code == 0
    assert steps.runs.total() == WORKS + 1


def test_a_night_that_goes_on_keeps_what_failed_in_it(steps: Steps, nights: Nights) -> None:
    refused = refuse("a53-som/one/accuracy")
    interrupted = interrupt_after(6, steps)

    def work(place: str) -> Result:
        interrupted(place)
        return refused(place)

    steps.work = work
    with pytest.raises(InterruptedWorkError, match="interrupted after 1 of 4 cells") as ended:
        nights.run()
    steps.work = refuse()
    report = nights.resume(records.require_begun(nights.request.folder))

    assert ended.value.next == "invoke nightly --resume"
    assert report.exit_code == 4
    assert report.night == "2026-01-01"
    assert steps.runs["a53-som/one/accuracy"] == 1


@given(st.lists(st.integers(0, WORKS), max_size=6))
@hypothesis_settings(max_examples=10, deadline=None)
def test_however_often_it_is_interrupted_nothing_is_done_twice(cuts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        steps, nights, ended = Steps(), nights_in(Path(folder)), 0
        patch.setattr("edgewright.nightly.night.steps_of", steps.of)
        patch.setattr("edgewright.nightly.page.render", lambda _: "")
        for cut in cuts:
            steps.work = interrupt_after(steps.runs.total() + cut, steps)
            try:
                nights.run()
            except InterruptedWorkError:
                ended += 1
        steps.work = lambda _: Result()
        report = nights.run()

    assert steps.runs.total() == WORKS + ended  # the step that was at work, each time
    assert report.exit_code == 0


def test_a_bug_in_one_cell_is_told_with_its_traceback(steps: Steps, nights: Nights) -> None:
    def work(place: str) -> Result:
        if place == "rpi2/two/cost":
            raise ZeroDivisionError("division by zero")
        return Result()

    steps.work = work
    report = nights.run()

    step = next(step for cell in report.cells for step in cell.steps if step.outcome == "failed")
    assert (report.exit_code, step.exit_code) == (1, 1)
    assert "ZeroDivisionError: division by zero\nTraceback" in str(step.problem)


def test_a_night_beside_another_one_is_refused_by_name(steps: Steps, nights: Nights) -> None:
    steps.work = interrupt_after(3, steps)
    with pytest.raises(InterruptedWorkError):
        nights.run("2026-01-01")
    with locked(nights.request.folder / ".lock"), pytest.raises(UserError) as refused:
        nights.run("2026-01-02")

    assert str(refused.value).splitlines() == [
        "night 2026-01-01: another night is at work in this workspace",
        f"  lock: {nights.request.folder / '.lock'}",
        "next: wait for it",
    ]


def test_nothing_to_go_on_with_is_told(nights: Nights) -> None:
    with pytest.raises(UserError, match="no night was interrupted"):
        records.require_begun(nights.request.folder)


def test_a_damaged_record_is_no_record(steps: Steps, nights: Nights) -> None:
    nights.run("2026-01-01")
    for path in (nights.request.folder / "records").rglob("*.json"):
        path.write_text(path.read_text()[:40])

    assert nights.run("2026-01-02").exit_code == 0
    assert set(steps.runs.values()) == {2}


def test_older_nights_go_with_their_logs(tmp_path: Path, steps: Steps) -> None:
    nights = nights_in(tmp_path / "workspace", boards=("a53-som",), nights=2)
    folder = nights.request.folder
    logs = folder / history.NIGHTS / "2026-01-01" / "a53-som"
    logs.mkdir(parents=True)
    never_ended = folder / history.NIGHTS / "2025-12-31" / "a53-som"
    never_ended.mkdir(parents=True)
    for day in (1, 2, 3):
        nights.run(f"2026-01-0{day}")

    assert [night.night for night in history.past_nights(folder)] == ["2026-01-02", "2026-01-03"]
    assert not logs.exists()
    assert not never_ended.exists()


def test_a_killed_night_is_gone_on_with(tmp_path: Path) -> None:
    """SIGKILL leaves no word; the records and the name of the night are on disk."""
    program = (
        "import os, sys; from pathlib import Path\n"
        "from edgewright.nightly import night\n"
        "from tests.unit.nightly.nights import Steps, nights_in\n"
        "steps = Steps(); night.steps_of = steps.of\n"
        "def work(place):\n"
        "    if steps.runs.total() == 7: os.kill(os.getpid(), 9)\n"
        "    return night.Result()\n"
        "steps.work = work\n"
        "nights_in(Path(sys.argv[1])).run()\n"
    )
    folder = tmp_path / "workspace"
    killed = subprocess.run([sys.executable, "-c", program, str(folder)], check=False)
    assert killed.returncode == -9
    begun = records.require_begun(folder / "build" / "nightly")
    taken = [*(folder / "build" / "nightly" / "records").rglob("*.json")]

    assert (begun.night, len(taken)) == ("2026-01-01", 6)


def test_a_clock_that_was_ahead_hides_no_night(tmp_path: Path, steps: Steps) -> None:
    """Nights are named by when they began: the last one is what ran last."""
    nights = nights_in(tmp_path / "workspace", boards=("a53-som",), nights=2)
    folder = nights.request.folder
    for night in ("2035-01-01", "2035-01-02", "2026-01-01"):
        nights.run(night)

    assert [night.night for night in history.past_nights(folder)] == ["2026-01-01", "2035-01-02"]
    assert "<h1>Night 2026-01-01</h1>" in (folder / history.INDEX).read_text()
