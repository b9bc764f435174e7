"""A script that is written for `onnxruntime` gets from `edgewright_runtime` what it got there."""

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto as T
from onnx.helper import (
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_tensor_sequence_value_info,
    make_tensor_value_info,
    np_dtype_to_tensor_dtype,
)

NUMBERS = (
    *("float32", "float64", "float16", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], **opsets: int) -> bytes:
    imports = [make_opsetid(domain.replace("_", "."), n) for domain, n in opsets.items()]
    graph = make_graph(nodes, "graph", inputs, outputs, doc_string="a graph")
    proto = make_model(graph, opset_imports=[make_opsetid("", 13), *imports], ir_version=8)
    proto.producer_name, proto.domain, proto.doc_string = "tests", "org.example", "a model"
    proto.model_version = 7
    onnx.helper.set_model_props(proto, {"classes": "good,bad", "ünder": "öber"})
    return bytes(proto.SerializeToString())


def identity(element: int, shape: tuple[Any, ...] = (None,)) -> bytes:
    return model(
        [make_node("Identity", ["x"], ["y"])],
        [make_tensor_value_info("x", element, shape)],
        [make_tensor_value_info("y", element, shape)],
    )


def doubling() -> bytes:
    """y = x + x, of any number of rows of three, and their sum."""
    return model(
        [
            make_node("Add", ["x", "x"], ["y"]),
            make_node("ReduceSum", ["y"], ["sum"], keepdims=0),
        ],
        [make_tensor_value_info("x", T.FLOAT, ("rows", 3))],
        [make_tensor_value_info("y", T.FLOAT, ("rows", 3)), make_tensor_value_info("sum", 1, ())],
    )


