"""Nights of several machines, in the ledger's database: who has which cell, and what steps left.

Every change is one transaction that compares before it sets, as those of rollouts: of two machines
that want a cell, one gets it, with a fence above all earlier ones and a lease. What a machine
reports whose lease ran out, and whose cell another one has, is dropped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import sqlalchemy as sa

from edgewright.base.errors import TargetError, UserError
from edgewright.base.schema import LIMIT, Part, parse_record
from edgewright.fleet.rollout.database import Database, insert_into
from edgewright.fleet.rollout.tables import NIGHT_CELLS as CELLS
from edgewright.fleet.rollout.tables import NIGHT_LOGS as LOGS
from edgewright.fleet.rollout.tables import NIGHT_STEPS as STEPS
from edgewright.fleet.rollout.tables import NIGHTS, migrate
from edgewright.nightly.records import StepRecord, night_name
from edgewright.nightly.report import CellReport, NightReport
from edgewright.nightly.settings import Cell
from edgewright.nightly.steps import Step

LEASE_S = 120.0  # that a machine which says nothing keeps a cell
BEGIN = "NIGHT"  # a lock
Model = TypeVar("Model", bound=Part)


class Terms(Part):
    """What all machines of a night have alike, or their results would not be one night's."""

    boards: tuple[str, ...]
    models: tuple[str, ...]
    edgewright: str  # version, and hash of all that has a say in what a step does
    revision: str  # of the workspace's repository
    dirty: bool  # tracked files differ from it
    settings: str  # hash of nightly.toml


