"""Each test also runs on PostgreSQL: tests/integration/test_rollout_postgresql.py.

The fixtures `database` and `opener` tell which.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis.stateful import run_state_machine_as_test

from edgewright.base.errors import TargetError, UserError
from edgewright.fleet.documents import SiteAnswer
from edgewright.fleet.rollout import operate
from edgewright.fleet.rollout.database import Database
from edgewright.fleet.rollout.ledger import MOST_CUTS, Claim, Entry, Ledger, Report
from edgewright.fleet.rollout.people import People, Role, digest
from edgewright.fleet.rollout.sites import Sites
from edgewright.fleet.rollout.states import Goal, Outcome, Retry, State
from edgewright.fleet.rollout.tables import (
    APPROVALS,
    ATTEMPTS,
    BOARDS,
    EVENTS,
    MEMBERS,
    MIGRATIONS,
    ROLLOUTS,
    SCHEMA,
    migrate,
)
from tests.ledger_machine import LedgerMachine, Open

RETRY = Retry(tries=2, backoff_s=10)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(database: Database, clock: Clock) -> Ledger:
    ledger = Ledger(database, clock)
    entries = [
        Entry(board=f"oven-{number}", site=f"hall-{number % 2}", wave=1, former="old")
        for number in range(4)
    ]
    ledger.plan("bread", "{}", entries)
    ledger.open_wave("bread", 1)
    return ledger


def claim_one(ledger: Ledger, worker: str = "first") -> Claim:
    (claim,) = ledger.claim("bread", worker=worker, limit=1, lease_s=60)
    return claim


def member_state(ledger: Ledger, board: str) -> State:
    return next(m.state for m in ledger.members("bread") if m.board == board)


def test_whatever_happens_one_worker_has_a_board_and_fences_rise(opener: Open) -> None:
    machine = type("Machine", (LedgerMachine,), {"open": staticmethod(opener)})
    settings = hypothesis.settings(
        max_examples=8,
        stateful_step_count=20,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
        deadline=None,
    )
    run_state_machine_as_test(machine, settings=settings)


@pytest.mark.parametrize(("wish", "may_go_back"), [("pause", False), ("abort", True)])
def test_no_board_begins_against_what_operators_wish(
    ledger: Ledger, wish: str, may_go_back: bool
) -> None:
    """A controller looks every two seconds; the boards that it begins in between are asked here."""
    ledger.finish([Report(claim=claim_one(ledger), outcome=Outcome.DONE)], RETRY)
    ledger.wish("bread", wish, "ann")
    assert ledger.claim("bread", worker="first", limit=9, lease_s=60) == ()
    ledger.take_back("bread", 1)
    back = ledger.claim("bread", worker="first", limit=9, lease_s=60, goal=Goal.FORMER)
    assert len(back) == may_go_back


def test_whoever_looks_waits_for_no_claim(ledger: Ledger) -> None:
    """A board that joined has its window looked up in the middle of a claim."""
    reader = ledger.reader()

    def opening(board: str) -> float:
        assert board in {member.board for member in reader.members("bread")}
        return 0.0

    claims = ledger.claim("bread", worker="first", limit=9, lease_s=60, opening=opening)
    assert len(claims) == 4


def test_a_ledger_of_before_boards_joined_gets_what_it_lacks(
    database: Database, ledger: Ledger
) -> None:
    with database.engine.begin() as connection:
        for column in ("joined", "staged"):
            connection.exec_driver_sql(f"ALTER TABLE members DROP COLUMN {column}")
        connection.execute(SCHEMA.update().values(version=3))

    migrate(database)

    assert {(m.joined, m.staged) for m in ledger.members("bread")} == {(None, None)}
    ledger.join("bread", 2, [Entry(board="oven-9", site="hall-1", wave=2)], who="ann")
    assert [m.board for m in ledger.members("bread") if m.joined] == ["oven-9"]


def test_a_rollout_needs_its_releases_until_it_is_over(ledger: Ledger) -> None:
    cakes = [
        Entry(board="pan-1", site="hall", wave=1, release="cake"),
        Entry(board="pan-2", site="hall", wave=1, release="pie", former="tart"),
    ]
    ledger.plan("cakes", "{}", cakes)
    ledger.wish("cakes", "pause", "anne")

    assert ledger.needed_releases() >= {"old", "cake", "pie", "tart"}
    ledger.end("bread", "done", "")
    assert ledger.needed_releases() == {"cake", "pie", "tart"}
    ledger.end("cakes", "aborted", "")
    assert ledger.needed_releases() == frozenset()


def test_many_workers_at_once_never_get_one_board_twice(database: Database, clock: Clock) -> None:
    ledger = Ledger(database, clock)
    ledger.plan("bread", "{}", [Entry(board=f"b-{n}", site="hall", wave=1) for n in range(40)])
    ledger.open_wave("bread", 1)
    claims: list[Claim] = []

    def work(name: str) -> None:
        while won := ledger.claim("bread", worker=name, limit=3, lease_s=60):
            claims.extend(won)

    threads = [threading.Thread(target=work, args=(f"worker-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(claim.board for claim in claims) == sorted(f"b-{n}" for n in range(40))


def test_the_database_itself_refuses_a_second_attempt(ledger: Ledger, database: Database) -> None:
    claim = claim_one(ledger)
    again = {"rollout": "bread", "board": claim.board, "goal": "release", "fence": 9}
    details = {"worker": "bug", "state": "running", "lease_until": 0.0, "started": 0.0}

    with pytest.raises(sa.exc.IntegrityError), database.engine.begin() as connection:
        connection.execute(ATTEMPTS.insert().values(again | details))


@pytest.mark.parametrize("statement", [EVENTS.update().values(text=""), EVENTS.delete()])
def test_events_are_only_added(
    ledger: Ledger, database: Database, statement: sa.Executable
) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="only added"), database.engine.begin() as begun:
        begun.execute(statement)


def test_what_a_worker_reports_after_its_lease_is_dropped(ledger: Ledger, clock: Clock) -> None:
    late = claim_one(ledger)
    clock.now += 61

    assert ledger.expire("bread", RETRY, worker="first") == 1
    clock.now += 11
    again = next(c for c in ledger.claim("bread", worker="first", limit=9, lease_s=60)
                 if c.board == late.board)  # fmt: skip
    assert again.fence == late.fence + 1
    assert ledger.finish([Report(claim=late, outcome=Outcome.DONE)], RETRY) == (late,)
    assert member_state(ledger, late.board) is State.RUNNING
    assert [event.kind for event in ledger.events("bread")][-1] == "dropped"


def test_a_lease_that_is_renewed_does_not_end(ledger: Ledger, clock: Clock) -> None:
    claim = claim_one(ledger)
    clock.now += 50
    ledger.renew([claim], 60)
    clock.now += 50

    assert ledger.expire("bread", RETRY, worker="first") == 0


def test_a_lease_is_not_renewed_beyond_the_deadline_of_its_attempt(
    ledger: Ledger, clock: Clock
) -> None:
    claim = claim_one(ledger)
    for _ in range(10):
        clock.now += 50
        ledger.renew([claim], 60, board_s=300)

    assert ledger.expire("bread", RETRY, worker="first") == 1


def test_boards_of_a_dead_controller_are_tried_again_at_once(ledger: Ledger) -> None:
    claim = claim_one(ledger, worker="killed")

    assert ledger.expire("bread", RETRY, worker="new") == 1
    assert claim_one(ledger, worker="new").board == claim.board
    assert {member.tries for member in ledger.members("bread")} == {0, 1}


def test_a_board_under_which_controllers_die_again_and_again_counts_as_failed(
    ledger: Ledger, clock: Clock
) -> None:
    boards = [claim_one(ledger, worker="0").board]
    for death in range(1, MOST_CUTS + RETRY.tries):
        ledger.expire("bread", RETRY, worker=str(death))
        clock.now += 10
        boards.append(claim_one(ledger, worker=str(death)).board)
    ledger.expire("bread", RETRY, worker="last")

    assert len({*boards}) == 1
    assert member_state(ledger, boards[0]) is State.QUARANTINED


def test_a_board_that_fails_is_left_alone_and_then_quarantined(
    ledger: Ledger, clock: Clock
) -> None:
    first = claim_one(ledger)
    ledger.finish([Report(claim=first, outcome=Outcome.FAILED, reason="off")], RETRY)
    boards = {claim.board for claim in ledger.claim("bread", worker="w", limit=9, lease_s=60)}
    assert first.board not in boards

    clock.now += 10
    second = claim_one(ledger)
    ledger.finish([Report(claim=second, outcome=Outcome.FAILED, reason="off")], RETRY)

    assert member_state(ledger, first.board) is State.QUARANTINED
    assert ledger.reopen("bread") == 1
    assert member_state(ledger, first.board) is State.READY


def test_a_second_rollout_for_the_same_boards_is_refused_by_name(ledger: Ledger) -> None:
    with pytest.raises(UserError) as refused:
        ledger.plan("cake", "{}", [Entry(board="oven-1", site="hall-1", wave=1),
                                   Entry(board="new", site="hall-1", wave=1)])  # fmt: skip

    assert str(refused.value).startswith(
        "rollout 'cake': 1 of its boards are in rollout 'bread', which is not over\n"
        "  boards: oven-1\n"
    )
    ledger.end("bread", "aborted", "")
    ledger.plan("cake", "{}", [Entry(board="oven-1", site="hall-1", wave=1)])


def test_a_quarantined_board_is_excluded_until_it_is_released(ledger: Ledger) -> None:
    ledger.quarantine("oven-1", "its disk")
    assert member_state(ledger, "oven-1") is State.EXCLUDED
    ledger.end("bread", "done", "")

    ledger.plan("cake", "{}", [Entry(board="oven-1", site="hall-1", wave=1)])
    assert [(m.state, m.reason) for m in ledger.members("cake")] == [(State.EXCLUDED, "its disk")]
    assert ledger.in_quarantine() == {"oven-1": "its disk"}
    ledger.quarantine("oven-1", None)
    assert ledger.in_quarantine() == {}


def test_a_deploy_by_hand_has_a_fence_above_that_of_a_worker_that_sleeps(
    ledger: Ledger, clock: Clock
) -> None:
    asleep = ledger.raise_fence(claim_one(ledger), 6)  # it has this number, and falls asleep
    assert asleep is not None
    clock.now += 61
    ledger.expire("bread", RETRY, worker="first")
    ledger.end("bread", "aborted", "")

    # The board never heard of it: by itself it would count on from 6.
    assert ledger.fence_by_hand(asleep.board, 6, "ann", take_over=False) == asleep.fence + 1
    assert ledger.fence_by_hand(asleep.board, 20, "ann", take_over=False) == 21
    assert ledger.fence_by_hand("new", 3, "ann", take_over=False) == 4


def test_a_deploy_by_hand_to_a_board_of_a_rollout_is_refused_by_name_or_takes_it_over(
    ledger: Ledger,
) -> None:
    claim = claim_one(ledger)
    with pytest.raises(TargetError) as refused:
        ledger.fence_by_hand(claim.board, 0, "ann", take_over=False)
    assert str(refused.value).startswith(
        f"{claim.board}: is a board of rollout 'bread', which is not over\nnext: "
    )
    assert ledger.raise_fence(claim, 0) == claim

    fence = ledger.fence_by_hand(claim.board, 0, "ann", take_over=True)

    assert fence > claim.fence
    assert ledger.raise_fence(claim, 0) is None
    assert ledger.finish([Report(claim=claim, outcome=Outcome.DONE)], RETRY) == (claim,)
    members = {member.board: member for member in ledger.members("bread")}
    assert members[claim.board].state is State.EXCLUDED
    assert members[claim.board].reason == "deployed to by hand: ann"
    assert ledger.take_back("bread", 1) == 0
    assert ledger.reopen("bread") == 0
    ledger.plan("cake", "{}", [Entry(board=claim.board, site="hall-1", wave=1)])


def test_a_wave_that_is_taken_back_leaves_untried_boards_alone(ledger: Ledger) -> None:
    succeeded, failed = ledger.claim("bread", worker="w", limit=2, lease_s=60)
    ledger.finish([Report(claim=succeeded, outcome=Outcome.DONE),
                   Report(claim=failed, outcome=Outcome.HOPELESS)], RETRY)  # fmt: skip

    assert ledger.take_back("bread", 1) == 2
    claims = ledger.claim("bread", worker="w", limit=9, lease_s=60, goal=Goal.FORMER)
    assert {(claim.board, claim.goal) for claim in claims} == {
        (succeeded.board, Goal.FORMER), (failed.board, Goal.FORMER),
    }  # fmt: skip
    assert ledger.counts("bread")[Goal.RELEASE, State.SKIPPED] == 2


def test_a_site_without_room_and_a_closed_window_are_left_for_later(
    ledger: Ledger, clock: Clock
) -> None:
    opens = {"oven-0": clock.now + 100}
    claims = ledger.claim(
        "bread", worker="w", limit=9, lease_s=60,
        room=lambda site: site == "hall-0", opening=lambda board: opens.get(board, 0),
    )  # fmt: skip
    assert [claim.board for claim in claims] == ["oven-2"]

    clock.now += 100
    later = ledger.claim("bread", worker="w", limit=9, lease_s=60)
    assert {claim.board for claim in later} == {"oven-0", "oven-1", "oven-3"}


def test_many_boards_of_a_full_site_hide_none_of_another_site(
    database: Database, clock: Clock
) -> None:
    ledger = Ledger(database, clock)
    first = [Entry(board=f"a-{n}", site="a", wave=1) for n in range(10)]
    ledger.plan("bread", "{}", [*first, Entry(board="b", site="b", wave=1)])
    ledger.open_wave("bread", 1)

    (claim,) = ledger.claim("bread", worker="w", limit=1, lease_s=60, full=["a"])
    assert claim.board == "b"


def test_abort_is_final_and_the_first_verdict_and_approval_count(ledger: Ledger) -> None:
    ledger.wish("bread", "abort", "ann")
    ledger.wish("bread", "run", "bob")
    assert ledger.rollout("bread").wish == "abort"

    for who in ("ann", "bob"):
        ledger.judge("bread", 1, f'"{who}"')
        ledger.approve("bread", 1, who, "seen")
    assert ledger.verdicts("bread") == {1: '"ann"'}
    approval = ledger.approval("bread", 1)
    assert approval is not None
    assert approval.who == "ann"


def test_the_schema_is_migrated_once_and_a_newer_one_is_refused(database: Database) -> None:
    threads = [threading.Thread(target=migrate, args=(database,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.engine.begin() as connection:
        assert connection.scalars(sa.select(SCHEMA.c.version)).all() == [len(MIGRATIONS)]
        connection.execute(SCHEMA.update().values(version=99))

    with pytest.raises(UserError, match="a newer edgewright made it"):
        migrate(database)


def test_a_lock_excludes_others_and_ends_with_its_block(database: Database) -> None:
    def refuse() -> None:
        raise UserError("rollout", "is at work")

    with (
        database.only_one("bread"),
        database.only_one("cake"),
        pytest.raises(UserError),
        database.only_one("bread", on_busy=refuse),
    ):
        pass
    with database.only_one("bread", on_busy=refuse):
        pass


# Two at the same moment


@contextmanager
def at_the_same_moment(database: Database, work: Callable[[], object]) -> Iterator[sa.Connection]:
    """The block's transaction ends once `work`, in a thread, has come to what it has locked."""
    with ThreadPoolExecutor(1) as pool:
        with database.engine.begin() as connection:
            yield connection
            ends = pool.submit(work)
            time.sleep(0.2)
        ends.result(10)


