"""Nights that machines share on a PostgreSQL server: the tests that also run on SQLite, and a kill.

A machine is a process with a workspace of its own; its steps take their time and build nothing.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from defusedxml import ElementTree

from edgewright.fleet.rollout.database import Database
from edgewright.nightly import history
from edgewright.nightly.report import NightReport
from tests.checkout import ROOT
from tests.integration.conftest import wait_until
from tests.unit.nightly.nights import NAMES
from tests.unit.nightly.test_ledger import *  # noqa: F403

LEASE_S = 3.0
PROGRAM = """
import sys, time
from pathlib import Path
from edgewright.fleet.rollout.database import open_database
from edgewright.nightly import night
from edgewright.nightly.ledger import NightLedger
from tests.unit.nightly.nights import Steps, nights_in
url, root, holder, lease_s = sys.argv[1:]
steps = Steps(); night.steps_of = steps.of
def work(place):
    with (Path(root) / "taken").open("a") as file:
        file.write(f"{holder} {place}\\n")
    time.sleep(0.3)
    with (Path(root) / "ended").open("a") as file:
        file.write(f"{place}\\n")
    return night.Result()
steps.work = work
ledger = NightLedger(open_database(url), time.time, float(lease_s))
report = nights_in(Path(root) / holder, holder=holder).share(ledger)
sys.exit(report.exit_code)
"""


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Processes with a workspace each, which share nothing but the database."""

    root: Path
    url: str

    def start(self, holder: str) -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "-c", PROGRAM, self.url, str(self.root), holder, str(LEASE_S)]
        return subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": str(ROOT)})

    def lines(self, name: str) -> list[str]:
        path = self.root / name
        return path.read_text().splitlines() if path.exists() else []

    def nights(self, holder: str) -> Path:
        return self.root / holder / "build" / "nightly"


@pytest.fixture
def machines(database: Database, tmp_path: Path) -> Machines:
    url = database.engine.url.render_as_string(hide_password=False)
    return Machines(root=tmp_path, url=url.replace("postgresql+psycopg:", "postgresql:"))


def test_a_machine_that_is_killed_leaves_its_cell_to_another(machines: Machines) -> None:
    killed = machines.start("killed")
    wait_until(lambda: len(machines.lines("taken")) >= 1, seconds=60)
    other = machines.start("other")
    mine = "killed a53-som/one/smoke"  # its third step; two are written down
    wait_until(lambda: mine in machines.lines("taken"), seconds=60)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert other.wait(timeout=120) == 0

    folder = machines.nights("other")
    report = NightReport.model_validate_json((folder / history.REPORT).read_text())
    assert {cell.worker for cell in report.cells} == {"other"}
    # Steps that had ended are taken by nobody again: at most the one that was cut, and one whose
    # end was not written down yet.
    places = Counter(line.split()[1] for line in machines.lines("taken"))
    again = [place for place, count in places.items() if count > 1]
    assert len(places) == 2 * 2 * len(NAMES)
    assert again == ["a53-som/one/smoke"]
    assert not machines.nights("killed").joinpath(history.REPORT).exists()

    third = machines.start("third")  # a new machine, which has the whole next night, and the last

    assert third.wait(timeout=60) == 0
    assert len(machines.lines("taken")) == len(places) + 1
    nights = history.past_nights(machines.nights("third"))
    assert [night.night == report.night for night in nights] == [True, False]
    root = ElementTree.parse(machines.nights("third") / history.JUNIT).getroot()
    assert (root.get("tests"), root.get("failures")) == (str(2 * 2 * len(NAMES)), "0")
    assert "All 4 cells are green" in (machines.nights("third") / history.INDEX).read_text()


def test_machines_at_once_take_no_step_twice(machines: Machines) -> None:
    processes = [machines.start(name) for name in ("first", "second", "third")]

    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    counts = Counter(line.split()[1] for line in machines.lines("taken"))
    assert set(counts.values()) == {1}
    texts = {(machines.nights(name) / history.REPORT).read_text() for name in ("first", "second")}
    assert len(texts) == 1
