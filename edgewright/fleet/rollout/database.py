"""The ledger's database: SQLite in a file of one machine, or PostgreSQL by its URL.

SQLite waits for its one writer instead of failing, and begins every transaction as a writer: one
that read first and then wanted to write could not.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from edgewright.base.errors import UserError
from edgewright.base.files import locked, make_folder, wait_for

BUSY_SECONDS = 30  # that a writer of SQLite waits for another one
LOOK_SECONDS = 0.5  # in which somebody has let a lock go who only looks whether it is free
POSTGRESQL = "postgresql+psycopg"


@dataclass(frozen=True, kw_only=True)
class Database:
    """An engine, and what excludes other processes of the same ledger."""

    engine: sa.Engine  # of the ledger
    steps: sa.Engine  # of what writes down the steps of durable work, in the same database
    file: Path | None  # of SQLite

    @contextmanager
    def only_one(
        self, name: str, *, on_busy: Callable[[], None] | None = None, patience_s: float = 0.0
    ) -> Iterator[Callable[[], None]]:
        """Hold a lock that ends with the block or with the process, also by SIGKILL.

        While another process holds it, this waits; after `patience_s` seconds `on_busy` is called,
        and may raise.
        Yields what raises sqlalchemy.exc.DBAPIError once the lock is lost: PostgreSQL gives it to
        the next one when the connection ends, which a router may do to one that is silent.
        """
        if self.file is not None:
            path = self.file.with_name(f"{self.file.name}.{name}.lock")
            with locked(path, on_busy=on_busy, patience_s=patience_s):
                yield lambda: None
            return
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        # Of its own: the server lets the lock go when this connection ends.
        with self.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            ask = sa.select(sa.func.pg_try_advisory_lock(number))
            if not wait_for(lambda: bool(connection.scalar(ask)), patience_s):
                if on_busy:
                    on_busy()
                connection.execute(sa.select(sa.func.pg_advisory_lock(number)))
            try:
                yield lambda: connection.execute(sa.select(1)).close()
            finally:
                with suppress(sa.exc.SQLAlchemyError):  # a connection that ended has let it go
                    connection.execute(sa.select(sa.func.pg_advisory_unlock(number)))


def open_database(place: str) -> Database:
    """The database of a file's path, or of a `postgresql://…` URL. Raises UserError."""
    if "://" not in place:
        path = Path(place).absolute()
        make_folder(path.parent)
        return Database(engine=_writer(path), steps=_sqlite(path), file=path)
    try:
        url = sa.make_url(place)
    except sa.exc.ArgumentError:
        url = None
    if url is None or url.get_backend_name() != "postgresql":
        raise UserError(
            "--ledger",
            "expected a file, or postgresql://user@host/database",
            next="the same command with one of them, or without --ledger",
        )
    engine = sa.create_engine(
        url.set(drivername=POSTGRESQL),
        pool_pre_ping=True,
        max_overflow=20,
        # Of a database in SQL_ASCII psycopg would give texts as bytes.
        connect_args={"client_encoding": "utf8"},
    )
    return Database(engine=engine, steps=engine, file=None)


def _sqlite(path: Path) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_SECONDS}
    )

    def prepare(connection: Any, _: object) -> None:
        # One that reads first, and then wants to write, is refused without any wait.
        connection.isolation_level = "IMMEDIATE"
        for setting in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {setting}")

    sa.event.listen(engine, "connect", prepare)
    return engine


def _writer(path: Path) -> sa.Engine:
    engine = _sqlite(path)

    def leave_transactions(connection: Any, _: object) -> None:
        connection.isolation_level = None  # else Python begins them by its own rules

    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    sa.event.listen(engine, "connect", leave_transactions)
    sa.event.listen(engine, "begin", begin)
    return engine


_INSERT: Mapping[str, Callable[[sa.Table], postgresql.Insert | sqlite.Insert]] = {
    "postgresql": postgresql.insert,
    "sqlite": sqlite.insert,
}


def insert_into(connection: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """An insert that can say what is to become of rows whose keys are there."""
    return _INSERT[connection.dialect.name](table)
