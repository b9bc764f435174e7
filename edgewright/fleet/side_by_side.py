"""Work on many boards at once: a bounded pool of threads, where no board stops another.

An interrupt (Ctrl-C) ends no work that has begun: what has not begun does not begin, and what is
at work comes to its own end. A second one ends each at its next step, unless that is past the
switch of a release: from there on a deploy ends well or goes back, within its own time limits.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Thread
from typing import Generic, TypeVar

from edgewright.base.errors import InterruptedWorkError
from edgewright.base.progress import Progress
from edgewright.deploy.install import SWITCH

MOST_PARALLEL = 200  # threads of one process
WAKE_SECONDS = 1.0  # at most until an end is seen whose news an interrupt swallowed
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Job(Generic[Result]):
    """What is to be done on one board."""

    name: str  # of the board, as the user calls it
    work: Callable[[Progress], Result]


@dataclass(frozen=True, kw_only=True)
class End(Generic[Result]):
    """How it ended: with a result, with what was raised, or, with neither, before it began."""

    name: str
    seconds: float = 0.0
    result: Result | None = None
    raised: Exception | None = None

    @property
    def has_begun(self) -> bool:
        return self.result is not None or self.raised is not None


def run(
    jobs: Sequence[Job[Result]],
    *,
    parallel: int,
    on_end: Callable[[End[Result]], None],
    on_interrupt: Callable[[Sequence[str]], None],
) -> tuple[End[Result], ...]:
    """Do all jobs, `parallel` at a time; the ends have the order of the jobs.

    `on_end` gets each end, in the caller's thread. At each KeyboardInterrupt `on_interrupt` gets
    the names of the boards at work.
    """
    waiting, ended = deque(jobs), list[End[Result]]()
    closed, stop, news = Event(), Event(), Event()
    workers: list[Thread] = []

    def work() -> None:
        while True:
            try:
                job = waiting.popleft()
            except IndexError:
                return
            ended.append(End(name=job.name) if closed.is_set() else _end_of(job, stop))
            news.set()

    # An interrupt may come between any two lines: reports are taken from `ended`, which only grows,
    # and what is to be done about an interrupt is done here, where the next one is caught.
    reported = interrupts = acted_on = 0
    while reported < len(jobs):
        try:
            if acted_on < interrupts:
                acted_on = interrupts
                closed.set()
                if interrupts > 1:
                    stop.set()
                idle = {job.name for job in waiting.copy()} | {end.name for end in ended.copy()}
                on_interrupt([job.name for job in jobs if job.name not in idle])
            if waiting and sum(worker.is_alive() for worker in workers) < parallel:
                workers.append(Thread(target=work))
                workers[-1].start()
            elif reported == len(ended):
                news.wait(WAKE_SECONDS)
                news.clear()
            else:
                on_end(ended[reported])
                reported += 1
        except KeyboardInterrupt:
            interrupts += 1
    ends = {end.name: end for end in ended}
    return tuple(ends[job.name] for job in jobs)


def _end_of(job: Job[Result], stop: Event) -> End[Result]:
    start = time.monotonic()
    result: Result | None = None
    raised: Exception | None = None
    try:
        result = job.work(_Interruptible(stop))
    except Exception as failure:
        raised = failure
    seconds = round(time.monotonic() - start, 2)
    return End(name=job.name, seconds=seconds, result=result, raised=raised)


class _Interruptible(Progress):
    """Ends the work at its next step once `stop` is set, as long as nothing was switched."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._has_switched = False

    def start(self, stage: str) -> None:
        self._end_if_asked()
        self._has_switched = self._has_switched or stage.startswith(SWITCH)

    def sent(self, count: int, total: int) -> None:
        self._end_if_asked()

    def _end_if_asked(self) -> None:
        if self._stop.is_set() and not self._has_switched:
            raise InterruptedWorkError("interrupted", "the release that was current still is")
