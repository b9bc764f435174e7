"""Values that models take and give. Numbers are not copied: arrays and tensors share memory."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_int64, c_size_t, c_void_p
from typing import Any, Sequence

import numpy as np

from edgewright_runtime._api import API, Handle
from edgewright_runtime._types import (
    DTYPES,
    MAP,
    OPTIONAL,
    SEQUENCE,
    STRING,
    TENSOR,
    UNKNOWN,
    dtype_of,
    element_name,
    element_of,
    sizes,
    type_name,
)
from edgewright_runtime.capi.onnxruntime_pybind11_state import InvalidArgument


class _Memory:
    """Lends a tensor's memory to numpy, whose array holds this, and with it the tensor."""

    def __init__(self, address: int, dtype: Any, shape: Sequence[int], owner: object) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "version": 3,
            "data": (address, False),
            "typestr": dtype.str,
            "shape": tuple(shape),
        }


class Value(Handle):
    """An OrtValue; `holds` is what its memory belongs to, if that is not the library's."""

    def __init__(self, pointer: c_void_p | int, holds: object = None) -> None:
        super().__init__(pointer, API.ReleaseValue)
        self.holds = holds

    @property
    def kind(self) -> int:
        return API.flag("GetValueType", self)

    def tensor(self) -> tuple[int, tuple[int, ...]]:
        """The number of its elements' type, and the shape. Raises InvalidArgument for others."""
        if self.kind != TENSOR:
            raise InvalidArgument(f"the value is no tensor, but ONNX type {self.kind}")
        info = Handle(API.pointer("GetTensorTypeAndShape", self), API.ReleaseTensorTypeAndShapeInfo)
        return API.flag("GetTensorElementType", info), sizes(info)

    def address(self) -> int:
        return API.pointer("GetTensorMutableData", self).value or 0

    def python(self) -> Any:
        """An array, a list of a sequence, a dict of a map, or None of an empty optional."""
        kind = self.kind
        if kind == TENSOR:
            return self.array()
        if kind == OPTIONAL and not API.flag("HasValue", self):
            return None
        if kind == SEQUENCE:
            return [
                self._item(index).python() for index in range(API.number("GetValueCount", self))
            ]
        if kind == MAP:
            keys, values = self._item(0).array(), self._item(1).array()
            return dict(zip(keys.tolist(), values.tolist()))
        raise RuntimeError(f"a value of ONNX type {kind} has no form in Python")

    def _item(self, index: int) -> Value:
        return Value(API.pointer("GetValue", self, index, API.allocator))

    def array(self) -> Any:
        """The tensor as an array over its own memory; strings are copied."""
        number, shape = self.tensor()
        if number == STRING:
            return self._strings(shape)
        dtype = dtype_of(number)
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.asarray(_Memory(self.address(), dtype, shape, self))

    def _strings(self, shape: tuple[int, ...]) -> Any:
        count = int(np.prod(shape, dtype=np.int64))
        length = API.number("GetStringTensorDataLength", self)
        text, starts = ctypes.create_string_buffer(length + 1), (c_size_t * count)()
        if count:
            API.GetStringTensorContent(self, text, length, starts, count)
        ends = [*starts[1:], length]
        strings = np.empty(count, np.object_)
        strings[:] = [text.raw[a:b].decode(errors="replace") for a, b in zip(starts, ends)]
        return strings.reshape(shape)


def value_of(data: Any, type: str | None = None) -> Value:
    """The OrtValue of an array (over its memory, if that is contiguous), OrtValue, or list.

    Numbers in lists become those of the model's `type`.
    """
    if isinstance(data, OrtValue):
        return data._value
    if isinstance(data, (list, tuple)) and all(isinstance(item, np.ndarray) for item in data):
        return _sequence([value_of(item) for item in data])
    array = data if isinstance(data, np.ndarray) else np.asarray(data, DTYPES.get(type or ""))
    number = element_of(array.dtype)
    if number == STRING:
        return _string_tensor(array)
    return over_memory(array, number)


def over_memory(array: Any, number: int) -> Value:
    """A tensor over an array's memory, whose bytes are elements of type `number`."""
    # A copy where the memory is not in C's order, not aligned, or of the other byte order.
    array = np.require(array, array.dtype.newbyteorder("="), ["C", "A"])
    address = array.__array_interface__["data"][0]
    return tensor_at(address, array.nbytes, array.shape, number, array)


