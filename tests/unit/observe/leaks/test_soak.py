"""A soak of a program that leaks, of one that does not, and of a line that is lost."""

import json
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import CheckError, TargetError
from edgewright.deploy.edge_infer import Heap
from edgewright.deploy.edgectl import INFER_SECONDS, Edgectl
from edgewright.deploy.remote import ConnectionLostError, Result
from edgewright.deploy.smoke import Subject
from edgewright.observe.bench.measure import PROCESS_S, DirectRelease
from edgewright.observe.leaks import soak as soaks
from edgewright.observe.leaks.report import require_steady
from edgewright.observe.leaks.soak import END, SAMPLE, Sample, Soak, judge_heap, parse_samples
from tests.boards import BENCH, THERMAL, StandIn, make_release
from tests.schemas import require_valid

LATENCY = {"min": 100.0, "median": 100.0, "p95": 100.0, "p99": 100.0, "max": 100.0}
SERVICE = "process 7 20\nresident 25000\n"  # runs before, and goes on


class SoakedBoard(StandIn):
    """`bench` ends once so many samples were taken; each is what `reading` says of its number."""

    def __init__(
        self,
        reading: Callable[[int], tuple[int, int]],
        *,
        samples: int = 200,
        is_lost: bool = False,
    ) -> None:
        super().__init__()
        self._reading, self._samples, self._is_lost = reading, samples, is_lost
        self._taken, self._running = 0, False
        self._enough = threading.Event()
        self.latency = LATENCY
        self.heap: dict[str, object] | None = BENCH["heap"]
        self.thermal: dict[str, object] | None = None
        self.most_runs = 1_000_000  # that a process makes

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        if END in argv:
            assert argv[-1] == "812"
            self._enough.set()
            return Result(argv=tuple(argv), returncode=0, stdout="", stderr="")
        if END in argv:
            assert argv[-1] == "812"
            self._enough.set()
            return Result(argv=tuple(argv), returncode=0, stdout="", stderr="")
        if argv[0] == "sh":
            return Result(argv=tuple(argv), returncode=0, stdout=self._sample(), stderr="")
        if argv[-1] != str(soaks.FIRST_RUNS):  # not the first look at the time of an inference
            self._running = True
            assert self._enough.wait(20)
            if self._is_lost:
                raise ConnectionLostError("board.test", "connection lost")
        runs = min(int(argv[-1]), self.most_runs)
        measured = {"latency_ms": self.latency, "heap": self.heap, "thermal": self.thermal}
        text = json.dumps(BENCH | measured | {"runs": runs})
        return Result(argv=tuple(argv), returncode=0, stdout=text, stderr="")

    def _sample(self) -> str:
        if not self._running:
            return SERVICE
        self._taken += 1
        if self._taken >= self._samples:
            self._enough.set()
        resident, descriptors = self._reading(self._taken)
        return f"{SERVICE}process 812 {descriptors}\nresident {resident}\n"


@pytest.fixture
def soak(tmp_path: Path) -> Callable[[SoakedBoard], Soak]:
    release = make_release(tmp_path, root="/opt/edgewright")

    def soak(board: SoakedBoard) -> Soak:
        edgectl = Edgectl(board=board, root="/opt/edgewright")
        direct = DirectRelease(edgectl=edgectl, release=release.id, right="--holder=test")
        subject = Subject(release=direct, manifest=release.manifest)
        return Soak(subject=subject, second=board, seconds=200, interval_s=0.001)

    return soak


def test_a_planted_leak_is_found_and_ends_with_4(soak: Callable[[SoakedBoard], Soak]) -> None:
    report = soak(SoakedBoard(lambda n: (30_000 + 8 * n, 12))).run()

    require_valid("soak", report.to_json())
    verdicts = {resource.name: resource.verdict for resource in report.resources}
    assert verdicts == {"heap": "steady", "resident memory": "leak", "descriptors": "steady"}
    assert report.cut is None
    with pytest.raises(CheckError, match="leaks: resident memory"):
        require_steady(report)


def test_a_program_that_keeps_what_it_has_passes_beside_a_service(
    soak: Callable[[SoakedBoard], Soak],
) -> None:
    report = soak(SoakedBoard(lambda n: (30_000 + 4 * (n % 3), 12))).run()

    memory = report.resources[1]
    assert memory.verdict == "steady"
    assert memory.first is not None
    assert memory.first >= 30_000  # not the service's
    assert report.samples >= 199
    require_steady(report)


LEAK = 1032  # what malloc takes for 1 KiB
NOISE = (0, 160, 400, -240, 80)  # bytes: four threads on a clean program


def heap(leak: float, runs: int = 1, samples: int = 17) -> dict[str, object]:
    """What `bench` tells of a process that keeps so many bytes of each inference."""
    resident = [8_000_000 + round(leak * runs * i) + NOISE[i % len(NOISE)] for i in range(samples)]
    return {"runs": runs, "bytes": resident}


def test_the_heap_tells_a_leak_of_1_kib_within_16_inferences(
    soak: Callable[[SoakedBoard], Soak],
) -> None:
    board = SoakedBoard(lambda n: (30_000, 12), samples=5)
    board.heap = heap(LEAK)
    report = soak(board).run()

    memory = report.resources[0]
    assert (memory.name, memory.verdict) == ("heap", "leak")
    assert memory.per_1000_inferences == pytest.approx(LEAK / 1024 * 1000, rel=0.05)
    assert report.resources[1].verdict == "not judged"
    with pytest.raises(CheckError, match="leaks: heap"):
        require_steady(report)