@dataclass(frozen=True, kw_only=True)
class Night:
    """A night that is not over."""

    name: str
    began: datetime
    terms: Terms


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to work on a cell until the lease ends."""

    night: str
    board: str
    model: str
    fence: int


@dataclass(frozen=True, kw_only=True)
class Log:
    """A log of a cell that failed."""

    board: str
    model: str
    name: str
    content: bytes


class NightLedger:
    """The tables of nights. Raises TargetError where the database does not answer."""

    def __init__(
        self, database: Database, clock: Callable[[], float], lease_s: float = LEASE_S
    ) -> None:
        """`clock` gives Unix seconds. Raises UserError for a database that is not the ledger's."""
        migrate(database)
        self.database, self.lease_s = database, lease_s
        self._clock = clock

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        try:
            with self.database.engine.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as failed:
            raise TargetError(
                "nightly",
                "the ledger does not answer",
                facts=[str(failed.orig).strip()],
                next="the same command, once it does",
            ) from failed

    # Nights

    def require_unfinished(self) -> Night:
        """The last night, to go on with. Raises UserError where it is over."""
        with self._begin() as connection:
            row = _last(connection)
        if row is None or row.ended is not None:
            raise UserError(
                "nightly",
                "no night of the ledger was interrupted",
                next="the same command without --resume",
            )
        return _night(row)

    def join_or_begin(self, terms: Terms, *, resume: bool = False) -> Night:
        """The night that other machines are at work on, or a new one.

        With `resume` the last one is gone on with that is not over, though all have left it.
        Raises UserError where others are at work with other terms.
        """
        # Two machines that begin at once have one night.
        with self.database.only_one(BEGIN), self._begin() as connection:
            moment, last = self._clock(), _last(connection)
            if last is not None and last.ended is None and (resume or last.lease_until > moment):
                night = _night(last)
                _require_alike(night, terms)
                connection.execute(_of(last.name).values(lease_until=moment + 2 * self.lease_s))
                return night
            # What all have left is over, and whoever wakes up finds it so.
            connection.execute(NIGHTS.update().where(NIGHTS.c.ended.is_(None)).values(ended=moment))
            # Machines' clocks differ: a night has a name of its own, and follows the last one.
            began = moment if last is None else max(moment, last.began + 1)
            return self._add(connection, terms, began)

    def _add(self, connection: sa.Connection, terms: Terms, began: float) -> Night:
        moment = datetime.fromtimestamp(began, UTC)
        night = Night(name=night_name(moment), began=moment, terms=terms)
        row = {"name": night.name, "began": began, "terms": terms.model_dump_json()}
        connection.execute(
            NIGHTS.insert().values(**row, lease_until=self._clock() + 2 * self.lease_s)
        )
        pairs = [(board, model) for board in terms.boards for model in terms.models]
        cells = [
            {
                "night": night.name, "board": board, "model": model, "place": place,
                "fence": 0, "worker": "", "lease_until": 0.0,
            }
            for place, (board, model) in enumerate(pairs)
        ]  # fmt: skip
        connection.execute(CELLS.insert(), cells)
        return night

    def end(self, report: NightReport, *, nights: int) -> NightReport:
        """The night's report, which is that of the machine that ended it; of nights the last stay.

        Raises UserError where the night was left by all meanwhile, and is over.
        """
        with self._begin() as connection:
            connection.execute(
                _of(report.night)
                .where(NIGHTS.c.ended.is_(None))
                .values(report=report.model_dump_json(by_alias=True), ended=self._clock())
            )
            row = connection.execute(
                sa.select(NIGHTS).where(NIGHTS.c.name == report.night)
            ).one_or_none()
            _forget(connection, nights)
        stored = None if row is None else _parsed(NightReport, row.report)
        if stored is None or stored.night != report.night:  # it becomes the name of a file
            raise _over(report.night)
        return stored

    def past(self, nights: int) -> tuple[NightReport, ...]:
        """The reports of the last nights that ended, by names that are nights'."""
        ended = sa.select(NIGHTS).where(NIGHTS.c.report.is_not(None))
        with self._begin() as connection:
            rows = connection.execute(ended.order_by(NIGHTS.c.began.desc()).limit(nights)).all()
        reports = [_parsed(NightReport, row.report) for row in rows]
        return tuple(
            report for report in reports if report and report.night == night_name(report.began)
        )

    # Cells

    def claim(self, night: str, worker: str, board: str) -> Claim | None:
        """The next cell: of that board, else of one that no machine has; None: all are claimed.

        What a board's cells share is built once where one machine has them.
        """
        moment = self._clock()
        claimed = sa.select(CELLS.c.board).where(
            CELLS.c.night == night, CELLS.c.report.is_(None), CELLS.c.lease_until > moment
        )
        preferred = sa.case(
            (CELLS.c.board == board, 0), (CELLS.c.board.not_in(claimed), 1), else_=2
        )
        free = (
            sa.select(CELLS)
            .join(NIGHTS, NIGHTS.c.name == CELLS.c.night)
            .where(CELLS.c.night == night, CELLS.c.report.is_(None), NIGHTS.c.ended.is_(None))
            .where(CELLS.c.lease_until <= moment)
            .order_by(preferred, CELLS.c.place)
        )
        with self._begin() as connection:
            for row in connection.execute(free).all():
                claim = Claim(night=night, board=row.board, model=row.model, fence=row.fence)
                values = {"fence": row.fence + 1, "worker": worker}
                is_free = CELLS.c.lease_until <= moment  # it may have been renewed meanwhile
                if self._prolong(connection, claim, is_free, **values):  # else another was faster
                    return Claim(night=night, board=row.board, model=row.model, fence=row.fence + 1)
        return None

    def renew(self, claim: Claim) -> bool:
        """Prolong a lease; False where the cell is no longer the claim's."""
        with self._begin() as connection:
            return self._prolong(connection, claim)

    def _prolong(
        self,
        connection: sa.Connection,
        claim: Claim,
        *conditions: sa.ColumnElement[bool],
        **values: object,
    ) -> bool:
        until = self._clock() + self.lease_s
        has_begun = sa.exists().where(NIGHTS.c.name == claim.night, NIGHTS.c.ended.is_(None))
        change = _held(claim).where(has_begun, *conditions).values(lease_until=until, **values)
        if connection.execute(change).rowcount == 0:
            return False
        # Longer than a cell: between two of them somebody is at work on the night, too.
        connection.execute(_of(claim.night).values(lease_until=until + self.lease_s))
        return True

    def give_back(self, claim: Claim) -> None:
        """Leave a cell to the next one."""
        with self._begin() as connection:
            connection.execute(_held(claim).values(lease_until=0.0))

    def finish(self, claim: Claim, report: CellReport, logs: Sequence[Log]) -> bool:
        """Write down how a cell ended; False where it is no longer the claim's."""
        text = report.model_dump_json(by_alias=True)
        with self._begin() as connection:
            if connection.execute(_held(claim).values(report=text)).rowcount == 0:
                return False
            for log in logs:
                row = {"night": claim.night, **vars(log)}
                insert = insert_into(connection, LOGS).values(row)
                connection.execute(insert.on_conflict_do_nothing())
        return True

    def workers(self, night: str) -> Mapping[str, int]:
        """How many cells are not over, by who has them; empty: all are, or the night is."""
        query = (
            sa.select(CELLS.c.worker, sa.func.count())
            .join(NIGHTS, NIGHTS.c.name == CELLS.c.night)
            .where(CELLS.c.night == night, CELLS.c.report.is_(None), NIGHTS.c.ended.is_(None))
            .group_by(CELLS.c.worker)
        )
        with self._begin() as connection:
            rows = connection.execute(query).all()
        return {str(worker): int(count) for worker, count in rows}

    def reports(self, night: str) -> tuple[CellReport, ...]:
        """What became of the cells, in their order.

        Raises UserError for one that is damaged, and where the night was left by all and is over.
        """
        query = sa.select(CELLS).where(CELLS.c.night == night).order_by(CELLS.c.place)
        with self._begin() as connection:
            begun = connection.execute(
                sa.select(NIGHTS).where(NIGHTS.c.name == night)
            ).one_or_none()
            rows = connection.execute(query).all()
        if begun is None or (begun.ended is not None and begun.report is None):
            raise _over(night)
        reports = [(row, _parsed(CellReport, row.report)) for row in rows]
        for row, report in reports:
            if report is None or (report.board, report.model) != (row.board, row.model):
                raise UserError(
                    f"night {night}",
                    f"{row.board}, {row.model}: the ledger has no report of it",
                    next="install the same edgewright on all machines of the night",
                )
        return tuple(report for _, report in reports if report)

    def logs(self, night: str) -> tuple[Log, ...]:
        with self._begin() as connection:
            rows = connection.execute(sa.select(LOGS).where(LOGS.c.night == night)).all()
        return tuple(
            Log(board=row.board, model=row.model, name=row.name, content=row.content)
            for row in rows
        )

    # Steps

    def read_step(self, cell: Cell, step: Step) -> StepRecord | None:
        """None for one that was never written, or that another edgewright wrote otherwise."""
        query = sa.select(STEPS.c.record)
        for name, value in _step_key(cell, step).items():
            query = query.where(STEPS.c[name] == value)
        with self._begin() as connection:
            return _parsed(StepRecord, connection.scalar(query))

    def write_step(self, cell: Cell, step: Step, record: StepRecord) -> None:
        key, value = _step_key(cell, step), {"record": record.model_dump_json()}
        with self._begin() as connection:
            insert = insert_into(connection, STEPS).values(**key, **value)
            connection.execute(insert.on_conflict_do_update(index_elements=[*key], set_=value))