def a_rollout(name: str) -> sa.Insert:
    row = {"name": name, "state": "running", "wish": "run", "plan": "{}", "wave": 0}
    return ROLLOUTS.insert().values({**row, "phase": "", "reason": "", "started": 0.0})


def test_of_two_approvals_at_once_the_first_one_counts(ledger: Ledger, database: Database) -> None:
    ann = {"rollout": "bread", "wave": 1, "who": "ann", "reason": "", "at": 0.0}
    with at_the_same_moment(
        database, lambda: ledger.approve("bread", 1, "bob", "me too")
    ) as connection:
        connection.execute(APPROVALS.insert().values(ann))

    approval = ledger.approval("bread", 1)
    assert approval is not None
    assert approval.who == "ann"


def test_of_two_rollouts_at_once_with_one_new_board_the_second_is_refused(
    ledger: Ledger, database: Database
) -> None:
    def late() -> None:
        with pytest.raises(UserError, match="1 of its boards are in rollout 'cake'"):
            ledger.plan("pie", "{}", [Entry(board="new", site="hall", wave=1)])

    with at_the_same_moment(database, late) as connection:
        connection.execute(a_rollout("cake"))
        connection.execute(BOARDS.insert().values(name="new", fence=0, rollout="cake"))


def test_of_two_rollouts_at_once_with_one_name_the_second_is_refused(
    ledger: Ledger, database: Database
) -> None:
    def late() -> None:
        with pytest.raises(UserError, match="is there already"):
            ledger.plan("cake", "{}", [Entry(board="b", site="hall", wave=1)])

    with at_the_same_moment(database, late) as connection:
        connection.execute(a_rollout("cake"))


