"""How sessions and runs are set, as `onnxruntime.SessionOptions` and `onnxruntime.RunOptions`."""

from __future__ import annotations

from ctypes import c_char_p
from enum import IntEnum
from typing import Any, Sequence

from edgewright_runtime._api import API, Handle

UNSET = -1  # a log level: the environment's


class ExecutionMode(IntEnum):
    """Whether operators of one model run side by side."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class GraphOptimizationLevel(IntEnum):
    """How much a model is changed when it is loaded."""

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_ALL = 99


class SessionOptions:
    """What a session is made with. It has what the C API can set; other names are refused."""

    __slots__ = (
        "_dimensions",
        "_entries",
        "enable_cpu_mem_arena",
        "enable_mem_pattern",
        "enable_profiling",
        "execution_mode",
        "graph_optimization_level",
        "inter_op_num_threads",
        "intra_op_num_threads",
        "log_severity_level",
        "log_verbosity_level",
        "logid",
        "optimized_model_filepath",
        "profile_file_prefix",
        "use_deterministic_compute",
    )

    def __init__(self) -> None:
        self._entries: dict[str, str] = {}
        self._dimensions: list[tuple[str, str, int]] = []
        self.enable_cpu_mem_arena = True
        self.enable_mem_pattern = True
        self.enable_profiling = False
        self.execution_mode = ExecutionMode.ORT_SEQUENTIAL
        self.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
        self.inter_op_num_threads = 0  # 0: as many as there are cores
        self.intra_op_num_threads = 0
        self.log_severity_level = UNSET
        self.log_verbosity_level = 0
        self.logid = ""
        self.optimized_model_filepath = ""
        self.profile_file_prefix = "onnxruntime_profile_"
        self.use_deterministic_compute = False

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Set one of ONNX Runtime's `session.…` keys."""
        self._entries[key] = value

    def get_session_config_entry(self, key: str) -> str:
        """The value of a key. Raises RuntimeError if it was not set."""
        if key not in self._entries:
            raise RuntimeError("SessionOptions does not have configuration with key: " + key)
        return self._entries[key]

    def add_free_dimension_override_by_name(self, dim_name: str, dim_value: int) -> None:
        """Give a symbolic dimension a size."""
        self._dimensions.append(("AddFreeDimensionOverrideByName", dim_name, dim_value))

    def add_free_dimension_override_by_denotation(self, denotation: str, dim_value: int) -> None:
        """Likewise, by what the dimension denotes."""
        self._dimensions.append(("AddFreeDimensionOverride", denotation, dim_value))

    def handle(self, **entries: str) -> Handle:
        """OrtSessionOptions of these, with more entries."""
        options = Handle(API.pointer("CreateSessionOptions"), API.ReleaseSessionOptions)
        API.SetSessionExecutionMode(options, int(self.execution_mode))
        API.SetSessionGraphOptimizationLevel(options, int(self.graph_optimization_level))
        API.SetIntraOpNumThreads(options, self.intra_op_num_threads)
        API.SetInterOpNumThreads(options, self.inter_op_num_threads)
        API.SetSessionLogVerbosityLevel(options, self.log_verbosity_level)
        if self.log_severity_level != UNSET:
            API.SetSessionLogSeverityLevel(options, self.log_severity_level)
        if self.logid:
            API.SetSessionLogId(options, self.logid.encode())
        if self.optimized_model_filepath:
            API.SetOptimizedModelFilePath(options, self.optimized_model_filepath.encode())
        if self.enable_profiling:
            API.EnableProfiling(options, self.profile_file_prefix.encode())
        if not self.enable_mem_pattern:
            API.DisableMemPattern(options)
        if not self.enable_cpu_mem_arena:
            API.DisableCpuMemArena(options)
        if self.use_deterministic_compute:
            API.SetDeterministicCompute(options, 1)
        for key, value in {**self._entries, **entries}.items():
            API.AddSessionConfigEntry(options, key.encode(), value.encode())
        for function, name, size in self._dimensions:
            getattr(API, function)(options, name.encode(), size)
        return options


class RunOptions:
    """How one run goes; another thread may set `terminate` meanwhile."""

    __slots__ = ("_handle", "_stops")

    def __init__(self) -> None:
        self._stops = False
        self._handle = Handle(API.pointer("CreateRunOptions"), API.ReleaseRunOptions)

    @property
    def log_severity_level(self) -> int:
        return API.flag("RunOptionsGetRunLogSeverityLevel", self._handle)

    @log_severity_level.setter
    def log_severity_level(self, level: int) -> None:
        API.RunOptionsSetRunLogSeverityLevel(self._handle, level)

    @property
    def log_verbosity_level(self) -> int:
        return API.flag("RunOptionsGetRunLogVerbosityLevel", self._handle)

    @log_verbosity_level.setter
    def log_verbosity_level(self, level: int) -> None:
        API.RunOptionsSetRunLogVerbosityLevel(self._handle, level)

    @property
    def logid(self) -> str:
        tag = c_char_p(API.pointer("RunOptionsGetRunTag", self._handle).value)
        return (tag.value or b"").decode()

    @logid.setter
    def logid(self, tag: str) -> None:
        API.RunOptionsSetRunTag(self._handle, tag.encode())

    @property
    def terminate(self) -> bool:
        """True ends the runs that have these options."""
        return self._stops

    @terminate.setter
    def terminate(self, stop: bool) -> None:
        self._stops = stop
        if stop:
            API.RunOptionsSetTerminate(self._handle)
        else:
            API.RunOptionsUnsetTerminate(self._handle)

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Set one of ONNX Runtime's keys for runs."""
        API.AddRunConfigEntry(self._handle, key.encode(), value.encode())


def text_array(texts: Sequence[str]) -> Any:
    """`const char* const*`."""
    return (c_char_p * len(texts))(*(text.encode() for text in texts))


def run_handle(options: RunOptions | None) -> Handle | None:
    """Raises TypeError for what are no RunOptions."""
    if options is None or isinstance(options, RunOptions):
        return options._handle if options else None
    raise TypeError("run_options: expected RunOptions, found " + type(options).__name__)
