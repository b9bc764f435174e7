"""What counts as a regression, and what is said of it."""

from pathlib import Path

import pytest

from edgewright.base.errors import CheckError, UserError
from edgewright.observe.count import baseline
from edgewright.observe.count.baseline import Baseline
from edgewright.observe.count.instructions import Cost, InstructionReport


def report(
    inference: int = 1_000_000, load: int = 50_000, gemm: int = 600_000
) -> InstructionReport:
    functions = (("gemm", gemm), ("softmax", inference - gemm))
    return InstructionReport(
        board="a53-som",
        program=Path("edge-infer"),
        model=Path("model.ort"),
        load=load,
        first_inference=inference,
        inference=inference,
        functions=tuple(
            Cost(name=name, instructions=spent, share=spent / inference)
            for name, spent in functions
        ),
        operators=(),
        nodes=(),
    )


BEFORE = Baseline(boards={"a53-som": baseline.accepted(report(), "model")})


@pytest.mark.parametrize("inference", [500_000, 1_000_000, 1_020_000])
def test_up_to_two_percent_more_is_no_regression(inference: int) -> None:
    assert (
        baseline.require_no_growth(report(inference, gemm=400_000), BEFORE, "model").load == 50_000
    )


def test_the_function_that_grew_is_named() -> None:
    with pytest.raises(CheckError) as fault:
        baseline.require_no_growth(report(1_020_001, gemm=620_001), BEFORE, "model")

    assert "inference: 1,020,001 instructions, accepted 1,000,000 (+2.0%)" in str(fault.value)
    assert "gemm: 600,000 → 620,001" in str(fault.value)
    assert "softmax" not in str(fault.value)


def test_a_dearer_load_is_a_regression_too() -> None:
    with pytest.raises(CheckError, match="session load: 60,000 instructions, accepted 50,000"):
        baseline.require_no_growth(report(load=60_000), BEFORE, "model")


def test_a_board_without_a_baseline_is_told_what_to_do() -> None:
    with pytest.raises(UserError) as fault:
        baseline.require_no_growth(report(), Baseline(), "model")

    assert str(fault.value) == (
        "board 'a53-som': has no baseline of model 'model'\n"
        "next: invoke bench.accept --board=a53-som"
    )


def test_what_was_accepted_of_another_model_says_nothing() -> None:
    with pytest.raises(UserError, match="has no baseline of model 'other'"):
        baseline.require_no_growth(report(), BEFORE, "other")


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    baseline.write_baseline(tmp_path / "baseline.json", BEFORE)

    assert baseline.read_baseline(tmp_path / "baseline.json") == BEFORE
    assert baseline.read_baseline(tmp_path / "absent.json") == Baseline()


def test_a_malformed_baseline_is_told(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text('{"version": 2}')

    with pytest.raises(UserError, match=r"baseline.json: malformed"):
        baseline.read_baseline(path)
