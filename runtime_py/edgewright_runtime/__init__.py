"""ONNX Runtime for one kind of board: the interface of the package `onnxruntime`, by ctypes.

In a script for `onnxruntime`, one line changes: `import edgewright_runtime as onnxruntime`.
Importing this raises ImportError, in words, on a machine that the library cannot run on.
"""

from edgewright_runtime import capi
from edgewright_runtime._api import API
from edgewright_runtime._options import (
    ExecutionMode,
    GraphOptimizationLevel,
    RunOptions,
    SessionOptions,
)
from edgewright_runtime._session import (
    InferenceSession,
    IOBinding,
    ModelMetadata,
    get_available_providers,
)
from edgewright_runtime._types import NodeArg
from edgewright_runtime._values import OrtValue

__version__ = API.version


def get_version_string() -> str:
    """ONNX Runtime's version, as `__version__`."""
    return API.version


def get_build_info() -> str:
    """How the library was built, in ONNX Runtime's words."""
    return str(API.GetBuildInfoString().decode())


def get_device() -> str:
    """The device that models run on."""
    return "CPU"


def set_default_logger_severity(severity: int) -> None:
    """From which level on the library writes to standard error: 0 (all) to 4 (fatal alone)."""
    API.UpdateEnvWithCustomLogLevel(API.environment, severity)


__all__ = [
    "ExecutionMode",
    "GraphOptimizationLevel",
    "IOBinding",
    "InferenceSession",
    "ModelMetadata",
    "NodeArg",
    "OrtValue",
    "RunOptions",
    "SessionOptions",
    "__version__",
    "capi",
    "get_available_providers",
    "get_build_info",
    "get_device",
    "get_version_string",
    "set_default_logger_severity",
]
