"""Who may touch which board, and what became of it.

Every change is one transaction that compares before it sets: of two workers that want one board,
one gets it, with a fence above all earlier ones and a lease. A board itself refuses a fence below
its last one, so a worker whose lease ran out can do no harm when it wakes up, and what it reports
then is dropped.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import sqlalchemy as sa

from edgewright.base.errors import TargetError, UserError
from edgewright.fleet.rollout.database import Database, insert_into
from edgewright.fleet.rollout.states import Goal, Outcome, Retry, State, after
from edgewright.fleet.rollout.tables import (
    APPROVALS,
    ATTEMPTS,
    BOARDS,
    EVENTS,
    MEMBERS,
    ORDERS,
    ROLLOUTS,
    SHADOW_APPROVALS,
    SHADOW_VERDICTS,
    VERDICTS,
    migrate,
)

CANDIDATES = 4  # times as many boards as are wanted are looked at: some sites may have no room
CHUNK = 500  # names in one statement
MOST_CUTS = 5  # attempts on a board that end with their controllers and do not count as failed
NAMES_SHOWN = 10
RUNNING = "running"
# Of operators: under which a board begins on its way to a goal.
WISHES = {goal: ("run", "abort") if goal is Goal.FORMER else ("run",) for goal in Goal}
TAKEN_OVER = "taken over"  # an attempt on a board that somebody deployed to by hand meanwhile
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A board of a plan."""

    board: str
    site: str
    wave: int  # the first is 1
    release: str = ""  # that it is to run
    former: str | None = None  # that it has
    goal: Goal = Goal.RELEASE  # that it has first


