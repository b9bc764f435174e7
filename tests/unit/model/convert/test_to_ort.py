"""ONNX → ORT format: repeatable bytes, op config, coverage, and models that are none."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.tools.ort_format_model.ort_flatbuffers_py.fbs import InferenceSession

from edgewright.base.errors import UserError
from edgewright.base.process import ChildFailed
from edgewright.model.convert.coverage import prove
from edgewright.model.convert.ops import OpConfig, parse_config
from edgewright.model.convert.ort_tools import LEVEL, Converted, read_needs
from edgewright.model.convert.to_ort import convert
from tests.unit.observe.peers.test_fp32 import quantized_network

SHAPE = [1, 4]
EDGE = "/network/stage/output_{}"  # names that an exporter gives


def small_model(path: Path) -> Path:
    """Enough different operators that a table in the order of a hash map would differ."""
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "weight")
    names = ["Relu", "Sigmoid", "Tanh", "Softmax", "Exp", "Floor", "Ceil", "Erf"]
    nodes = [helper.make_node("MatMul", ["image", "weight"], [EDGE.format(0)], name="first")]
    for number, name in enumerate(names):
        edge = [EDGE.format(number)], [EDGE.format(number + 1)]
        nodes.append(helper.make_node(name, *edge, name=f"node-{name}"))
    nodes.append(helper.make_node("Identity", [EDGE.format(len(names))], ["logits"], name="last"))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, SHAPE)],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def converted(model: Path) -> Converted:
    return convert(model, model.parent / "made")


def built_for(converted: Converted) -> OpConfig:
    return parse_config(converted.ops_config.read_text(), "ops.config")


@pytest.mark.parametrize("xnnpack", [False, True])
def test_converting_again_gives_the_same_bytes(model: Path, tmp_path: Path, xnnpack: bool) -> None:
    """In another process: hash maps are in another order there."""
    code = "import sys, pathlib; from edgewright.model.convert.to_ort import convert; "
    code += f"convert(*map(pathlib.Path, sys.argv[1:]), xnnpack={xnnpack})"
    onnx.save(quantized_network(), str(tmp_path / "quantized.onnx"))
    for network in (model, tmp_path / "quantized.onnx"):
        once = convert(network, tmp_path / "once", xnnpack=xnnpack)
        argv = [sys.executable, "-c", code, str(network), str(tmp_path / "again")]
        subprocess.run(argv, check=True)

        for path in (once.ort, once.ops_config):
            assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_for_xnnpack_bytes_are_signed_and_convolutions_keep_onnxs_layout(tmp_path: Path) -> None:
    onnx.save(quantized_network(), str(tmp_path / "net.onnx"))

    usual = convert(tmp_path / "net.onnx", tmp_path / "usual").ops_config.read_text()
    signed = convert(tmp_path / "net.onnx", tmp_path / "signed", xnnpack=True)
    listed = signed.ops_config.read_text()

    assert 'com.microsoft;1;QLinearConv{"inputs": {"0": ["uint8_t"]}}' in usual
    assert 'ai.onnx;10;QLinearConv{"inputs": {"0": ["int8_t"]}}' in listed
    assert "uint8_t" not in listed


def test_a_level_of_optimisation_of_the_users_changes_nothing(
    model: Path, converted: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LEVEL, "basic")

    again = convert(model, tmp_path / "made")

    assert again.ort.read_bytes() == converted.ort.read_bytes()
    assert os.environ[LEVEL] == "basic"


def test_two_threads_convert_at_once_each_at_its_own_level(tmp_path: Path) -> None:
    onnx.save(quantized_network(), str(tmp_path / "net.onnx"))

    def both(xnnpack: bool) -> bytes:
        out = tmp_path / f"{xnnpack}-{threading.get_ident()}"
        return convert(tmp_path / "net.onnx", out, xnnpack=xnnpack).ort.read_bytes()

    alone = [both(False), both(True)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        at_once = list(pool.map(both, [False, True, False, True]))

    assert alone[0] != alone[1]
    assert at_once == [*alone, *alone]


def test_a_converter_that_crashes_is_told_with_the_end_of_its_output(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewright.model.convert.ort_tools.PROGRAM", "no_such_program")

    with pytest.raises(ChildFailed, match="No module named no_such_program"):
        convert(model, tmp_path / "made")

    assert list((tmp_path / "made").iterdir()) == []


def test_conversion_leaves_its_process_as_it_was(model: Path, tmp_path: Path) -> None:
    """ONNX Runtime's tools would bring torch, and silence every logger."""
    code = """
import logging, pathlib, sys
from edgewright.model.convert import coverage, inspect, ops, to_ort
files = to_ort.convert(*map(pathlib.Path, sys.argv[1:]))
coverage.prove(files.ort, ops.parse_config(files.ops_config.read_text(), "ops.config"))
inspect.inspect(pathlib.Path(sys.argv[1]))
print({"torch", "onnxruntime.tools"} & set(sys.modules), logging.root.manager.disable)
"""
    argv = [sys.executable, "-c", code, str(model), str(tmp_path / "made")]
    answer = subprocess.run(argv, check=True, capture_output=True, text=True)

    assert answer.stdout == "set() 0\n"


