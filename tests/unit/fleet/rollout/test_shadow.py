"""Waves that begin with a shadow: nothing is switched before its gate lets them.

Two also run on PostgreSQL: tests/integration/test_rollout_postgresql.py.
"""

import threading
from collections import Counter

import pytest

from edgewright.base.errors import TargetError
from edgewright.deploy.install import NextFence
from edgewright.fleet.rollout import gates, operate, report
from edgewright.fleet.rollout.database import Database
from edgewright.fleet.rollout.gates import Shadowed
from edgewright.fleet.rollout.ledger import Claim, Entry, Ledger, Report
from edgewright.fleet.rollout.states import Goal, Outcome, Retry, State
from edgewright.observe.shadow.report import Pair
from tests.unit.fleet.rollout.test_controller import (
    Death,
    Fakes,
    Memory,
    abort_at_work,
    begin,
    conduct,
    in_background,
    states,
    wait_until,
)

GATES = f"failures<=0,p95<=10%,{gates.SHADOW}"
OTHERWISE = Shadowed(
    offered=90,
    agreed=20,
    differing=20,
    pairs=(Pair(frame=7, fate="disagreed", current="ok 0.9", candidate="bad 0.8"),),
)
SHADOW_STEPS = (
    *("shadow 1 ends", "shadow 1", "judge shadow 1", "wave 1 ends", "wave 1", "judge 1"),
    *("shadow 2 ends", "shadow 2", "judge shadow 2", "wave 2 ends", "wave 2", "judge 2"),
)


def begin_shadow(database: Database, boards: Fakes, **changes: object) -> Ledger:
    return begin(database, boards, **{"shadow_s": 30.0, "gates": GATES, **changes})


def test_each_wave_runs_beside_and_is_judged_before_it_is_switched(database: Database) -> None:
    boards = Fakes()
    ledger = begin_shadow(database, boards)

    assert conduct(ledger, boards) == "done"

    assert states(ledger) == {State.DONE: 12}
    assert set(boards.shadows.values()) == {1}
    phases = [event.text for event in ledger.events("bread") if event.kind == "phase"]
    assert phases[:4] == [
        "shadow of wave 1",
        "shadow of wave 1 is judged",
        "wave 1",
        "wave 1 soaks",
    ]
    status = report.status(ledger, "bread")
    judged = [(wave.wave, wave.shadow, len(wave.gates)) for wave in status.verdicts]
    assert judged == [(1, True, 2), (1, False, 2), (2, True, 2), (2, False, 2)]
    measured = status.boards[0].measured
    assert measured is not None
    assert (measured.shadow, measured.restarts) == (boards.shadowed, 0)


def test_a_candidate_with_other_answers_is_stopped_and_no_board_was_switched(
    database: Database,
) -> None:
    boards = Fakes(shadowed=OTHERWISE)
    ledger = begin_shadow(database, boards)

    assert conduct(ledger, boards) == "stopped"

    assert set(boards.current.values()) <= {"old"}
    assert ledger.rollout("bread").reason == "shadow of wave 1: a gate said no"
    assert states(ledger) == {State.SKIPPED: 12}
    assert {event.kind for event in ledger.events("bread")}.isdisjoint({"take back"})
    (verdicts,) = report.status(ledger, "bread").verdicts
    words = {gate.gate: gate.word for gate in verdicts.gates}
    assert words == {"failures<=0": "yes", gates.SHADOW: "no"}
    assert not ledger.in_quarantine()


def test_boards_without_a_service_say_nothing_and_a_person_decides_for_the_shadow_alone(
    database: Database,
) -> None:
    boards = Fakes(shadowed=Shadowed(reason="no service runs on the board"))
    ledger = begin_shadow(database, boards, waves="100%", approve_after=1)
    thread = in_background(lambda: conduct(ledger, boards))
    wait_until(lambda: ledger.rollout("bread").phase == "shadow of wave 1 waits for approval")
    assert set(boards.current.values()) <= {"old"}
    operate.approve(ledger, "bread", "anne", "there are no cameras yet")
    wait_until(lambda: ledger.rollout("bread").phase == "wave 1 waits for approval")
    operate.approve(ledger, "bread", "bob", "they work")
    thread.join(10)

    assert states(ledger) == {State.DONE: 12}
    approved = [wave.approved for wave in report.status(ledger, "bread").verdicts]
    assert approved == ["anne: there are no cameras yet", "bob: they work"]


def test_nobody_approves_a_shadow_and_it_ends_without_a_switch(database: Database) -> None:
    boards = Fakes(shadowed=Shadowed(reason="no service runs on the board"))
    ledger = begin_shadow(database, boards, approval_s=0.05)

    assert conduct(ledger, boards) == "stopped"

    assert set(boards.current.values()) <= {"old"}
    assert ledger.rollout("bread").reason == "shadow of wave 1: nobody approved in time"


def test_a_closed_window_keeps_no_board_from_its_shadow_and_no_shadow_opens_it(
    database: Database,
) -> None:
    boards = Fakes(is_open=False)
    ledger = begin_shadow(database, boards, waves="100%")
    thread = in_background(lambda: conduct(ledger, boards))
    wait_until(lambda: ledger.rollout("bread").phase == "wave 1")

    assert set(boards.shadows.values()) == {1}
    assert set(boards.current.values()) <= {"old"}
    boards.is_open = True
    thread.join(10)
    assert states(ledger) == {State.DONE: 12}


