"""A network in ONNX Runtime, run for the process that started this one.

    python -m edgewright.model.contract.session_child

Requests come on standard input, answers go to standard output, as `frames` has them: first the
network, which is answered by its inputs and outputs, then one message for each inference. What
ONNX Runtime refuses is an answer too: `{"refused": REASON}`. The process ends with its input.
"""

import sys
from typing import IO, Any

import numpy as np
import onnxruntime as ort

from edgewright.model.contract.frames import Array, Header, read_message, write_message


def _open(request: Header, arrays: list[Array]) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    for name, value in request["settings"].items():
        options.add_session_config_entry(name, value)
    options.intra_op_num_threads = request["threads"]
    network = arrays[0].tobytes() if arrays else request["path"]
    return ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def _ports(values: Any) -> list[list[object]]:
    return [[value.name, value.shape, value.type] for value in values]


def _numbers(names: list[str], values: list[Any]) -> list[Any]:
    """Outputs as arrays. Raises TypeError for sequences, maps and texts: no board answers those."""
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, np.ndarray) or value.dtype.hasobject:
            raise TypeError(f"output {name} is no tensor of numbers")
    return values


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    session: Any = None
    while message := read_message(requests):
        header, arrays = message
        try:
            if session is None:
                session = _open(header, arrays)
                ports = {
                    "inputs": _ports(session.get_inputs()),
                    "outputs": _ports(session.get_outputs()),
                }
                write_message(answers, ports, [])
            else:
                names = header["outputs"] or [output.name for output in session.get_outputs()]
                feeds = dict(zip(header["inputs"], arrays, strict=True))
                write_message(answers, {}, _numbers(names, session.run(names, feeds)))
        except Exception as refused:  # ONNX Runtime's own exceptions have no common class
            write_message(answers, {"refused": str(refused) or type(refused).__name__}, [])


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