def test_what_a_process_told_that_was_asked_to_end_early_is_not_all_there_is() -> None:
    sizes = tuple(8_000_000 + LEAK * run for run in range(17))
    full, early = Heap(runs=1, bytes=sizes), Heap(runs=32, bytes=sizes[:3])

    assert judge_heap([full, early]).verdict == "leak"
    assert judge_heap([early]).verdict == "not judged"


@pytest.mark.parametrize(
    "clean",
    [
        heap(0),
        heap(0, runs=50, samples=33),
        {"runs": 1, "bytes": [8_000_000] * 8 + [8_300_000] * 9},  # a buffer that grew once
        {"runs": 1, "bytes": [8_000_000 - 900 * i for i in range(17)]},
    ],
)
def test_a_clean_program_keeps_its_heap(
    soak: Callable[[SoakedBoard], Soak], clean: dict[str, object]
) -> None:
    board = SoakedBoard(lambda n: (30_000, 12), samples=5)
    board.heap = clean

    assert soak(board).run().resources[0].verdict == "steady"


def test_a_release_that_does_not_tell_its_heap_is_judged_by_the_rest(
    soak: Callable[[SoakedBoard], Soak],
) -> None:
    board = SoakedBoard(lambda n: (30_000, 12))
    board.heap = None
    heap_resource, memory, _ = soak(board).run().resources

    assert heap_resource.verdict == "not judged"
    assert "does not tell" in heap_resource.reason
    assert memory.verdict == "steady"


def test_processes_of_a_release_with_a_governor_end_in_time(
    soak: Callable[[SoakedBoard], Soak],
) -> None:
    board = SoakedBoard(lambda n: (30_000, 12), samples=5)
    board.thermal = THERMAL
    report = soak(board).run()  # 200 s

    assert report.processes == 3


@pytest.fixture
def paced(soak: Callable[[SoakedBoard], Soak]) -> tuple[SoakedBoard, Soak]:
    """Makes an inference in a second, in which it could make ten."""
    seconds = [0.0]

    def reading(number: int) -> tuple[int, int]:
        seconds[0] += 5.0
        return 30_000 + 8 * number, 12

    board = SoakedBoard(reading, samples=400)
    paced = soak(board)
    paced.clock = lambda: seconds[0]
    return board, paced


def test_a_board_that_is_paced_is_asked_to_end_in_time(paced: tuple[SoakedBoard, Soak]) -> None:
    board, soaked = paced
    board.most_runs = 200
    report = soaked.run()

    assert report.seconds == pytest.approx(200, abs=10)
    assert report.processes == 1
    assert report.inferences == 200  # not the 2,000 that it was asked for
    assert report.cut is None


def test_a_release_that_cannot_be_asked_comes_to_its_own_end(
    paced: tuple[SoakedBoard, Soak],
) -> None:
    board, soaked = paced
    board.heap = None
    report = soaked.run()

    assert report.seconds == pytest.approx(2000, rel=0.02)
    assert report.inferences == 2000
    per_sample = 2000 / report.samples
    assert report.resources[1].per_1000_inferences == pytest.approx(8 / per_sample * 1000, rel=0.02)


@pytest.mark.parametrize("ms", [5e-324, 1e308])
def test_a_time_that_cannot_be_is_refused(soak: Callable[[SoakedBoard], Soak], ms: float) -> None:
    board = SoakedBoard(lambda n: (30_000, 12))
    board.latency = dict.fromkeys(LATENCY, ms)

    with pytest.raises(TargetError, match="did not tell a time"):
        soak(board).run()


def test_a_lost_line_ends_it_with_what_there_is(soak: Callable[[SoakedBoard], Soak]) -> None:
    report = soak(SoakedBoard(lambda n: (30_000, 12), is_lost=True)).run()

    assert report.cut == "connection lost"
    assert report.inferences <= 2000  # that it was asked for
    assert report.resources[1].verdict == "steady"
    with pytest.raises(TargetError, match="the soak ended after"):
        require_steady(report)

    with pytest.raises(ConnectionLostError):
        soak(SoakedBoard(lambda n: (30_000, 12), samples=5, is_lost=True)).run()


def test_the_script_tells_of_processes_of_that_name(tmp_path: Path) -> None:
    for pid, name in ((41, "edge-infer"), (42, "sh"), (43, "edge-infer")):
        folder = tmp_path / "proc" / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "comm").write_text(f"{name}\n")
        for number in range(3):
            (folder / "fd" / str(number)).touch()
        (folder / "status").write_text("Name:\tx\nVmRSS:\t   30120 kB\nThreads:\t4\n")
    (tmp_path / "proc" / "43" / "status").unlink()  # it has just ended

    script = SAMPLE.replace("/proc/[0-9]*", f"{tmp_path}/proc/[0-9]*")
    script = script.replace("#/proc/", f"#{tmp_path}/proc/")
    answer = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)

    assert parse_samples(answer.stdout) == [Sample(pid=41, descriptors=3, resident_kib=30120)]


@given(st.text(max_size=200) | st.from_regex(r"(process \d+ \d+\nresident \d+\n){0,4}"))
def test_any_answer_is_samples_or_none(text: str) -> None:
    assert all(sample.resident_kib >= 0 for sample in parse_samples(text))


def test_one_process_is_shorter_than_edgectl_lets_it_be() -> None:
    assert PROCESS_S < INFER_SECONDS