@dataclass(frozen=True, kw_only=True)
class Order:
    """A manifest and its signature: what brings a board back to a former release."""

    release: str
    manifest: bytes
    signature: bytes


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to work on a board until the lease ends."""

    attempt: int
    rollout: str
    board: str
    site: str
    goal: Goal
    release: str  # that the board is to run, or to run no more
    fence: int
    tries: int
    shadow_s: float = 0.0  # of Goal.SHADOW: how long


@dataclass(frozen=True, kw_only=True)
class Report:
    """How an attempt ended."""

    claim: Claim
    outcome: Outcome
    reason: str = ""
    result: str | None = None  # JSON


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """A rollout as the ledger has it."""

    name: str
    state: str
    wish: str
    plan: str
    wave: int
    phase: str
    reason: str
    started: float
    ended: float | None

    @property
    def is_over(self) -> bool:
        return self.state != RUNNING


@dataclass(frozen=True, kw_only=True)
class Member:
    """A board of a rollout."""

    board: str
    site: str
    wave: int
    release: str
    goal: Goal
    state: State
    tries: int
    ready_at: float
    former: str | None
    reason: str
    result: str | None
    joined: float | None  # after the rollout had been planned
    staged: float | None  # its release lay on the board, ahead of the switch
    shadow: str | None = None  # JSON: what its release came to beside the former one


@dataclass(frozen=True, kw_only=True)
class Event:
    id: int
    at: float
    board: str | None
    kind: str
    fence: int | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Approval:
    who: str
    reason: str
    at: float


class Ledger:
    """The tables of a database, which is migrated first. Raises UserError."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        migrate(database)
        self.database, self._clock = database, clock
        self._begin = database.engine.begin

    def reader(self) -> "Ledger":
        """The same for whoever only looks: it takes no lock, and waits for none."""
        return Ledger(replace(self.database, engine=self.database.steps), self._clock)

    # Rollouts

    def plan(
        self, name: str, plan: str, entries: Sequence[Entry], orders: Iterable[Order] = ()
    ) -> None:
        """Write a rollout down, and take its boards.

        Raises UserError for a name that is taken, and for boards of another rollout, by name.
        Boards in quarantine are excluded: they say nothing about the release.
        """
        moment = self._clock()
        with self._begin() as connection:
            row = {
                "name": name, "state": RUNNING, "wish": "run", "plan": plan, "wave": 0,
                "phase": "planned", "reason": "", "started": moment,
            }  # fmt: skip
            if not _insert_new(connection, ROLLOUTS, row):
                raise UserError(
                    f"rollout '{name}'",
                    "is there already",
                    next=f"edgewright rollout.status --name={name}",
                )
            self._add_members(connection, name, entries, State.WAITING, first_place=0)
            _insert_orders(connection, name, orders)
            self._add(connection, name, "planned", f"{len(entries)} boards")

    def join(
        self,
        rollout: str,
        wave: int,
        entries: Sequence[Entry],
        orders: Iterable[Order] = (),
        *,
        who: str,
    ) -> None:
        """Add boards to one of its waves, as if they had been planned for it.

        Raises UserError for boards that are in it already, for boards of another rollout, by name,
        and for a wave that takes no more, as its boards are about to be judged.
        """
        with self._begin() as connection:
            current = self._rollout(connection, rollout, lock=True)
            if current is None or current.is_over or current.wish == "abort":
                raise _no_more(rollout, "is over, or about to be", ())
            is_shadow = current.phase == shadowing(wave)
            is_open = current.wave == wave and (
                is_shadow or current.phase in (working(wave), soaking(wave))
            )
            if is_open and not is_shadow:  # its shadow was judged without them
                entries = [
                    replace(entry, goal=Goal.RELEASE) if entry.goal is Goal.SHADOW else entry
                    for entry in entries
                ]
            if current.wave >= wave and not is_open:
                raise _no_more(
                    rollout, f"wave {wave} takes no more boards", [f"phase: {current.phase}"]
                )
            self._require_no_members(connection, rollout, [entry.board for entry in entries])
            last = sa.select(sa.func.max(MEMBERS.c.place)).where(MEMBERS.c.rollout == rollout)
            self._add_members(
                connection,
                rollout,
                entries,
                State.READY if is_open else State.WAITING,
                first_place=connection.execute(last).scalar_one() + 1,
                joined=self._clock(),
            )
            _insert_orders(connection, rollout, orders)
            names = ", ".join(entry.board for entry in entries[:NAMES_SHOWN])
            more = " …" * (len(entries) > NAMES_SHOWN)
            text = f"wave {wave}: {len(entries)} boards by {who}: {names}{more}"
            self._add(connection, rollout, "joined", text)

    def _require_no_members(
        self, connection: sa.Connection, rollout: str, boards: Sequence[str]
    ) -> None:
        query = sa.select(MEMBERS.c.board).where(MEMBERS.c.rollout == rollout)
        if members := sorted(set(connection.scalars(query)) & set(boards)):
            raise UserError(
                f"rollout '{rollout}'",
                f"{len(members)} of these boards are in it already",
                facts=[f"boards: {', '.join(members[:NAMES_SHOWN])}"],
                next=f"edgewright rollout.status --name={rollout}",
            )

    def _add_members(
        self,
        connection: sa.Connection,
        rollout: str,
        entries: Sequence[Entry],
        state: State,
        *,
        first_place: int,
        joined: float | None = None,
    ) -> None:
        """Take boards, and write them down; those in quarantine are excluded."""
        quarantine = self._take(connection, rollout, [entry.board for entry in entries])
        moment = self._clock()
        connection.execute(
            MEMBERS.insert(),
            [
                {
                    "rollout": rollout,
                    "board": entry.board,
                    "site": entry.site,
                    "wave": entry.wave,
                    "place": place,
                    "release": entry.release,
                    "goal": entry.goal,
                    "state": State.EXCLUDED if entry.board in quarantine else state,
                    "tries": 0,
                    "ready_at": moment,
                    "former": entry.former,
                    "reason": quarantine.get(entry.board, ""),
                    "joined": joined,
                }
                for place, entry in enumerate(entries, first_place)
            ],
        )

    def _take(
        self, connection: sa.Connection, rollout: str, boards: Sequence[str]
    ) -> Mapping[str, str]:
        """Make boards this rollout's; the reasons of those in quarantine."""
        boards = sorted(boards)  # two plans that lock the same boards come to them in one order
        for names in _chunks(boards):
            _insert_new(connection, BOARDS, *({"name": name, "fence": 0} for name in names))
        rows = self._boards(connection, boards)
        free = BOARDS.c.rollout.is_(None)
        count = 0
        for names in _chunks(boards):
            take = BOARDS.update().where(BOARDS.c.name.in_(names), free).values(rollout=rollout)
            count += connection.execute(take).rowcount
        if count < len(boards):
            others = {
                name: row.rollout
                for name, row in rows.items()
                if row.rollout not in (None, rollout)
            }
            holder, count = Counter(others.values()).most_common(1)[0]
            names = sorted(name for name in others if others[name] == holder)
            more = " …" * (count > NAMES_SHOWN)
            raise UserError(
                f"rollout '{rollout}'",
                f"{count} of its boards are in rollout '{holder}', which is not over",
                facts=[f"boards: {', '.join(names[:NAMES_SHOWN])}{more}"],
                next=f"edgewright rollout.status --name={holder}, or rollout.abort --name={holder}",
            )
        return {name: row.quarantine for name, row in rows.items() if row.quarantine is not None}

    def _boards(
        self, connection: sa.Connection, names: Sequence[str]
    ) -> Mapping[str, sa.Row[tuple[str, int, str | None, str | None]]]:
        rows: dict[str, sa.Row[tuple[str, int, str | None, str | None]]] = {}
        for chunk in _chunks(names):
            query = sa.select(BOARDS).where(BOARDS.c.name.in_(chunk)).order_by(BOARDS.c.name)
            query = query.with_for_update()
            rows |= {row.name: row for row in connection.execute(query)}
        return rows

    def rollout(self, name: str) -> Rollout:
        """Raises UserError for a name that no rollout has."""
        with self._begin() as connection:
            rollout = self._rollout(connection, name)
        if rollout is None:
            raise UserError(f"rollout '{name}'", "is unknown", next="edgewright rollout.list")
        return rollout

    def rollouts(self) -> tuple[Rollout, ...]:
        """All, the last one first."""
        with self._begin() as connection:
            rows = connection.execute(sa.select(ROLLOUTS).order_by(ROLLOUTS.c.started.desc()))
            return tuple(Rollout(**row._mapping) for row in rows)

    def needed_releases(self) -> frozenset[str]:
        """Releases that rollouts which are not over bring to boards, or bring them back to."""
        running = MEMBERS.c.rollout.in_(
            sa.select(ROLLOUTS.c.name).where(ROLLOUTS.c.state == RUNNING)
        )
        query = sa.union(
            sa.select(MEMBERS.c.release).where(running),
            sa.select(MEMBERS.c.former).where(running, MEMBERS.c.former.is_not(None)),
        )
        with self._begin() as connection:
            return frozenset(connection.scalars(query))

    def _rollout(
        self, connection: sa.Connection, name: str, *, lock: bool = False
    ) -> Rollout | None:
        query = sa.select(ROLLOUTS).where(ROLLOUTS.c.name == name)
        if lock:  # nobody else opens a wave, or ends one, until this is done
            query = query.with_for_update()
        row = connection.execute(query).one_or_none()
        return Rollout(**row._mapping) if row else None

    def wish(self, rollout: str, wish: str, who: str) -> None:
        """What operators want of it: `run`, `pause` or `abort`, which is final."""
        with self._begin() as connection:
            changed = connection.execute(
                ROLLOUTS.update()
                .where(
                    ROLLOUTS.c.name == rollout,
                    ROLLOUTS.c.state == RUNNING,
                    ROLLOUTS.c.wish.not_in((wish, "abort")),
                )
                .values(wish=wish)
            ).rowcount
            if changed:
                self._add(connection, rollout, wish, f"by {who}")

    def enter(self, rollout: str, phase: str) -> bool:
        """False where it was in this phase already."""
        with self._begin() as connection:
            changed = connection.execute(
                ROLLOUTS.update()
                .where(ROLLOUTS.c.name == rollout, ROLLOUTS.c.phase != phase)
                .values(phase=phase)
            ).rowcount
            if changed:
                self._add(connection, rollout, "phase", phase)
            return bool(changed)

    def end(self, rollout: str, state: str, reason: str) -> None:
        """The rollout is over, as `done`, `stopped` or `aborted`: its boards are free again."""
        with self._begin() as connection:
            ended = connection.execute(
                ROLLOUTS.update()
                .where(ROLLOUTS.c.name == rollout, ROLLOUTS.c.state == RUNNING)
                .values(state=state, reason=reason, ended=self._clock())
            ).rowcount
            if not ended:
                return
            unfinished = (
                MEMBERS.c.rollout == rollout,
                MEMBERS.c.state.in_((State.WAITING, State.READY)),
            )
            connection.execute(
                MEMBERS.update()
                .where(*unfinished)
                .values(state=State.SKIPPED, reason=f"rollout {state}")
            )
            connection.execute(
                BOARDS.update().where(BOARDS.c.rollout == rollout).values(rollout=None)
            )
            self._add(connection, rollout, state, reason)

    def reopen(self, rollout: str, boards: Collection[str] = ()) -> int:
        """Try boards that failed once more, all or those named; returns how many."""
        moment = self._clock()
        is_running = sa.select(ROLLOUTS.c.name).where(
            ROLLOUTS.c.name == rollout, ROLLOUTS.c.state == RUNNING
        )
        query = sa.select(MEMBERS.c.board).where(
            MEMBERS.c.rollout == rollout, MEMBERS.c.state == State.QUARANTINED
        )
        with self._begin() as connection:
            # Nobody else ends the rollout or reopens its boards until this is done.
            if connection.execute(is_running.with_for_update()).one_or_none() is None:
                return 0
            failed = [name for name in connection.scalars(query) if not boards or name in boards]
            judged = sa.select(SHADOW_VERDICTS.c.wave).where(SHADOW_VERDICTS.c.rollout == rollout)
            is_late = sa.and_(MEMBERS.c.goal == Goal.SHADOW, MEMBERS.c.wave.in_(judged))
            for names in _chunks(failed):
                connection.execute(
                    MEMBERS.update()
                    .where(MEMBERS.c.rollout == rollout, MEMBERS.c.board.in_(names))
                    .values(
                        state=State.READY,
                        goal=sa.case((is_late, Goal.RELEASE.value), else_=MEMBERS.c.goal),
                        tries=0,
                        ready_at=moment,
                        reason="",
                    )
                )
                connection.execute(
                    BOARDS.update().where(BOARDS.c.name.in_(names)).values(quarantine=None)
                )
            if failed:
                self._add(connection, rollout, "retry", f"{len(failed)} boards")
            return len(failed)

    # Waves

    def open_wave(self, rollout: str, wave: int) -> None:
        """Its boards may be worked on; the same again changes nothing."""
        moment = self._clock()
        with self._begin() as connection:
            opened = connection.execute(
                ROLLOUTS.update()
                .where(ROLLOUTS.c.name == rollout, ROLLOUTS.c.wave < wave)
                .values(wave=wave)
            ).rowcount
            if not opened:
                return
            count = connection.execute(
                MEMBERS.update()
                .where(
                    MEMBERS.c.rollout == rollout,
                    MEMBERS.c.wave == wave,
                    MEMBERS.c.state == State.WAITING,
                )
                .values(state=State.READY, ready_at=moment)
            ).rowcount
            self._add(connection, rollout, "wave", f"{wave}: {count} boards")

    def admit(self, rollout: str, wave: int) -> int:
        """Boards of the wave that have had their shadow may be switched, as their gate let them.

        So may those that joined after the last shadow had ended, without one. Returns how many.
        """
        had_shadow = (MEMBERS.c.goal == Goal.RELEASE) & (MEMBERS.c.state == State.WAITING)
        is_late = (MEMBERS.c.goal == Goal.SHADOW) & (MEMBERS.c.state == State.READY)
        with self._begin() as connection:
            return connection.execute(
                MEMBERS.update()
                .where(MEMBERS.c.rollout == rollout, MEMBERS.c.wave == wave, had_shadow | is_late)
                .values(state=State.READY, goal=Goal.RELEASE, ready_at=self._clock())
            ).rowcount

    def take_back(self, rollout: str, wave: int) -> int:
        """Every board of the wave that was tried is to run its former release again.

        That of a failed attempt is not known: it is looked at like the others. What was deployed to
        by hand is left alone. Returns how many.
        """
        moment = self._clock()
        with self._begin() as connection:
            mine = (
                MEMBERS.c.rollout == rollout,
                MEMBERS.c.wave == wave,
                MEMBERS.c.goal != Goal.FORMER,
            )
            # Not by `tries`: an attempt that was cut, or that an operator had made again, counts as
            # none there, and may have switched its board.
            tried = sa.select(ATTEMPTS.c.board).where(
                ATTEMPTS.c.rollout == rollout, ATTEMPTS.c.goal == Goal.RELEASE
            )
            count = connection.execute(
                MEMBERS.update()
                .where(
                    *mine,
                    MEMBERS.c.goal == Goal.RELEASE,
                    MEMBERS.c.board.in_(tried),
                    MEMBERS.c.state.not_in((State.RUNNING, State.EXCLUDED)),
                )
                .values(goal=Goal.FORMER, state=State.READY, tries=0, ready_at=moment, reason="")
            ).rowcount
            connection.execute(
                MEMBERS.update()
                .where(*mine, MEMBERS.c.state == State.READY)
                .values(state=State.SKIPPED, reason="its wave was taken back")
            )
            if count:
                self._add(connection, rollout, "take back", f"wave {wave}: {count} boards")
            return count

    def skip_rest(
        self, rollout: str, wave: int, reason: str, *, goals: Collection[Goal] = tuple(Goal)
    ) -> int:
        """No board of the wave, or of one before it, that has not begun begins any more.

        `goals`: only boards that have one of these.
        """
        with self._begin() as connection:
            count = connection.execute(
                MEMBERS.update()
                .where(
                    MEMBERS.c.rollout == rollout,
                    MEMBERS.c.wave <= wave,
                    MEMBERS.c.goal.in_(goals),
                    MEMBERS.c.state.in_((State.WAITING, State.READY)),
                )
                .values(state=State.SKIPPED, reason=reason)
            ).rowcount
            if count:
                self._add(connection, rollout, "skipped", f"wave {wave}: {count} boards: {reason}")
            return count

    def counts(self, rollout: str, wave: int | None = None) -> Counter[tuple[Goal, State]]:
        """How many boards have which goal and state."""
        query = sa.select(MEMBERS.c.goal, MEMBERS.c.state, sa.func.count()).where(
            MEMBERS.c.rollout == rollout
        )
        if wave is not None:
            query = query.where(MEMBERS.c.wave == wave)
        with self._begin() as connection:
            rows = connection.execute(query.group_by(MEMBERS.c.goal, MEMBERS.c.state))
            return Counter({(Goal(goal), State(state)): count for goal, state, count in rows})

    def joined(self, rollout: str) -> Mapping[int, int]:
        """How many boards joined which wave."""
        query = sa.select(MEMBERS.c.wave, sa.func.count()).where(
            MEMBERS.c.rollout == rollout, MEMBERS.c.joined.is_not(None)
        )
        with self._begin() as connection:
            return {row[0]: row[1] for row in connection.execute(query.group_by(MEMBERS.c.wave))}

    def members(self, rollout: str, wave: int | None = None) -> tuple[Member, ...]:
        """Its boards, in the order of the plan."""
        query = sa.select(MEMBERS).where(MEMBERS.c.rollout == rollout).order_by(MEMBERS.c.place)
        if wave is not None:
            query = query.where(MEMBERS.c.wave == wave)
        with self._begin() as connection:
            return tuple(
                Member(
                    board=row.board,
                    site=row.site,
                    wave=row.wave,
                    release=row.release,
                    goal=Goal(row.goal),
                    state=State(row.state),
                    tries=row.tries,
                    ready_at=row.ready_at,
                    former=row.former,
                    reason=row.reason,
                    result=row.result,
                    joined=row.joined,
                    staged=row.staged,
                    shadow=row.shadow,
                )
                for row in connection.execute(query)
            )

    # Boards

    def claim(
        self,
        rollout: str,
        *,
        worker: str,
        limit: int,
        lease_s: float,
        goal: Goal = Goal.RELEASE,
        room: Callable[[str], bool] = lambda _: True,
        full: Collection[str] = (),
        opening: Callable[[str], float] = lambda _: 0.0,
        site: str | None = None,
        shadow_s: float = 0.0,
    ) -> tuple[Claim, ...]:
        """Take at most `limit` boards that are ready for a goal, of one site if it is named.

        None begins against what operators wish, whatever the caller knows of that.
        A board that was put in quarantine meanwhile gets no release; it may still go back.
        `room` tells whether a site may have one more board at work; it is asked for each claim.
        Of the sites in `full` none is looked at.
        `opening` tells when a board may be touched (Unix seconds): until then it is left alone.
        `shadow_s` is the plan's, for whoever works on the boards.
        """
        moment, claims = self._clock(), list[Claim]()
        query = _ready(goal, moment).where(
            sa.true() if site is None else MEMBERS.c.site == site,
            MEMBERS.c.rollout == rollout,
            MEMBERS.c.site.not_in(full),
        )
        with self._begin() as connection:
            for row in connection.execute(query.limit(limit * CANDIDATES)).all():
                if len(claims) == limit:
                    break
                ready = MEMBERS.update().where(*_of(row, State.READY))
                if row.quarantine is not None and goal is not Goal.FORMER:
                    connection.execute(ready.values(state=_KEPT_OUT, reason=row.quarantine))
                elif (opens := opening(row.board)) > moment:
                    connection.execute(ready.values(ready_at=opens))
                elif room(row.site) and (claim := self._claim(connection, row, worker, lease_s)):
                    is_shadow = goal is Goal.SHADOW
                    claims.append(replace(claim, shadow_s=shadow_s) if is_shadow else claim)
        return tuple(claims)

    def _claim(
        self,
        connection: sa.Connection,
        row: sa.Row[tuple[object, ...]],
        worker: str,
        lease_s: float,
    ) -> Claim | None:
        moment = self._clock()
        won = connection.execute(
            MEMBERS.update()
            .where(*_of(row, State.READY))
            .values(state=State.RUNNING, tries=MEMBERS.c.tries + 1)
        ).rowcount
        if not won:
            return None
        fence = connection.execute(
            BOARDS.update()
            .where(BOARDS.c.name == row.board)
            .values(fence=BOARDS.c.fence + 1)
            .returning(BOARDS.c.fence)
        ).scalar_one()
        attempt = connection.execute(
            ATTEMPTS.insert()
            .values(
                rollout=row.rollout,
                board=row.board,
                goal=row.goal,
                fence=fence,
                worker=worker,
                state=RUNNING,
                lease_until=moment + lease_s,
                started=moment,
            )
            .returning(ATTEMPTS.c.id)
        ).scalar_one()
        self._add(connection, row.rollout, "begun", row.goal, board=row.board, fence=fence)
        return Claim(
            attempt=attempt,
            rollout=row.rollout,
            board=row.board,
            site=row.site,
            goal=Goal(row.goal),
            release=row.release,
            fence=fence,
            tries=row.tries + 1,
        )

    def raise_fence(self, claim: Claim, last: int) -> Claim | None:
        """The claim with a fence above `last`, the board's own, which a deploy by hand raised.

        None where the claim counts no more.
        """
        new = replace(claim, fence=max(claim.fence, last + 1))
        with self._begin() as connection:
            counts = connection.execute(
                ATTEMPTS.update().where(*_running(claim)).values(fence=new.fence)
            ).rowcount
            if not counts:
                return None
            if new == claim:
                return claim
            connection.execute(
                BOARDS.update().where(BOARDS.c.name == claim.board).values(fence=new.fence)
            )
            self._add(
                connection, claim.rollout, "fence", f"the board had {last}",
                board=claim.board, fence=new.fence,
            )  # fmt: skip
            return new

    def fence_by_hand(self, board: str, last: int, who: str, *, take_over: bool) -> int:
        """A fence for a deploy that no rollout makes: above `last`, the board's own, and above all
        that workers were given, so that none of them switches the board when it wakes up.

        Raises TargetError for a board of a rollout that is not over. With `take_over` that has the
        board no more: its attempt counts no more, and it goes no way back.
        """
        with self._begin() as connection:
            _insert_new(connection, BOARDS, {"name": board, "fence": 0})
            if take_over:
                self._exclude(connection, board, who)
            row = self._boards(connection, [board])[board]
            if row.rollout is not None:
                raise TargetError(
                    board,
                    f"is a board of rollout '{row.rollout}', which is not over",
                    next=f"edgewright rollout.status --name={row.rollout}; or the same command "
                    "with --take-over, which excludes the board from it",
                )
            fence: int = max(row.fence, last) + 1
            connection.execute(BOARDS.update().where(BOARDS.c.name == board).values(fence=fence))
            self._add(connection, "", "by hand", f"by {who}", board=board, fence=fence)
            return fence

    def _exclude(self, connection: sa.Connection, board: str, who: str) -> None:
        """Take a board from its rollout, if it has one."""
        query = sa.select(BOARDS.c.rollout).where(BOARDS.c.name == board)
        rollout = connection.execute(query).scalar_one()
        if rollout is None:
            return
        # In the order of `_finish`, or two transactions would lock each other out.
        connection.execute(
            ATTEMPTS.update()
            .where(
                ATTEMPTS.c.rollout == rollout,
                ATTEMPTS.c.board == board,
                ATTEMPTS.c.state == RUNNING,
            )
            .values(state=TAKEN_OVER, ended=self._clock())
        )
        connection.execute(
            MEMBERS.update()
            .where(MEMBERS.c.rollout == rollout, MEMBERS.c.board == board)
            .values(state=State.EXCLUDED, reason=f"deployed to by hand: {who}")
        )
        connection.execute(
            BOARDS.update()
            .where(BOARDS.c.name == board, BOARDS.c.rollout == rollout)
            .values(rollout=None)
        )
        self._add(connection, rollout, TAKEN_OVER, f"by {who}", board=board)

    def renew(self, claims: Sequence[Claim], lease_s: float, board_s: float = math.inf) -> None:
        """Leases begin anew, of attempts that began within the last `board_s` seconds.

        Those that ran out, and were noticed, stay lost.
        """
        moment = self._clock()
        until, earliest = moment + lease_s, moment - board_s
        with self._begin() as connection:
            for chunk in _chunks([claim.attempt for claim in claims]):
                connection.execute(
                    ATTEMPTS.update()
                    .where(
                        ATTEMPTS.c.id.in_(chunk),
                        ATTEMPTS.c.state == RUNNING,
                        ATTEMPTS.c.started >= max(earliest, 0.0),
                    )
                    .values(lease_until=until)
                )

    def finish(self, reports: Sequence[Report], retry: Retry) -> tuple[Claim, ...]:
        """Write down how attempts ended; those whose fence is old are dropped, and returned."""
        dropped = []
        with self._begin() as connection:
            for report in reports:
                if not self._finish(connection, report, retry):
                    claim = report.claim
                    self._add(
                        connection, claim.rollout, "dropped", report.outcome,
                        board=claim.board, fence=claim.fence,
                    )  # fmt: skip
                    dropped.append(claim)
        return tuple(dropped)

    def _finish(self, connection: sa.Connection, report: Report, retry: Retry) -> bool:
        claim, moment = report.claim, self._clock()
        ended = connection.execute(
            ATTEMPTS.update().where(*_running(claim)).values(state=report.outcome, ended=moment)
        ).rowcount
        if not ended:
            return False
        next_ = after(report.outcome, claim.tries, retry, moment)
        values: dict[str, object] = {
            "state": next_.state,
            "tries": next_.tries,
            "ready_at": next_.ready_at,
            "reason": report.reason,
        }
        is_ahead = claim.goal in (Goal.STAGE, Goal.SHADOW)  # of the switch
        if is_ahead and next_.state is State.DONE:
            values |= {"goal": Goal.RELEASE, "state": State.READY, "tries": 0, "staged": moment}
        if claim.goal is Goal.SHADOW and next_.state is State.DONE:
            values["state"] = State.WAITING  # for `admit`
        if report.result is not None:
            values["shadow" if claim.goal is Goal.SHADOW else "result"] = report.result
        connection.execute(
            MEMBERS.update()
            .where(MEMBERS.c.rollout == claim.rollout, MEMBERS.c.board == claim.board)
            .values(values)
        )
        # A board that went back is as it was: what failed there was the release.
        went_back = next_.state is State.DONE and claim.goal is Goal.FORMER
        if next_.state is State.QUARANTINED or went_back:
            reason = None if went_back else f"rollout {claim.rollout}: {report.reason}"
            connection.execute(
                BOARDS.update().where(BOARDS.c.name == claim.board).values(quarantine=reason)
            )
        self._add(
            connection,
            claim.rollout,
            report.outcome,
            report.reason or claim.goal,
            board=claim.board,
            fence=claim.fence,
        )
        return True

    def attempts_of(self, site: str, attempts: Sequence[int]) -> tuple[Claim, ...]:
        """Those of these attempts that are on boards of this site, and not over."""
        query = _claims().where(
            ATTEMPTS.c.id.in_(attempts), MEMBERS.c.site == site, ATTEMPTS.c.state == RUNNING
        )
        with self._begin() as connection:
            return tuple(map(_claim_of, connection.execute(query)))

    def at_work(self, rollout: str, site: str) -> int:
        """How many boards of a site are worked on."""
        query = sa.select(sa.func.count()).where(
            MEMBERS.c.rollout == rollout,
            MEMBERS.c.site == site,
            MEMBERS.c.state == State.RUNNING,
        )
        with self._begin() as connection:
            return connection.execute(query).scalar_one()

    def expire(
        self, rollout: str, retry: Retry, *, worker: str, apart: Collection[str] = ()
    ) -> int:
        """End the attempts of dead workers, and those whose lease ran out; returns how many.

        Sites that are `apart` have workers of their own: there the lease alone counts.

        The caller is the only controller of this rollout: what another `worker` began is cut. That
        says nothing about the board, unless it happens again and again: one that hangs would hold
        its wave for as long as controllers die before its deadline.
        """
        moment = self._clock()
        is_cut = sa.and_(ATTEMPTS.c.worker != worker, MEMBERS.c.site.not_in(apart))
        query = _claims().where(
            ATTEMPTS.c.rollout == rollout,
            ATTEMPTS.c.state == RUNNING,
            sa.or_(ATTEMPTS.c.lease_until < moment, is_cut),
        )
        with self._begin() as connection:
            rows = connection.execute(query).all()
            orphans = {row.id for row in rows if row.worker != worker and row.site not in apart}
            cut = {
                row.id
                for row in rows
                if row.id in orphans and self._cuts(connection, row) < MOST_CUTS
            }
            reports = [
                Report(
                    claim=_claim_of(row),
                    outcome=Outcome.CUT if row.id in cut else Outcome.LOST,
                    reason="its controller died"
                    if row.id in orphans
                    else "nothing was heard of it until its deadline",
                )
                for row in rows
            ]
            return sum(self._finish(connection, report, retry) for report in reports)

    def _cuts(self, connection: sa.Connection, attempt: sa.Row[tuple[object, ...]]) -> int:
        """How often an attempt on this board ended with its controller."""
        query = sa.select(sa.func.count()).where(
            ATTEMPTS.c.rollout == attempt.rollout,
            ATTEMPTS.c.board == attempt.board,
            ATTEMPTS.c.state == Outcome.CUT,
        )
        return connection.execute(query).scalar_one()

    def quarantine(self, board: str, reason: str | None) -> None:
        """Keep a board out of rollouts, with a reason; None lets it in again."""
        with self._begin() as connection:
            _insert_new(connection, BOARDS, {"name": board, "fence": 0})
            rollout = connection.execute(
                sa.select(BOARDS.c.rollout).where(BOARDS.c.name == board)
            ).scalar_one()
            if rollout is not None and reason is not None:
                connection.execute(
                    MEMBERS.update()
                    .where(
                        MEMBERS.c.rollout == rollout,
                        MEMBERS.c.board == board,
                        MEMBERS.c.state.in_((State.WAITING, State.READY)),
                    )
                    .values(state=_KEPT_OUT, reason=reason)
                )
            # After its member, as in all transactions: one in the other order would lock them out.
            connection.execute(
                BOARDS.update().where(BOARDS.c.name == board).values(quarantine=reason)
            )
            kind = "released" if reason is None else "quarantined"
            self._add(connection, rollout or "", kind, reason or "", board=board)

    def in_quarantine(self) -> Mapping[str, str]:
        """Boards that no rollout takes, and why."""
        query = sa.select(BOARDS.c.name, BOARDS.c.quarantine).where(
            BOARDS.c.quarantine.is_not(None)
        )
        with self._begin() as connection:
            rows = connection.execute(query.order_by(BOARDS.c.name))
            return {row.name: row.quarantine for row in rows}

    # Gates

    def judge(self, rollout: str, wave: int, gates: str, *, shadow: bool = False) -> None:
        """What the gates of a wave said (JSON), or those of its shadow; the first word counts."""
        with self._begin() as connection:
            row = {"rollout": rollout, "wave": wave, "gates": gates}
            if _insert_new(connection, SHADOW_VERDICTS if shadow else VERDICTS, row):
                phase = shadowing(wave) if shadow else working(wave)
                self._add(connection, rollout, "judged", phase)

    def note_results(self, rollout: str, results: Mapping[str, str]) -> None:
        """What boards have measured by now (JSON), in place of what their attempts did."""
        with self._begin() as connection:
            for board, result in results.items():
                connection.execute(
                    MEMBERS.update()
                    .where(MEMBERS.c.rollout == rollout, MEMBERS.c.board == board)
                    .values(result=result)
                )

    def unheard(self, rollout: str, wave: int) -> tuple[Member, ...]:
        """Boards of a wave that were given up when nobody had told how their last attempt ended."""
        last = sa.select(sa.func.max(ATTEMPTS.c.id)).where(ATTEMPTS.c.rollout == rollout)
        query = sa.select(ATTEMPTS.c.board).where(
            ATTEMPTS.c.id.in_(last.group_by(ATTEMPTS.c.board)), ATTEMPTS.c.state == Outcome.LOST
        )
        with self._begin() as connection:
            lost = set(connection.scalars(query))
        return tuple(
            member
            for member in self.members(rollout, wave)
            if member.state is State.QUARANTINED and member.board in lost
        )

    def confirm(self, rollout: str, boards: Sequence[str]) -> None:
        """Boards that were given up, and were read back: they run the release."""
        with self._begin() as connection:
            for names in _chunks(boards):
                connection.execute(
                    MEMBERS.update()
                    .where(
                        MEMBERS.c.rollout == rollout,
                        MEMBERS.c.board.in_(names),
                        MEMBERS.c.state == State.QUARANTINED,
                    )
                    .values(state=State.DONE, reason="")
                )
                connection.execute(
                    BOARDS.update().where(BOARDS.c.name.in_(names)).values(quarantine=None)
                )
            for board in boards:
                self._add(connection, rollout, "read back", "it runs the release", board=board)

    def verdicts(self, rollout: str, *, shadow: bool = False) -> Mapping[int, str]:
        table = SHADOW_VERDICTS if shadow else VERDICTS
        query = sa.select(table).where(table.c.rollout == rollout).order_by(table.c.wave)
        with self._begin() as connection:
            return {row.wave: row.gates for row in connection.execute(query)}

    def approve(
        self, rollout: str, wave: int, who: str, reason: str, *, shadow: bool = False
    ) -> None:
        """A person lets the rollout go on after this wave, or its shadow. The first approval is
        kept."""
        row = {
            "rollout": rollout, "wave": wave, "who": who, "reason": reason, "at": self._clock(),
        }  # fmt: skip
        with self._begin() as connection:
            if _insert_new(connection, SHADOW_APPROVALS if shadow else APPROVALS, row):
                phase = shadowing(wave) if shadow else working(wave)
                self._add(connection, rollout, "approved", f"{phase} by {who}: {reason}")

    def approval(self, rollout: str, wave: int, *, shadow: bool = False) -> Approval | None:
        table = SHADOW_APPROVALS if shadow else APPROVALS
        query = sa.select(table.c.who, table.c.reason, table.c.at).where(
            table.c.rollout == rollout, table.c.wave == wave
        )
        with self._begin() as connection:
            row = connection.execute(query).one_or_none()
        return Approval(who=row.who, reason=row.reason, at=row.at) if row else None

    def orders(self, rollout: str) -> tuple[Order, ...]:
        """To its releases, and back to those that were current when it was planned."""
        query = sa.select(ORDERS).where(ORDERS.c.rollout == rollout)
        with self._begin() as connection:
            return tuple(
                Order(release=row.release, manifest=row.manifest, signature=row.signature)
                for row in connection.execute(query)
            )

    # Events

    def events(self, rollout: str, *, after: int = 0) -> tuple[Event, ...]:
        query = sa.select(EVENTS).where(EVENTS.c.rollout == rollout, EVENTS.c.id > after)
        with self._begin() as connection:
            return tuple(
                Event(
                    id=row.id,
                    at=row.at,
                    board=row.board,
                    kind=row.kind,
                    fence=row.fence,
                    text=row.text,
                )
                for row in connection.execute(query.order_by(EVENTS.c.id))
            )

    def last_event(self) -> int:
        """The number of the last event of any rollout; 0: there is none."""
        with self._begin() as connection:
            return connection.scalar(sa.select(sa.func.max(EVENTS.c.id))) or 0

    def _add(
        self,
        connection: sa.Connection,
        rollout: str,
        kind: str,
        text: str,
        *,
        board: str | None = None,
        fence: int | None = None,
    ) -> None:
        connection.execute(
            EVENTS.insert().values(
                at=self._clock(), rollout=rollout, board=board, kind=kind, fence=fence, text=text
            )
        )