def test_a_model_that_onnx_runtime_refuses_is_told_in_its_words(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX has the operator, ONNX Runtime no kernel for the type."""
    strange = onnx.load(model)
    strange.graph.node[0].op_type = "BitShift"
    strange.graph.node[0].attribute.append(helper.make_attribute("direction", "LEFT"))
    onnx.save(strange, tmp_path / "strange.onnx")

    with pytest.raises(UserError, match=r"strange\.onnx: ONNX Runtime [\d.]+ cannot run it\n  .+"):
        convert(tmp_path / "strange.onnx", tmp_path / "made")

    assert not (tmp_path / "made").exists()
    assert capfd.readouterr() == ("", "")


def test_the_converted_model_answers_as_the_original(model: Path, converted: Converted) -> None:
    x = np.linspace(-2, 2, 4, dtype=np.float32).reshape(SHAPE)

    answers = [
        onnxruntime.InferenceSession(str(path)).run(None, {"image": x})[0]
        for path in (model, converted.ort)
    ]

    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-5, atol=1e-6)


def test_tensors_inside_the_graph_have_short_names(converted: Converted) -> None:
    content = converted.ort.read_bytes()

    assert b"/network/stage" not in content
    assert b"image" in content
    assert b"logits" in content


def test_values_that_fusions_left_without_a_node_are_not_listed(tmp_path: Path) -> None:
    """Those between a convolution and its quantizers, which become one node."""
    onnx.save(quantized_network(), str(tmp_path / "net.onnx"))

    content = convert(tmp_path / "net.onnx", tmp_path / "out").ort.read_bytes()

    graph = InferenceSession.InferenceSession.GetRootAs(content, 0).Model().Graph()
    nodes = [graph.Nodes(i) for i in range(graph.NodesLength())]
    values = [graph.NodeArgs(i).Name() for i in range(graph.NodeArgsLength())]
    named = {node.Inputs(i) for node in nodes for i in range(node.InputsLength())}
    named |= {node.Outputs(i) for node in nodes for i in range(node.OutputsLength())}
    assert sorted(values) == sorted(named)


@pytest.mark.parametrize("name", ["shape", "axes", "Reshape", "keepdims"])
def test_a_tensor_may_be_called_like_a_part_of_an_operator(tmp_path: Path, name: str) -> None:
    """Equal strings are one string in the file: renaming the tensor would rename the part."""
    shape = helper.make_tensor(name, TensorProto.INT64, [3], [1, 2, 8])
    nodes = [
        helper.make_node("Reshape", ["image", name], ["rows"]),
        helper.make_node("ReduceMean", ["rows"], ["logits"], axes=[2], keepdims=0),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 4, 4])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph(nodes, "g", [image], [logits], [shape])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "net.onnx")

    ort = convert(tmp_path / "net.onnx", tmp_path / "out").ort.read_bytes()

    for word in (b"shape", b"axes", b"keepdims", b"Reshape", b"ReduceMean"):
        assert len(word).to_bytes(4, "little") + word + b"\0" in ort
    session = onnxruntime.InferenceSession(ort, providers=["CPUExecutionProvider"])
    assert session.run(None, {"image": np.ones((1, 1, 4, 4), np.float32)})[0].tolist() == [[1, 1]]


def test_coverage_is_proven_for_its_own_runtime(converted: Converted) -> None:
    coverage = prove(converted.ort, built_for(converted))

    assert coverage.nodes >= 8
    assert coverage.required == coverage.built


def test_operators_of_another_processor_are_no_boards_whatever_was_asked_for(
    tmp_path: Path,
) -> None:
    """As ONNX Runtime's optimiser for x86 writes them: Conv in blocks of channels."""
    kernel = numpy_helper.from_array(np.ones((16, 16, 3, 3), np.float32), "kernel")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "kernel"], ["logits"], "conv")],
        "blocks",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 16, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 16, 6, 6])],
        [kernel],
    )
    opset = helper.make_opsetid("", 17)
    network = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        network.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    needs = read_needs(tmp_path / "model.ort")
    domain = "com.microsoft.nchwc"
    if domain not in {node.operator.domain for node in needs.nodes}:
        pytest.skip("this processor has no blocks of channels")

    with pytest.raises(UserError) as caught:
        prove(tmp_path / "model.ort", parse_config(needs.ops_config, "ops.config"))

    first, second, *_ = str(caught.value).splitlines()
    assert first.endswith("model.ort: needs operators that no board's runtime has")
    assert second.startswith(f"  {domain}:")


