"""What of a program is of which source, by its symbols."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgewright.base.errors import UserError
from edgewright.board.symbols import STT_FUNC, Symbol
from edgewright.observe.report.composition import (
    FORMAT,
    MERGED,
    STT_FILE,
    CompiledObject,
    composition,
    divide,
    network_composition,
    runtime_folders,
)
from tests.checkout import ROOT

ABSOLUTE, TEXT, DATA = 0xFFF1, 1, 2
QUANTIZE = "_ZN11onnxruntime21BuildKernelCreateInfoINS_60kCpuExecutionProvider_Quantize_kMSDomain"


def source(name: str) -> Symbol:
    return Symbol(name, 0, 0, STT_FILE, ABSOLUTE, True)


def mark(address: int, section: int = TEXT) -> Symbol:
    return Symbol("$t", address, 0, 0, section, True)


def function(name: str, address: int, size: int = 4) -> Symbol:
    return Symbol(name, address | 1, size, STT_FUNC, TEXT, False)


TABLE = [
    *(source("a.cpp"), mark(100), mark(160), mark(500, DATA)),
    *(source("b.cc"), mark(120), mark(520, DATA)),
    source(""),
    *(Symbol("__init_array_start", 120, 0, 0, TEXT, True), mark(510, DATA)),
    *(function("_ZN4edge3runEv", 100, 20), function(QUANTIZE, 120)),
    function("_ZN4edge4stopEv", 160),
]


def test_bytes_go_to_the_object_whose_mark_is_before_them() -> None:
    objects = divide(TABLE, [(TEXT, 90, 200), (DATA, 500, 540)], thumb=1)

    assert {item.source: item.bytes for item in objects} == {
        "": 10 + 10,  # before the first mark, and what the linker marked
        "a.cpp": 20 + 40 + 10,
        "b.cc": 40 + 20,
    }
    functions = {item.source: [f.name for f in item.functions] for item in objects}
    assert functions["a.cpp"] == ["_ZN4edge3runEv", "_ZN4edge4stopEv"]
    components = {item.source: item.component for item in objects}
    assert components == {"": MERGED, "a.cpp": "edge-infer", "b.cc": "ONNX Runtime"}
    assert [item.operators for item in objects if item.source == "b.cc"] == [("Quantize",)]


@pytest.mark.parametrize(
    ("name", "functions", "component"),
    [
        ("malloc.o", ("malloc",), "C library"),
        ("locale-inst.o", ("_ZNSt6locale7classicEv",), "C++ library"),
        ("jdhuff.c", ("decode_mcu",), "libjpeg-turbo"),
        ("inflate.c", ("inflate",), "zlib"),
        ("sgemm.cpp", ("_Z8MlasGemmv",), "MLAS"),
        ("QgemmU8X8KernelNeon.S.o", (), "MLAS"),
        ("multiply.cpp", ("_ZN10edgewright8multiplyEv",), "edgewright's kernels"),
        ("arena.cc", ("_ZN6google8protobuf5ArenaD1Ev",), "Protocol Buffers"),
        ("mystery.adb", ("mystery",), "other"),
    ],
)
def test_a_source_s_component_is_known_by_its_functions_or_its_name(
    name: str, functions: tuple[str, ...], component: str
) -> None:
    symbols = [function(each, 0) for each in functions]

    assert CompiledObject(source=name, functions=symbols).component == component


def test_all_bytes_of_a_program_are_in_its_parts() -> None:
    program = ROOT / "tests" / "data" / "elf" / "unstripped"

    parts = composition("bin/edge-infer", program, program, {})

    assert sum(part.bytes for part in parts.parts) == parts.bytes == program.stat().st_size
    assert FORMAT in [part.name for part in parts.parts]


def test_the_list_of_links_tells_what_a_source_of_the_runtime_is_part_of(tmp_path: Path) -> None:
    links = tmp_path / "links.txt"
    base = "src/onnxruntime/onnxruntime"
    paths = ["core/session/ort_env.cc", "core/providers/cpu/x.cc", "contrib_ops/cpu/y.cc"]
    paths += ["core/platform/env.cc", "core/common/env.cc"]
    links.write_text("".join(f"{base}/{path}: *\n" for path in paths))

    assert runtime_folders(links) == {
        "ort_env.cc": "session",
        "x.cc": "operators",
        "y.cc": "operators",
    }


def test_weights_go_to_the_first_node_that_takes_them(tmp_path: Path) -> None:
    weights = [onnx.numpy_helper.from_array(np.ones((8, 64), np.float32), name) for name in "ab"]
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "a"], ["y"], "first"),
        onnx.helper.make_node("MatMul", ["x", "a"], ["z"], "second"),
        onnx.helper.make_node("Gemm", ["x", "b"], ["w"], "third"),
    ]
    outputs = [onnx.helper.make_tensor_value_info(name, 1, [1, 64]) for name in "yzw"]
    inputs = [onnx.helper.make_tensor_value_info("x", 1, [1, 8])]
    graph = onnx.helper.make_graph(nodes, "small", inputs, outputs, weights)
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=opset)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(model.SerializeToString(), options)

    composition = network_composition("model/model.ort", tmp_path / "model.ort")

    sizes = {part.name: part.bytes for part in composition.parts}
    assert (sizes["MatMul"], sizes["Gemm"]) == (8 * 64 * 4, 8 * 64 * 4)
    assert sum(sizes.values()) == composition.bytes == (tmp_path / "model.ort").stat().st_size


@pytest.mark.parametrize("content", [b"", b"model one", bytes(4000), b"\xff" * 4000])
def test_what_is_no_model_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.ort").write_bytes(content)
    with pytest.raises(UserError, match="is no ORT-format model"):
        network_composition("model/model.ort", tmp_path / "model.ort")
