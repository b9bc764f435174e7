"""Nights that machines share. Each test also runs on PostgreSQL: test_nightly_postgresql.py.

The fixtures `database` and `opener` tell which.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis.stateful import run_state_machine_as_test

from edgewright.base.errors import CheckError, InterruptedWorkError, TargetError, UserError
from edgewright.fleet.rollout.database import Database
from edgewright.fleet.rollout.tables import NIGHT_CELLS, NIGHT_LOGS, NIGHT_STEPS, NIGHTS
from edgewright.nightly import history, many_machines, night
from edgewright.nightly.ledger import NightLedger
from edgewright.nightly.report import NightReport, cell_report
from edgewright.nightly.settings import Publishing
from edgewright.nightly.steps import Result
from tests.ledger_machine import Open
from tests.night_machine import LEASE_S, TERMS, NightMachine
from tests.unit.nightly.nights import NAMES, Nights, Notes, Steps, nights_in

WORKS = 2 * 2 * len(NAMES)


class Clock:
    def __init__(self) -> None:
        self.moment = 1_800_000_000.0

    def __call__(self) -> float:
        return self.moment


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(database: Database, clock: Clock) -> NightLedger:
    return NightLedger(database, clock, LEASE_S)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    steps = Steps()
    monkeypatch.setattr("edgewright.nightly.night.steps_of", steps.of)
    return steps


@pytest.fixture
def first(tmp_path: Path) -> Nights:
    return nights_in(tmp_path / "first", holder="first")


@pytest.fixture
def second(tmp_path: Path) -> Nights:
    return nights_in(tmp_path / "second", holder="second")


def test_whatever_happens_a_cell_is_one_machine_s(opener: Open) -> None:
    class Machine(NightMachine):
        open = staticmethod(opener)

    run_state_machine_as_test(
        Machine,
        settings=hypothesis.settings(max_examples=15, stateful_step_count=25, deadline=None),
    )


def test_machines_that_begin_at_once_have_one_night(ledger: NightLedger) -> None:
    with ThreadPoolExecutor(4) as pool:
        nights = [*pool.map(lambda _: ledger.join_or_begin(TERMS).name, range(4))]

    assert len(set(nights)) == 1


def test_one_that_wants_a_cell_at_once_with_others_has_it_alone(ledger: NightLedger) -> None:
    name = ledger.join_or_begin(TERMS).name
    with ThreadPoolExecutor(4) as pool:
        claims = [*pool.map(lambda worker: ledger.claim(name, str(worker), ""), range(6))]

    cells = [(claim.board, claim.model) for claim in claims if claim]
    assert (len(cells), len(set(cells))) == (4, 4)


def test_a_machine_stays_with_its_board_and_another_takes_the_next_one(
    ledger: NightLedger,
) -> None:
    name = ledger.join_or_begin(TERMS).name
    claims = [ledger.claim(name, "first", ""), ledger.claim(name, "second", "")]
    claims += [ledger.claim(name, "first", "a53-som"), ledger.claim(name, "second", "rpi2")]

    assert [claim and f"{claim.board} {claim.model}" for claim in claims] == [
        "a53-som one",
        "rpi2 one",
        "a53-som two",
        "rpi2 two",
    ]


def test_machines_share_a_night_and_each_has_all_of_it(
    steps: Steps, first: Nights, second: Nights, ledger: NightLedger
) -> None:
    joined = [
        many_machines.join(nights.request, nights.cells, ledger, nights.notes)
        for nights in (first, second)
    ]
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(night.run, nights.request, work, nights.notes)
            for nights, work in zip((first, second), joined, strict=True)
        ]
        reports = [run.result() for run in runs]

    assert set(steps.runs.values()) == {1}
    assert steps.runs.total() == WORKS
    assert reports[0] == reports[1]
    for nights in (first, second):
        folder = nights.request.folder
        assert NightReport.model_validate_json((folder / history.REPORT).read_text()) == reports[0]
        assert f"by {reports[0].cells[0].worker}" in (folder / history.INDEX).read_text()
        junit = (folder / history.JUNIT).read_text()
        assert junit.count("<testcase") == WORKS
        assert f'hostname="{reports[0].cells[0].worker}"' in junit


def test_what_one_machine_did_another_does_not_again(
    steps: Steps, first: Nights, second: Nights, ledger: NightLedger
) -> None:
    before = first.share(ledger)
    after = second.share(ledger)

    assert steps.runs.total() == WORKS
    assert {step.from_record for cell in after.cells for step in cell.steps} == {True}
    assert [cell.figures for cell in after.cells] == [cell.figures for cell in before.cells]
    assert [past.night for past in history.past_nights(second.request.folder)] == [
        before.night,
        after.night,
    ]


def test_one_that_is_interrupted_leaves_its_cell_to_the_others(
    steps: Steps, first: Nights, second: Nights, ledger: NightLedger
) -> None:
    def interrupt(place: str) -> Result:
        if place == "a53-som/one/smoke":
            raise KeyboardInterrupt
        return Result()

    steps.work = interrupt
    with pytest.raises(InterruptedWorkError, match="interrupted after 0 of 4 cells") as ended:
        first.share(ledger)
    steps.work = lambda _: Result()
    report = second.share(ledger)

    assert ended.value.next == "the same command; other machines go on meanwhile"
    assert report.exit_code == 0
    assert steps.runs.total() == WORKS + 1
    assert {cell.worker for cell in report.cells} == {"second"}


def test_one_whose_cell_another_took_over_stops_there(
    steps: Steps, first: Nights, ledger: NightLedger, clock: Clock
) -> None:
    """It was suspended, say; what it would report is another machine's to report."""

    def oversleep(place: str) -> Result:
        if place == "a53-som/one/sign":
            clock.moment += LEASE_S
            other = ledger.claim(ledger.require_unfinished().name, "other", "a53-som")
            assert other is not None
            report = first_report.model_copy(update={"board": other.board, "model": other.model})
            assert ledger.finish(other, report, [])
        return Result()

    first_report = first.run().cells[0].model_copy(update={"worker": "other"})
    steps.runs.clear()
    steps.work = oversleep
    report = first.share(ledger)

    assert [cell.worker for cell in report.cells] == ["other", "first", "first", "first"]
    assert "a53-som/one/smoke" not in steps.runs
    assert "a53-som, one: another machine has taken it over" in first.notes.lines


