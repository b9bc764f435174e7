"""Sessions of ONNX Runtime on the machine that builds, with the board's arithmetic."""

from collections.abc import Mapping
from pathlib import Path
from platform import machine

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edgewright.base.runtime_version import runtime_version
from edgewright.model.contract.card import Activation
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.unshared import unshare

# The newest that the boards' runtime reads.
IR_VERSION = runtime_version().ir_version
OPSET = runtime_version().opset


def open_session(model: Path | bytes, threads: int = 0) -> ort.InferenceSession:
    """A CPU session whose INT8 arithmetic is exact, as it is on ARM.

    Without `x64quantprecision`, u8·s8 products saturate at 16 bits on x86 processors
    that lack VNNI, and the host's outputs differ from the board's.
    """
    exact = {"session.x64quantprecision": "1"}
    try:
        return _session(model, threads, exact)
    except Exception:  # ONNX Runtime's own exceptions have no common class
        if isinstance(model, Path) and model.suffix == ".ort":
            raise
    network = onnx.load_model_from_string(model) if isinstance(model, bytes) else onnx.load(model)
    unshare(network)
    return _session(network.SerializeToString(), threads, exact)


def load_session(model: Path | bytes) -> ort.InferenceSession:
    """A CPU session that runs a network as it is, and logs nothing."""
    return _session(model, 0, {})


def _session(
    model: Path | bytes, threads: int, settings: Mapping[str, str]
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    for name, value in settings.items():
        options.add_session_config_entry(name, value)
    # Idle threads that spin take the cores from what else runs here.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.intra_op_num_threads = threads
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def saturates(model: Path, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether INT8 sums of this file overflow on this machine, so that answers differ a little
    from the board's. An ONNX file is rewritten on loading to avoid it, an .ort file is not."""
    x86 = machine().lower() in {"x86_64", "amd64", "i686"}
    flags = set(cpuinfo.read_text().split()) if cpuinfo.is_file() else set()
    return model.suffix == ".ort" and x86 and not flags & {"avx512_vnni", "avx_vnni"}


def outputs(session: ort.InferenceSession, inputs: Floats) -> Floats:
    """Inputs (N, C, H, W), run one by one -> outputs (N, labels)."""
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: image[np.newaxis]})[0][0] for image in inputs]
    return np.stack(rows).astype(np.float32)


def probabilities(outputs: Floats, activation: Activation) -> NDArray[np.float64]:
    """A network's outputs (N, labels) -> probabilities (N, labels), by its card's activation."""
    exact = outputs.astype(np.float64)
    if activation == "none":
        return exact
    if activation == "sigmoid":
        # The exponential of a large number overflows to infinity, whose inverse is the right 0.
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-exact)))
    # The largest score becomes 0 first, so that no exponential overflows.
    exponents = np.exp(exact - exact.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))