def test_a_missing_operator_is_told_with_type_and_node(converted: Converted) -> None:
    complete = built_for(converted).operators
    less = {op: types for op, types in complete.items() if op.name != "Erf"}
    less = {
        op: {"inputs": {"0": ["double"]}} if op.name == "Sigmoid" else types
        for op, types in less.items()
    }

    with pytest.raises(UserError) as fault:
        prove(converted.ort, OpConfig(operators=less))

    message = str(fault.value)
    assert "needs operators that the runtime was not built with" in message
    assert "ai.onnx:Erf (opset 13), node 'node-Erf'" in message
    assert "ai.onnx:Sigmoid (opset 13) for input 0 float, node 'node-Sigmoid'" in message


def test_a_truncated_model_is_refused_and_leaves_nothing(model: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(model.read_bytes()[:100])

    with pytest.raises(UserError, match=r"cut\.onnx: not a valid ONNX model\n  size: 100 bytes"):
        convert(cut, tmp_path / "made")

    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n", b"not a model at all"])
def test_what_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    with pytest.raises(UserError, match="not a valid ONNX model"):
        convert(path, tmp_path / "made")


def test_weights_that_are_no_numbers_are_refused(model: Path, tmp_path: Path) -> None:
    bad = onnx.load(model)
    weight = np.full((4, 4), np.nan, np.float32)
    bad.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))
    onnx.save(bad, tmp_path / "bad.onnx")

    with pytest.raises(UserError, match=r"not finite \(NaN or infinite\)\n  tensors: weight"):
        convert(tmp_path / "bad.onnx", tmp_path / "made")

    assert not (tmp_path / "made").exists()


def test_an_absent_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such model"):
        convert(tmp_path / "absent.onnx", tmp_path / "made")


def test_an_onnx_file_has_no_coverage_to_prove(model: Path, converted: Converted) -> None:
    with pytest.raises(UserError, match="not an ORT-format model"):
        prove(model, built_for(converted))
