"""From modelled cycles to a range of milliseconds, and a verdict."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.base.progress import Progress, StageReport, Stages
from edgewright.board.audit import Audit
from edgewright.board.catalogue import load_board
from edgewright.board.profile import Arch, BoardProfile
from edgewright.build.pipeline import BuildReport
from edgewright.cli import build_screens
from edgewright.model.convert.coverage import Coverage
from edgewright.observe.count.instructions import Program
from edgewright.observe.estimate import board_time as estimate
from edgewright.observe.estimate.board_time import PUBLISHED, Calibration, Modelled
from tests.checkout import checkout, workspace_at

CHECKOUT = checkout()


def modelled(megacycles: float) -> Modelled:
    return Modelled(instructions=1.0, compute=megacycles * 0.9, memory=megacycles * 0.1)


def perfect(factor: float = 1.0) -> Calibration:
    """A model that is right for the first published board, up to a factor."""
    networks = {p.network: modelled(p.megacycles * factor) for p in reversed(PUBLISHED)}
    return Calibration(networks=networks)


def board(*, threads: int, budget_ms: int = 1500) -> BoardProfile:
    profile = load_board("a53-som", CHECKOUT.boards)
    runtime = profile.runtime.model_copy(update={"threads": threads})
    budgets = profile.budgets.model_copy(update={"latency_ms": budget_ms})
    return profile.model_copy(update={"runtime": runtime, "budgets": budgets})


def test_what_the_model_misses_by_a_factor_is_calibrated_away() -> None:
    full, half = perfect(), perfect(0.5)

    assert half.scale == pytest.approx(2 * full.scale)
    assert half.error == pytest.approx(full.error)


def test_the_error_is_the_worst_of_the_published_times() -> None:
    result = perfect()

    for published, ms in estimate.residuals(result):
        assert max(ms / published.ms, published.ms / ms) - 1 <= result.error + 1e-9


def test_one_thread_is_cycles_by_clock_with_the_error_around_it() -> None:
    result = estimate.judge(modelled(140.0), perfect(), board(threads=1), 1400)

    assert result.ms == result.one_thread_ms
    assert result.ms.likely == pytest.approx(100 * perfect().scale)
    assert result.ms.high / result.ms.likely == pytest.approx(1 + 2 * perfect().error)


def test_four_threads_gain_what_published_networks_gained() -> None:
    low, high = estimate.gains(4)
    result = estimate.judge(modelled(140.0), perfect(), board(threads=4), 1400)

    assert (low, high) == pytest.approx((158.69 / 110.64, 206.23 / 62.22))
    assert result.ms.low == pytest.approx(result.one_thread_ms.low / high)
    assert result.ms.high == pytest.approx(result.one_thread_ms.high / low)
    assert estimate.gains(1) == pytest.approx((1, 1))


@pytest.mark.parametrize(
    ("budget", "verdict"), [(50, "above"), (100, "undecided"), (300, "within")]
)
def test_a_budget_inside_the_range_is_not_decided(budget: int, verdict: str) -> None:
    result = estimate.judge(modelled(140.0), perfect(), board(threads=1, budget_ms=budget), 1400)

    assert result.judgement == verdict


def test_a_core_without_a_model_is_refused() -> None:
    with pytest.raises(UserError, match=r"no model of its core\n.*cortex-a53, armhf\n.*cortex-a7"):
        estimate.require_modelled(load_board("rpi2", CHECKOUT.boards))


def test_a_program_is_counted_once_for_all_boards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures are known by what was counted; no emulator would run this program."""
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    parts = {name: tmp_path / name for name in ("binary", "symbols", "model", "image")}
    for name, path in parts.items():
        path.write_text(name)
    inputs = (parts.pop("image"),)
    options = ("--release", str(tmp_path.parent))
    program = Program(arch=Arch.ARMHF, cpu="max", options=options, inputs=inputs, **parts)
    cache_file = estimate._cache_file(program, CHECKOUT.resources)
    cache_file.parent.mkdir(parents=True)
    cache_file.write_text(modelled(140.0).model_dump_json())

    assert estimate.is_counted(program, CHECKOUT.resources)
    assert estimate.estimate(program, board(threads=1), CHECKOUT.resources).modelled == modelled(
        140.0
    )
    folder = tmp_path / "elsewhere"
    elsewhere = folder / "model" / "model.ort"
    elsewhere.parent.mkdir(parents=True)
    shutil.copy(parts["model"], elsewhere)
    copy = replace(program, model=elsewhere, options=("--release", str(folder)))
    assert estimate.is_counted(copy, CHECKOUT.resources)
    for other in (
        replace(program, cpu="cortex-a15"),
        replace(program, options=(*options, "--threads", "4")),
    ):
        assert not estimate.is_counted(other, CHECKOUT.resources)
    parts["binary"].write_text("changed")
    assert not estimate.is_counted(program, CHECKOUT.resources)


def test_a_release_for_an_unmodelled_core_has_no_estimate_and_a_note_says_why(
    tmp_path: Path,
) -> None:
    notes, workspace = Notes(), workspace_at(tmp_path)
    profile = load_board("rpi2", CHECKOUT.boards)

    assert estimate.estimate_release(tmp_path, profile, workspace, Stages(notes)) is None
    assert notes.texts == ["no estimate of the board's time: board 'rpi2': no model of its core"]
    assert not workspace.build("rpi2").estimate.exists()


class Notes(Progress):
    """Progress that keeps its remarks."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def test_the_document_of_a_build_holds_the_estimate_and_its_stage() -> None:
    estimated = estimate.judge(modelled(140.0), perfect(), board(threads=1), 1400)
    report = BuildReport(
        board="a53-som",
        release="0" * 64,
        folder=Path("release"),
        builder="local",
        stages=(StageReport(name="release", seconds=1.0, origin="cache"),),
        sizes={},
        budgets={},
        coverage=Coverage(nodes=1, required=[], built=[]),
        audit=Audit(board="a53-som", passed=True, files=()),
    )
    counting = StageReport(name="estimate", seconds=2.5, origin="built")

    document = build_screens.build_document(report, [counting], estimated)

    assert [stage.name for stage in document.stages] == ["release", "estimate"]
    assert (document.seconds, document.from_cache) == (3.5, False)
    assert document.estimate == estimated
    assert build_screens.build_document(report, [], None).model_dump()["estimate"] is None


def test_what_an_estimate_lacks_is_told() -> None:
    assert estimate.lacks(load_board("rpi2", CHECKOUT.boards)) == (
        "board 'rpi2': no model of its core"
    )


@pytest.mark.parametrize(
    ("budget", "verdict"),
    [
        (50, "latency budget: 50 ms, missed by the whole range"),
        (100, "latency budget: 100 ms, not decided by the estimate"),
        (300, "latency budget: 300 ms, within"),
    ],
)
def test_a_build_tells_the_estimate_and_its_verdict(budget: int, verdict: str) -> None:
    result = estimate.judge(modelled(140.0), perfect(), board(threads=1, budget_ms=budget), 1400)

    screen = build_screens.estimate_text(result).plain

    assert screen.startswith("estimate, not a measurement: ")
    assert verdict in screen
