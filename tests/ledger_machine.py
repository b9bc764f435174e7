"""What may happen to a ledger, in any order, as a state machine; for each kind of database."""

from collections import defaultdict
from collections.abc import Callable

import hypothesis.strategies as st
import sqlalchemy as sa
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from edgewright.base.errors import TargetError, UserError
from edgewright.fleet.rollout.database import Database
from edgewright.fleet.rollout.ledger import Claim, Entry, Ledger, Report
from edgewright.fleet.rollout.states import OVER, Goal, Outcome, Retry, State
from edgewright.fleet.rollout.tables import ATTEMPTS

BOARDS = tuple(f"oven-{number}" for number in range(5))
RETRY = Retry(tries=2, backoff_s=10)
LEASE_S = 60.0
Open = Callable[[], Database]
FIRST_GOALS = st.sampled_from([Goal.RELEASE, Goal.SHADOW])


class LedgerMachine(RuleBasedStateMachine):
    """Two rollouts of one ledger, two workers, boards that know the fences they have seen."""

    open: Open  # a new database for each example
    claims: Bundle[Claim] = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        self.now = 1000.0
        self.database = self.open()
        self.ledger = Ledger(self.database, lambda: self.now)
        self.at_work: dict[str, Claim] = {}  # what counts, by the board
        self.seen: dict[str, int] = defaultdict(int)  # the fence that a board has
        self.of: dict[str, str] = {}  # rollout of a board
        self.rollouts: dict[str, bool] = {}  # whether it is over

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.engine.dispose()

    @rule(
        name=st.sampled_from(["a", "b"]),
        boards=st.sets(st.sampled_from(BOARDS), min_size=1),
        goal=FIRST_GOALS,
    )
    def plan(self, name: str, boards: set[str], goal: Goal) -> None:
        entries = [
            Entry(board=board, site="hall", wave=1 + place % 2, former="old", goal=goal)
            for place, board in enumerate(sorted(boards))
        ]
        owned = {board: self.of[board] for board in boards if board in self.of}
        try:
            self.ledger.plan(name, "{}", entries)
        except UserError as refused:
            words = str(refused)
        else:
            words = ""
        if words:
            assert name in self.rollouts or any(f"'{of}'" in words for of in owned.values())
            return
        assert name not in self.rollouts
        assert not owned
        self.rollouts[name] = False
        self.of |= dict.fromkeys(boards, name)

    @rule(name=st.sampled_from(["a", "b"]), wave=st.sampled_from([1, 2]))
    def open_wave(self, name: str, wave: int) -> None:
        if self.rollouts.get(name) is False:
            self._open_to(name, wave)

    @rule(
        target=claims,
        name=st.sampled_from(["a", "b"]),
        worker=st.sampled_from(["first", "second"]),
        limit=st.integers(1, 3),
        goal=st.sampled_from(Goal),
    )
    def claim(self, name: str, worker: str, limit: int, goal: Goal) -> MultipleResults[Claim]:
        claims = self.ledger.claim(name, worker=worker, limit=limit, lease_s=LEASE_S, goal=goal)
        assert len(claims) <= limit
        assert all(claim.goal is goal for claim in claims)
        for claim in claims:
            assert claim.board not in self.at_work
            assert claim.fence > self.seen[claim.board]
            assert self.of[claim.board] == name
            self.at_work[claim.board], self.seen[claim.board] = claim, claim.fence
        return multiple(*claims)

    @rule(target=claims, claim=claims, last=st.integers(0, 30))
    def raise_fence(self, claim: Claim, last: int) -> MultipleResults[Claim]:
        """Somebody deployed by hand meanwhile."""
        counts = self.at_work.get(claim.board) == claim
        raised = self.ledger.raise_fence(claim, last)
        assert (raised is not None) == counts
        if raised is None or claim.fence > last:
            assert raised in (None, claim)
            return multiple()
        assert raised.fence == last + 1
        self.at_work[claim.board] = raised
        self.seen[claim.board] = raised.fence
        return multiple(raised)

    @rule(board=st.sampled_from(BOARDS), last=st.integers(0, 30), take_over=st.booleans())
    def deploy_by_hand(self, board: str, last: int, take_over: bool) -> None:
        rollout = self.of.get(board)
        try:
            fence = self.ledger.fence_by_hand(board, last, "ann", take_over=take_over)
        except TargetError as refused:
            words = str(refused)
        else:
            words = ""
        if words:
            assert not take_over
            assert f"'{rollout}'" in words
            return
        assert take_over or rollout is None
        assert fence > max(self.seen[board], last)
        self.seen[board] = fence
        self.of.pop(board, None)
        self.at_work.pop(board, None)

    @rule(claim=claims, outcome=st.sampled_from([Outcome.DONE, Outcome.FAILED, Outcome.HOPELESS]))
    def finish(self, claim: Claim, outcome: Outcome) -> None:
        counts = self.at_work.get(claim.board) == claim
        before = self.ledger.members(claim.rollout)
        dropped = self.ledger.finish([Report(claim=claim, outcome=outcome)], RETRY)
        assert dropped == (() if counts else (claim,))
        if counts:
            del self.at_work[claim.board]
        else:
            assert self.ledger.members(claim.rollout) == before

    @rule(seconds=st.sampled_from([1.0, 30.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=st.sampled_from(["a", "b"]), worker=st.sampled_from(["first", "second"]))
    def expire(self, name: str, worker: str) -> None:
        self.ledger.expire(name, RETRY, worker=worker)
        with self.database.engine.connect() as connection:
            running = sa.select(ATTEMPTS.c.id).where(ATTEMPTS.c.state == "running")
            alive = set(connection.scalars(running))
        ended = {board for board, claim in self.at_work.items() if claim.attempt not in alive}
        assert all(self.at_work[board].rollout == name for board in ended)
        for board in ended:
            del self.at_work[board]

    @rule(
        name=st.sampled_from(["a", "b"]),
        boards=st.sets(st.sampled_from(BOARDS), min_size=1),
        wave=st.sampled_from([1, 2]),
        goal=FIRST_GOALS,
    )
    def join(self, name: str, boards: set[str], wave: int, goal: Goal) -> None:
        entries = [
            Entry(board=board, site="hall", wave=wave, goal=goal) for board in sorted(boards)
        ]
        has_been = {member.board for member in self.ledger.members(name)}
        try:
            self.ledger.join(name, wave, entries, who="ann")
        except UserError:
            may_join = self.rollouts.get(name) is False and not boards & {*self.of, *has_been}
            # Its phases are the controller's: without one, a wave that was opened takes no more.
            assert not may_join or self.ledger.rollout(name).wave >= wave
            return
        assert self.rollouts[name] is False
        assert not boards & {*self.of, *has_been}
        self.of |= dict.fromkeys(boards, name)

    @rule(name=st.sampled_from(["a", "b"]), wave=st.sampled_from([1, 2]))
    def admit(self, name: str, wave: int) -> None:
        """After a shadow was judged: no board of its wave waits for one, or for its judgement."""
        if self.rollouts.get(name) is not False:
            return
        self._open_to(name, wave)
        self.ledger.admit(name, wave)
        left = {
            (member.goal, member.state)
            for member in self.ledger.members(name)
            if member.wave == wave and member.state not in (*OVER, State.RUNNING)
        }
        assert left <= {(goal, State.READY) for goal in Goal if goal is not Goal.SHADOW}

    @rule(name=st.sampled_from(["a", "b"]), wave=st.sampled_from([1, 2]))
    def take_back(self, name: str, wave: int) -> None:
        self.ledger.take_back(name, wave)

    @rule(name=st.sampled_from(["a", "b"]))
    def retry(self, name: str) -> None:
        self.ledger.reopen(name)

    @rule(name=st.sampled_from(["a", "b"]))
    def end(self, name: str) -> None:
        at_work = any(claim.rollout == name for claim in self.at_work.values())
        if self.rollouts.get(name) is False and not at_work:
            self.ledger.end(name, "done", "")
            self.rollouts[name] = True
            self.of = {board: of for board, of in self.of.items() if of != name}
            states = {member.state for member in self.ledger.members(name)}
            assert states <= OVER

    def _open_to(self, name: str, wave: int) -> None:
        """Waves are opened in order, as whoever conducts a rollout does."""
        for number in range(1, wave + 1):
            self.ledger.open_wave(name, number)

    @invariant()
    def one_attempt_a_board_and_fences_that_rise(self) -> None:
        if not hasattr(self, "ledger"):
            return
        with self.database.engine.connect() as connection:
            query = sa.select(ATTEMPTS.c.board, ATTEMPTS.c.fence, ATTEMPTS.c.state)
            rows = connection.execute(query.order_by(ATTEMPTS.c.id)).all()
        running = {row.board: row.fence for row in rows if row.state == "running"}
        assert running == {board: claim.fence for board, claim in self.at_work.items()}
        for board in BOARDS:
            fences = [row.fence for row in rows if row.board == board]
            assert fences == sorted(set(fences))
        for name in self.rollouts:
            states = {member.board: member.state for member in self.ledger.members(name)}
            at_work = {board for board, claim in self.at_work.items() if claim.rollout == name}
            assert {board for board in states if states[board] is State.RUNNING} == at_work
