"""Sessions: a loaded model, as `onnxruntime.InferenceSession`."""

from __future__ import annotations

import os
import warnings
from ctypes import byref, c_char_p, c_int, c_void_p, sizeof, string_at
from threading import Thread
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from edgewright_runtime._api import API, Handle, error
from edgewright_runtime._options import RunOptions, SessionOptions, run_handle, text_array
from edgewright_runtime._types import NodeArg, dtype_of, node_arg
from edgewright_runtime._values import (
    OrtValue,
    Value,
    element_number,
    require_cpu,
    tensor_at,
    value_of,
)
from edgewright_runtime.capi.onnxruntime_pybind11_state import InvalidArgument, NotImplemented

CPU = "CPUExecutionProvider"
# What the C API calls a provider that is asked for by name.
PROVIDERS = {"XnnpackExecutionProvider": "XNNPACK"}
NO_SUCH_FILE = 3
FORMAT_KEY = "session.load_model_format"
# What the library says of a model that it was not built for.
NO_ONNX = "ONNX format model is not supported"
NO_KERNEL = "Could not find an implementation for"


class ModelMetadata:
    """What a model says of itself."""

    def __init__(self, session: Handle) -> None:
        meta = Handle(API.pointer("SessionGetModelMetadata", session), API.ReleaseModelMetadata)
        self.producer_name = API.text("ModelMetadataGetProducerName", meta, API.allocator)
        self.graph_name = API.text("ModelMetadataGetGraphName", meta, API.allocator)
        self.domain = API.text("ModelMetadataGetDomain", meta, API.allocator)
        self.description = API.text("ModelMetadataGetDescription", meta, API.allocator)
        self.graph_description = API.text("ModelMetadataGetGraphDescription", meta, API.allocator)
        self.version = API.number("ModelMetadataGetVersion", meta)
        self.custom_metadata_map = _custom_metadata(meta)


def _custom_metadata(meta: Handle) -> dict[str, str]:
    array = c_void_p()
    keys = ("ModelMetadataGetCustomMetadataMapKeys", meta, API.allocator, byref(array))
    names = [API.taken(c_void_p(name)) for name in _pointers(array, API.number(*keys))]
    value = ("ModelMetadataLookupCustomMetadataMap", meta, API.allocator)
    return {name: API.text(*value, name.encode()) for name in names}


def _pointers(array: c_void_p, count: int) -> list[int]:
    """The pointers in an array of the default allocator, which is freed."""
    if not array:
        return []
    pointers = (c_void_p * count).from_buffer_copy(string_at(array, count * sizeof(c_void_p)))
    API.AllocatorFree(API.allocator, array)
    return [pointer or 0 for pointer in pointers]


def get_available_providers() -> list[str]:
    """Names of the providers that the library has."""
    names, count = c_void_p(), c_int()
    API.GetAvailableProviders(byref(names), byref(count))
    available = [
        (name or b"").decode() for name in (c_char_p * count.value).from_address(names.value or 0)
    ]
    API.ReleaseAvailableProviders(names, count)
    return available


