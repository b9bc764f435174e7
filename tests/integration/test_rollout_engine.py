"""Durable work in processes of its own: killed, run twice at once, with a database of strangers."""

import contextlib
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgewright.base.errors import InterruptedWorkError, TargetError, UserError
from edgewright.deploy.install import NextFence
from edgewright.fleet.bench import servers
from edgewright.fleet.rollout import durable
from edgewright.fleet.rollout.controller import Controller
from edgewright.fleet.rollout.database import Database, open_database
from edgewright.fleet.rollout.gates import Measured
from edgewright.fleet.rollout.ledger import Claim
from tests.checkout import ROOT
from tests.integration.conftest import wait_until
from tests.unit.fleet.rollout.test_controller import Fakes, begin

# Appends a line for each step to a file; waits or dies in the step that is named.
WORK = """
import os, signal, sys, time
from edgewright.fleet.rollout import durable
from edgewright.fleet.rollout.database import open_database

place, log, dies_in = sys.argv[1:]
durable.QUEUE_SECONDS = 600.0  # work of a dead process does not wait for it

def note(name):
    with open(log, "a") as file:
        file.write(name + "\\n")
    if name == dies_in:
        os.kill(os.getpid(), signal.SIGKILL)
    return name.upper()

def work(step):
    return "".join(step(name, lambda name=name: note(name)) for name in "abc")

if __name__ == "__main__":
    print(durable.run(open_database(place), "bread", work))
"""


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.sqlite")


def process(place: str, log: Path, dies_in: str = "") -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", WORK, place, str(log), dies_in]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_killed_process_is_followed_from_its_last_step(place: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for dies_in in ("b", "c"):
        assert process(place, log, dies_in).wait(60) == -signal.SIGKILL
    last = process(place, log)

    assert last.communicate(timeout=60)[0] == "ABC\n"
    assert log.read_text().split() == ["a", "b", "b", "c", "c"]
    again = process(place, log)
    assert again.communicate()[0] == "ABC\n"
    assert log.read_text().split() == ["a", "b", "b", "c", "c"]


def test_work_is_never_given_up_for_its_many_recoveries(place: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert process(place, log, "b").wait() == -signal.SIGKILL
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE workflow_status SET recovery_attempts = 500")

    assert process(place, log).communicate()[0] == "ABC\n"


def test_a_second_process_for_the_same_work_is_refused(place: str) -> None:
    database, begun, ends = open_database(place), threading.Event(), threading.Event()

    def work(step: durable.Steps) -> str:
        begun.set()
        ends.wait(20)
        return "end"

    results: list[str] = []
    first = threading.Thread(target=lambda: results.append(durable.run(database, "bread", work)))
    first.start()
    assert begun.wait(20)
    with pytest.raises(UserError, match="another process is at work on it"):
        durable.run(open_database(place), "bread", work)
    ends.set()
    first.join()

    assert results == ["end"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (OSError("no space left"), "no space left"),
        (
            sa.exc.OperationalError("UPDATE", None, Exception("database or disk is full")),
            "rollout 'bread': the ledger does not answer\n  database or disk is full",
        ),
    ],
    ids=["a fault of the step", "a ledger that is full"],
)
def test_what_a_step_raises_is_raised_and_the_work_goes_on_the_next_time(
    fault: Exception, words: str, place: str
) -> None:
    faults = [fault]

    def fragile() -> str:
        if faults:
            raise faults.pop()
        return "fine"

    def work(step: durable.Steps) -> str:
        return str(step("fragile", fragile))

    database = open_database(place)
    with pytest.raises((OSError, TargetError), match=words):
        durable.run(database, "bread", work)
    assert durable.run(database, "bread", work) == "fine"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    servers.require_root()
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "disk", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.nightly
def test_a_rollout_whose_controller_s_disk_is_full_goes_on_once_there_is_room(
    small_disk: Path,
) -> None:
    boards, filler = Fakes(count=6), small_disk / "filler"
    install, calls = boards.install, itertools.count(1)

    def fill_at_the_third(claim: Claim, next_fence: NextFence) -> Measured:
        if next(calls) == 3:
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        return install(claim, next_fence)

    boards.install = fill_at_the_third  # type: ignore[method-assign]
    database = open_database(str(small_disk / "ledger.sqlite"))
    ledger = begin(database, boards, waves="100%", gates="failures<=0", parallel=1)

    def conduct() -> str:
        controller = Controller(ledger, "bread", boards, tick_s=0.1)
        return durable.run(database, "bread", controller.conduct, on_interrupt=controller.leave)

    with pytest.raises(TargetError, match="the ledger does not answer") as full:
        conduct()
    filler.unlink()

    assert "database or disk is full" in str(full.value)
    assert conduct() == "done"
    assert {*boards.current.values()} == {"new"}
    assert len(boards.current) == 6


def test_the_database_holds_json_of_one_version_in_wal_mode(place: str) -> None:
    database = open_database(place)
    durable.run(database, "bread", lambda step: str(step("one", lambda: "x")))

    with sqlite3.connect(place) as connection:
        rows = connection.execute("SELECT output, serialization FROM operation_outputs").fetchall()
        assert [(json.loads(output), kind) for output, kind in rows] == [("x", "json")]
        versions = connection.execute("SELECT application_version FROM workflow_status").fetchall()
        assert versions == [(durable.VERSION,)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def transactions_a_second(database: Database) -> float:
    """Of a controller whose wave soaks: its own and the engine's."""
    count = Counter[str]()
    for engine in {database.engine, database.steps}:  # of PostgreSQL they are one
        sa.event.listen(engine, "begin", lambda _: count.update(["begun"]))
    boards = Fakes(count=2)
    ledger = begin(database, boards, waves="100%", gates="failures<=0", soak_s=600)
    controller = Controller(ledger, "bread", boards)

    def conduct() -> None:
        with contextlib.suppress(InterruptedWorkError):
            durable.run(database, "bread", controller.conduct)

    thread = threading.Thread(target=conduct)
    thread.start()
    wait_until(lambda: ledger.rollout("bread").phase == "wave 1 soaks")
    time.sleep(65)  # in its first minute the engine looks for schedules each second
    before, began = count["begun"], time.monotonic()
    time.sleep(10)
    rate = (count["begun"] - before) / (time.monotonic() - began)
    controller.leave()
    thread.join(30)
    return rate


@pytest.mark.nightly
def test_a_controller_that_waits_begins_at_most_five_transactions_a_second(place: str) -> None:
    rate = transactions_a_second(open_database(place))

    print(f"{rate:g} transactions a second")
    assert 0 < rate <= 5