def test_a_board_is_put_in_quarantine_at_the_moment_it_becomes_known(
    ledger: Ledger, database: Database
) -> None:
    with at_the_same_moment(database, lambda: ledger.quarantine("new", "its disk")) as connection:
        connection.execute(BOARDS.insert().values(name="new", fence=0))

    assert ledger.in_quarantine() == {"new": "its disk"}


def test_a_claim_and_a_quarantine_at_once_do_not_lock_each_other_out(
    ledger: Ledger, database: Database
) -> None:
    mine = MEMBERS.c.rollout == "bread", MEMBERS.c.board == "oven-1"
    with ThreadPoolExecutor(1) as pool:
        with database.engine.begin() as connection:  # what a claim does, in its order
            connection.execute(MEMBERS.update().where(*mine).values(state=State.RUNNING))
            quarantined = pool.submit(ledger.quarantine, "oven-1", "its disk")
            time.sleep(0.2)
            connection.execute(BOARDS.update().where(BOARDS.c.name == "oven-1").values(fence=9))
        quarantined.result(10)

    assert member_state(ledger, "oven-1") is State.RUNNING
    assert ledger.in_quarantine() == {"oven-1": "its disk"}


def test_a_board_that_two_operators_try_again_is_not_taken_from_its_worker(
    ledger: Ledger, database: Database, clock: Clock
) -> None:
    failed = claim_one(ledger)
    ledger.finish([Report(claim=failed, outcome=Outcome.HOPELESS)], RETRY)
    with ThreadPoolExecutor(1) as pool:
        with database.engine.begin() as connection:  # the first one, and a claim right after it
            is_bread = ROLLOUTS.c.name == "bread"
            connection.execute(sa.select(ROLLOUTS).where(is_bread).with_for_update())
            mine = MEMBERS.c.rollout == "bread", MEMBERS.c.board == failed.board
            connection.execute(MEMBERS.update().where(*mine).values(state=State.RUNNING))
            second = pool.submit(ledger.reopen, "bread")
            time.sleep(0.2)
        assert second.result(10) == 0

    assert member_state(ledger, failed.board) is State.RUNNING


