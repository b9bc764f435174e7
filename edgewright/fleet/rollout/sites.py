"""Sites that only dial out: invitations, certificates, questions about their boards."""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from edgewright.base.errors import TargetError
from edgewright.fleet.documents import SiteAnswer
from edgewright.fleet.rollout.controller import Boards, Observation
from edgewright.fleet.rollout.database import Database
from edgewright.fleet.rollout.gates import Measured, Shadowed
from edgewright.fleet.rollout.ledger import Claim
from edgewright.fleet.rollout.people import TOKEN_BYTES, digest
from edgewright.fleet.rollout.tables import CERTIFICATES, INVITATIONS, QUESTIONS

if TYPE_CHECKING:  # Fabric takes half of a controller's start
    from edgewright.deploy.install import NextFence

ANSWER_SECONDS = 120.0  # that a site has to tell what its boards run
POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Question:
    id: int
    board: str


class Sites:
    """The sites of a ledger, whose tables are there already."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._begin, self._clock = database.engine.begin, clock

    # Who is which site

    def invite(self, site: str, seconds: float) -> str:
        """A token that one worker of the site may have a certificate for."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        with self._begin() as connection:
            connection.execute(
                INVITATIONS.insert().values(
                    token_sha256=digest(token), site=site, until=self._clock() + seconds
                )
            )
        return token

    def redeem(self, token: str) -> str | None:
        """The site that a token was made for, this once; None for any other token."""
        query = (
            INVITATIONS.delete()
            .where(INVITATIONS.c.token_sha256 == digest(token))
            .returning(INVITATIONS.c.site, INVITATIONS.c.until)
        )
        with self._begin() as connection:
            row = connection.execute(query).one_or_none()
        return row.site if row is not None and row.until > self._clock() else None

    def admit(self, site: str, certificate_sha256: str, until: float) -> None:
        """Whoever shows this certificate is a worker of the site."""
        with self._begin() as connection:
            connection.execute(
                CERTIFICATES.insert().values(sha256=certificate_sha256, site=site, until=until)
            )

    def of_certificate(self, certificate_sha256: str) -> str | None:
        """Whose certificate this is; None once it has ended, or was taken back."""
        query = sa.select(CERTIFICATES.c.site).where(
            CERTIFICATES.c.sha256 == certificate_sha256, CERTIFICATES.c.until > self._clock()
        )
        with self._begin() as connection:
            return connection.execute(query).scalar_one_or_none()

    def dismiss(self, site: str) -> int:
        """Take back a site's certificates and invitations; returns how many there were."""
        with self._begin() as connection:
            return sum(
                connection.execute(table.delete().where(table.c.site == site)).rowcount
                for table in (CERTIFICATES, INVITATIONS)
            )

    # What boards run

    def ask(self, boards: Mapping[str, str]) -> Mapping[str, int]:
        """Put a question about each board, by its site; returns the questions' numbers."""
        until, numbers = self._clock() + ANSWER_SECONDS, dict[str, int]()
        with self._begin() as connection:
            connection.execute(QUESTIONS.delete().where(QUESTIONS.c.until < self._clock()))
            for board, site in boards.items():
                query = QUESTIONS.insert().values(site=site, board=board, until=until)
                numbers[board] = connection.execute(query.returning(QUESTIONS.c.id)).scalar_one()
        return numbers

    def questions(self, site: str, limit: int) -> tuple[Question, ...]:
        """What a site is to answer."""
        query = sa.select(QUESTIONS.c.id, QUESTIONS.c.board).where(
            QUESTIONS.c.site == site,
            QUESTIONS.c.until > self._clock(),
            QUESTIONS.c.answer.is_(None),
        )
        with self._begin() as connection:
            rows = connection.execute(query.order_by(QUESTIONS.c.id).limit(limit))
            return tuple(Question(id=row.id, board=row.board) for row in rows)

    def answer(self, site: str, question: int, answer: SiteAnswer) -> bool:
        """False for a question that another site was asked, or that has its answer."""
        query = QUESTIONS.update().where(
            QUESTIONS.c.id == question, QUESTIONS.c.site == site, QUESTIONS.c.answer.is_(None)
        )
        with self._begin() as connection:
            return bool(connection.execute(query.values(answer=answer.model_dump_json())).rowcount)

    def wait(self, numbers: Sequence[int]) -> Mapping[int, SiteAnswer]:
        """The answers, as soon as all are there or the time is over."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            answers = self._answers(numbers)
            if len(answers) == len(numbers) or time.monotonic() >= deadline:
                return answers
            time.sleep(POLL_SECONDS)

    def _answers(self, numbers: Sequence[int]) -> Mapping[int, SiteAnswer]:
        query = sa.select(QUESTIONS.c.id, QUESTIONS.c.answer).where(
            QUESTIONS.c.id.in_(numbers), QUESTIONS.c.answer.is_not(None)
        )
        with self._begin() as connection:
            return {
                row.id: SiteAnswer.model_validate_json(row.answer)
                for row in connection.execute(query)
            }


@dataclass(frozen=True, kw_only=True)
class WithSites:
    """`controller.Boards`, some of which only their sites can ask."""

    near: Boards
    sites: Sites
    far_site: Callable[[str], str | None]  # of a board; None: it is reached from here

    def install(self, claim: Claim, next_fence: "NextFence") -> Measured:
        return self.near.install(claim, next_fence)

    def stage(self, claim: Claim, next_fence: "NextFence") -> None:
        self.near.stage(claim, next_fence)

    def shadow(self, claim: Claim, next_fence: "NextFence") -> Shadowed:
        return self.near.shadow(claim, next_fence)

    def go_back(self, claim: Claim, next_fence: "NextFence") -> None:
        self.near.go_back(claim, next_fence)

    def opening(self, board: str) -> float:
        return self.near.opening(board)

    def look(self, board: str) -> Observation:
        site = self.far_site(board)
        if site is None:
            return self.near.look(board)
        (number,) = self.sites.ask({board: site}).values()
        answer = self.sites.wait([number]).get(number)
        if answer is None:
            raise TargetError(board, "its site does not answer")
        if answer.problem is not None:
            raise TargetError(board, answer.problem)
        return Observation(
            current=answer.current,
            restarts=answer.restarts,
            floor=answer.floor,
            celsius=answer.celsius,
        )
