"""The ledger on a PostgreSQL server of its own: the tests that also run on SQLite."""

import threading
from collections import Counter
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError
from edgewright.fleet.rollout import durable
from edgewright.fleet.rollout.controller import Controller
from edgewright.fleet.rollout.database import Database
from edgewright.fleet.rollout.simulate import simulate
from tests.integration.conftest import wait_until
from tests.integration.test_rollout_engine import transactions_a_second
from tests.integration.test_rollout_simulated import require_agreement
from tests.ledger_machine import Open
from tests.postgresql import Server
from tests.unit.fleet.rollout.test_controller import Fakes, begin
from tests.unit.fleet.rollout.test_ledger import *  # noqa: F403
from tests.unit.fleet.rollout.test_shadow import (  # noqa: F401
    test_a_candidate_with_other_answers_is_stopped_and_no_board_was_switched,
    test_each_wave_runs_beside_and_is_judged_before_it_is_switched,
)


def test_a_rollout_on_postgresql_survives_its_controllers(opener: Open, tmp_path: Path) -> None:
    url = opener().engine.url.render_as_string(hide_password=False)
    report = simulate(
        tmp_path, boards=100, kills=2, plan_waves="100%", silent_s=60,
        ledger_place=url.replace("postgresql+psycopg:", "postgresql:"),
    )  # fmt: skip

    require_agreement(report)
    assert (report.database, report.kills) == ("postgresql", 2)


@pytest.mark.nightly
def test_a_controller_that_waits_begins_at_most_five_transactions_a_second(
    database: Database,
) -> None:
    rate = transactions_a_second(database)

    print(f"{rate:g} transactions a second")
    assert 0 < rate <= 5


def test_a_rollout_whose_database_goes_away_goes_on_once_it_is_back(
    postgresql: Server, database: Database
) -> None:
    boards, faults = Fakes(count=6), list[TargetError]()
    ledger = begin(database, boards, waves="100%", gates="failures<=0", soak_s=3)

    def conduct() -> str:
        controller = Controller(ledger, "bread", boards, tick_s=0.1)
        return durable.run(database, "bread", controller.conduct, on_interrupt=controller.leave)

    def conduct_until_it_fails() -> None:
        try:
            conduct()
        except TargetError as fault:
            faults.append(fault)

    thread = threading.Thread(target=conduct_until_it_fails)
    thread.start()
    wait_until(lambda: ledger.rollout("bread").phase == "wave 1 soaks")
    postgresql.stop()
    thread.join(60)
    postgresql.start()

    (fault,) = faults
    assert "the ledger does not answer" in str(fault)
    assert "next: edgewright rollout.resume --name=bread, once it does" in str(fault)
    assert conduct() == "done"
    assert boards.fence == Counter(boards.current.keys())  # no board was deployed to twice
    assert {*boards.current.values()} == {"new"}


def test_a_rollout_in_a_database_without_an_encoding_is_told_as_it_was_written(
    postgresql: Server,
) -> None:
    """SQL_ASCII, which a server in the locale C gives its databases: the driver reads bytes."""
    database = postgresql.new_database("ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    boards = Fakes(count=2)
    ledger = begin(database, boards, waves="100%", gates="failures<=0")
    ledger.wish("bread", "pause", "Zoë of Łódź")
    ledger.wish("bread", "run", "Zoë of Łódź")
    controller = Controller(ledger, "bread", boards, tick_s=0.1)

    assert durable.run(database, "bread", controller.conduct) == "done"

    assert "by Zoë of Łódź" in {event.text for event in ledger.events("bread")}
    assert {*boards.current.values()} == {"new"}
    database.engine.dispose()


LOCKS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"


def test_work_whose_lock_is_lost_leaves_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router ends a connection that is silent; the server gives its lock to the next one."""
    monkeypatch.setattr(durable, "LOCK_SECONDS", 0.1)
    left, lost = threading.Event(), threading.Event()

    def wait() -> str:
        with database.engine.connect() as connection:
            connection.exec_driver_sql(f"SELECT pg_terminate_backend(pid) FROM ({LOCKS}) AS held")
        lost.set()
        assert left.wait(20)
        raise TargetError("rollout", "left")

    with pytest.raises(TargetError, match="the ledger does not answer"):
        durable.run(database, "bread", lambda step: str(step("a", wait)), on_interrupt=left.set)

    assert lost.is_set()
    with database.only_one("bread"):  # free for the next process
        pass
