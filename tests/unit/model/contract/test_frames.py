"""Messages between this process and the one that runs a network."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgewright.model.contract.frames import Array, read_message, write_message

ARRAYS = arrays.arrays(
    dtype=st.one_of(
        arrays.floating_dtypes(), arrays.integer_dtypes(), arrays.unsigned_integer_dtypes()
    ),
    shape=arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)


@given(st.lists(ARRAYS, max_size=3))
def test_what_is_written_is_read_again(values: list[Array]) -> None:
    stream = io.BytesIO()
    write_message(stream, {"names": ["µ\n"]}, values)
    stream.seek(0)

    message = read_message(stream)

    assert message
    header, read = message
    assert header["names"] == ["µ\n"]
    assert [array.dtype for array in read] == [array.dtype for array in values]
    for array, value in zip(read, values, strict=True):
        np.testing.assert_array_equal(array, value)
    assert read_message(stream) is None


def test_an_array_that_is_cut_is_no_message() -> None:
    stream = io.BytesIO()
    write_message(stream, {}, [np.arange(8)])

    with pytest.raises(EOFError):
        read_message(io.BytesIO(stream.getvalue()[:-1]))
