"""All operators that a board's runtime can be built for."""

import pytest

from edgewright.model.convert.all_operators import all_operators
from edgewright.model.convert.ops import OpConfig


@pytest.fixture(scope="module")
def everything() -> OpConfig:
    return all_operators()


@pytest.mark.parametrize(
    ("name", "versions"),
    [
        ("Clip", {6, 11, 12, 13}),  # a kernel for each
        ("MaxPool", {1, 8, 10, 11, 12, 22}),  # one kernel is for 8 to 11
        ("Abs", {6, 13}),
        ("LSTM", {7, 14, 22}),
        ("If", {1, 11, 13, 16, 19, 21}),
    ],
)
def test_an_operator_has_every_version_that_a_kernel_is_for(
    everything: OpConfig, name: str, versions: set[int]
) -> None:
    listed = {o.opset for o in everything.operators if (o.domain, o.name) == ("ai.onnx", name)}

    assert listed == versions


def test_types_are_not_restricted(everything: OpConfig) -> None:
    assert not any(everything.operators.values())
    assert "{" not in everything.text()


def test_what_the_boards_build_leaves_out_is_not_promised(everything: OpConfig) -> None:
    assert {operator.domain for operator in everything.operators} == {"ai.onnx", "com.microsoft"}
    names = {operator.name for operator in everything.operators}
    assert {"QLinearAdd", "FusedConv", "Attention"} <= names
    assert not names & {"Optional", "OptionalHasElement", "SparseToDenseMatMul", "MatMulFpQ4"}
