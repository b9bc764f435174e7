"""Crash files are read whole or refused in words."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import TargetError
from edgewright.observe.crash.crash_file import FILE_CHARACTERS, parse_crash_file
from edgewright.observe.stacks.dump import Mapping
from tests.unit.observe.crash.crash_files import STACK, TEXT


def test_all_that_a_file_says_is_read() -> None:
    crash = parse_crash_file(TEXT, "1.crash")

    assert (crash.machine, crash.command, crash.release) == ("arm", "watch", "0123456789abcdef")
    assert (crash.signal, crash.code, crash.address) == (11, 1, 0)
    assert (crash.unix_s, crash.uptime_s) == (1795964298, 73538)
    crashed, other = crash.threads
    assert (crashed.id, crashed.registers[13], crashed.registers[15]) == (812, 0x40800600, 0x117D8)
    assert (crashed.stack_address, crashed.stack) == (0x40800600, STACK)
    assert (other.id, other.stack) == (815, b"")
    assert crash.mappings[1] == Mapping(
        start=0xFFFF0000, end=0xFFFF1000, offset=0, path="[vectors]"
    )
    assert crash.log == ('ORT says: "no kernel"', "")


@pytest.mark.parametrize(
    ("changed", "to", "problem"),
    [
        ("crash 1", "crash 2", "line 1: expected edgewright crash 1"),
        ("machine arm", "machine aarch64", "line 9: expected registers"),
        ("release 0123456789abcdef", "release ../../etc", "line 4: expected release"),
        ("80000030\n", "80000030 00000000\n", "line 9: expected registers"),
        (STACK.hex(), STACK.hex()[:-1], "line 11: expected maps"),
        (STACK.hex(), "\n".join([STACK.hex()] * 385), "line 395: expected maps"),
        ("\nend\n", "\n", "line 21: expected end"),
        ("\nend\n", "\nend\nend\n", "line 22: expected the end of the file"),
        ("| ORT", "\x1b]52;", "line 19: expected end"),
        ("\nend\n", "x" * FILE_CHARACTERS, "is longer than 262,144 characters"),
    ],
)
def test_any_defect_is_told_with_its_line(changed: str, to: str, problem: str) -> None:
    assert changed in TEXT
    with pytest.raises(TargetError, match="is no crash file") as refused:
        parse_crash_file(TEXT.replace(changed, to, 1), "1.crash")
    assert problem in refused.value.problem


@given(st.integers(0, len(TEXT)), st.integers(0, 40), st.text(max_size=40))
def test_any_text_is_a_crash_file_or_refused(at: int, size: int, text: str) -> None:
    with contextlib.suppress(TargetError):
        crash = parse_crash_file(TEXT[:at] + text + TEXT[at + size :], "1.crash")
        assert 1 <= len(crash.threads) <= 17
