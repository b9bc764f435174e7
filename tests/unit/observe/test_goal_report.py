"""Which figures have goals, and what is said of one that is above."""

from pathlib import Path

import pytest

from edgewright.base.errors import CheckError
from edgewright.board.catalogue import load_board
from edgewright.observe import goal_report
from edgewright.observe.count.baseline import BuildCost, CoreCost
from edgewright.observe.count.instructions import InstructionReport
from edgewright.observe.frame_cost import FrameCost, FrameCosts, Peak
from tests.checkout import checkout

SIZES = {"bin/edge-infer": 1_700_000, "model/model.ort": 5_000_000, "model/card.json": 9}


def core(cpu: str, inference: int, pipeline_cycles: int | None = None) -> CoreCost:
    counted = InstructionReport(
        board="a53-som",
        cpu=cpu,
        program=Path("edge-infer"),
        model=Path("model.ort"),
        load=60_000_000,
        first_inference=inference,
        inference=inference,
        functions=(),
        operators=(),
        nodes=(),
    )
    return CoreCost(report=counted, pipeline_cycles=pipeline_cycles)


HELD = Peak(resident_kb=9, anonymous_kb=8)


def report(
    board: str, *cores: CoreCost, model: str = goal_report.DEMO, held: Peak = HELD
) -> goal_report.GoalReport:
    cost = BuildCost(board=board, model=model, cores=cores, sizes=SIZES)
    frame = FrameCost(
        frame="JPEG", file_bytes=9, instructions=70, goal=75, peak_kb=None, peak_goal_kb=None
    )
    frames = FrameCosts(board=board, cpu=cores[0].report.cpu, frames=(frame,))
    return goal_report.report(cost, frames, held, load_board(board, checkout().boards))


def goals_of(document: goal_report.GoalReport) -> dict[tuple[str, str | None, str], int | None]:
    return {(f.name, f.cpu, f.unit): f.goal for f in document.figures}


def test_each_width_and_core_has_goals_of_its_own() -> None:
    narrow = report("a53-som", core("max", 1, 2))
    wide = report("a53-som-arm64", core("cortex-a53", 1), core("cortex-a76", 1))

    assert goals_of(narrow) == {
        ("inference", "max", "instructions"): 700_000_000,
        ("inference", "max", "modelled cycles"): 690_000_000,
        ("session load", "max", "instructions"): 70_000_000,
        ("anonymous memory", None, "KiB"): 4608,
        ("peak memory", None, "KiB"): 13312,
        ("JPEG", "max", "instructions"): 75,
        ("bin/edge-infer", None, "bytes"): 1_750_000,
        ("model/model.ort", None, "bytes"): None,
    }
    assert goals_of(wide)["inference", "cortex-a53", "instructions"] == 650_000_000
    assert goals_of(wide)["inference", "cortex-a76", "instructions"] == 330_000_000
    assert goals_of(wide)["session load", "cortex-a53", "instructions"] == 107_000_000
    assert goals_of(wide)["peak memory", None, "KiB"] == 21_299
    assert goals_of(wide)["bin/edge-infer", None, "bytes"] == 2_500_000


@pytest.mark.parametrize(("board", "model"), [("a53-som", "another"), ("rpi2", goal_report.DEMO)])
def test_another_network_or_core_has_figures_without_goals(board: str, model: str) -> None:
    document = report(board, core("max", 10**12), model=model)

    assert {figure.goal for figure in document.figures} == {None}
    goal_report.require_goals(document)


def test_what_is_above_its_goal_is_named_with_both_figures() -> None:
    goal_report.require_goals(report("a53-som", core("max", 700_000_000)))
    held = Peak(resident_kb=13_313, anonymous_kb=1)
    dear = report("a53-som", core("max", 700_000_001, 690_000_001), held=held)

    with pytest.raises(CheckError) as fault:
        goal_report.require_goals(dear)

    assert str(fault.value) == (
        "a53-som: figures: cost more than they may\n"
        "  kernels: inference, max: 700,000,001 instructions, goal 700,000,000\n"
        "  kernels: inference, max: 690,000,001 modelled cycles, goal 690,000,000\n"
        "  load and memory: peak memory: 13,313 KiB, goal 13,312\n"
        "next: invoke bench.instructions --board=a53-som --model=mobilevit-s-elpv"
    )