class InferenceSession:
    """A model, ready to run. Threads may run it side by side."""

    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike[str],
        sess_options: SessionOptions | None = None,
        providers: Sequence[str | tuple[str, Mapping[Any, Any]]] | None = None,
        provider_options: Sequence[Mapping[Any, Any]] | None = None,
        **kwargs: Any,  # of ONNX Runtime's package: they say how it falls back to other devices
    ) -> None:
        self._sess_options = sess_options or SessionOptions()
        self._provider_options = _chosen(providers, provider_options)
        if isinstance(path_or_bytes, bytes):
            self._session = self._load(path_or_bytes, "the model", path_or_bytes[:8])
        elif isinstance(path_or_bytes, (str, os.PathLike)):
            path = os.fspath(path_or_bytes)
            self._session = self._load(path, path, _head(path))
        else:
            raise TypeError(f"Unable to load from type '{type(path_or_bytes)}'")
        self._inputs = self._described("Input")
        self._outputs = self._described("Output")
        self._model_meta = ModelMetadata(self._session)

    def _load(self, model: str | bytes, name: str, head: bytes) -> Handle:
        # By its content, whatever its name is: a converted model may take the place of another.
        is_ort = head[4:8] == b"ORTM"
        options = self._sess_options.handle(**({FORMAT_KEY: "ORT"} if is_ort else {}))
        for provider, settings in self._provider_options.items():
            if provider != CPU:
                keys, values = text_array([*settings]), text_array([*settings.values()])
                called = PROVIDERS.get(provider, provider).encode()
                API.SessionOptionsAppendExecutionProvider(
                    options, called, keys, values, len(settings)
                )
        arguments: tuple[Any, ...]
        if isinstance(model, bytes):
            # The library copies them, unless an entry of the options says that they stay.
            self._bytes = model
            function, arguments = "CreateSessionFromArray", (model, len(model))
        else:
            function, arguments = "CreateSession", (os.fsencode(model),)
        try:
            pointer = API.pointer(function, API.environment, *arguments, options)
        except (InvalidArgument, NotImplemented) as refused:
            raise type(refused)(_in_words(str(refused), name)) from None
        return Handle(pointer, API.ReleaseSession)

    def _described(self, kind: str) -> list[NodeArg]:
        args = []
        for index in range(API.number("SessionGet" + kind + "Count", self._session)):
            name = API.text("SessionGet" + kind + "Name", self._session, index, API.allocator)
            info = API.pointer("SessionGet" + kind + "TypeInfo", self._session, index)
            args.append(node_arg(name, Handle(info, API.ReleaseTypeInfo)))
        return args

    def get_inputs(self) -> list[NodeArg]:
        return self._inputs

    def get_outputs(self) -> list[NodeArg]:
        return self._outputs

    def get_overridable_initializers(self) -> list[NodeArg]:
        """Weights that a run may replace."""
        return self._described("OverridableInitializer")

    def get_modelmeta(self) -> ModelMetadata:
        return self._model_meta

    def get_session_options(self) -> SessionOptions:
        return self._sess_options

    def get_providers(self) -> list[str]:
        return [*self._provider_options]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return self._provider_options

    def disable_fallback(self) -> None:
        """Nothing to do: there is no other device to fall back to."""

    enable_fallback = disable_fallback

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: RunOptions | None = None,
    ) -> list[Any]:
        """The outputs, as arrays over the library's memory; inputs are read where they lie."""
        return [value.python() for value in self._run(output_names, input_feed, run_options)]

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | None,
        input_dict_ort_values: Mapping[str, OrtValue],
        run_options: RunOptions | None = None,
    ) -> list[OrtValue]:
        """Likewise with OrtValues in place of arrays."""
        values = self._run(output_names, input_dict_ort_values, run_options)
        return [OrtValue(value) for value in values]

    def run_async(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        callback: Callable[[list[Any], Any, str], object],
        user_data: Any,
        run_options: RunOptions | None = None,
    ) -> None:
        """Return at once; a thread calls `callback(outputs, user_data, error)`, one of them empty.

        The thread is one of Python's own: the library's would hold a thread of its pool up while
        the callback is at work, and a session of a single thread has none.
        """
        self._require_inputs([*input_feed])

        def work() -> None:
            outputs, problem = [], ""
            try:
                outputs = self.run(output_names, input_feed, run_options)
            except Exception as refused:  # the caller has gone on: nobody else would be told
                problem = str(refused)
            callback(outputs, user_data, problem)

        Thread(target=work, name="edgewright-run-async").start()

    def _run(
        self,
        output_names: Sequence[str] | None,
        feed: Mapping[str, Any],
        run_options: RunOptions | None,
    ) -> list[Value]:
        self._require_inputs([*feed])
        # None, for an optional input, is given by leaving it out.
        feed = {name: data for name, data in feed.items() if data is not None}
        outputs = [*(output_names or (output.name for output in self._outputs))]
        types = {known.name: known.type for known in self._inputs}
        # Held until the run has ended.
        values = {name: value_of(data, types.get(name)) for name, data in feed.items()}
        inputs = (c_void_p * len(values))(*(value._as_parameter_ for value in values.values()))
        results = (c_void_p * len(outputs))()
        API.Run(
            self._session,
            run_handle(run_options),
            text_array([*feed]),
            inputs,
            len(values),
            text_array(outputs),
            len(outputs),
            results,
        )
        # An output that is an input, as it is, lies in that one's memory.
        return [Value(p or 0, values.get(name)) for p, name in zip(results, outputs)]

    def _require_inputs(self, names: list[str]) -> None:
        missing = [
            known.name
            for known in self._inputs
            if known.name not in names and not known.type.startswith("optional")
        ]
        if missing:
            raise ValueError(f"Required inputs ({missing}) are missing from input feed ({names}).")

    def io_binding(self) -> IOBinding:
        return IOBinding(self)

    def run_with_iobinding(
        self, iobinding: IOBinding, run_options: RunOptions | None = None
    ) -> None:
        """Run with the inputs and outputs that are bound."""
        API.RunWithBinding(self._session, run_handle(run_options), iobinding._binding)

    def end_profiling(self) -> str:
        """The name of the file that has the profile."""
        return API.text("SessionEndProfiling", self._session, API.allocator)

    def get_profiling_start_time_ns(self) -> int:
        return API.number("SessionGetProfilingStartTimeNs", self._session)


