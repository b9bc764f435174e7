"""`soak` as a user calls it: what it refuses, and what a screen says."""

import pytest
from rich.console import Console

from edgewright.cli.soak import _screen
from edgewright.observe.leaks.report import SoakReport
from edgewright.observe.leaks.soak import Sample, judge, judge_heap
from tests.unit.cli.test_cli import run


def test_a_soak_of_no_length_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("soak", "--board=a53-som", "--host=root@board.test", "--minutes=1") == 2

    assert "--minutes=1: expected 2 to 10,080" in capsys.readouterr().err


def test_the_screen_says_what_was_not_measured_and_why_it_ended() -> None:
    series = [[Sample(pid=1, descriptors=9, resident_kib=30_000 + 8 * n) for n in range(200)]]
    report = SoakReport(
        board="a53-som",
        target="root@board.test",
        emulated=False,
        release="0" * 16,
        seconds=200.0,
        processes=1,
        inferences=2000,
        samples=200,
        cut="connection lost",
        resources=(judge_heap([]), *judge(series, 10.0, is_shared=False)),
    )
    console = Console(width=140, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(_screen(report))

    heap, memory, descriptors = capture.get().splitlines()[-3:]
    assert "at most 2,000 inferences; ended early: connection lost" in capture.get()
    assert heap.split()[:3] == ["heap", "not", "judged"]
    assert "not measured" in heap
    assert "leak" in memory
    assert "grows by 800.00 to 800.00 KiB in 1,000 inferences" in memory
    assert "steady" in descriptors
