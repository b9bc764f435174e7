"""Work that goes on where a dead process left it: the only module that knows DBOS Transact.

What its defaults would do, and what is done instead:
- Two processes with one executor id run everything twice: the id is the work's name, and the
  process holds a lock of that name.
- Work is pickled into the database, and whoever may write there runs code here: JSON.
- Another version of the program leaves work pending for ever: the version is `VERSION`, which
  changes only with the order of steps.
- A lock ends with its connection, unnoticed: it is looked at, every few seconds.
- Work is given up after 100 recoveries: there is no limit.
- What a dead process left is begun by a queue that is looked into all the time, or late: it is
  looked into often until the work has begun, and hardly ever from then on.
- SQLite is opened with a rollback journal, and not waited for: the engine is ours.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import dbos
import sqlalchemy as sa

from edgewright.base.errors import TargetError, UserError
from edgewright.fleet.rollout.database import LOOK_SECONDS, Database

VERSION = "1"  # of the order of steps
POLL_SECONDS = 1.0
RECOVERY_SECONDS = 0.1  # between looks into the engine's queue until the work has begun
QUEUE_SECONDS = 10.0  # and from then on
LOCK_SECONDS = 15.0  # between looks at the lock: another process may have it for so long at most
Json = str | float | int | bool | None


class Steps(Protocol):
    """How work writes down what it has done."""

    def __call__(self, name: str, work: Callable[[], Json], /) -> Json:
        """Do a step, or return what it returned when it was done; it may be begun again.

        Steps come in the same order each time. What `work` raises ends the process's share of the
        work, which is then as if the process had been killed in this step.
        """


class _LeftError(BaseException):
    """Ends the engine's thread without its knowledge: what it notes of others, it never retries."""


class _JsonText(dbos.Serializer):
    def serialize(self, data: Any) -> str:
        return json.dumps(data)

    def deserialize(self, serialized_data: str) -> Any:
        return json.loads(serialized_data)

    def name(self) -> str:
        return "json"


def run(
    database: Database,
    name: str,
    work: Callable[[Steps], str],
    *,
    on_interrupt: Callable[[], None] = lambda: None,
) -> str:
    """Do the work of that name to its end, from where the last process left it.

    One process does such work at a time, and one piece of it. What was done already returns what
    it returned. At each KeyboardInterrupt `on_interrupt` is called, which has the work raise.
    Raises UserError where another process is at it, TargetError where the database is gone or
    full, and what the work raises.
    """

    def refuse() -> None:
        raise UserError(
            f"rollout '{name}'",
            "another process is at work on it",
            next=f"edgewright rollout.status --name={name} --watch",
        )

    try:
        with database.only_one(name, on_busy=refuse, patience_s=LOOK_SECONDS) as require_lock:
            return _run_alone(database, name, work, on_interrupt, require_lock)
    except sa.exc.DBAPIError as failed:
        raise TargetError(
            f"rollout '{name}'",
            "the ledger does not answer",
            facts=[str(failed.orig).strip()],
            next=f"edgewright rollout.resume --name={name}, once it does",
        ) from failed


def _configure(database: Database, name: str) -> dbos.Queue:
    """Make the engine of this process, on the ledger's database and silent; returns its queue."""
    url = database.steps.url.render_as_string(hide_password=False)
    logger = logging.getLogger("dbos")
    logger.propagate = False
    if not logger.handlers:  # else it adds one for the console
        logger.addHandler(logging.NullHandler())
    engine = dbos.DBOS(
        config={
            "name": "edgewright",
            "executor_id": name,
            "application_version": VERSION,
            "serializer": _JsonText(),
            "system_database_engine": database.steps,
            "system_database_url": url,
            "notification_listener_polling_interval_sec": POLL_SECONDS,
            "scheduler_polling_interval_sec": 3600.0,
            "log_level": "CRITICAL",
        }
    )
    queue = engine._registry.get_internal_queue()
    queue._polling_interval_sec = RECOVERY_SECONDS
    return queue


def _run_alone(
    database: Database,
    name: str,
    work: Callable[[Steps], str],
    on_interrupt: Callable[[], None],
    require_lock: Callable[[], None],
) -> str:
    share = _Share(work)
    queue = _configure(database, name)

    def conduct() -> str:  # no method: the engine would look for its object in the database
        queue._polling_interval_sec = QUEUE_SECONDS
        return share.conduct()

    try:
        workflow = dbos.DBOS.workflow(name="rollout", max_recovery_attempts=None)(conduct)
        dbos.DBOS.launch()
        status = dbos.DBOS.get_workflow_status(name)
        if status is not None and status.status == "SUCCESS":
            return str(status.output)
        if status is None:
            with dbos.SetWorkflowID(name):
                dbos.DBOS.start_workflow(workflow)
        # Else `launch` put it into the queue.
        _wait(share.ended, on_interrupt, require_lock)
        if share.failure is not None:
            raise share.failure
        return share.result
    finally:
        # Its threads look up this often, and the end of the work is noted by one of them.
        dbos.DBOS.destroy(
            destroy_registry=True, workflow_completion_timeout_sec=0 if share.failure else 5
        )


class _Share:
    """What this process does of the work, in a thread of the engine."""

    def __init__(self, work: Callable[[Steps], str]) -> None:
        self._work = work
        self.ended = threading.Event()
        self.result = ""
        self.failure: Exception | None = None

    def conduct(self) -> str:
        with self._leaving():
            try:
                self.result = self._work(self._step)
                return self.result
            finally:
                self.ended.set()

    def _step(self, name: str, work: Callable[[], Json]) -> Json:
        def guarded() -> Json:
            with self._leaving():
                return work()

        # Its own retries would only repeat what the work does better by itself.
        return dbos.DBOS.run_step({"name": name, "retries_allowed": False}, guarded)

    @contextmanager
    def _leaving(self) -> Iterator[None]:
        """What is raised is kept from the engine."""
        try:
            yield
        except Exception as failure:
            self.failure = self.failure or failure
            raise _LeftError from failure


def _wait(
    ended: threading.Event, on_interrupt: Callable[[], None], require_lock: Callable[[], None]
) -> None:
    """No wait is for ever, so that an interrupt is noticed. Raises DBAPIError without the lock."""
    looked_at = time.monotonic()
    while not ended.is_set():
        try:
            ended.wait(1)
        except KeyboardInterrupt:
            on_interrupt()
        if time.monotonic() - looked_at >= LOCK_SECONDS:
            looked_at = time.monotonic()
            _require(require_lock, on_interrupt)


def _require(lock: Callable[[], None], on_interrupt: Callable[[], None]) -> None:
    """Raise DBAPIError where the lock was lost; the work leaves at once then."""
    try:
        lock()
    except sa.exc.DBAPIError:
        on_interrupt()
        on_interrupt()
        raise
