"""`site.run`: leases the boards of one site, works on them, and reports.

The ledger is elsewhere; its fences and leases count, and this machine's clock only for windows.
While the line is lost, boards at work come to their end, and none is begun; what is reported later
than the lease is dropped there.
"""

import base64
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from edgewright.base.errors import EdgewrightError
from edgewright.deploy.install import NextFence
from edgewright.fleet.documents import (
    SiteAnswer,
    SiteAnswers,
    SiteClaim,
    SiteFence,
    SiteOrders,
    SiteQuestion,
    SiteReceipt,
    SiteRenewal,
    SiteReport,
    SiteRequest,
    SiteWork,
)
from edgewright.fleet.rollout.controller import Boards, Crew, Observation, bug_words
from edgewright.fleet.rollout.gates import Measured, Shadowed
from edgewright.fleet.rollout.ledger import Claim, Order, Report
from edgewright.fleet.rollout.states import Goal
from edgewright.fleet.site.depot import Depot
from edgewright.fleet.site.enrol import Enrolled
from edgewright.fleet.site.line import Line, LineError, RefusedError
from edgewright.release.manifest import Release

IDLE_SECONDS = 20.0  # that a request for work waits while no board is at work
BUSY_SECONDS = 2.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between tries of a line that is lost
REASON = 1000  # characters


class SiteBoards(Protocol):
    """The boards of a site, on its own network."""

    def names(self) -> Sequence[str]:
        """Those that may be changed now."""

    def with_orders(self, orders: Mapping[str, Order], release: Release | None) -> Boards:
        """The way to them with a rollout's orders, and with a release to install."""

    def look(self, board: str) -> Observation:
        """Ask a board what it runs."""


@dataclass(frozen=True, kw_only=True)
class SiteLeases:
    """`controller.Leases` over the line; the server has the plans, and how long a lease is."""

    line: Line

    def raise_fence(self, claim: Claim, last: int) -> Claim | None:
        # Also where the fence is high enough: hours may have gone by since the claim.
        body = SiteFence(attempt=claim.attempt, fence=claim.fence, last=last)
        try:
            answer = self.line.ask("/v1/fence", SiteFence, body)
        except RefusedError:
            return None
        return replace(claim, fence=answer.fence)

    def renew(self, claims: Sequence[Claim], lease_s: float) -> None:
        attempts = tuple(claim.attempt for claim in claims)
        self.line.tell("/v1/renew", SiteRenewal(attempts=attempts))


@dataclass(frozen=True, kw_only=True)
class _Ways:
    """`controller.Boards` for claims of any rollout: its orders and files are fetched first."""

    line: Line
    boards: SiteBoards
    depot: Depot

    def install(self, claim: Claim, next_fence: NextFence) -> Measured:
        return self._with_release(claim).install(claim, next_fence)

    def stage(self, claim: Claim, next_fence: NextFence) -> None:
        self._with_release(claim).stage(claim, next_fence)

    def shadow(self, claim: Claim, next_fence: NextFence) -> Shadowed:
        return self._with_release(claim).shadow(claim, next_fence)

    def _with_release(self, claim: Claim) -> Boards:
        orders = self._orders(claim.rollout)
        release = self.depot.release(orders[claim.release].manifest)
        return self.boards.with_orders(orders, release)

    def go_back(self, claim: Claim, next_fence: NextFence) -> None:
        self.boards.with_orders(self._orders(claim.rollout), None).go_back(claim, next_fence)

    def look(self, board: str) -> Observation:
        return self.boards.look(board)

    def opening(self, board: str) -> float:
        return 0.0 if board in self.boards.names() else float("inf")

    def _orders(self, rollout: str) -> Mapping[str, Order]:
        answer = self.line.ask(f"/v1/orders/{rollout}", SiteOrders)
        return {
            order.release: Order(
                release=order.release,
                manifest=base64.b64decode(order.manifest),
                signature=base64.b64decode(order.signature),
            )
            for order in answer.orders
        }


