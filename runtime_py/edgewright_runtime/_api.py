"""ONNX Runtime's C API: a table of function pointers, each called by its place in it.

The table only ever grows at its end, so that a place holds for every later version. `invoke wheel`
compares the places with the header of the library that it packs.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from typing import Any, Callable

from edgewright_runtime._about import About, read
from edgewright_runtime._library import load
from edgewright_runtime.capi import onnxruntime_pybind11_state as errors

# Of the table: no function below came later. Older libraries answer that they have none.
VERSION = 17
# Name → place in OrtApi, and arguments: p(ointer), s(tring), i(nt), q (int64), z (size_t).
# All return a status.
FUNCTIONS = {
    "CreateEnv": (3, "isp"),
    "CreateSession": (7, "pspp"),
    "CreateSessionFromArray": (8, "ppzpp"),
    "Run": (9, "ppppzpzp"),
    "CreateSessionOptions": (10, "p"),
    "SetOptimizedModelFilePath": (11, "ps"),
    "SetSessionExecutionMode": (13, "pi"),
    "EnableProfiling": (14, "ps"),
    "DisableMemPattern": (17, "p"),
    "DisableCpuMemArena": (19, "p"),
    "SetSessionLogId": (20, "ps"),
    "SetSessionLogVerbosityLevel": (21, "pi"),
    "SetSessionLogSeverityLevel": (22, "pi"),
    "SetSessionGraphOptimizationLevel": (23, "pi"),
    "SetIntraOpNumThreads": (24, "pi"),
    "SetInterOpNumThreads": (25, "pi"),
    "SessionGetInputCount": (30, "pp"),
    "SessionGetOutputCount": (31, "pp"),
    "SessionGetOverridableInitializerCount": (32, "pp"),
    "SessionGetInputTypeInfo": (33, "pzp"),
    "SessionGetOutputTypeInfo": (34, "pzp"),
    "SessionGetOverridableInitializerTypeInfo": (35, "pzp"),
    "SessionGetInputName": (36, "pzpp"),
    "SessionGetOutputName": (37, "pzpp"),
    "SessionGetOverridableInitializerName": (38, "pzpp"),
    "CreateRunOptions": (39, "p"),
    "RunOptionsSetRunLogVerbosityLevel": (40, "pi"),
    "RunOptionsSetRunLogSeverityLevel": (41, "pi"),
    "RunOptionsSetRunTag": (42, "ps"),
    "RunOptionsGetRunLogVerbosityLevel": (43, "pp"),
    "RunOptionsGetRunLogSeverityLevel": (44, "pp"),
    "RunOptionsGetRunTag": (45, "pp"),
    "RunOptionsSetTerminate": (46, "p"),
    "RunOptionsUnsetTerminate": (47, "p"),
    "CreateTensorAsOrtValue": (48, "ppzip"),
    "CreateTensorWithDataAsOrtValue": (49, "ppzpzip"),
    "GetTensorMutableData": (51, "pp"),
    "GetStringTensorDataLength": (53, "pp"),
    "GetStringTensorContent": (54, "ppzpz"),
    "CastTypeInfoToTensorInfo": (55, "pp"),
    "GetOnnxTypeFromTypeInfo": (56, "pp"),
    "GetTensorElementType": (60, "pp"),
    "GetDimensionsCount": (61, "pp"),
    "GetDimensions": (62, "ppz"),
    "GetSymbolicDimensions": (63, "ppz"),
    "GetTensorTypeAndShape": (65, "pp"),
    "GetTypeInfo": (66, "pp"),
    "GetValueType": (67, "pp"),
    "CreateCpuMemoryInfo": (69, "iip"),
    "AllocatorFree": (76, "pp"),
    "GetAllocatorWithDefaultOptions": (78, "p"),
    "AddFreeDimensionOverride": (79, "psq"),
    "GetValue": (80, "pipp"),
    "GetValueCount": (81, "pp"),
    "CreateValue": (82, "pzip"),
    "CastTypeInfoToMapTypeInfo": (103, "pp"),
    "CastTypeInfoToSequenceTypeInfo": (104, "pp"),
    "GetMapKeyType": (105, "pp"),
    "GetMapValueType": (106, "pp"),
    "GetSequenceElementType": (107, "pp"),
    "SessionEndProfiling": (110, "ppp"),
    "SessionGetModelMetadata": (111, "pp"),
    "ModelMetadataGetProducerName": (112, "ppp"),
    "ModelMetadataGetGraphName": (113, "ppp"),
    "ModelMetadataGetDomain": (114, "ppp"),
    "ModelMetadataGetDescription": (115, "ppp"),
    "ModelMetadataLookupCustomMetadataMap": (116, "ppsp"),
    "ModelMetadataGetVersion": (117, "pp"),
    "ModelMetadataGetCustomMetadataMapKeys": (123, "pppp"),
    "AddFreeDimensionOverrideByName": (124, "psq"),
    "GetAvailableProviders": (125, "pp"),
    "ReleaseAvailableProviders": (126, "pi"),
    "AddSessionConfigEntry": (130, "pss"),
    "RunWithBinding": (133, "ppp"),
    "CreateIoBinding": (134, "pp"),
    "BindInput": (136, "psp"),
    "BindOutput": (137, "psp"),
    "BindOutputToDevice": (138, "psp"),
    "GetBoundOutputValues": (140, "pppp"),
    "SessionGetProfilingStartTimeNs": (146, "pp"),
    "ModelMetadataGetGraphDescription": (158, "ppp"),
    "AddRunConfigEntry": (165, "pss"),
    "HasValue": (192, "pp"),
    "SessionOptionsAppendExecutionProvider": (216, "psppz"),
    "UpdateEnvWithCustomLogLevel": (226, "pi"),
    "CastTypeInfoToOptionalTypeInfo": (250, "pp"),
    "GetOptionalContainedTypeInfo": (251, "pp"),
    "GetResizedStringTensorElementBuffer": (252, "pzzp"),
    "SetDeterministicCompute": (273, "pi"),
}
# Those that return no status: name → place, result, arguments.
PLAIN = {
    "GetErrorCode": (1, "i", "p"),
    "GetErrorMessage": (2, "s", "p"),
    "ReleaseStatus": (93, "", "p"),
    "ReleaseSession": (95, "", "p"),
    "ReleaseValue": (96, "", "p"),
    "ReleaseRunOptions": (97, "", "p"),
    "ReleaseTypeInfo": (98, "", "p"),
    "ReleaseTensorTypeAndShapeInfo": (99, "", "p"),
    "ReleaseSessionOptions": (100, "", "p"),
    "ReleaseModelMetadata": (118, "", "p"),
    "ReleaseIoBinding": (135, "", "p"),
    "ClearBoundInputs": (141, "", "p"),
    "ClearBoundOutputs": (142, "", "p"),
    "GetBuildInfoString": (254, "s", ""),
}
TYPES: dict[str, Any] = {
    "p": c_void_p,
    "s": c_char_p,
    "i": c_int,
    "q": c_int64,
    "z": c_size_t,
    "": None,
}
# By OrtErrorCode.
ERRORS: tuple[tuple[str, type[Exception]], ...] = (
    ("SUCCESS", errors.Fail),
    ("FAIL", errors.Fail),
    ("INVALID_ARGUMENT", errors.InvalidArgument),
    ("NO_SUCHFILE", errors.NoSuchFile),
    ("NO_MODEL", errors.NoModel),
    ("ENGINE_ERROR", errors.EngineError),
    ("RUNTIME_EXCEPTION", errors.RuntimeException),
    ("INVALID_PROTOBUF", errors.InvalidProtobuf),
    ("MODEL_LOADED", errors.ModelLoaded),
    ("NOT_IMPLEMENTED", errors.NotImplemented),
    ("INVALID_GRAPH", errors.InvalidGraph),
    ("EP_FAIL", errors.EPFail),
)
WARNING = 2  # ORT_LOGGING_LEVEL_WARNING
ARENA, DEFAULT_MEMORY = 1, 0  # OrtArenaAllocator, OrtMemTypeDefault


class _ApiBase(ctypes.Structure):
    _fields_ = [
        ("GetApi", ctypes.CFUNCTYPE(c_void_p, ctypes.c_uint32)),
        ("GetVersionString", ctypes.CFUNCTYPE(c_char_p)),
    ]


def error(code: int, message: str) -> Exception:
    """The exception of an error code, with the text that ONNX Runtime's own package gives it."""
    name, kind = ERRORS[code] if code < len(ERRORS) else ERRORS[1]
    return kind(f"[ONNXRuntimeError] : {code} : {name} : {message}")


