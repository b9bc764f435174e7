"""The report of a rollout as a page. In Chromium: tests/integration/test_rollout_page.py."""

import re
import time

import pytest

from edgewright.fleet.rollout import gates, page, report
from edgewright.fleet.rollout.database import Database
from edgewright.fleet.rollout.gates import VERDICTS, Measured, Numbers, Reading
from edgewright.fleet.rollout.ledger import Entry, Ledger, Report
from edgewright.fleet.rollout.plan import Plan
from edgewright.fleet.rollout.states import Goal, Outcome, Retry

GATES = "failures<=1,p95<=10%,restarts<=0"


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database, time.time)


def plan_bread(ledger: Ledger, boards: int = 8, *, names: str = "oven-{}") -> None:
    plan = Plan(
        waves="100%", ends=(boards,), salt="s", gates=GATES, releases={"rpi2": "new"}, soak_s=60
    )
    entries = [
        Entry(board=names.format(n), site=f"hall-{n % 2}", wave=1, release="new", former="old")
        for n in range(boards)
    ]
    ledger.plan("bread", plan.model_dump_json(), entries)
    ledger.open_wave("bread", 1)


def stop_bread(ledger: Ledger) -> None:
    """Two boards fail, the others are slower; the wave goes back."""
    reports = []
    for number, claim in enumerate(ledger.claim("bread", worker="w", limit=99, lease_s=60)):
        measured = Measured(
            before=Numbers(p95_ms=40.0, peak_rss_kb=30_000),
            after=Numbers(p95_ms=48.0 + number, peak_rss_kb=30_000),
        )
        failed = Report(claim=claim, outcome=Outcome.HOPELESS, reason="no space")
        done = Report(claim=claim, outcome=Outcome.DONE, result=measured.model_dump_json())
        reports.append(failed if number < 2 else done)
    ledger.finish(reports, Retry())
    readings = [
        Reading(
            board=member.board,
            failure=member.reason or None,
            measured=Measured.model_validate_json(member.result or "{}"),
        )
        for member in ledger.members("bread")
    ]
    ledger.judge("bread", 1, VERDICTS.dump_json(gates.judge(gates.parse(GATES), readings)).decode())
    ledger.take_back("bread", 1)
    claims = ledger.claim("bread", worker="w", limit=99, lease_s=60, goal=Goal.FORMER)
    ledger.finish([Report(claim=claim, outcome=Outcome.DONE) for claim in claims], Retry())
    ledger.end("bread", "stopped", "wave 1: a gate said no")


def rendered(ledger: Ledger) -> str:
    return page.render(
        report.status(ledger, "bread"), ledger.rollout("bread"), ledger.events("bread")
    )


def section(text: str, heading: str) -> str:
    return text.partition(f"<h2>{heading}")[2].partition("<h2>")[0]


def test_it_tells_which_measurement_on_which_boards_stopped_the_rollout(ledger: Ledger) -> None:
    plan_bread(ledger)
    stop_bread(ledger)

    text = rendered(ledger)

    assert "0 of 8 boards run the release</b>: <bdi>wave 1: a gate said no" in text
    slow = section(text, "What stopped it: p95&lt;=10% in wave 1")
    assert "6 of 6 boards beyond the limit" in slow
    assert re.findall(r"<bdi>(oven-\d)</bdi>", slow) == [f"oven-{n}" for n in range(7, 1, -1)]
    assert "+37.5 %" in slow
    assert "p95 40.0 ms, 30000 KiB" in slow
    assert "p95 55.0 ms, 30000 KiB" in slow
    failed = section(text, "What stopped it: failures&lt;=1 in wave 1")
    assert re.findall(r"<bdi>(oven-\d)</bdi>", failed) == ["oven-0", "oven-1"]
    assert failed.count("no space") == 2  # the boards themselves went back, and tell it no more
    assert "What stopped it: restarts" not in text
    assert section(text, "Gates").count("<svg") == 2


def test_restarts_are_plotted_too(ledger: Ledger) -> None:
    plan_bread(ledger)
    reports = [
        Report(
            claim=claim,
            outcome=Outcome.DONE,
            result=Measured(restarts=1, restarted=number % 3).model_dump_json(),
        )
        for number, claim in enumerate(ledger.claim("bread", worker="w", limit=99, lease_s=60))
    ]
    ledger.finish(reports, Retry())
    readings = [
        Reading(
            board=member.board,
            failure=None,
            measured=Measured.model_validate_json(member.result or "{}"),
        )
        for member in ledger.members("bread")
    ]
    verdicts = gates.judge(gates.parse("restarts<=0"), readings)
    ledger.judge("bread", 1, VERDICTS.dump_json(verdicts).decode())

    plot = section(rendered(ledger), "Gates")

    assert "8 boards by their change, limit +0.0 restarts" in plot
    assert plot.count('class="quarantined"') == 2  # bars: of one restart, and of two
    assert plot.count('class="done"') == 1


def test_it_loads_nothing_and_is_the_same_again(ledger: Ledger) -> None:
    plan_bread(ledger)
    stop_bread(ledger)

    text = rendered(ledger)

    assert "content=\"default-src 'none'; style-src 'unsafe-inline'\"" in text
    assert re.findall(r"<script|\bsrc=|\bhref=|url\(|@import", text) == []
    assert rendered(ledger) == text


def test_hostile_names_are_text(ledger: Ledger) -> None:
    plan_bread(ledger, names="<img src=x onerror=alert(1)>\u202e-{}")
    stop_bread(ledger)

    text = rendered(ledger)

    assert "<img" not in text
    assert "<bdi>&lt;img src=x onerror=alert(1)&gt;\u202e-1</bdi>" in text


def test_a_rollout_that_has_just_begun(ledger: Ledger) -> None:
    plan_bread(ledger)

    text = rendered(ledger)

    assert "and not over" in text
    assert "No wave has been judged yet." in text


def test_approvals_and_what_operators_did(ledger: Ledger) -> None:
    plan_bread(ledger)
    stop_bread(ledger)
    ledger.approve("bread", 1, "ann", "looked at <both>")

    text = rendered(ledger)

    assert "ann: looked at &lt;both&gt;" in section(text, "Waves")
    assert "wave 1 by ann: looked at &lt;both&gt;" in section(text, "Events")
    assert "take back" in section(text, "Events")


def test_a_wave_of_boards_that_are_all_excluded(ledger: Ledger) -> None:
    for board in range(8):
        ledger.quarantine(f"oven-{board}", "its disk")
    plan_bread(ledger)
    ledger.judge("bread", 1, VERDICTS.dump_json(gates.judge(gates.parse(GATES), [])).decode())

    assert "0 of 0 boards" in section(rendered(ledger), "Gates")