def working(wave: int) -> str:
    """The phase in which a wave's boards are deployed to."""
    return f"wave {wave}"


def shadowing(wave: int) -> str:
    """The phase before it, in which the former release is in charge."""
    return f"shadow of wave {wave}"


def soaking(wave: int) -> str:
    """The phase after it."""
    return f"wave {wave} soaks"


def _no_more(rollout: str, problem: str, facts: Sequence[str]) -> UserError:
    return UserError(
        f"rollout '{rollout}'",
        problem,
        facts=facts,
        next=f"another rollout.start once it is over: rollout.status --name={rollout} --watch",
    )


def _insert_orders(connection: sa.Connection, rollout: str, orders: Iterable[Order]) -> None:
    """Those that are there already stay."""
    for order in orders:
        _insert_new(connection, ORDERS, {"rollout": rollout, **vars(order)})


# A board that is put in quarantine while its rollout runs: what failed before counts as failed.
_KEPT_OUT = sa.case((MEMBERS.c.tries == 0, State.EXCLUDED.value), else_=State.SKIPPED.value)


def _ready(goal: Goal, moment: float) -> sa.Select[tuple[Any, ...]]:
    """Boards that may begin on their way to a goal, in the order of their plan."""
    return (
        sa.select(MEMBERS, BOARDS.c.quarantine)
        .join(BOARDS, BOARDS.c.name == MEMBERS.c.board)
        .join(ROLLOUTS, ROLLOUTS.c.name == MEMBERS.c.rollout)
        .where(
            ROLLOUTS.c.wish.in_(WISHES[goal]),
            MEMBERS.c.state == State.READY,
            MEMBERS.c.goal == goal,
            MEMBERS.c.ready_at <= moment,
        )
        .order_by(MEMBERS.c.place)
    )


