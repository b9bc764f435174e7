"""Which exceptions are nobody's bug, and what a person is told of them."""

import errno

import pytest

from edgewright.base.errors import ExitCode
from edgewright.base.faults import fault_of


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EROFS])
def test_a_disk_that_fails_is_named_with_what_to_do(number: int) -> None:
    fault = fault_of(OSError(number, "as C has it", "/data/release.tar.gz"))

    assert fault.exit_code is ExitCode.USER
    assert str(fault).startswith("/data/release.tar.gz: ")
    assert "\nnext: " in str(fault)


def test_a_file_that_edgewright_forgot_is_its_own_bug() -> None:
    fault = fault_of(FileNotFoundError(errno.ENOENT, "no such file", "/data/release.tar.gz"))

    assert fault.exit_code is ExitCode.BUG
