"""Callers that are found by search, in code that a test makes."""

import struct
from pathlib import Path

import pytest

from edgewright.board.symbols import Function, Symbols
from edgewright.observe.stacks.code import Call, Code
from edgewright.observe.stacks.dump import Thread
from edgewright.observe.stacks.unwind import FrameRules, Step, Unwinder

NOP = struct.pack("<I", 0xD503201F)


@pytest.mark.parametrize(
    ("machine", "content", "back", "target"),
    [
        ("arm", "00f002f8", 0x1005, 0x1008),  # bl 0x1008, as assembled by GNU as
        ("arm", "fff7fefb", 0x1005, 0x800),  # bl 0x800
        ("arm", "00f004e8", 0x1005, 0x100C),  # blx 0x100c
        ("arm", "00bf9847", 0x1005, None),  # blx r3
        ("arm", "010000eb", 0x1004, 0x100C),  # A32: bl 0x100c
        ("arm", "33ff2fe1", 0x1004, None),  # A32: blx r3
        ("aarch64", "03000094", 0x1004, 0x100C),  # bl 0x100c
        ("aarch64", "00003fd6", 0x1004, None),  # blr x0
    ],
)
def test_a_call_is_known_by_what_comes_after_it(
    machine: str, content: str, back: int, target: int | None
) -> None:
    code = Code(machine, ((0x1000, bytes.fromhex(content) + bytes(16)),))  # type: ignore[arg-type]

    assert code.call_before(back) == Call(target)
    assert code.call_before(back + 4) is None
    assert code.call_before(0x5000) is None


def unwinder(*words: tuple[int, int]) -> Unwinder:
    """Functions of 16 bytes at 0x1000, 0x1010, …: `main`, `b`, `c`; of A64's instructions."""
    content = bytearray(NOP * 12)
    for address, word in words:
        struct.pack_into("<I", content, address - 0x1000, word)
    functions = tuple(
        Function(address=0x1000 + 16 * n, size=16, name=name)
        for n, name in enumerate(("main", "b", "c"))
    )
    return Unwinder(
        machine="aarch64",
        code=Code("aarch64", ((0x1000, bytes(content)),)),
        symbols=Symbols(path=Path("program"), functions=functions),
        rules=FrameRules((), ()),
    )


def thread(pc: int, *stack: int, link: int = 0, record: int = 0) -> Thread:
    registers = [0] * 33
    registers[29:] = record, link, 0x8000, pc
    content = struct.pack(f"<{len(stack)}Q", *stack)
    return Thread(id=1, registers=tuple(registers), stack_address=0x8000, stack=content)


CALLS = (  # main calls b, b calls c, and main also calls c
    (0x1004, 0x94000003),
    (0x1014, 0x94000003),
    (0x1008, 0x94000006),
)


def test_the_call_of_the_function_at_hand_is_taken_for_its_own() -> None:
    # 0x1008 follows the call of b, and is left over from before: c was not called there.
    steps = list(unwinder(*CALLS).steps(thread(0x1024, 0x1008, 7, 0x1018, 0x1008)))

    assert steps == [
        Step(address=0x1024, origin="registers"),
        Step(address=0x1018, origin="searched"),
        Step(address=0x1008, origin="searched"),
    ]


def test_a_function_that_calls_nothing_has_its_caller_in_the_link_register() -> None:
    steps = list(unwinder(*CALLS).steps(thread(0x1024, 0x1008, link=0x1018)))

    assert [step.address for step in steps] == [0x1024, 0x1018, 0x1008]


LEFT_OVER = 0x100C  # follows the call of c by main: a search takes it


@pytest.mark.parametrize(
    ("link", "stack"),
    [
        (0x1028, [LEFT_OVER, 0, 0x8030, 0x1018, LEFT_OVER, 0, 0, 0x1008]),
        (0x1018, [LEFT_OVER, 0, 0, 0x1008]),
        (0x1018, [LEFT_OVER, 0, 0x8020, 0x1018, 0, 0x1008]),
        (0x35 << 48 | 0x1018, [LEFT_OVER, 0, 0, 0x7A << 48 | 0x1008]),
    ],
    ids=["records", "function without a record", "record just stored", "signed addresses"],
)
def test_frame_records_count_for_more_than_what_lies_between_them(
    link: int, stack: list[int]
) -> None:
    steps = list(unwinder(*CALLS).steps(thread(0x1024, *stack, link=link, record=0x8010)))

    assert steps == [
        Step(address=0x1024, origin="registers"),
        Step(address=0x1018, origin="unwound"),
        Step(address=0x1008, origin="unwound"),
    ]


def test_a_chain_of_frame_records_that_does_not_lead_upwards_is_left() -> None:
    stack = [0, 0, 0x8010, 0x1018, 0x1008]

    steps = list(unwinder(*CALLS).steps(thread(0x1024, *stack, record=0x8010)))

    assert [(step.address, step.origin) for step in steps[1:]] == [
        (0x1018, "unwound"),
        (0x1008, "searched"),
    ]


def test_a_stack_of_anything_has_an_end() -> None:
    steps = list(unwinder(*CALLS).steps(thread(0x1014, *[0x1018, 0x2018] * 1000)))

    assert len(steps) == 64
