"""What may happen to a night that machines share, in any order, as a state machine."""

from typing import TYPE_CHECKING

import hypothesis.strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from edgewright.nightly.ledger import Claim, NightLedger, Terms
from edgewright.nightly.report import cell_report

if TYPE_CHECKING:
    from tests.ledger_machine import Open

LEASE_S = 60.0
TERMS = Terms(
    boards=("a53-som", "rpi2"),
    models=("one", "two"),
    edgewright="0.1.0",
    revision="0" * 40,
    dirty=False,
    settings="",
)
MACHINES = st.sampled_from(["first", "second", "third"])


class NightMachine(RuleBasedStateMachine):
    """Three machines whose leases may run out, and who may wake up at any time after that."""

    open: "Open"  # a new database for each example
    claims: Bundle[Claim] = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        self.moment = 1000.0
        self.database = self.open()
        self.ledger = NightLedger(self.database, lambda: self.moment, LEASE_S)
        self.night = self.ledger.join_or_begin(TERMS).name
        self.holders: dict[tuple[str, str], tuple[Claim, float]] = {}  # claim that counts, its end
        self.ended: set[tuple[str, str]] = set()
        self.fences: dict[tuple[str, str], int] = {}

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.engine.dispose()

    @rule(target=claims, machine=MACHINES, board=st.sampled_from(["", *TERMS.boards]))
    def claim(self, machine: str, board: str) -> MultipleResults[Claim]:
        claim = self.ledger.claim(self.night, machine, board)
        cells = {(board, model) for board in TERMS.boards for model in TERMS.models}
        at_work = {cell for cell, (_, until) in self.holders.items() if until > self.moment}
        free = cells - self.ended - at_work
        if claim is None:
            assert not free
            return multiple()
        cell = (claim.board, claim.model)
        assert cell in free
        assert claim.board == board or board not in {name for name, _ in free}
        assert claim.fence > self.fences.get(cell, 0)
        self.fences[cell] = claim.fence
        self.holders[cell] = claim, self.moment + LEASE_S
        return multiple(claim)

    def _counts(self, claim: Claim) -> bool:
        holder, _ = self.holders.get((claim.board, claim.model), (None, 0.0))
        return holder == claim

    @rule(claim=claims)
    def renew(self, claim: Claim) -> None:
        """One whose lease ran out, and whose cell nobody took, goes on with it."""
        assert self.ledger.renew(claim) == self._counts(claim)
        if self._counts(claim):
            self.holders[claim.board, claim.model] = claim, self.moment + LEASE_S

    @rule(claim=claims)
    def give_back(self, claim: Claim) -> None:
        self.ledger.give_back(claim)
        if self._counts(claim):
            self.holders[claim.board, claim.model] = claim, 0.0

    @rule(claim=claims)
    def finish(self, claim: Claim) -> None:
        report = cell_report(claim.board, claim.model, [])
        report = report.model_copy(update={"worker": str(claim.fence)})
        assert self.ledger.finish(claim, report, []) == self._counts(claim)
        if self._counts(claim):
            del self.holders[claim.board, claim.model]
            self.ended.add((claim.board, claim.model))
            self.fences[claim.board, claim.model] = claim.fence

    @rule(seconds=st.sampled_from([1.0, LEASE_S / 2, LEASE_S]))
    def wait(self, seconds: float) -> None:
        self.moment += seconds

    @invariant()
    def what_is_left_is_counted(self) -> None:
        if hasattr(self, "database"):
            left = sum(self.ledger.workers(self.night).values())
            assert left == len(TERMS.boards) * len(TERMS.models) - len(self.ended)
            if not left:  # the report of each cell is that of the claim that counted
                fences = [int(report.worker or 0) for report in self.ledger.reports(self.night)]
                assert fences == [
                    self.fences[board, model] for board in TERMS.boards for model in TERMS.models
                ]
