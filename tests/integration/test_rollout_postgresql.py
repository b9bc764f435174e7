"""The ledger on a PostgreSQL server of its own: the tests that also run on SQLite."""

import threading
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError
from edgewright.fleet.rollout import durable
from edgewright.fleet.rollout.database import Database
from edgewright.fleet.rollout.simulate import simulate
from tests.integration.test_rollout_engine import transactions_a_second
from tests.integration.test_rollout_simulated import require_agreement
from tests.ledger_machine import Open
from tests.unit.fleet.rollout.test_ledger import *  # noqa: F403


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
