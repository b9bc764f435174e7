"""The ledger's tables, and how a database comes to have them."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from edgewright.base.errors import UserError
from edgewright.fleet.rollout.database import Database

Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # which counts rowids up by itself
METADATA = sa.MetaData()
MIGRATION = "MIGRATION"  # a lock; that of a rollout has its name, which has no capital letters

SCHEMA = sa.Table("ledger_schema", METADATA, sa.Column("version", sa.Integer, nullable=False))
ROLLOUTS = sa.Table(
    "rollouts",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("wish", sa.Text, nullable=False),  # of its operators: run, pause or abort
    sa.Column("plan", sa.Text, nullable=False),  # JSON
    sa.Column("wave", sa.Integer, nullable=False),  # that was opened last; 0: none
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),  # why it ended so
    sa.Column("started", sa.Float, nullable=False),  # Unix seconds, as all times here
    sa.Column("ended", sa.Float),
)
BOARDS = sa.Table(
    "boards",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("fence", Number, nullable=False),  # of the last attempt; it only rises
    sa.Column("rollout", sa.Text),  # that may touch it
    sa.Column("quarantine", sa.Text),  # why no rollout takes it
)
MEMBERS = sa.Table(
    "members",
    METADATA,
    sa.Column("rollout", sa.Text, sa.ForeignKey("rollouts.name"), primary_key=True),
    sa.Column("board", sa.Text, sa.ForeignKey("boards.name"), primary_key=True),
    sa.Column("site", sa.Text, nullable=False),
    sa.Column("wave", sa.Integer, nullable=False),
    sa.Column("place", sa.Integer, nullable=False),  # in the order of the plan
    sa.Column("release", sa.Text, nullable=False),
    sa.Column("goal", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("ready_at", sa.Float, nullable=False),
    sa.Column("former", sa.Text),  # release that the board had when the rollout was planned
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("result", sa.Text),  # JSON: what the last attempt that ended well measured
    sa.Column("joined", sa.Float),  # after the rollout had been planned
    sa.Column("staged", sa.Float),  # its release lay on the board, ahead of the switch
    sa.Column("shadow", sa.Text),  # JSON: what its release came to beside the former one
    sa.Index("members_by_state", "rollout", "state", "ready_at"),
)
ATTEMPTS = sa.Table(
    "attempts",
    METADATA,
    sa.Column("id", Number, primary_key=True),
    sa.Column("rollout", sa.Text, nullable=False),
    sa.Column("board", sa.Text, sa.ForeignKey("boards.name"), nullable=False),
    sa.Column("goal", sa.Text, nullable=False),
    sa.Column("fence", Number, nullable=False),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # running, then its outcome
    sa.Column("lease_until", sa.Float, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("ended", sa.Float),
)
sa.Index("attempts_by_board", ATTEMPTS.c.rollout, ATTEMPTS.c.board)
# Whatever a bug does: no board is worked on twice at once.
sa.Index(
    "one_running_attempt",
    ATTEMPTS.c.board,
    unique=True,
    sqlite_where=ATTEMPTS.c.state == "running",
    postgresql_where=ATTEMPTS.c.state == "running",
)
EVENTS = sa.Table(
    "events",
    METADATA,
    sa.Column("id", Number, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("rollout", sa.Text, nullable=False),
    sa.Column("board", sa.Text),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("fence", Number),
    sa.Column("text", sa.Text, nullable=False),
    sa.Index("events_by_rollout", "rollout", "id"),
)


def _verdicts(name: str) -> sa.Table:
    return sa.Table(
        name,
        METADATA,
        sa.Column("rollout", sa.Text, sa.ForeignKey("rollouts.name"), primary_key=True),
        sa.Column("wave", sa.Integer, primary_key=True),
        sa.Column("gates", sa.Text, nullable=False),  # JSON
    )


def _approvals(name: str) -> sa.Table:
    return sa.Table(
        name,
        METADATA,
        sa.Column("rollout", sa.Text, sa.ForeignKey("rollouts.name"), primary_key=True),
        sa.Column("wave", sa.Integer, primary_key=True),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )


VERDICTS, APPROVALS = _verdicts("verdicts"), _approvals("approvals")
# Of what is judged before any board of a wave is switched.
SHADOW_VERDICTS = _verdicts("shadow_verdicts")
SHADOW_APPROVALS = _approvals("shadow_approvals")
ORDERS = sa.Table(
    "orders",
    METADATA,
    sa.Column("rollout", sa.Text, sa.ForeignKey("rollouts.name"), primary_key=True),
    sa.Column("release", sa.Text, primary_key=True),
    sa.Column("manifest", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
)
# Who may look at rollouts, or operate them, over `fleet.serve`.
PEOPLE = sa.Table(
    "people",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("token_sha256", sa.Text, nullable=False, unique=True),
    sa.Column("until", sa.Float, nullable=False),  # the token counts
)
# Sites that dial out.
INVITATIONS = sa.Table(
    "invitations",
    METADATA,
    sa.Column("token_sha256", sa.Text, primary_key=True),
    sa.Column("site", sa.Text, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
)
CERTIFICATES = sa.Table(
    "site_certificates",
    METADATA,
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("site", sa.Text, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
)
QUESTIONS = sa.Table(  # what a board of such a site runs
    "questions",
    METADATA,
    sa.Column("id", Number, primary_key=True),
    sa.Column("site", sa.Text, nullable=False),
    sa.Column("board", sa.Text, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
    sa.Column("answer", sa.Text),  # JSON
    sa.Index("questions_by_site", "site", "until"),
)

# Nights of several machines.
NIGHTS = sa.Table(
    "nights",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("began", sa.Float, nullable=False),
    sa.Column("terms", sa.Text, nullable=False),  # JSON: what all machines have alike
    sa.Column("lease_until", sa.Float, nullable=False),  # no machine is at work on it later
    sa.Column("ended", sa.Float),
    sa.Column("report", sa.Text),  # JSON; null at the end: all machines had left it
)
NIGHT_CELLS = sa.Table(
    "night_cells",
    METADATA,
    sa.Column("night", sa.Text, sa.ForeignKey("nights.name"), primary_key=True),
    sa.Column("board", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("place", sa.Integer, nullable=False),  # in the matrix
    sa.Column("fence", Number, nullable=False),  # how often it was claimed
    sa.Column("worker", sa.Text, nullable=False),  # that claimed it last
    sa.Column("lease_until", sa.Float, nullable=False),
    sa.Column("report", sa.Text),  # JSON, once it ended
)
NIGHT_LOGS = sa.Table(
    "night_logs",
    METADATA,
    sa.Column("night", sa.Text, sa.ForeignKey("nights.name"), primary_key=True),
    sa.Column("board", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)
NIGHT_STEPS = sa.Table(  # the last end of each step, whatever night that was in
    "night_steps",
    METADATA,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("board", sa.Text, primary_key=True),  # empty: alike for all
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("record", sa.Text, nullable=False),  # JSON
)

ONLY_ADDED = {
    "sqlite": tuple(
        f"CREATE TRIGGER events_no_{word.lower()} BEFORE {word} ON events "
        "BEGIN SELECT RAISE(ABORT, 'events are only added'); END"
        for word in ("UPDATE", "DELETE")
    ),
    "postgresql": (
        "CREATE FUNCTION events_are_only_added() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION ''events are only added''; END'",
        "CREATE TRIGGER events_only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON events "
        "FOR EACH STATEMENT EXECUTE FUNCTION events_are_only_added()",
    ),
}


OF_SITES = (INVITATIONS, CERTIFICATES, QUESTIONS)
OF_SHADOWS = (SHADOW_VERDICTS, SHADOW_APPROVALS)
OF_NIGHTS = (NIGHTS, NIGHT_CELLS, NIGHT_LOGS, NIGHT_STEPS)
LATER = (PEOPLE, *OF_SITES, *OF_NIGHTS, *OF_SHADOWS)  # tables that a migration of their own adds


def _first(connection: sa.Connection) -> None:
    tables = [table for table in METADATA.sorted_tables if table not in LATER]
    METADATA.create_all(connection, tables)
    for statement in ONLY_ADDED[connection.dialect.name]:
        connection.exec_driver_sql(statement)
    connection.execute(SCHEMA.insert().values(version=0))


def _people(connection: sa.Connection) -> None:
    METADATA.create_all(connection, [PEOPLE])


def _sites(connection: sa.Connection) -> None:
    METADATA.create_all(connection, OF_SITES)


def _joined_and_staged(connection: sa.Connection) -> None:
    _add_to_members(connection, MEMBERS.c.joined, MEMBERS.c.staged)


def _shadows(connection: sa.Connection) -> None:
    METADATA.create_all(connection, OF_SHADOWS)
    _add_to_members(connection, MEMBERS.c.shadow)


def _add_to_members(connection: sa.Connection, *columns: sa.Column[Any]) -> None:
    """A database that is new has these columns by `_first`."""
    names = {column["name"] for column in sa.inspect(connection).get_columns(MEMBERS.name)}
    for column in columns:
        if column.name not in names:
            type_ = column.type.compile(connection.dialect)
            connection.exec_driver_sql(
                f"ALTER TABLE {MEMBERS.name} ADD COLUMN {column.name} {type_}"
            )


def _nights(connection: sa.Connection) -> None:
    METADATA.create_all(connection, OF_NIGHTS)


# What leads from each version of the schema to the next one.
MIGRATIONS: tuple[Callable[[sa.Connection], None], ...] = (
    _first,
    _people,
    _sites,
    _joined_and_staged,
    _nights,
    _shadows,
)


def migrate(database: Database) -> None:
    """Give a database the tables of this edgewright, one process at a time.

    Raises UserError for one that a newer edgewright migrated, and where it cannot be opened.
    """
    try:
        with database.only_one(MIGRATION), database.engine.begin() as connection:
            version = 0
            if sa.inspect(connection).has_table(SCHEMA.name):
                version = connection.execute(sa.select(SCHEMA.c.version)).scalar_one()
            if version > len(MIGRATIONS):
                raise UserError(
                    _name(database),
                    f"a newer edgewright made it: its schema is {version}",
                    facts=[f"expected: at most {len(MIGRATIONS)}"],
                    next="install a newer edgewright here",
                )
            for step in MIGRATIONS[version:]:
                step(connection)
            if version < len(MIGRATIONS):
                connection.execute(SCHEMA.update().values(version=len(MIGRATIONS)))
    except sa.exc.DBAPIError as failed:
        raise UserError(
            _name(database),
            "the ledger cannot be opened",
            facts=[str(failed.orig).strip()],
            next="mend that, then the same command",
        ) from failed


def _name(database: Database) -> str:
    if database.file is not None:
        return str(database.file)
    return database.engine.url.render_as_string(hide_password=True)
