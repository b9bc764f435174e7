"""Op configs: canonical text, and what a runtime lacks."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.model.convert.ops import OpConfig, Operator, gaps, parse_config, union

TYPES = st.sampled_from(["uint8_t", "int8_t", "float"])
RESTRICTIONS = st.dictionaries(
    st.sampled_from(["inputs", "outputs"]),
    st.dictionaries(st.sampled_from(["0", "1"]), st.lists(TYPES, min_size=1, unique=True)),
    max_size=2,
).map(lambda table: {kind: slots for kind, slots in table.items() if slots})
OPERATORS = st.builds(
    Operator,
    st.sampled_from(["ai.onnx", "com.microsoft"]),
    st.integers(min_value=1, max_value=21),
    st.sampled_from(["Add", "Conv", "Cast", "QLinearConv", "Resize", "LayerNormalization", "A1"]),
)
CONFIGS = st.dictionaries(OPERATORS, RESTRICTIONS, max_size=8).map(
    lambda operators: OpConfig(operators=operators)
)


def config(text: str) -> OpConfig:
    return parse_config(text, "ops.config")


@given(CONFIGS)
def test_text_and_back(full: OpConfig) -> None:
    again = config(full.text())

    assert again == full
    assert again.text() == full.text()


def test_order_and_comments_do_not_change_the_text() -> None:
    operators = config("# Generated from model/s:\n# - /a/model.ort\nai.onnx;13;Relu,Add\nx;1;B\n")
    other = config("x;1;B\nai.onnx;13;Add,Relu\n")

    assert operators.text() == other.text() == "ai.onnx;13;Add,Relu\nx;1;B\n"


def test_several_opsets_of_a_line_are_operators_of_their_own() -> None:
    assert set(config("ai.onnx;9,13;Relu\n").operators) == {
        Operator("ai.onnx", 9, "Relu"),
        Operator("ai.onnx", 13, "Relu"),
    }


@pytest.mark.parametrize("line", ["ai.onnx;13", "ai.onnx;new;Relu", "ai.onnx;13;Re lu", 'a;1;B{"'])
def test_a_bad_line_is_named(line: str) -> None:
    with pytest.raises(UserError, match=r"^ops\.config: line 2 is not an op config line: "):
        config(f"x;1;B\n{line}\n")


@given(CONFIGS)
def test_a_runtime_built_for_a_model_lacks_nothing(full: OpConfig) -> None:
    assert gaps(full, full) == []


@given(CONFIGS, st.data())
def test_an_operator_taken_away_is_the_one_gap(full: OpConfig, data: st.DataObject) -> None:
    if not full.operators:
        return
    removed = data.draw(st.sampled_from(sorted(full.operators)))
    built = OpConfig(operators={op: t for op, t in full.operators.items() if op != removed})

    assert [gap.operator for gap in gaps(full, built)] == [removed]


def test_a_missing_type_is_told_with_its_slot() -> None:
    required = config('ai.onnx;13;Add{"inputs": {"0": ["float", "int8_t"]}}\n')
    built = config('ai.onnx;13;Add{"inputs": {"0": ["float"]}}\n')

    assert [str(gap) for gap in gaps(required, built)] == [
        "ai.onnx:Add (opset 13) for input 0 int8_t"
    ]


def test_every_type_is_wanted_of_a_runtime_with_few() -> None:
    built = config("ai.onnx;13;Add" + json.dumps({"inputs": {"0": ["float"]}}) + "\n")

    assert [str(gap) for gap in gaps(config("ai.onnx;13;Add\n"), built)] == [
        "ai.onnx:Add (opset 13) for every type"
    ]


def test_a_runtime_with_every_type_serves_any() -> None:
    required = config('ai.onnx;13;Add{"inputs": {"0": ["int8_t"]}}\n')

    assert gaps(required, config("ai.onnx;13;Add\n")) == []


def test_a_union_serves_each_of_its_configs() -> None:
    first = parse_config('ai.onnx;13;Cast{"inputs": {"0": ["float"]}},Gemm', "first")
    second = parse_config('ai.onnx;13;Cast{"inputs": {"0": ["int64_t"]}},Relu', "second")

    both = union([first, second])

    assert gaps(first, both) == gaps(second, both) == []
    assert {operator.name for operator in both.operators} == {"Cast", "Gemm", "Relu"}


def test_a_union_with_an_operator_of_every_type_has_it_for_every_type() -> None:
    first = parse_config('ai.onnx;13;Cast{"inputs": {"0": ["float"]}}', "first")
    every = parse_config("ai.onnx;13;Cast", "every")

    assert union([first, every]).operators == every.operators
    assert gaps(every, union([every, first])) == []


def test_a_union_has_the_same_types_at_every_opset_of_an_operator() -> None:
    """ONNX Runtime reads the last line's types for all of them."""
    older = parse_config('ai.onnx;13;Split{"inputs": {"0": ["float"]}}', "older")
    newer = parse_config('ai.onnx;18;Split{"inputs": {"0": ["uint8_t"]}}', "newer")
    both = '{"inputs": {"0": ["float", "uint8_t"]}}'
    expected = f"ai.onnx;13;Split{both}\nai.onnx;18;Split{both}\n"
    assert union([older, newer]).text() == expected
    assert union([newer, older]).text() == expected
    unrestricted = parse_config("ai.onnx;11;Split", "oldest")
    assert union([older, unrestricted]).text() == "ai.onnx;11;Split\nai.onnx;13;Split\n"
