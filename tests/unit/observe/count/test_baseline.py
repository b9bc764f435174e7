"""What counts as a regression, and what is said of it."""

import json
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


SIZES = {"bin/edge-infer": 1_000, "model/model.ort": 5_000}
BEFORE = Baseline().accepting("a53-som", "model", baseline.accepted(report(), SIZES))


@pytest.mark.parametrize("inference", [500_000, 1_000_000, 1_020_000])
def test_up_to_two_percent_more_is_no_regression(inference: int) -> None:
    assert (
        baseline.require_no_growth(report(inference, gemm=400_000), SIZES, BEFORE, "model").load
        == 50_000
    )


def test_the_function_that_grew_is_named() -> None:
    with pytest.raises(CheckError) as fault:
        baseline.require_no_growth(report(1_020_001, gemm=620_001), SIZES, BEFORE, "model")

    assert "inference: 1,020,001 instructions, accepted 1,000,000 (+2.0%)" in str(fault.value)
    assert "gemm: 600,000 → 620,001" in str(fault.value)
    assert "softmax" not in str(fault.value)


def test_a_dearer_load_is_a_regression_too() -> None:
    with pytest.raises(CheckError, match="session load: 60,000 instructions, accepted 50,000"):
        baseline.require_no_growth(report(load=60_000), SIZES, BEFORE, "model")


def test_a_larger_program_is_a_regression_too() -> None:
    grown = SIZES | {"bin/edge-infer": 1_021}

    with pytest.raises(CheckError, match="bin/edge-infer: 1,021 bytes, accepted 1,000"):
        baseline.require_no_growth(report(), grown, BEFORE, "model")
    baseline.require_no_growth(report(), SIZES | {"bin/new": 10**9}, BEFORE, "model")


def test_each_model_of_a_board_has_its_own_cost() -> None:
    both = BEFORE.accepting("a53-som", "other", baseline.accepted(report(2_000_000), SIZES))

    baseline.require_no_growth(report(2_000_000), SIZES, both, "other")
    with pytest.raises(CheckError):
        baseline.require_no_growth(report(2_000_000), SIZES, both, "model")


def test_a_baseline_of_0_1_0_goes_on(tmp_path: Path) -> None:
    cost = {"model": "model", "inference": 1_000_000, "load": 50_000, "functions": {}}
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps({"version": 1, "boards": {"a53-som": cost}}))

    read = baseline.read_baseline(path)

    baseline.require_no_growth(report(), SIZES, read, "model")
    with pytest.raises(CheckError):
        baseline.require_no_growth(report(1_100_000), SIZES, read, "model")


def test_a_board_without_a_baseline_is_told_what_to_do() -> None:
    with pytest.raises(UserError) as fault:
        baseline.require_no_growth(report(), SIZES, Baseline(), "model")

    assert str(fault.value) == (
        "board 'a53-som': has no baseline of model 'model'\n"
        "next: invoke bench.accept --board=a53-som --model=model"
    )


def test_what_was_accepted_of_another_model_says_nothing() -> None:
    with pytest.raises(UserError, match="has no baseline of model 'other'"):
        baseline.require_no_growth(report(), SIZES, BEFORE, "other")


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    baseline.write_baseline(tmp_path / "baseline.json", BEFORE)

    assert baseline.read_baseline(tmp_path / "baseline.json") == BEFORE
    assert baseline.read_baseline(tmp_path / "absent.json") == Baseline()


@pytest.mark.parametrize(
    "text", ['{"version": 3}', '{"version": 1, "boards": {"a": {}}}', '{"boards": []}', "[]"]
)
def test_a_malformed_baseline_is_told(text: str, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)

    with pytest.raises(UserError, match=r"baseline.json: malformed"):
        baseline.read_baseline(path)
