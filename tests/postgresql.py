"""Fixtures: ledgers on a PostgreSQL server of the tests' own."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgewright.base.files import unique_name
from edgewright.fleet.rollout.database import Database, open_database
from edgewright.host import POSTGRESQL
from tests.ledger_machine import Open

SERVER_USER = "postgres"  # as Debian calls it; the server refuses to run as root


class Server:
    """One that only a socket in its own folder leads to."""

    def __init__(self, folder: Path) -> None:
        self._programs = max(POSTGRESQL.glob("*/bin/initdb")).parent
        self._user = SERVER_USER if os.getuid() == 0 else None
        if self._user is not None:
            os.chown(folder, pwd.getpwnam(self._user).pw_uid, -1)
        self._folder, self._data = folder, str(folder / "data")
        self.url = f"postgresql://{SERVER_USER}@/postgres?host={folder}"
        self._run("initdb", "-D", self._data, "-U", SERVER_USER, "-A", "trust", "--no-sync")

    def _run(self, program: str, *argv: str) -> None:
        command = [str(self._programs / program), *argv]
        subprocess.run(command, user=self._user, check=True, cwd="/", stdout=subprocess.DEVNULL)

    def start(self) -> None:
        options = f"-c listen_addresses='' -c fsync=off -k {self._folder}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", self._data, "-l", log, "-o", options, "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def new_database(self, options: str = "") -> Database:
        """`options` are of CREATE DATABASE."""
        name = unique_name("ledger").replace("-", "_").replace(".", "_").lower()
        engine = sa.create_engine(
            self.url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(f'CREATE DATABASE "{name}" {options}')
        engine.dispose()
        return open_database(self.url.replace("/postgres?", f"/{name}?"))


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: it is part of the name of a socket
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def opener(postgresql: Server) -> Open:
    return postgresql.new_database


@pytest.fixture
def database(opener: Open) -> Iterator[Database]:
    database = opener()
    yield database
    database.engine.dispose()