class SiteWorker:
    """Works on the boards of a site until it is to leave."""

    def __init__(
        self,
        site: Enrolled,
        boards: SiteBoards,
        folder: Path,
        *,
        parallel: int,
        board_s: float,
        tell: Callable[[str], None] = lambda _: None,
        idle_s: float = IDLE_SECONDS,
    ) -> None:
        """`folder` keeps files of releases; `tell` gets a line for each board and each fault."""
        self._site, self._line, self._boards = site.site, site.line, boards
        self._parallel, self._tell, self._idle_s = parallel, tell, idle_s
        ways = _Ways(line=site.line, boards=boards, depot=Depot(folder=folder, line=site.line))
        leases = SiteLeases(line=site.line)
        self._crew = Crew(ways, leases, 0.0, board_s, time.monotonic)
        self._worker = secrets.token_hex(8)
        self._unsent = list[Report]()
        self._outcomes = Counter[str]()
        self._asked = set[int]()  # questions that are being answered
        self._leaves = threading.Event()

    def leave(self) -> None:
        """Begin no other board; `run` returns once those at work are reported."""
        self._leaves.set()

    def run(self) -> Mapping[str, int]:
        """How many attempts ended how. Raises RefusedError where the site is known no more."""
        pause_s = FIRST_PAUSE
        while not self._leaves.is_set() or self._crew.at_work or self._unsent:
            try:
                self._turn()
                pause_s = FIRST_PAUSE
            except LineError as fault:
                why = "; ".join((fault.problem, *fault.facts))
                self._tell(f"{why}; again in {pause_s:g} s")
                self._unsent += self._crew.reports(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE)
        return self._outcomes

    def _turn(self) -> None:
        self._unsent += self._crew.reports(0.0)
        while self._unsent:
            self._send(self._unsent[0])
            del self._unsent[0]
        self._crew.renew()
        if self._leaves.is_set():
            self._unsent += self._crew.reports(BUSY_SECONDS)
            return
        wait_s = BUSY_SECONDS if self._crew.at_work else self._idle_s
        request = SiteRequest(
            worker=self._worker,
            boards=tuple(self._boards.names()),
            room=self._parallel - self._crew.at_work,
            wait_s=wait_s,
        )
        work = self._line.ask("/v1/lease", SiteWork, request, wait_s=wait_s)
        self._crew.start([self._claim(claim) for claim in work.claims])
        new = [question for question in work.questions if question.id not in self._asked]
        if new:
            self._asked |= {question.id for question in new}
            threading.Thread(target=self._answer, args=(new,), daemon=True).start()

    def _claim(self, claim: SiteClaim) -> Claim:
        values = claim.model_dump(exclude_none=True) | {
            "goal": Goal(claim.goal),
            "site": self._site,
        }
        return Claim(**values)

    def _send(self, report: Report) -> None:
        claim = report.claim
        body = SiteReport(
            attempt=claim.attempt,
            fence=claim.fence,
            outcome=report.outcome.value,
            reason=report.reason[:REASON],
            **_result(report),
        )
        receipt = self._line.ask("/v1/report", SiteReceipt, body)
        self._outcomes[body.outcome] += 1
        late = "" if receipt.counts else "; its lease had ended: the report is dropped"
        self._tell(f"{claim.board}: {report.reason or report.outcome.value}{late}")

    def _answer(self, questions: Sequence[SiteQuestion]) -> None:
        with ThreadPoolExecutor(len(questions)) as pool:
            looks = pool.map(lambda question: self._look(question.board), questions)
            answers = {q.id: answer for q, answer in zip(questions, looks, strict=True)}
        try:
            self._line.tell("/v1/answers", SiteAnswers(answers=answers))
        except EdgewrightError as fault:
            self._tell(fault.problem)
        finally:  # what did not arrive is asked again
            self._asked -= set(answers)

    def _look(self, board: str) -> SiteAnswer:
        try:
            observation = self._boards.look(board)
            return SiteAnswer(
                current=observation.current,
                restarts=observation.restarts,
                floor=observation.floor,
                celsius=observation.celsius,
            )
        except EdgewrightError as fault:
            return SiteAnswer(problem=fault.problem[:REASON])
        except Exception as bug:  # one board's answer never keeps those of others from the ledger
            return SiteAnswer(problem=bug_words(bug))


def _result(report: Report) -> dict[str, Measured | Shadowed]:
    """What an attempt measured, as a report has it."""
    if report.result is None:
        return {}
    if report.claim.goal is Goal.SHADOW:
        return {"shadow": Shadowed.model_validate_json(report.result)}
    return {"measured": Measured.model_validate_json(report.result)}