class Api:
    """The functions of the table as methods; one that reports an error raises it.

    Calls let other threads of Python run meanwhile.
    """

    def __init__(self, library: ctypes.CDLL, about: About) -> None:
        library.OrtGetApiBase.restype = ctypes.POINTER(_ApiBase)
        base = library.OrtGetApiBase().contents
        self.about = about
        self.version: str = base.GetVersionString().decode()
        table = base.GetApi(VERSION)
        if not table:
            raise ImportError(
                f"edgewright_runtime needs ONNX Runtime 1.{VERSION}; its library is {self.version}"
            )
        self._table = ctypes.cast(table, ctypes.POINTER(c_void_p))
        self.environment = self.pointer("CreateEnv", WARNING, b"Default")
        self.allocator = self.pointer("GetAllocatorWithDefaultOptions")
        self.memory = self.pointer("CreateCpuMemoryInfo", ARENA, DEFAULT_MEMORY)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = self._function(name)
        setattr(self, name, function)  # found without this method from now on
        return function

    def _function(self, name: str) -> Callable[..., Any]:
        place, result, arguments = PLAIN.get(name) or (
            FUNCTIONS[name][0],
            "p",
            FUNCTIONS[name][1],
        )
        prototype = ctypes.CFUNCTYPE(TYPES[result], *(TYPES[letter] for letter in arguments))
        function = prototype(self._table[place] or 0)
        if name in PLAIN:
            return function

        def checked(*values: Any) -> None:
            status = function(*values)
            if status:
                self._raise(status)

        return checked

    def _raise(self, status: int) -> None:
        code, message = self.GetErrorCode(status), self.GetErrorMessage(status)
        self.ReleaseStatus(status)
        raise error(code, message.decode(errors="replace"))

    def pointer(self, name: str, *values: Any) -> c_void_p:
        """Call a function whose last argument is where it puts a pointer."""
        value = c_void_p()
        getattr(self, name)(*values, byref(value))
        return value

    def number(self, name: str, *values: Any) -> int:
        """Likewise a number: size_t, int64, or an int in a zeroed place of 64 bits."""
        value = ctypes.c_int64()
        getattr(self, name)(*values, byref(value))
        return int(value.value)

    def flag(self, name: str, *values: Any) -> int:
        """Likewise an int."""
        value = c_int()
        getattr(self, name)(*values, byref(value))
        return value.value

    def text(self, name: str, *values: Any) -> str:
        """Likewise a string of the default allocator, which is freed."""
        value = self.pointer(name, *values)
        return self.taken(value)

    def taken(self, text: c_void_p) -> str:
        """A string of the default allocator, freed; empty for none."""
        if not text:
            return ""
        value = ctypes.string_at(text).decode(errors="replace")
        self.AllocatorFree(self.allocator, text)
        return value


class Handle:
    """What the library made, given back to it when nobody holds it any more."""

    def __init__(self, pointer: c_void_p | int, release: Callable[..., Any]) -> None:
        self._as_parameter_ = pointer  # ctypes passes it on
        self._release = release

    def __del__(self) -> None:
        self._release(self._as_parameter_)


ABOUT = read()
API = Api(load(ABOUT), ABOUT)
