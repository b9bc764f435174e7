"""Messages between this process and the one that runs a network: a header, and arrays.

A message is a line of JSON, whose `arrays` tell the type and shape of each array, and then their
bytes, one after the other in C order.
"""

import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Header = Mapping[str, Any]
Array = NDArray[Any]


def write_message(stream: IO[bytes], header: Header, arrays: Sequence[Array]) -> None:
    layout = [[array.dtype.str, array.shape] for array in arrays]
    stream.write(json.dumps({**header, "arrays": layout}).encode() + b"\n")
    for array in arrays:
        stream.write(np.ascontiguousarray(array).tobytes())
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[Header, list[Array]] | None:
    """The next message; None at the end. Raises EOFError if that comes within one."""
    line = stream.readline()
    if not line:
        return None
    header = json.loads(line)
    return header, [_read_array(stream, dtype, shape) for dtype, shape in header["arrays"]]


def _read_array(stream: IO[bytes], dtype: str, shape: Sequence[int]) -> Array:
    array = np.empty(shape, np.dtype(dtype))
    # A view of bytes, also of an array of rank 0 and of an empty one.
    content = stream.read(array.nbytes)
    if len(content) < array.nbytes:
        raise EOFError(f"{len(content)} of {array.nbytes} bytes of an array")
    return np.frombuffer(content, array.dtype).reshape(array.shape).copy()
