"""Counts of a program that was counted by hand."""

from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.board.profile import Arch
from edgewright.observe.count import counts
from edgewright.observe.count.counts import Counts, Guest
from tests.checkout import checkout
from tests.unit.observe import arm_program as program

CHECKOUT = checkout()


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program.write_program(tmp_path_factory.mktemp("guest") / "program")


def counted(binary: Path, **options: object) -> Counts:
    guest = Guest(arch=Arch.ARMHF, argv=[str(binary)], **options)  # type: ignore[arg-type]
    return counts.count(guest, CHECKOUT.resources)


def test_every_instruction_is_counted_once(binary: Path) -> None:
    full = counted(binary)

    assert full.total(0) == (
        program.ENTRY_INSTRUCTIONS
        + program.CALLS * program.CALL_INSTRUCTIONS
        + program.EXIT_INSTRUCTIONS
    )


def test_counts_repeat_to_the_last_instruction(binary: Path) -> None:
    options = {"mark": program.FUNCTION, "marks": 3, "spans": [program.FUNCTION]}

    first, second = counted(binary, **options), counted(binary, **options)

    assert sorted(map(str, first.blocks)) == sorted(map(str, second.blocks))
    assert first.spans == second.spans


def test_a_column_is_what_ran_between_two_marks(binary: Path) -> None:
    marked = counted(binary, mark=program.FUNCTION, marks=4)

    assert [marked.total(column) for column in (1, 2, 3)] == [program.CALL_INSTRUCTIONS] * 3
    assert marked.total(4) == 0, "the program is ended at its last mark"


def test_a_span_is_what_ran_from_one_address_to_the_next(binary: Path) -> None:
    spans = counted(binary, spans=[program.FUNCTION]).spans

    assert [span.address for span in spans] == [program.FUNCTION] * program.CALLS
    assert [s.instructions for s in spans[:-1]] == [program.CALL_INSTRUCTIONS] * (program.CALLS - 1)


def test_code_is_kept_with_its_counts(binary: Path) -> None:
    loop = next(b for b in counted(binary).blocks if b.address == program.FUNCTION + 4)

    assert loop.code.hex() == "015055e2fdffff1a"
    assert loop.executed == (9 * program.CALLS,)  # the first of ten is in the function's block


def test_a_mark_that_is_not_reached_is_told(binary: Path) -> None:
    with pytest.raises(UserError, match=r"came to its mark 5 times\n  expected: 6 times"):
        counted(binary, mark=program.FUNCTION, marks=6)
