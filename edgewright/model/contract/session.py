"""Networks run on this machine, by the boards' runtime and with the boards' arithmetic."""

import os
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from platform import machine
from threading import Lock
from typing import IO

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edgewright.base.runtime_version import runtime_version
from edgewright.model.contract import host_runtime
from edgewright.model.contract.card import Activation, Card
from edgewright.model.contract.frames import Array, Header, read_message, write_message
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.unshared import unshare

# The newest that the boards' runtime reads.
IR_VERSION = runtime_version().ir_version
OPSET = runtime_version().opset
# Idle threads that spin take the cores from what else runs here.
_SETTINGS = {"session.intra_op.allow_spinning": "0"}
_CHILD = "edgewright.model.contract.session_child"


class SessionError(Exception):
    """ONNX Runtime refuses a network or an input, in its own words; or it crashed."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """An input or an output of a network; a size that it leaves open is a name or None."""

    name: str
    shape: list[int | str | None]
    type: str  # as `tensor(float)`


class Session:
    """A network in a child process, which runs the boards' version of ONNX Runtime.

    A network that crashes ONNX Runtime ends the child alone. Raises SessionError if the network is
    refused.
    """

    def __init__(self, model: Path | bytes, threads: int, settings: Mapping[str, str]) -> None:
        self._turn = Lock()
        self._child = subprocess.Popen(
            host_runtime.child_argv(_CHILD),
            env={**os.environ, **host_runtime.child_environment()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        weakref.finalize(self, _end, self._child)
        network = [np.frombuffer(model, np.uint8)] if isinstance(model, bytes) else []
        path = None if isinstance(model, bytes) else str(model)
        request = {"path": path, "threads": threads, "settings": dict(settings)}
        ports, _ = self._ask(request, network)
        self._inputs, self._outputs = (
            [Port(name=name, shape=shape, type=type_) for name, shape, type_ in ports[key]]
            for key in ("inputs", "outputs")
        )

    def get_inputs(self) -> list[Port]:
        return self._inputs

    def get_outputs(self) -> list[Port]:
        return self._outputs

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, Array]) -> list[Array]:
        """The outputs of these names, in that order; None: all of them.

        Raises SessionError for inputs that the network does not take.
        """
        request = {"outputs": list(outputs or ()), "inputs": list(inputs)}
        _, arrays = self._ask(request, list(inputs.values()))
        return arrays

    def _ask(self, request: Header, arrays: Sequence[Array]) -> tuple[Header, list[Array]]:
        child = self._child
        assert child.stdin
        assert child.stdout
        with self._turn:
            try:
                write_message(child.stdin, request, arrays)
                message = read_message(child.stdout)
            except (BrokenPipeError, EOFError):
                message = None
        if message is None:
            raise SessionError(f"ONNX Runtime crashed with exit code {child.wait()}")
        if "refused" in message[0]:
            raise SessionError(message[0]["refused"])
        return message


def _end(child: "subprocess.Popen[bytes]") -> None:
    """The child ends with its input; what it holds is not worth a wait."""
    pipes: tuple[IO[bytes] | None, ...] = (child.stdin, child.stdout)
    child.kill()
    for pipe in filter(None, pipes):
        pipe.close()
    child.wait()


def open_session(model: Path | bytes, threads: int = 0) -> Session:
    """A CPU session whose INT8 arithmetic is exact, as it is on ARM.

    Without `x64quantprecision`, u8·s8 products saturate at 16 bits on x86 processors
    that lack VNNI, and the host's outputs differ from the board's. Raises SessionError for a
    network that the runtime refuses.
    """
    exact = {**_SETTINGS, "session.x64quantprecision": "1"}
    try:
        return Session(model, threads, exact)
    except SessionError:
        if isinstance(model, Path) and model.suffix == ".ort":
            raise
    network = onnx.load_model_from_string(model) if isinstance(model, bytes) else onnx.load(model)
    unshare(network)
    content = network.SerializeToString()
    try:
        return Session(content, threads, exact)
    except SessionError:
        # The setting makes the weights of a QGemm unsigned, which then refuses signed inputs. As
        # they are, sums of large values saturate where the processor lacks VNNI.
        return Session(content, threads, _SETTINGS)


def load_session(model: Path | bytes) -> ort.InferenceSession:
    """A CPU session in this process that runs a network as it is, and logs nothing."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    for name, value in _SETTINGS.items():
        options.add_session_config_entry(name, value)
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def saturates(model: Path, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether INT8 sums of this file overflow on this machine, so that answers differ a little
    from the board's. An ONNX file is rewritten on loading to avoid it, an .ort file is not."""
    x86 = machine().lower() in {"x86_64", "amd64", "i686"}
    flags = set(cpuinfo.read_text().split()) if cpuinfo.is_file() else set()
    return model.suffix == ".ort" and x86 and not flags & {"avx512_vnni", "avx_vnni"}


def outputs(session: Session, inputs: Floats) -> Floats:
    """Inputs (N, C, H, W), run one by one -> outputs (N, labels)."""
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: image[np.newaxis]})[0][0] for image in inputs]
    return np.stack(rows).astype(np.float32)


def class_probabilities(outputs: Floats, card: Card) -> NDArray[np.float64]:
    """A classifier's outputs (N, labels) -> probabilities (N, labels), as its card says."""
    return probabilities(outputs, card.output.activation, card.output.temperature)


def probabilities(
    outputs: Floats, activation: Activation, temperature: float = 1.0
) -> NDArray[np.float64]:
    """A network's outputs (N, labels) -> probabilities (N, labels), by its card's activation."""
    exact = outputs.astype(np.float64) / temperature
    if activation == "none":
        return exact
    if activation == "sigmoid":
        # The exponential of a large number overflows to infinity, whose inverse is the right 0.
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-exact)))
    # The largest score becomes 0 first, so that no exponential overflows.
    exponents = np.exp(exact - exact.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))