def test_an_abort_in_the_shadow_switches_none(database: Database) -> None:
    holds = threading.Event()
    boards = Fakes(holds=holds)
    ledger = begin_shadow(database, boards, waves="100%")
    abort_at_work(ledger, boards, holds)

    assert set(boards.current.values()) <= {"old"}


@pytest.mark.parametrize("name", SHADOW_STEPS)
def test_a_controller_that_dies_in_any_step_is_resumed(database: Database, name: str) -> None:
    boards, steps = Fakes(), Memory()
    ledger = begin_shadow(database, boards)
    steps.dies_after = name
    with pytest.raises(Death):
        conduct(ledger, boards, steps)
    steps.dies_after = ""

    assert conduct(ledger, boards, steps) == "done"

    assert states(ledger) == {State.DONE: 12}
    begun = Counter(event.text for event in ledger.events("bread") if event.kind == "begun")
    assert begun == {"shadow": 12, "release": 12}


def test_a_board_that_hangs_takes_none_that_had_their_shadow_from_its_wave(
    database: Database,
) -> None:
    """Its attempts are over after the wave's time is: nobody begins another."""
    boards, holds = Fakes(), threading.Event()
    shadow = boards.shadow

    def hang(claim: Claim, next_fence: NextFence) -> Shadowed:
        if claim.board == "oven-1":
            holds.wait(10)
        return shadow(claim, next_fence)

    boards.shadow = hang  # type: ignore[method-assign]
    changes = {"wave_s": 1.0, "board_s": 1.0, "lease_s": 0.5, "gates": "failures<=1,shadow<=5%"}
    ledger = begin_shadow(database, boards, waves="100%", **changes)

    assert conduct(ledger, boards) == "done"

    holds.set()
    assert states(ledger) == {State.DONE: 11, State.SKIPPED: 1}
    (late,) = [member for member in ledger.members("bread") if member.state is State.SKIPPED]
    assert (late.board, late.reason) == ("oven-1", "the wave's time was over")
    assert set(boards.current.values()) == {"new"}


def test_a_board_that_joins_after_the_shadow_was_judged_needs_none(database: Database) -> None:
    boards = Fakes()
    ledger = begin_shadow(database, boards, waves="100%", soak_s=5.0)
    thread = in_background(lambda: conduct(ledger, boards))
    wait_until(lambda: ledger.rollout("bread").phase == "wave 1 soaks")
    late = Entry(board="oven-20", site="hall-0", wave=1, release="new", goal=Goal.SHADOW)
    ledger.join("bread", 1, [late], who="ann")
    thread.join(30)

    assert states(ledger) == {State.DONE: 13}
    assert boards.shadows["oven-20"] == 0


def shadow_that_ended(database: Database, boards: Fakes) -> tuple[Ledger, Memory, Entry]:
    """Not judged yet; a board joined."""
    steps, ledger = Memory(), begin_shadow(database, boards, waves="100%")
    steps.dies_before = "judge shadow 1"
    with pytest.raises(Death):
        conduct(ledger, boards, steps)
    steps.dies_before = ""
    late = Entry(board="oven-20", site="hall-0", wave=1, release="new", goal=Goal.SHADOW)
    ledger.join("bread", 1, [late], who="ann")
    return ledger, steps, late


def test_a_board_that_joins_between_a_shadow_and_its_judgement_is_switched(
    database: Database,
) -> None:
    boards = Fakes()
    ledger, steps, _ = shadow_that_ended(database, boards)

    assert conduct(ledger, boards, steps) == "done"

    assert states(ledger) == {State.DONE: 13}
    assert boards.shadows["oven-20"] == 0


def test_a_shadow_that_a_site_began_just_before_the_judgement_takes_no_board_away(
    database: Database,
) -> None:
    boards = Fakes()
    ledger, steps, late = shadow_that_ended(database, boards)
    (claim,) = ledger.claim("bread", worker="hall", limit=1, lease_s=60.0, goal=Goal.SHADOW)
    thread = in_background(lambda: conduct(ledger, boards, steps))
    wait_until(lambda: ledger.rollout("bread").phase == "wave 1")
    ledger.finish([Report(claim=claim, outcome=Outcome.DONE)], Retry())
    thread.join(30)

    assert claim.board == late.board
    assert states(ledger) == {State.DONE: 13}


def test_a_board_that_had_no_shadow_is_tried_again_without_one(database: Database) -> None:
    boards = Fakes()
    shadow, tries = boards.shadow, Counter[str]()

    def unreached(claim, next_fence):  # type: ignore[no-untyped-def]
        if claim.board == "oven-1":
            tries["oven-1"] += 1
            raise TargetError("oven-1", "off")
        return shadow(claim, next_fence)

    boards.shadow = unreached  # type: ignore[method-assign]
    ledger = begin_shadow(
        database, boards, waves="100%", gates="failures<=1,shadow<=5%", soak_s=5.0
    )
    thread = in_background(lambda: conduct(ledger, boards))
    wait_until(lambda: ledger.rollout("bread").phase == "wave 1 soaks")
    assert ledger.reopen("bread") == 1
    thread.join(30)

    assert tries["oven-1"] == 3
    assert states(ledger) == {State.DONE: 12}
