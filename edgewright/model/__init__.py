"""The model: data, training, export, quantization, evaluation, golden outputs."""

import sys
from importlib import import_module

# onnxruntime.tools imports torch wherever it is installed, for a helper of its own: seconds for
# every command. A None in sys.modules is Python's way to say that a module is not there.
if "torch" not in sys.modules:
    sys.modules["torch"] = None  # type: ignore[assignment]
    import_module("onnxruntime.tools")
    del sys.modules["torch"]