def test_a_rollout_by_the_name_of_the_migration_keeps_nobody_out(database: Database) -> None:
    with database.only_one("migration"):
        opening = threading.Thread(target=Ledger, args=(database, time.time), daemon=True)
        opening.start()
        opening.join(5)
        assert not opening.is_alive()


# Boards that come back to work


def test_boards_whose_attempt_was_cut_or_made_again_go_back_too(ledger: Ledger) -> None:
    cut = claim_one(ledger, worker="killed")
    failed = claim_one(ledger, worker="killed")
    ledger.expire("bread", RETRY, worker="new")
    again = next(claim for claim in ledger.claim("bread", worker="new", limit=9, lease_s=60)
                 if claim.board == failed.board)  # fmt: skip
    ledger.finish([Report(claim=again, outcome=Outcome.HOPELESS)], RETRY)
    ledger.expire("bread", RETRY, worker="newer")
    assert ledger.reopen("bread") == 1
    assert {member.tries for member in ledger.members("bread")} == {0}

    ledger.skip_rest("bread", 1, "too many boards of its wave failed")
    ledger.take_back("bread", 1)

    claims = ledger.claim("bread", worker="w", limit=9, lease_s=60, goal=Goal.FORMER)
    assert {cut.board, failed.board} <= {claim.board for claim in claims}