def test_it_waits_for_the_cells_of_others_and_says_so(
    steps: Steps, first: Nights, ledger: NightLedger
) -> None:
    terms = many_machines.terms_of(first.request, first.cells)
    claim = ledger.claim(ledger.join_or_begin(terms).name, "other", "rpi2")
    assert claim is not None
    ended = cell_report(claim.board, claim.model, [])

    class Finishing(Notes):
        def note(self, text: str) -> None:
            super().note(text)
            if claim and text.startswith("waits for"):
                assert ledger.finish(claim, ended, [])

    waiting = replace(first, notes=Finishing())
    report = waiting.share(ledger)

    assert [line for line in waiting.notes.lines if "waits" in line] == [
        "waits for cells of other (1)"
    ]
    assert ended in report.cells
    assert steps.runs.total() == WORKS - len(NAMES)


def test_a_log_of_another_machine_is_there(
    steps: Steps,
    first: Nights,
    second: Nights,
    ledger: NightLedger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And nothing that somebody wrote into the ledger leads out of the night's folder."""

    def refuse(place: str) -> Result:
        return Result(fault=CheckError(place, "no") if place.startswith("rpi2/two/cost") else None)

    steps.work = refuse
    log = history.log_name("NIGHT", "rpi2", "two", "cost.log")

    def logged(_step: object, _at: object, begun: object) -> tuple[str, ...]:
        name = log.replace("NIGHT", begun.night)  # type: ignore[attr-defined]
        (first.request.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (first.request.folder / name).write_text("what was said\n")
        return (name,)

    monkeypatch.setattr("edgewright.nightly.night._copied_logs", logged)
    waiting = many_machines.join(second.request, second.cells, ledger, second.notes)
    report = first.share(ledger)
    with ledger.database.engine.begin() as connection:
        for place in ({"name": "../../../evil.log"}, {"name": "x.log", "board": "../../../evil"}):
            row = {
                "night": report.night,
                "board": "rpi2",
                "model": "two",
                "content": b"evil",
                **place,
            }
            connection.execute(NIGHT_LOGS.insert().values(**row))
    assert waiting.end(lambda _: report) == report

    assert report.exit_code == 4
    written = [*second.request.workspace.root.rglob("*.log")]
    assert [path.read_text() for path in written] == ["what was said\n"]
    assert written[0] == second.request.folder / log.replace("NIGHT", report.night)
    assert not [*second.request.workspace.root.parent.rglob("evil*")]


def test_other_machines_with_something_else_are_refused_by_what_differs(
    first: Nights, ledger: NightLedger
) -> None:
    terms = many_machines.terms_of(first.request, first.cells)
    ledger.join_or_begin(terms.model_copy(update={"revision": "0" * 40, "models": ("one",)}))
    with pytest.raises(UserError) as refused:
        first.share(ledger)

    assert str(refused.value).splitlines()[1:] == [
        "  models: there ('one',), here ('one', 'two')",
        f"  revision: there {'0' * 40}, here {terms.revision}",
        "next: the same commit, edgewright and options here, or wait until it is over",
    ]


def test_a_night_that_all_have_left_is_over_or_gone_on_with(
    steps: Steps, first: Nights, ledger: NightLedger, clock: Clock
) -> None:
    steps.work = lambda place: Result(
        fault=CheckError(place, "no") if place == "a53-som/one/cost" else None
    )
    left = ledger.join_or_begin(many_machines.terms_of(first.request, first.cells))
    claim = ledger.claim(left.name, "gone", "")
    clock.moment += 2 * LEASE_S + 1

    assert ledger.require_unfinished() == left
    other = ledger.join_or_begin(left.terms)
    assert other.name != left.name
    assert claim is not None
    assert not ledger.renew(claim)
    clock.moment += 2 * LEASE_S + 1
    report = first.share(ledger, resume=True)
    assert (report.night, report.exit_code) == (other.name, 4)
    with pytest.raises(UserError, match="no night of the ledger was interrupted"):
        ledger.require_unfinished()
    with pytest.raises(UserError, match=f"night {left.name}: is over"):
        ledger.end(report.model_copy(update={"night": left.name}), nights=30)


def test_the_report_of_who_ended_it_first_is_all_machines(
    steps: Steps, first: Nights, second: Nights, ledger: NightLedger
) -> None:
    late = many_machines.join(second.request, second.cells, ledger, second.notes)
    report = first.share(ledger)

    other = report.model_copy(update={"exit_code": 3})
    assert late.end(lambda _: other) == report


def test_older_nights_leave_the_ledger(
    tmp_path: Path, steps: Steps, ledger: NightLedger, clock: Clock
) -> None:
    nights = nights_in(tmp_path / "workspace", boards=("a53-som",), nights=2)
    names = []
    for _ in range(3):
        names.append(nights.share(ledger).night)
        clock.moment += 60

    assert [past.night for past in ledger.past(9)] == [names[2], names[1]]
    with ledger.database.engine.begin() as connection:
        cells = connection.scalar(sa.select(sa.func.count()).select_from(NIGHT_CELLS))
    assert cells == 2 * 2


def test_what_somebody_damaged_in_the_ledger_is_done_again(
    steps: Steps, first: Nights, ledger: NightLedger
) -> None:
    first.share(ledger)
    with ledger.database.engine.begin() as connection:
        connection.execute(NIGHT_STEPS.update().values(record='{"night": 1}'))
        connection.execute(NIGHTS.update().values(report="[]"))

    assert first.share(ledger).exit_code == 0
    assert set(steps.runs.values()) == {2}
    assert len(ledger.past(9)) == 1


def test_a_ledger_that_does_not_answer_ends_the_night_here(
    steps: Steps, first: Nights, ledger: NightLedger
) -> None:
    def drop(_place: str) -> Result:
        with ledger.database.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE night_steps")
        return Result()

    steps.work = drop
    with pytest.raises(TargetError) as ended:
        first.share(ledger)

    assert str(ended.value).splitlines()[0] == "nightly: the ledger does not answer"
    assert ended.value.next == "the same command, once it does"


def test_a_store_that_other_machines_lack_is_refused(first: Nights, ledger: NightLedger) -> None:
    chosen = first.request.settings.model_copy(update={"publish": Publishing(store="store")})
    request = replace(first.request, settings=chosen)
    with pytest.raises(UserError, match="is a folder of this workspace"):
        many_machines.join(request, first.cells, ledger, first.notes)
