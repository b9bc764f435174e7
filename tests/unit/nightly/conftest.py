"""The database of the ledger's tests: SQLite in a folder of the test."""

from tests.unit.fleet.rollout.conftest import database, opener  # noqa: F401
