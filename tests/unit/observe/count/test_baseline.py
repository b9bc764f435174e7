"""What counts as a regression, and what is said of it."""

import json
from pathlib import Path

import pytest

from edgewright.base.errors import CheckError, UserError
from edgewright.observe.count import baseline
from edgewright.observe.count.baseline import Baseline, BuildCost, CoreCost
from edgewright.observe.count.instructions import Cost, InstructionReport


def report(
    inference: int = 1_000_000, load: int = 50_000, gemm: int = 600_000
) -> InstructionReport:
    functions = (("gemm", gemm), ("softmax", inference - gemm))
    return InstructionReport(
        board="a53-som",
        cpu="max",
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


def cost(
    *reports: InstructionReport,
    cycles: int | None = None,
    sizes: dict[str, int] = SIZES,
    model: str = "model",
) -> BuildCost:
    cores = tuple(CoreCost(report=counted, cycles=cycles) for counted in reports or (report(),))
    return BuildCost(board="a53-som", model=model, cores=cores, sizes=sizes)


BEFORE = Baseline().accepting("a53-som", "model", cost().accepted())
BEFORE_IN_CYCLES = Baseline().accepting("a53-som", "model", cost(cycles=2_000_000).accepted())


@pytest.mark.parametrize("inference", [500_000, 1_000_000, 1_020_000])
def test_up_to_two_percent_more_is_no_regression(inference: int) -> None:
    accepted = baseline.require_no_growth(cost(report(inference, gemm=400_000)), BEFORE)

    assert accepted.cpus["max"].load == 50_000


def test_the_function_that_grew_is_named() -> None:
    with pytest.raises(CheckError) as fault:
        baseline.require_no_growth(cost(report(1_020_001, gemm=620_001)), BEFORE)

    assert "max: inference: 1,020,001 instructions, accepted 1,000,000 (+2.0%)" in str(fault.value)
    assert "gemm: 600,000 → 620,001" in str(fault.value)
    assert "softmax" not in str(fault.value)


def test_a_dearer_load_is_a_regression_too() -> None:
    with pytest.raises(CheckError, match="session load: 60,000 instructions, accepted 50,000"):
        baseline.require_no_growth(cost(report(load=60_000)), BEFORE)


def test_cycles_judge_an_inference_where_they_are_modelled() -> None:
    dearer_in_instructions = report(1_500_000)

    baseline.require_no_growth(cost(dearer_in_instructions, cycles=1_900_000), BEFORE_IN_CYCLES)
    with pytest.raises(
        CheckError, match=r"inference: 2,040,001 modelled cycles, accepted 2,000,000 \(\+2.0%\)"
    ):
        baseline.require_no_growth(cost(cycles=2_040_001), BEFORE_IN_CYCLES)


def test_instructions_judge_where_a_baseline_or_a_board_has_no_cycles() -> None:
    for cycles, before in ((None, BEFORE_IN_CYCLES), (1, BEFORE), (None, BEFORE)):
        with pytest.raises(CheckError, match="inference: 1,500,000 instructions"):
            baseline.require_no_growth(cost(report(1_500_000), cycles=cycles), before)


def test_each_core_has_counts_of_its_own() -> None:
    slow = report(3_000_000).model_copy(update={"cpu": "cortex-a53"})
    both = Baseline().accepting("a53-som", "model", cost(slow, report()).accepted())

    baseline.require_no_growth(cost(slow, report()), both)
    with pytest.raises(CheckError, match="max: inference: 3,000,000 instructions"):
        baseline.require_no_growth(cost(slow, report(3_000_000)), both)
    with pytest.raises(UserError) as fault:
        baseline.require_no_growth(cost(slow, report()), BEFORE)
    assert str(fault.value) == (
        "board 'a53-som': has no baseline of model 'model' on cortex-a53\n"
        "next: invoke bench.accept --board=a53-som --model=model --cpus=cortex-a53,max"
    )


def test_a_larger_program_is_a_regression_too() -> None:
    grown = SIZES | {"bin/edge-infer": 1_021}

    with pytest.raises(CheckError, match="bin/edge-infer: 1,021 bytes, accepted 1,000"):
        baseline.require_no_growth(cost(sizes=grown), BEFORE)
    baseline.require_no_growth(cost(sizes=SIZES | {"bin/new": 10**9}), BEFORE)


def test_a_file_that_was_accepted_empty_may_not_grow_either() -> None:
    empty = Baseline().accepting("a53-som", "model", cost(sizes={"model/labels": 0}).accepted())

    with pytest.raises(CheckError, match=r"model/labels: 1 bytes, accepted 0\n"):
        baseline.require_no_growth(cost(sizes={"model/labels": 1}), empty)


def test_each_model_of_a_board_has_its_own_cost() -> None:
    dear = report(2_000_000)
    both = BEFORE.accepting("a53-som", "other", cost(dear, model="other").accepted())

    baseline.require_no_growth(cost(dear, model="other"), both)
    with pytest.raises(CheckError):
        baseline.require_no_growth(cost(dear), both)


OF_0_1_0 = {"model": "model", "inference": 1_000_000, "load": 50_000, "functions": {}}
OF_VERSION_2 = {"inference": 1_000_000, "load": 50_000, "functions": {}, "sizes": SIZES}


@pytest.mark.parametrize(
    "document",
    [
        {"version": 1, "boards": {"a53-som": OF_0_1_0}},
        {"version": 2, "boards": {"a53-som": {"model": OF_VERSION_2}}},
        {"version": 2, "boards": {"a53-som": {"model": OF_VERSION_2 | {"cpu": "max"}}}},
    ],
)
def test_a_baseline_of_a_former_version_goes_on(
    document: dict[str, object], tmp_path: Path
) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps(document))

    read = baseline.read_baseline(path)

    baseline.require_no_growth(cost(), read)
    with pytest.raises(CheckError):
        baseline.require_no_growth(cost(report(1_100_000)), read)


def test_a_board_without_a_baseline_is_told_what_to_do() -> None:
    with pytest.raises(UserError, match="has no baseline of model 'model' on max"):
        baseline.require_no_growth(cost(), Baseline())


def test_what_was_accepted_of_another_model_says_nothing() -> None:
    with pytest.raises(UserError, match="has no baseline of model 'other'"):
        baseline.require_no_growth(cost(model="other"), BEFORE)


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    baseline.write_baseline(tmp_path / "baseline.json", BEFORE)

    assert baseline.read_baseline(tmp_path / "baseline.json") == BEFORE
    assert baseline.read_baseline(tmp_path / "absent.json") == Baseline()


@pytest.mark.parametrize(
    "text", ['{"version": 4}', '{"version": 1, "boards": {"a": {}}}', '{"boards": []}', "[]"]
)
def test_a_malformed_baseline_is_told(text: str, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)

    with pytest.raises(UserError, match=r"baseline.json: malformed"):
        baseline.read_baseline(path)
