"""Types of tensors and of what models take and give: ONNX Runtime's words, and numpy's."""

from __future__ import annotations

import ctypes
from ctypes import c_int64, c_void_p
from typing import Any

import numpy as np

from edgewright_runtime._api import API, Handle

# ONNXType.
UNKNOWN, TENSOR, SEQUENCE, MAP, OPTIONAL = 0, 1, 2, 3, 6
STRING = 8  # of ONNXTensorElementDataType
# In the order of ONNXTensorElementDataType, from 1 on: ONNX's name, and numpy's type for it.
ELEMENTS: tuple[tuple[str, Any], ...] = (
    ("float", np.float32),
    ("uint8", np.uint8),
    ("int8", np.int8),
    ("uint16", np.uint16),
    ("int16", np.int16),
    ("int32", np.int32),
    ("int64", np.int64),
    ("string", np.object_),
    ("bool", np.bool_),
    ("float16", np.float16),
    ("double", np.float64),
    ("uint32", np.uint32),
    ("uint64", np.uint64),
    ("complex64", np.complex64),
    ("complex128", np.complex128),
    ("bfloat16", None),
    ("float8e4m3fn", None),
    ("float8e4m3fnuz", None),
    ("float8e5m2", None),
    ("float8e5m2fnuz", None),
    ("uint4", None),
    ("int4", None),
)
NUMBERS = {np.dtype(kind): number for number, (_, kind) in enumerate(ELEMENTS, 1) if kind}
DTYPES = {f"tensor({name})": np.dtype(kind) for name, kind in ELEMENTS if kind}


def element_name(number: int) -> str:
    """`tensor(float)` of its number."""
    name = ELEMENTS[number - 1][0] if 0 < number <= len(ELEMENTS) else "undefined"
    return f"tensor({name})"


def dtype_of(number: int) -> Any:
    """numpy's type of a tensor's elements. Raises RuntimeError for those that numpy lacks."""
    kind = ELEMENTS[number - 1][1] if 0 < number <= len(ELEMENTS) else None
    if kind is None:
        raise RuntimeError(
            f"{element_name(number)}: numpy has no such type; let the model end in a Cast"
        )
    return np.dtype(kind)


def element_of(dtype: Any) -> int:
    """The number of numpy's type. Raises RuntimeError for those that ONNX lacks."""
    dtype = np.dtype(dtype)
    if dtype.kind in "US":
        return STRING
    number = NUMBERS.get(dtype.newbyteorder("="))
    if number is None:
        raise RuntimeError(f"numpy's type '{dtype}': ONNX has no such tensor")
    return number


class NodeArg:
    """An input or output of a model: its name, its type, and its shape with symbolic names."""

    def __init__(self, name: str, type: str, shape: list[int | str | None]) -> None:
        self.name, self.type, self.shape = name, type, shape

    def __str__(self) -> str:
        return f"NodeArg(name={self.name!r}, type={self.type!r}, shape={self.shape})"

    __repr__ = __str__


def node_arg(name: str, info: Handle | c_void_p) -> NodeArg:
    """Of a model's OrtTypeInfo."""
    shape: list[int | str | None] = []
    if API.flag("GetOnnxTypeFromTypeInfo", info) == TENSOR:
        tensor = API.pointer("CastTypeInfoToTensorInfo", info)
        names = symbolic_names(tensor)
        shape = [size if size >= 0 else (name or None) for size, name in zip(sizes(tensor), names)]
    return NodeArg(name, type_name(info), shape)


def type_name(info: Handle | c_void_p) -> str:
    """`tensor(float)`, `seq(tensor(int64))`, `map(string,tensor(float))`, `optional(…)`."""
    kind = API.flag("GetOnnxTypeFromTypeInfo", info)
    if kind == TENSOR:
        tensor = API.pointer("CastTypeInfoToTensorInfo", info)
        return element_name(API.flag("GetTensorElementType", tensor))
    if kind == SEQUENCE:
        sequence = API.pointer("CastTypeInfoToSequenceTypeInfo", info)
        return f"seq({_inner('GetSequenceElementType', sequence)})"
    if kind == MAP:
        table = API.pointer("CastTypeInfoToMapTypeInfo", info)
        key = ELEMENTS[API.flag("GetMapKeyType", table) - 1][0]
        return f"map({key},{_inner('GetMapValueType', table)})"
    if kind == OPTIONAL:
        optional = API.pointer("CastTypeInfoToOptionalTypeInfo", info)
        return f"optional({_inner('GetOptionalContainedTypeInfo', optional)})"
    return "undefined"


def _inner(function: str, outer: c_void_p) -> str:
    return type_name(Handle(API.pointer(function, outer), API.ReleaseTypeInfo))


def sizes(tensor: Handle | c_void_p) -> tuple[int, ...]:
    """The shape of an OrtTensorTypeAndShapeInfo; -1 for what is not known."""
    rank = API.number("GetDimensionsCount", tensor)
    dims = (c_int64 * rank)()
    API.GetDimensions(tensor, dims, rank)
    return tuple(dims)


def symbolic_names(tensor: c_void_p) -> list[str]:
    rank = API.number("GetDimensionsCount", tensor)
    names = (ctypes.c_char_p * rank)()
    API.GetSymbolicDimensions(tensor, names, rank)
    return [(name or b"").decode(errors="replace") for name in names]