def test_while_a_wave_goes_back_no_board_gets_the_release(ledger: Ledger) -> None:
    failed, succeeded = ledger.claim("bread", worker="w", limit=2, lease_s=60)
    ledger.finish([Report(claim=failed, outcome=Outcome.HOPELESS),
                   Report(claim=succeeded, outcome=Outcome.DONE)], RETRY)  # fmt: skip
    ledger.reopen("bread")

    assert ledger.claim("bread", worker="w", limit=9, lease_s=60, goal=Goal.FORMER) == ()


def test_a_wave_that_is_late_skips_boards_of_earlier_waves_that_were_tried_again(
    ledger: Ledger,
) -> None:
    failed = claim_one(ledger)
    ledger.finish([Report(claim=failed, outcome=Outcome.HOPELESS)], RETRY)
    ledger.reopen("bread")

    ledger.skip_rest("bread", 2, "the wave's time was over")

    assert member_state(ledger, failed.board) is State.SKIPPED


def test_a_board_that_is_put_in_quarantine_at_work_is_not_tried_again(
    ledger: Ledger, clock: Clock
) -> None:
    claim = claim_one(ledger)
    ledger.quarantine(claim.board, "it smokes")
    ledger.finish([Report(claim=claim, outcome=Outcome.FAILED, reason="off")], RETRY)
    clock.now += 100

    claims = ledger.claim("bread", worker="w", limit=9, lease_s=60)

    assert claim.board not in {claim.board for claim in claims}
    assert member_state(ledger, claim.board) is State.SKIPPED


