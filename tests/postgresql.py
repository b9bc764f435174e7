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


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a server that only a socket in its own folder leads to."""
    programs = max(POSTGRESQL.glob("*/bin/initdb")).parent
    user = SERVER_USER if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: it is part of the name of a socket
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)

    def run(*argv: str) -> None:
        subprocess.run(argv, user=user, check=True, cwd="/", stdout=subprocess.DEVNULL)

    data = str(folder / "data")
    run(str(programs / "initdb"), "-D", data, "-U", SERVER_USER, "-A", "trust", "--no-sync")
    options = f"-c listen_addresses='' -c fsync=off -k {folder}"
    control = str(programs / "pg_ctl")
    run(control, "-D", data, "-l", str(folder / "log"), "-o", options, "-w", "start")
    try:
        yield f"postgresql://{SERVER_USER}@/postgres?host={folder}"
    finally:
        run(control, "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def opener(postgresql: str) -> Open:
    def create() -> Database:
        name = unique_name("ledger").replace("-", "_").replace(".", "_").lower()
        with sa.create_engine(
            postgresql.replace("postgresql:", "postgresql+psycopg:")
        ).connect() as c:
            c.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(
                f'CREATE DATABASE "{name}"'
            )
        return open_database(postgresql.replace("/postgres?", f"/{name}?"))

    return create


@pytest.fixture
def database(opener: Open) -> Iterator[Database]:
    database = opener()
    yield database
    database.engine.dispose()
