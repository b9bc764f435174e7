from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.base.files import unique_name
from edgewright.fleet.rollout.database import Database, open_database
from tests.ledger_machine import Open


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(str(tmp_path / "ledger.sqlite"))
    yield database
    database.engine.dispose()


@pytest.fixture
def opener(tmp_path: Path) -> Open:
    """Opens a new database for each example of the state machine."""
    return lambda: open_database(str(tmp_path / unique_name("example")))