@pytest.fixture
def session(ort: ModuleType) -> Any:
    return ort.InferenceSession(doubling(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", NUMBERS)
def test_every_type_of_numbers_goes_in_and_comes_out(ort: ModuleType, name: str) -> None:
    values = np.array([0, 1, 3], name)
    proto = identity(np_dtype_to_tensor_dtype(np.dtype(name)))
    [expected] = onnxruntime.InferenceSession(proto).run(None, {"x": values})

    [answer] = ort.InferenceSession(proto).run(None, {"x": values})

    assert (answer.dtype, answer.tolist()) == (expected.dtype, expected.tolist())


@pytest.mark.parametrize(
    "values",
    [
        np.array(["Zelle", "", "größer", "日本"]),
        np.array(["a\0b", "c"], object),
        np.array([["a"], ["b"]], object),
    ],
    ids=["unicode", "with a zero", "two dimensions"],
)
def test_strings_go_in_and_come_out(ort: ModuleType, values: Any) -> None:
    proto = identity(T.STRING, (None,) * values.ndim)
    [expected] = onnxruntime.InferenceSession(proto).run(None, {"x": values})

    [answer] = ort.InferenceSession(proto).run(None, {"x": values})

    assert (answer.dtype, answer.tolist()) == (expected.dtype, expected.tolist())


def test_bytes_are_strings_too(ort: ModuleType) -> None:
    """`onnxruntime` 1.21 reads on behind those that fill their place."""
    session = ort.InferenceSession(identity(T.STRING))

    [answer] = session.run(None, {"x": np.array([b"bytes", b"more"])})

    assert answer.tolist() == ["bytes", "more"]


@pytest.mark.parametrize("shape", [(0, 3), (1, 3)], ids=["no rows", "a row"])
def test_empty_arrays_and_scalars_keep_their_shapes(session: Any, shape: tuple[int, int]) -> None:
    y, total = session.run(None, {"x": np.ones(shape, np.float32)})

    assert (y.shape, total.shape, float(total)) == (shape, (), 6.0 * shape[0])


def test_arrays_in_any_order_of_memory_are_read_as_numpy_reads_them(session: Any) -> None:
    for x in (X.T.copy().T, X[:, ::-1], X.astype(">f4"), [[0, 1, 2], [3, 4, 5]]):
        [y] = session.run(["y"], {"x": x})
        assert y.tolist() == (np.asarray(x) * 2).tolist()


def test_sequences_come_as_lists_and_maps_as_dicts(ort: ModuleType) -> None:
    split = model(
        [make_node("SplitToSequence", ["x"], ["y"], axis=0, keepdims=0)],
        [make_tensor_value_info("x", T.FLOAT, (2, 3))],
        [make_tensor_sequence_value_info("y", T.FLOAT, None)],
    )
    stack = model(
        [make_node("ConcatFromSequence", ["x"], ["y"], axis=0, new_axis=1)],
        [make_tensor_sequence_value_info("x", T.FLOAT, None)],
        [make_tensor_value_info("y", T.FLOAT, (None, None))],
    )
    zipmap = model(
        [make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_strings=["a", "b"])],
        [make_tensor_value_info("x", T.FLOAT, (1, 2))],
        [onnx.helper.make_value_info("y", onnx.helper.make_sequence_type_proto(map_type()))],
        ai_onnx_ml=3,
    )
    splitter, zipper = ort.InferenceSession(split), ort.InferenceSession(zipmap)

    [rows] = splitter.run(None, {"x": X})
    [again] = ort.InferenceSession(stack).run(None, {"x": rows})
    [maps] = zipper.run(None, {"x": np.array([[0.25, 0.75]], np.float32)})

    assert again.tolist() == X.tolist()
    assert maps == [{"a": 0.25, "b": 0.75}]
    types = [s.get_outputs()[0].type for s in (splitter, zipper)]
    assert types == ["seq(tensor(float))", "seq(map(string,tensor(float)))"]


def map_type() -> onnx.TypeProto:
    kind = onnx.TypeProto()
    kind.map_type.key_type = T.STRING
    kind.map_type.value_type.tensor_type.elem_type = T.FLOAT
    return kind


def test_values_that_are_no_tensors_tell_their_type(ort: ModuleType, session: Any) -> None:
    proto = model(
        [make_node("SplitToSequence", ["x"], ["y"])],
        [make_tensor_value_info("x", T.FLOAT, (None, None))],
        [make_tensor_sequence_value_info("y", T.FLOAT, None)],
    )
    splitter = ort.InferenceSession(proto)
    feed = {"x": ort.OrtValue.ortvalue_from_numpy(X)}
    [rows] = splitter.run_with_ort_values(None, feed)
    assert (rows.data_type(), rows.has_value()) == ("seq(tensor(float))", True)

    binding = session.io_binding()
    binding.bind_output("y")
    [before_a_run] = binding.get_outputs()
    assert not before_a_run.has_value()


def test_an_optional_input_may_be_none(ort: ModuleType) -> None:
    tensor = onnx.helper.make_tensor_type_proto(T.FLOAT, (None,))
    optional = onnx.helper.make_optional_type_proto(tensor)
    proto = model(
        [make_node("OptionalHasElement", ["x"], ["y"])],
        [onnx.helper.make_value_info("x", optional)],
        [make_tensor_value_info("y", T.BOOL, ())],
        **{"": 18},
    )
    for value, has_element in ((None, False), (np.ones(1, np.float32), True)):
        [theirs] = onnxruntime.InferenceSession(proto).run(None, {"x": value})
        [ours] = ort.InferenceSession(proto).run(None, {"x": value})
        assert ours == theirs == has_element


def test_a_model_says_of_itself_what_it_says_to_onnxruntime(ort: ModuleType) -> None:
    proto = doubling()
    theirs, mine = onnxruntime.InferenceSession(proto), ort.InferenceSession(proto)

    def described(session: Any) -> list[Any]:
        args = [*session.get_inputs(), *session.get_outputs()]
        return [(arg.name, arg.type, arg.shape) for arg in args]

    names = ["producer_name", "graph_name", "domain", "description", "graph_description"]
    for name in (*names, "version", "custom_metadata_map"):
        expected = getattr(theirs.get_modelmeta(), name)
        assert getattr(mine.get_modelmeta(), name) == expected, name
    assert described(mine) == described(theirs)
    assert described(mine)[0] == ("x", "tensor(float)", ["rows", 3])
    assert str(mine.get_inputs()[0]) == str(theirs.get_inputs()[0])
    assert mine.get_providers() == theirs.get_providers()
    assert mine.get_provider_options() == theirs.get_provider_options()


def refusal(call: Callable[..., object], *arguments: object) -> Exception:
    try:
        call(*arguments)
    except Exception as refused:
        return refused
    pytest.fail("not refused")


FEEDS: dict[str, dict[str, Any]] = {
    "wrong type": {"x": X.astype(np.float64)},
    "wrong size": {"x": X[:, :2]},
    "wrong rank": {"x": X[0]},
    "missing": {"z": X},
    "one too many": {"x": X, "z": X},
}


@pytest.mark.parametrize("feed", FEEDS.values(), ids=FEEDS)
def test_a_run_is_refused_as_onnxruntime_refuses_it(session: Any, feed: dict[str, Any]) -> None:
    theirs = onnxruntime.InferenceSession(doubling())

    expected, refused = (refusal(s.run, None, feed) for s in (theirs, session))

    assert (type(refused).__name__, str(refused)) == (type(expected).__name__, str(expected))


@pytest.mark.parametrize("path", ["missing.onnx", "text.onnx"])
def test_a_file_is_refused_as_onnxruntime_refuses_it(
    ort: ModuleType, path: str, tmp_path: Path
) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    expected = refusal(onnxruntime.InferenceSession, tmp_path / path)

    refused = refusal(ort.InferenceSession, tmp_path / path)

    states = ort.capi.onnxruntime_pybind11_state
    assert type(refused) is getattr(states, type(expected).__name__)
    assert str(refused).split(":")[:3] == str(expected).split(":")[:3]


def test_an_ort_file_is_known_by_its_content_under_any_name(
    ort: ModuleType, tmp_path: Path
) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.onnx")
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(doubling(), options)

    [y] = ort.InferenceSession(tmp_path / "model.onnx").run(["y"], {"x": X})

    assert (tmp_path / "model.onnx").read_bytes()[4:8] == b"ORTM"
    assert y.tolist() == (X * 2).tolist()


def test_what_a_minimal_runtime_refuses_is_told_with_what_helps(
    part: Callable[[str], Any],
) -> None:
    words = part("_session")._in_words

    onnx_file = words("ONNX format model is not supported in this build.", "cells.onnx")
    operator = words("Could not find an implementation for Erf(13) node with name 'n'", "mine.ort")

    assert "cells.onnx is no model in ORT format" in onnx_file
    assert "invoke model.convert --model=MODEL.onnx --out=DIR" in onnx_file
    assert operator.startswith("Could not find an implementation for Erf(13)")
    assert operator.endswith("invoke wheel --board=a53-som --model=cells --model=MODEL.onnx")


def test_an_input_is_read_where_it_lies_and_an_output_lies_in_the_library(
    ort: ModuleType, session: Any
) -> None:
    x = X.copy()
    value = ort.OrtValue.ortvalue_from_numpy(x)

    [y] = session.run_with_ort_values(["y"], {"x": value})

    assert value.data_ptr() == x.__array_interface__["data"][0]
    assert y.numpy().__array_interface__["data"][0] == y.data_ptr()
    assert (y.data_type(), y.element_type(), y.shape()) == ("tensor(float)", T.FLOAT, [2, 3])
    assert y.numpy().tolist() == (X * 2).tolist()


def test_an_output_outlives_its_session_and_is_freed_with_its_array(
    ort: ModuleType, part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, freed = part("_api").API, []
    release = api.ReleaseValue

    def recorded(pointer: int) -> None:
        freed.append(pointer)
        release(pointer)

    monkeypatch.setattr(api, "ReleaseValue", recorded)
    session = ort.InferenceSession(doubling())
    [y] = session.run(["y"], {"x": X})
    view = y[1:]
    del session, y
    gc.collect()
    before = len(freed)  # the input's

    assert (before, view.tolist()) == (1, [[6, 8, 10]])
    del view
    gc.collect()
    assert len(freed) == before + 1


def test_an_output_that_is_an_input_holds_its_memory(ort: ModuleType) -> None:
    """In `onnxruntime` 1.21 it looks into memory that has been freed."""
    x = make_tensor_value_info("x", T.FLOAT, (None,))
    session = ort.InferenceSession(model([], [x], [x]))
    array = np.arange(4, dtype=np.float32)
    input_of_run = weakref.ref(array)

    [output] = session.run(None, {"x": array})
    del array
    gc.collect()

    assert input_of_run() is not None
    assert output.tolist() == [0, 1, 2, 3]
    del output
    gc.collect()
    assert input_of_run() is None


def test_bound_inputs_and_outputs_stay_where_they_are(ort: ModuleType, session: Any) -> None:
    x, y = X.copy(), np.zeros_like(X)
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output(
        "y",
        element_type=np.float32,
        shape=y.shape,
        buffer_ptr=y.__array_interface__["data"][0],
    )
    binding.bind_output("sum")

    session.run_with_iobinding(binding)
    first = binding.copy_outputs_to_cpu()
    x += 1
    session.run_with_iobinding(binding)

    assert first[0].tolist() == (X * 2).tolist()
    assert y.tolist() == (X * 2 + 2).tolist()
    assert [value.numpy().tolist() for value in binding.get_outputs()] == [y.tolist(), y.sum()]
    binding.clear_binding_outputs()
    assert binding.get_outputs() == []


def test_ort_values_are_made_and_changed(ort: ModuleType, session: Any) -> None:
    value = ort.OrtValue.ortvalue_from_shape_and_type([2, 3], np.float32)
    value.update_inplace(X)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", value)
    out = ort.OrtValue.ortvalue_from_shape_and_type([2, 3], T.FLOAT)
    binding.bind_ortvalue_output("y", out)

    session.run_with_iobinding(binding)

    assert out.numpy().tolist() == (X * 2).tolist()
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.InvalidArgument, match="expected 6"):
        value.update_inplace(X[:1])


def test_options_are_those_of_onnxruntime(ort: ModuleType) -> None:
    mine, theirs = ort.SessionOptions(), onnxruntime.SessionOptions()
    lacking = {"enable_mem_reuse", "execution_order"}  # no function of the C API sets them

    settings = {
        name
        for name in dir(theirs)
        if name[0] != "_" and not callable(getattr(theirs, name)) and name not in lacking
    }
    for name in settings:
        assert int_or_text(getattr(mine, name)) == int_or_text(getattr(theirs, name)), name
    with pytest.raises(AttributeError):
        mine.intra_op_threads = 1  # mistyped


def int_or_text(value: Any) -> Any:
    return value if isinstance(value, str) else int(value)


def test_every_option_is_taken(ort: ModuleType, tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level, options.log_verbosity_level, options.logid = 3, 1, "cells"
    options.enable_mem_pattern = options.enable_cpu_mem_arena = False
    options.use_deterministic_compute = options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")

    session = ort.InferenceSession(doubling(), sess_options=options)
    session.run(None, {"x": X})

    assert Path(session.end_profiling()).read_text().startswith("[")
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    with pytest.raises(RuntimeError, match="does not have configuration with key: other"):
        options.get_session_config_entry("other")


def test_a_symbolic_dimension_gets_a_size(ort: ModuleType) -> None:
    options = ort.SessionOptions()
    options.add_free_dimension_override_by_name("rows", 2)

    assert ort.InferenceSession(doubling(), options).get_inputs()[0].shape == [2, 3]


def test_a_run_can_be_ended(ort: ModuleType, session: Any) -> None:
    options = ort.RunOptions()
    options.logid, options.log_severity_level, options.terminate = "one", 4, True

    with pytest.raises(ort.capi.onnxruntime_pybind11_state.Fail, match="terminate flag"):
        session.run(None, {"x": X}, options)

    options.terminate = False
    assert len(session.run(None, {"x": X}, run_options=options)) == 2
    assert (options.logid, options.log_severity_level, options.terminate) == ("one", 4, False)


def test_threads_run_one_session_side_by_side(session: Any) -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        x = np.full((50, 3), number, np.float32)
        for _ in range(20):
            if not (session.run(["y"], {"x": x})[0] == 2 * number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_an_unknown_provider_is_warned_of(ort: ModuleType) -> None:
    with pytest.warns(UserWarning, match="'CUDAExecutionProvider' is not in available provider"):
        session = ort.InferenceSession(doubling(), providers=["CUDAExecutionProvider"])

    assert session.get_providers() == ["CPUExecutionProvider"]


def test_the_module_says_which_runtime_it_is(ort: ModuleType) -> None:
    assert ort.__version__ == ort.get_version_string() == onnxruntime.__version__
    assert ort.get_available_providers() == onnxruntime.get_available_providers()
    assert (ort.get_device(), ort.get_build_info()) == ("CPU", onnxruntime.get_build_info())


@pytest.mark.parametrize(
    ("x", "error"),
    [(X, False), (np.zeros((2, 4), np.float32), True), (np.zeros((2, 3), np.int8), True)],
)
def test_run_async_calls_back_with_outputs_or_an_error(session: Any, x: Any, error: bool) -> None:
    calls, called = [], threading.Event()

    def callback(outputs: list[Any], user_data: Any, problem: str) -> None:
        calls.append((outputs, user_data, problem, threading.current_thread()))
        called.set()

    session.run_async(["y"], {"x": x}, callback, "mine")

    assert called.wait(30)
    [(outputs, user_data, problem, thread)] = calls
    assert user_data == "mine"
    assert thread is not threading.main_thread()
    assert bool(problem) == error
    assert [output.tolist() for output in outputs] == ([] if error else [(X + X).tolist()])


def test_run_async_refuses_at_once_what_lacks_an_input(session: Any) -> None:
    with pytest.raises(ValueError, match="Required inputs"):
        session.run_async(None, {}, lambda *_: None, None)
