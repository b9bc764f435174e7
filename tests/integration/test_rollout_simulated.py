"""Rollouts whose controllers are killed, over simulated boards that hold the truth."""

from pathlib import Path

import pytest

from edgewright.fleet.documents import SimulationReport
from edgewright.fleet.rollout.simulate import simulate


def require_agreement(report: SimulationReport) -> None:
    """No board with two deploys at once, none lost, and the ledger says what the boards run."""
    assert report.state == "done"
    assert (report.at_once, report.lost, report.different, report.falling) == (0, 0, 0, 0)
    assert report.done + report.quarantined == report.boards


def test_controllers_that_are_killed_lose_no_board(tmp_path: Path) -> None:
    # None of these boards hangs, so a machine that is busy may take its time.
    report = simulate(tmp_path, boards=300, kills=3, plan_waves="30,100%", silent_s=60)

    require_agreement(report)
    assert report.kills == 3
    assert report.quarantined == 2  # of three with a fault, one is only slow
    assert report.attempts >= 300


def test_controllers_that_are_killed_switch_no_board_before_its_shadow(tmp_path: Path) -> None:
    report = simulate(tmp_path, boards=100, kills=3, plan_waves="30,100%", silent_s=60, shadow=True)

    require_agreement(report)
    assert report.kills == 3
    assert report.unstaged == 0  # a shadow brings the content, and comes first
    assert report.attempts >= 2 * report.done


@pytest.mark.nightly
def test_a_hundred_controllers_are_killed_over_ten_thousand_boards(tmp_path: Path) -> None:
    report = simulate(tmp_path, boards=10_000, kills=100, workers=2, parallel=100)

    require_agreement(report)
    assert report.kills == 100
    assert report.worker_kills > 0
    assert report.resumed_median_s is not None
    assert report.resumed_median_s <= 10
