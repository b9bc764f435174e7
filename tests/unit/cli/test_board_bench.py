"""`bench.board` as a user calls it: what it refuses, and what a screen says."""

import pytest
from rich.console import Console

from edgewright.base.errors import UserError
from edgewright.cli.board_bench import Measured, _screen
from edgewright.observe.bench.measure import Plan
from edgewright.release.manifest import Release
from tests.unit.observe.bench.test_bench import SENSORS, SYSTEM, BenchBoard, bench_of, releases

__all__ = ["releases"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"against": "previous", "processes": 3}, "expected at least 6 with --against"),
        ({"soak": "10"}, "--soak=10: not a duration"),
        ({"threads": "1,x"}, "--threads=1,x: expected numbers"),
        ({"runs": -1}, "expected --processes and --runs of 1 and more"),
    ],
)
def test_a_measurement_that_could_say_nothing_is_refused(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        Measured(**options).plan(emulated=False)  # type: ignore[arg-type]


def test_defaults_support_a_p99_on_a_board_and_are_short_on_an_emulated_one() -> None:
    plan = Measured(soak="10m", threads="1,4").plan(emulated=False)

    assert plan.processes * plan.runs >= 368
    assert (plan.soak_s, plan.threads) == (600, (1, 4))
    assert Measured(against="previous").plan(emulated=False).processes == 8
    assert Measured(against="previous").plan(emulated=True).processes == 2


def screen(board: BenchBoard, release: Release) -> str:
    report = bench_of(board, release, Plan(processes=2, runs=40, warmup=2, threads=(1,))).run()
    console = Console(width=100, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(_screen(report))
    return capture.get()


def test_one_screen_tells_figures_and_conditions(releases: tuple[Release, Release]) -> None:
    text = screen(BenchBoard(SYSTEM | SENSORS, lambda board, release, n: 20.0), releases[0])

    assert len(text.splitlines()) <= 24
    for words in (
        "measured, 80 inferences in 2 processes",
        "80 runs; it needs 368",
        "postprocess   0.25 ms",
        "1400 to 1400 MHz, governor performance",
        "51.0 to 51.0 °C",
        "power         not measured",
        "50.0 inferences a second, measured",
    ):
        assert words in text


def test_no_time_of_an_emulator_is_shown(releases: tuple[Release, Release]) -> None:
    board = BenchBoard(SYSTEM, lambda board, release, n: 1234.5, emulated=True)

    text = screen(board, releases[0])

    assert "1,234" not in text
    assert "emulated, 80 inferences in 2 processes" in text
    assert "load          emulated" in text
    assert "31.5" not in text