class IOBinding:
    """Inputs and outputs that stay where they are from run to run, as `onnxruntime.IOBinding`."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._binding = Handle(
            API.pointer("CreateIoBinding", session._session), API.ReleaseIoBinding
        )
        self._inputs: dict[str, Value] = {}  # the memory of arrays, held
        self._outputs: dict[str, Value | None] = {}

    def bind_cpu_input(self, name: str, arr_on_cpu: Any) -> None:
        """Bind an input to an array; what is written to it later, later runs read."""
        self._bind_input(name, value_of(arr_on_cpu))

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        self._bind_input(name, ortvalue._value)

    def bind_input(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: Any,
        shape: Sequence[int],
        buffer_ptr: int,
    ) -> None:
        """Bind an input to memory at an address, which the caller holds."""
        require_cpu(device_type)
        self._bind_input(name, _at(buffer_ptr, element_type, shape))

    def _bind_input(self, name: str, value: Value) -> None:
        API.BindInput(self._binding, name.encode(), value)
        self._inputs[name] = value

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: Any = None,
        shape: Sequence[int] | None = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Bind an output to memory at an address, which the caller holds, or to the library's."""
        require_cpu(device_type)
        if buffer_ptr is None:
            API.BindOutputToDevice(self._binding, name.encode(), API.memory)
            self._outputs[name] = None
        elif element_type is None or shape is None:
            raise ValueError(
                "`element_type` and `shape` are to be provided if pre-allocated memory is provided"
            )
        else:
            self._bind_output(name, _at(buffer_ptr, element_type, shape))

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        self._bind_output(name, ortvalue._value)

    def _bind_output(self, name: str, value: Value) -> None:
        API.BindOutput(self._binding, name.encode(), value)
        self._outputs[name] = value

    def synchronize_inputs(self) -> None:
        """Nothing to do: there is no other device."""

    synchronize_outputs = synchronize_inputs

    def get_outputs(self) -> list[OrtValue]:
        """The outputs of the last run, in the order in which they were bound."""
        array = c_void_p()
        arguments = (self._binding, API.allocator, byref(array))
        count = API.number("GetBoundOutputValues", *arguments)
        held = [*self._outputs.values()]
        return [
            OrtValue(Value(pointer, bound)) for pointer, bound in zip(_pointers(array, count), held)
        ]

    def copy_outputs_to_cpu(self) -> list[Any]:
        """The outputs of the last run as arrays of their own: the next run leaves them alone."""
        outputs = [value._value.python() for value in self.get_outputs()]
        return [output.copy() if hasattr(output, "copy") else output for output in outputs]

    def clear_binding_inputs(self) -> None:
        API.ClearBoundInputs(self._binding)
        self._inputs.clear()

    def clear_binding_outputs(self) -> None:
        API.ClearBoundOutputs(self._binding)
        self._outputs.clear()


def _at(address: int, element_type: Any, shape: Sequence[int]) -> Value:
    number = element_number(element_type)
    size = int(np.prod(shape, dtype=np.int64)) * dtype_of(number).itemsize
    return tensor_at(address, size, shape, number)


def _head(path: str) -> bytes:
    """The first bytes of a file. Raises NoSuchFile if there is none."""
    try:
        with open(path, "rb") as stream:
            return stream.read(8)
    except OSError as refused:
        problem = "File doesn't exist" if isinstance(refused, FileNotFoundError) else str(refused)
        raise error(NO_SUCH_FILE, f"Load model from {path} failed. {problem}") from refused


def _in_words(refused: str, model: str) -> str:
    """The library's words for a model that it was not built for, and what helps."""
    about = API.about
    if NO_ONNX in refused:
        return (
            f"{refused} {model} is no model in ORT format. Convert an ONNX model on your "
            "development machine (invoke model.convert --model=MODEL.onnx --out=DIR) and load "
            "DIR/model.ort, under any name"
        )
    if NO_KERNEL in refused:
        return (
            f"{refused}. {model} needs what this wheel lacks: it has the {len(about.operators)} "
            f"operators of {' and '.join(about.models)}. Make one for both: {about.rebuild()}"
        )
    return refused


def _chosen(
    providers: Sequence[str | tuple[str, Mapping[Any, Any]]] | None,
    options: Sequence[Mapping[Any, Any]] | None,
) -> dict[str, dict[str, str]]:
    """Provider → its options, the CPU last; by default all that need no options."""
    available = get_available_providers()
    if providers is None:
        return {name: {} for name in available if name == CPU or name in PROVIDERS}
    if options is not None and len(options) != len(providers):
        raise ValueError(
            "'providers' and 'provider_options' should be the same length if both are given."
        )
    chosen: dict[str, dict[str, str]] = {}
    for index, provider in enumerate(providers):
        name, settings = provider if isinstance(provider, tuple) else (provider, {})
        settings = options[index] if options is not None else settings
        if name not in available:
            warnings.warn(
                f"Specified provider '{name}' is not in available provider names. "
                f"Available providers: '{', '.join(available)}'",
                stacklevel=3,
            )
        elif name not in chosen:
            chosen[name] = {str(key): str(value) for key, value in settings.items()}
    chosen.setdefault(CPU, {})
    return chosen