def _claims() -> sa.Select[tuple[Any, ...]]:
    """Attempts, with what their claims say."""
    return sa.select(ATTEMPTS, MEMBERS.c.site, MEMBERS.c.release, MEMBERS.c.tries).join(
        MEMBERS,
        sa.and_(MEMBERS.c.rollout == ATTEMPTS.c.rollout, MEMBERS.c.board == ATTEMPTS.c.board),
    )


def _claim_of(row: sa.Row[tuple[Any, ...]]) -> Claim:
    return Claim(
        attempt=row.id,
        rollout=row.rollout,
        board=row.board,
        site=row.site,
        goal=Goal(row.goal),
        release=row.release,
        fence=row.fence,
        tries=row.tries,
    )


def _of(row: sa.Row[tuple[object, ...]], state: State) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        MEMBERS.c.rollout == row.rollout,
        MEMBERS.c.board == row.board,
        MEMBERS.c.state == state,
    )


def _running(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        ATTEMPTS.c.id == claim.attempt,
        ATTEMPTS.c.fence == claim.fence,
        ATTEMPTS.c.state == RUNNING,
    )


def _chunks(items: Sequence[Item]) -> Iterable[Sequence[Item]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def _insert_new(connection: sa.Connection, table: sa.Table, *rows: Mapping[str, object]) -> int:
    """Insert rows but those whose keys are there; how many.

    Not by looking first: PostgreSQL shows nothing of what another transaction inserts meanwhile,
    and then refuses the second row.
    """
    insert = insert_into(connection, table).values(rows).on_conflict_do_nothing()
    # A driver need not count rows that were inserted.
    return len(connection.execute(insert.returning(*table.primary_key)).all())