def test_an_abort_ends_a_rollout_though_somebody_looks_who_conducts_it(ledger: Ledger) -> None:
    looks, ends = threading.Event(), threading.Event()

    def look() -> None:
        with ledger.database.only_one("bread"):  # as `operate.is_conducted` does
            looks.set()
            ends.wait(10)

    with ThreadPoolExecutor(2) as pool:
        pool.submit(look)
        assert looks.wait(10)
        aborted = pool.submit(operate.abort, ledger, "bread", "ann")
        while ledger.rollout("bread").wish != "abort":
            time.sleep(0.001)
        time.sleep(0.1)  # it has found the lock taken
        ends.set()
        aborted.result(10)

    assert ledger.rollout("bread").state == "aborted"


def test_a_worker_whose_attempt_was_given_up_gets_no_fence(ledger: Ledger, clock: Clock) -> None:
    late = claim_one(ledger)
    clock.now += 61
    ledger.expire("bread", RETRY, worker="first")

    assert ledger.raise_fence(late, 0) is None


def test_a_token_logs_its_person_in_until_it_ends(database: Database) -> None:
    Ledger(database, lambda: 0.0)
    people, later = People(database, lambda: 0.0), People(database, lambda: 11.0)
    first = people.add("anna", Role.VIEWER, 10)
    token = people.add("anna", Role.OPERATOR, 10)

    assert people.by_token(digest(first)) is None  # a new one takes its place
    person = people.by_token(digest(token))
    assert (person and person.role) == Role.OPERATOR
    assert [later.by_token(digest(token)), later.by_name("anna")] == [None, None]
    assert (people.remove("anna"), people.remove("anna")) == (True, False)


def test_a_site_is_invited_once_and_answers_its_own_questions_once(database: Database) -> None:
    Ledger(database, lambda: 0.0)
    sites, later = Sites(database, lambda: 0.0), Sites(database, lambda: 1e9)
    token = sites.invite("lyon", 10)
    assert (sites.redeem(token), sites.redeem(token)) == ("lyon", None)
    assert later.redeem(sites.invite("lyon", 10)) is None
    sites.admit("lyon", "00", 10)
    assert (sites.of_certificate("00"), later.of_certificate("00")) == ("lyon", None)

    numbers = sites.ask({"oven-1": "lyon", "oven-2": "paris"})
    assert [question.board for question in sites.questions("lyon", 9)] == ["oven-1"]
    answer = SiteAnswer(current="new", floor=3)
    assert not sites.answer("paris", numbers["oven-1"], answer)
    assert sites.answer("lyon", numbers["oven-1"], answer)
    assert not sites.answer("lyon", numbers["oven-1"], SiteAnswer())
    assert sites.wait([numbers["oven-1"]]) == {numbers["oven-1"]: answer}
    assert sites.questions("lyon", 9) == later.questions("paris", 9) == ()
    assert sites.dismiss("lyon") == 1
    assert sites.of_certificate("00") is None


def test_a_site_claims_boards_of_its_own_and_only_its_lease_cuts_them(database: Database) -> None:
    ledger, later = Ledger(database, lambda: 0.0), Ledger(database, lambda: 61.0)
    entries = [
        Entry(board=f"oven-{number}", site=site, wave=1, release="new")
        for number, site in enumerate(("lyon", "lyon", "hall"))
    ]
    ledger.plan("bread", "{}", entries)
    ledger.open_wave("bread", 1)
    claims = ledger.claim("bread", worker="lyon 1", limit=9, lease_s=60, site="lyon")
    assert [claim.board for claim in claims] == ["oven-0", "oven-1"]
    assert ledger.at_work("bread", "lyon") == 2
    attempts = [claim.attempt for claim in claims]
    assert {each.board for each in ledger.attempts_of("lyon", attempts)} == {"oven-0", "oven-1"}
    assert ledger.attempts_of("hall", attempts) == ()

    assert ledger.expire("bread", Retry(), worker="c", apart=["lyon"]) == 0
    assert later.expire("bread", Retry(), worker="c", apart=["lyon"]) == 2
    assert ledger.attempts_of("lyon", attempts) == ()
