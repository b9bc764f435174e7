"""All operators that a board's runtime can be built for."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgewright.base.errors import UserError
from edgewright.model.convert.all_operators import all_operators
from edgewright.model.convert.coverage import prove
from edgewright.model.convert.ops import OpConfig
from edgewright.model.convert.ort_tools import convert_network


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


FLOATS = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
THERE_AND_BACK = [
    helper.make_node("Cast", ["x"], ["small"], "shrink", to=TensorProto.FLOAT8E4M3FN),
    helper.make_node("Cast", ["small"], ["y"], to=TensorProto.FLOAT),
]
SPARSE = helper.make_sparse_tensor(
    helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0]),
    helper.make_tensor("places", TensorProto.INT64, [1], [1]),
    [2],
)


def network(
    folder: Path,
    nodes: list[onnx.NodeProto],
    *,
    sparse: tuple[onnx.SparseTensorProto, ...] = (),
    kind: onnx.TypeProto = FLOATS,
) -> Path:
    """From x to y, both of that type."""
    x, y = (helper.make_value_info(name, kind) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "network", [x], [y], sparse_initializer=sparse)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.save(model, str(folder / "network.onnx"))
    return folder / "network.onnx"


def converted(path: Path) -> Path:
    """As it stands, by ONNX Runtime's own tool."""
    return convert_network(path, path.parent / "converted", "extended", str(path)).ort


def within_a_branch(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """An `If` whose branches are both these nodes."""
    branch = helper.make_graph(nodes, "branch", [], [helper.make_value_info("y", FLOATS)])
    return [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["is_so"], to=TensorProto.BOOL),
        helper.make_node("If", ["is_so"], ["y"], then_branch=branch, else_branch=branch),
    ]


@pytest.mark.parametrize(
    ("nodes", "sparse", "fact"),
    [
        (THERE_AND_BACK, (), "FLOAT8E4M3FN, node 'shrink'"),
        (within_a_branch(THERE_AND_BACK), (), "FLOAT8E4M3FN, node 'shrink'"),
        ([helper.make_node("Add", ["x", "w"], ["y"], "add")], (SPARSE,), "SPARSE, node 'add'"),
    ],
)
def test_a_model_with_types_that_the_boards_build_leaves_out_is_refused(
    everything: OpConfig,
    tmp_path: Path,
    nodes: list[onnx.NodeProto],
    sparse: tuple[onnx.SparseTensorProto, ...],
    fact: str,
) -> None:
    """Its operators are all among those that are promised."""
    model = converted(network(tmp_path, nodes, sparse=sparse))

    with pytest.raises(UserError) as refused:
        prove(model, everything, subject="mine.onnx")

    assert str(refused.value) == (
        "mine.onnx: has values of types that no board's runtime has\n"
        f"  {fact}\n"
        "next: export the network with other types"
    )


def test_optional_types_do_not_come_as_far_as_a_runtime(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    path = network(tmp_path, nodes, kind=helper.make_optional_type_proto(FLOATS))

    with pytest.raises(UserError, match="not convertible to ORT format"):
        converted(path)


def test_types_that_the_boards_have_are_proven(everything: OpConfig, tmp_path: Path) -> None:
    half = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.BFLOAT16),
        helper.make_node("Cast", ["half"], ["y"], to=TensorProto.FLOAT),
    ]
    model = converted(network(tmp_path, within_a_branch(half)))

    assert "ai.onnx:Cast (opset 19)" in prove(model, everything).required
