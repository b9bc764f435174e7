"""Who may look at rollouts, or operate them, over the network.

A token is 256 random bits, shown once; the ledger keeps its SHA-256, which nobody can log in with.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from edgewright.fleet.rollout.database import Database
from edgewright.fleet.rollout.tables import PEOPLE

TOKEN_BYTES = 32


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"  # who may also pause, resume, abort and approve


@dataclass(frozen=True, kw_only=True)
class Person:
    name: str
    role: Role
    until: float  # Unix seconds


class People:
    """The people of a ledger, whose tables are there already."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._begin, self._clock = database.engine.begin, clock

    def add(self, name: str, role: Role, seconds: float) -> str:
        """A new token of a person; the one before it counts no more."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        with self._begin() as connection:
            connection.execute(PEOPLE.delete().where(PEOPLE.c.name == name))
            connection.execute(
                PEOPLE.insert().values(
                    name=name,
                    role=role,
                    token_sha256=digest(token),
                    until=self._clock() + seconds,
                )
            )
        return token

    def remove(self, name: str) -> bool:
        """False for a name that nobody has."""
        with self._begin() as connection:
            return bool(connection.execute(PEOPLE.delete().where(PEOPLE.c.name == name)).rowcount)

    def all(self) -> tuple[Person, ...]:
        with self._begin() as connection:
            rows = connection.execute(sa.select(PEOPLE).order_by(PEOPLE.c.name))
            return tuple(map(_person, rows))

    def by_token(self, token_sha256: str) -> Person | None:
        """Whose token has this digest and still counts."""
        return self._person_where(PEOPLE.c.token_sha256 == token_sha256)

    def by_name(self, name: str) -> Person | None:
        """None once the token of that name counts no more."""
        return self._person_where(PEOPLE.c.name == name)

    def _person_where(self, condition: sa.ColumnElement[bool]) -> Person | None:
        query = sa.select(PEOPLE).where(condition, PEOPLE.c.until > self._clock())
        with self._begin() as connection:
            row = connection.execute(query).one_or_none()
        return _person(row) if row else None


def digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _person(row: sa.Row[tuple[str, str, str, float]]) -> Person:
    return Person(name=row.name, role=Role(row.role), until=row.until)