def tensor_at(
    address: int, size: int, shape: Sequence[int], number: int, holds: object = None
) -> Value:
    """A tensor over `size` bytes at an address."""
    dims = (c_int64 * len(shape))(*shape)
    arguments = (API.memory, address, size, dims, len(shape), number)
    return Value(API.pointer("CreateTensorWithDataAsOrtValue", *arguments), holds)


def new_tensor(shape: Sequence[int], number: int) -> Value:
    """A tensor in memory of the library."""
    dims = (c_int64 * len(shape))(*shape)
    return Value(API.pointer("CreateTensorAsOrtValue", API.allocator, dims, len(shape), number))


def _string_tensor(array: Any) -> Value:
    value = new_tensor(array.shape, STRING)
    _fill_strings(value, array)
    return value


def _fill_strings(value: Value, array: Any) -> None:
    place = c_void_p()
    for index, item in enumerate(array.ravel().tolist()):
        text = item if isinstance(item, bytes) else str(item).encode()
        # With its length: a text may have zeros in it.
        API.GetResizedStringTensorElementBuffer(value, index, len(text), byref(place))
        if text:
            ctypes.memmove(place, text, len(text))


def _sequence(items: Sequence[Value]) -> Value:
    if not items:
        raise InvalidArgument("an empty list: ONNX Runtime's C API makes no empty sequence")
    pointers = (c_void_p * len(items))(*(item._as_parameter_ for item in items))
    return Value(API.pointer("CreateValue", pointers, len(items), SEQUENCE), items)


class OrtValue:
    """A value in the memory of the processor, as `onnxruntime.OrtValue`."""

    def __init__(self, value: Value) -> None:
        self._value = value

    @staticmethod
    def ortvalue_from_numpy(
        numpy_obj: Any, device_type: str = "cpu", device_id: int = 0
    ) -> OrtValue:
        """A tensor over the array's memory, which is held; strings are copied."""
        require_cpu(device_type)
        return OrtValue(value_of(np.asarray(numpy_obj)))

    @staticmethod
    def ortvalue_from_numpy_with_onnx_type(data: Any, onnx_element_type: int) -> OrtValue:
        """A tensor whose elements are the array's bits, of a type that numpy lacks: bfloat16."""
        return OrtValue(over_memory(data, onnx_element_type))

    @staticmethod
    def ortvalue_from_shape_and_type(
        shape: Sequence[int], element_type: Any, device_type: str = "cpu", device_id: int = 0
    ) -> OrtValue:
        """A tensor in memory of the library, with no values yet."""
        require_cpu(device_type)
        return OrtValue(new_tensor(shape, element_number(element_type)))

    def numpy(self) -> Any:
        """The tensor as an array over its memory; strings are copied."""
        return self._value.array()

    def shape(self) -> list[int]:
        return list(self._value.tensor()[1])

    def element_type(self) -> int:
        """The number that ONNX gives the elements' type."""
        return self._value.tensor()[0]

    def data_type(self) -> str:
        """`tensor(float)`, `seq(tensor(int64))`, …"""
        if self.is_tensor():
            return element_name(self._value.tensor()[0])
        info = Handle(API.pointer("GetTypeInfo", self._value), API.ReleaseTypeInfo)
        return type_name(info)

    def device_name(self) -> str:
        return "cpu"

    def data_ptr(self) -> int:
        """The address of the tensor's memory."""
        return self._value.address()

    def has_value(self) -> bool:
        kind = self._value.kind  # unknown: of an output before its first run
        return kind != UNKNOWN and (kind != OPTIONAL or bool(API.flag("HasValue", self._value)))

    def is_tensor(self) -> bool:
        return self._value.kind == TENSOR

    def is_tensor_sequence(self) -> bool:
        return self._value.kind == SEQUENCE

    def is_sparse_tensor(self) -> bool:
        return False

    def update_inplace(self, np_arr: Any) -> None:
        """Copy an array of the tensor's size into it."""
        number, shape = self._value.tensor()
        if element_of(np_arr.dtype) != number or np_arr.size != int(np.prod(shape)):
            raise InvalidArgument(
                f"expected {int(np.prod(shape))} values of {element_name(number)}, "
                f"found {np_arr.size} of {np_arr.dtype}"
            )
        if number == STRING:
            _fill_strings(self._value, np_arr)
        else:
            self._value.array()[...] = np_arr.reshape(shape)


def require_cpu(device: str) -> None:
    if device.lower() != "cpu":
        raise RuntimeError(f"device '{device}': this runtime has the processor alone")


def element_number(element: Any) -> int:
    """The number of numpy's type, or ONNX's own number (`TensorProto.FLOAT`), which is the same."""
    return element if isinstance(element, int) else element_of(element)
