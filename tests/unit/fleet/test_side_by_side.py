"""Work on many boards: bounded, in order, and ended by Ctrl-C without harm."""

import signal
import threading
import time
from collections.abc import Sequence

import pytest

from edgewright.base.errors import InterruptedWorkError, TargetError
from edgewright.base.progress import Progress
from edgewright.fleet import side_by_side
from edgewright.fleet.side_by_side import End, Job


class Watch:
    """What a caller of `run` is told."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.interrupts: list[tuple[str, ...]] = []

    def on_end(self, end: End[str]) -> None:
        self.ended.append(end.name)

    def on_interrupt(self, at_work: Sequence[str]) -> None:
        self.interrupts.append(tuple(at_work))

    def run(self, *jobs: Job[str], parallel: int = 2) -> tuple[End[str], ...]:
        return side_by_side.run(
            jobs, parallel=parallel, on_end=self.on_end, on_interrupt=self.on_interrupt
        )


def interrupt() -> None:
    """Ctrl-C, from a thread that works."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def test_each_board_has_its_own_end_and_a_failure_stops_no_other() -> None:
    def fail(_: Progress) -> str:
        raise TargetError("b", "is full")

    watch = Watch()
    ends = watch.run(
        Job(name="a", work=lambda _: "well"), Job(name="b", work=fail), Job(name="c", work=fail)
    )

    assert [(end.name, end.result, type(end.raised)) for end in ends] == [
        ("a", "well", type(None)),
        ("b", None, TargetError),
        ("c", None, TargetError),
    ]
    assert sorted(watch.ended) == ["a", "b", "c"]


@pytest.mark.parametrize("parallel", [1, 3])
def test_no_more_boards_are_at_work_than_asked_for(parallel: int) -> None:
    lock, at_work, most = threading.Lock(), 0, 0

    def work(_: Progress) -> str:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.01)
        with lock:
            at_work -= 1
        return "done"

    Watch().run(*(Job(name=str(n), work=work) for n in range(10)), parallel=parallel)

    assert most == parallel


def test_an_interrupt_lets_what_is_at_work_end_and_begins_nothing() -> None:
    watch, interrupted = Watch(), threading.Event()

    def work(progress: Progress) -> str:
        progress.start("send")
        interrupt()
        assert interrupted.wait(10)
        progress.start("switch to 1")
        return "well"

    def on_interrupt(at_work: Sequence[str]) -> None:
        watch.on_interrupt(at_work)
        interrupted.set()

    jobs = [Job(name=name, work=work) for name in ("a", "b", "c")]
    ends = side_by_side.run(jobs, parallel=1, on_end=watch.on_end, on_interrupt=on_interrupt)

    assert [(end.has_begun, end.result) for end in ends] == [
        (True, "well"),
        (False, None),
        (False, None),
    ]
    assert watch.interrupts == [("a",)]
    assert sorted(watch.ended) == ["a", "b", "c"]


@pytest.mark.parametrize(("stage", "is_ended"), [("self-test", True), ("switch to 1", False)])
def test_a_second_interrupt_ends_what_has_not_switched(stage: str, is_ended: bool) -> None:
    reported = threading.Semaphore(0)

    def work(progress: Progress) -> str:
        progress.start(stage)
        for _ in range(2):
            interrupt()
            assert reported.acquire(timeout=10)
        progress.sent(1, 2)
        progress.start("the next stage")
        return "well"

    (end,) = side_by_side.run(
        [Job(name="a", work=work)],
        parallel=1,
        on_end=lambda _: None,
        on_interrupt=lambda _: reported.release(),
    )

    assert isinstance(end.raised, InterruptedWorkError) == is_ended
    assert (end.result == "well") == (not is_ended)


def test_a_progress_that_is_not_interrupted_ends_nothing() -> None:
    def work(progress: Progress) -> str:
        progress.start("one")
        progress.sent(1, 1)
        return "well"

    assert Watch().run(Job(name="a", work=work))[0].result == "well"