def _last(connection: sa.Connection) -> sa.Row[tuple[object, ...]] | None:
    query = sa.select(NIGHTS).order_by(NIGHTS.c.began.desc(), NIGHTS.c.name.desc()).limit(1)
    return connection.execute(query).one_or_none()


def _night(row: sa.Row[tuple[object, ...]]) -> Night:
    """Raises UserError for one that another edgewright wrote otherwise."""
    terms = _parsed(Terms, row.terms)
    if terms is None:
        raise UserError(
            f"night {row.name}",
            "another edgewright began it",
            next="install the same one on all machines of a night, or wait until it is over",
        )
    began = datetime.fromtimestamp(row.began, UTC)
    return Night(name=night_name(began), began=began, terms=terms)


def _require_alike(night: Night, terms: Terms) -> None:
    theirs, ours = night.terms.model_dump(), terms.model_dump()
    facts = [
        f"{name}: there {theirs[name]}, here {ours[name]}"
        for name in theirs
        if theirs[name] != ours[name]
    ]
    if facts:
        raise UserError(
            f"night {night.name}",
            "other machines are at work on it with something else than this one has",
            facts=facts,
            next="the same commit, edgewright and options here, or wait until it is over",
        )


def _of(night: str) -> sa.Update:
    return NIGHTS.update().where(NIGHTS.c.name == night)


def _held(claim: Claim) -> sa.Update:
    """A change of a cell that nobody else has claimed since."""
    return CELLS.update().where(
        CELLS.c.night == claim.night,
        CELLS.c.board == claim.board,
        CELLS.c.model == claim.model,
        CELLS.c.fence == claim.fence,
        CELLS.c.report.is_(None),
    )


def _forget(connection: sa.Connection, nights: int) -> None:
    """Of nights that are over, the last ones stay."""
    names = sa.select(NIGHTS.c.name).where(NIGHTS.c.ended.is_not(None))
    old = connection.scalars(names.order_by(NIGHTS.c.began.desc()).offset(nights)).all()
    for table in (LOGS, CELLS):
        connection.execute(table.delete().where(table.c.night.in_(old)))
    connection.execute(NIGHTS.delete().where(NIGHTS.c.name.in_(old)))


def _step_key(cell: Cell, step: Step) -> dict[str, str]:
    return {
        "model": cell.model,
        "board": "" if step.per_model else cell.board,
        "step": step.name,
    }


def _parsed(kind: type[Model], text: object) -> Model | None:
    """None for what is not there, or no such document: whoever may write there is not trusted."""
    is_there = isinstance(text, str) and len(text) <= LIMIT
    return parse_record(kind, str(text)) if is_there else None


def _over(night: str) -> UserError:
    return UserError(
        f"night {night}",
        "is over: no machine was at work on it for a while, and another one began",
        next="the same command, for the night that is at work now",
    )
