"""Rules of the core that are published, on code whose cycles can be counted by hand."""

from dataclasses import replace

import pytest

from edgewright.observe.count.counts import Block, Counts, Misses
from edgewright.observe.estimate import a53

# Thumb instructions as an assembler writes them.
VMLAL = "d0ff4402"  # vmlal.u16 q8, d0, d4[0]
VMLA_F32 = "00eff42d"  # vmla.f32 q1, q8, q10
VADD_Q = "64efe848"  # vadd.i32 q10, q10, q12
VDIV = "c6ee877a"  # vdiv.f32 s15, s13, s14
VLDR_D = "91ed022b"  # vldr d2, [r1, #8]
VLD1_Q = "20f98f0a"  # vld1.32 {d0, d1}, [r0]
ADDS = "8818"  # adds r0, r1, r2
ADDS_R3 = "d318"  # adds r3, r2, r3
LDR = "0868"  # ldr r0, [r1]
LDR_CHAIN = "0968"  # ldr r1, [r1]
MUL = "01fb03f0"  # mul r0, r1, r3
BX = "7047"  # bx lr


def block(*code: str) -> Block:
    return Block(
        address=0, instructions=len(code), code=bytes.fromhex("".join(code)), executed=(1,)
    )


@pytest.mark.parametrize(
    ("code", "cycles", "rule"),
    [
        ([ADDS, ADDS], 1, "two simple instructions issue together"),
        ([ADDS_R3, ADDS_R3], 2, "but not if one waits for the other"),
        ([LDR, ADDS_R3], 1, "a load issues beside another instruction"),
        ([LDR, LDR], 2, "there is one load unit"),
        ([LDR_CHAIN], 3, "an address that was loaded is there after three cycles"),
        ([MUL, ADDS_R3], 2, "a multiplication issues alone"),
        ([VMLAL], 1, "one 128-bit multiply-accumulate a cycle, into one register too"),
        ([VMLAL, VLDR_D], 1, "a 64-bit load issues beside it"),
        ([VLD1_Q], 2, "a 128-bit load takes two cycles"),
        ([VMLA_F32], 4, "floats are added up four cycles after each other"),
        ([VADD_Q], 4, "a result of SIMD is there after four cycles"),
        ([VDIV], 13, "divisions do not overlap"),
        ([ADDS, BX], 1, "a branch issues beside another instruction"),
    ],
)
def test_an_issue_rule(code: list[str], cycles: int, rule: str) -> None:
    assert a53.block_cycles(block(*code)) == cycles, rule


def at(address: int, executed: int, *code: str) -> Block:
    return replace(block(*code), address=address, executed=(executed,))


def compute(*blocks: Block) -> float:
    misses = Misses(accesses=0, l1_streamed=0, l1_other=0, l2_streamed=0, l2_other=0)
    return a53.cycles(Counts(blocks=blocks, spans=(), misses=(misses,), maps=()), 0).compute


def test_a_loop_costs_the_same_wherever_a_page_ends_in_it() -> None:
    loop = [LDR, MUL, VMLAL, ADDS, BX]
    cut = [len(bytes.fromhex("".join(loop[:n]))) for n in range(len(loop))]
    full = compute(at(4096, 1000, *loop))
    for n in range(1, len(loop)):
        halves = at(4096, 1000, *loop[:n]), at(4096 + cut[n], 1000, *loop[n:])
        assert compute(*halves) == full, n


def test_what_enters_a_block_behind_the_cut_is_counted_by_itself() -> None:
    loop, tail = [LDR, MUL], [VMLAL, ADDS, BX]
    place = 4096 + len(bytes.fromhex("".join(loop)))
    halves = at(4096, 600, *loop), at(place, 1000, *tail)
    apart = compute(at(4096, 600, *loop, *tail)) + compute(at(4096, 400, *tail))
    assert compute(*halves) == apart


def test_a_block_behind_a_branch_is_one_of_its_own() -> None:
    first, second = at(4096, 10, MUL, BX), at(4102, 10, VDIV)
    assert compute(first, second) == compute(first) + compute(second)


def test_arm_and_thumb_code_are_told_apart() -> None:
    arm = Block(address=0, instructions=1, code=bytes.fromhex("0100a0e3"), executed=(1,))

    assert not a53.is_thumb(arm)  # mov r0, #1
    assert a53.is_thumb(block(VMLAL)), "four bytes as well"
    assert a53.is_thumb(block(ADDS, VMLAL))


def test_registers_of_simd_overlap() -> None:
    vmlal, vdiv = a53.decode(bytes.fromhex(VMLAL + VDIV), thumb=True)

    q8 = {"w32", "w33", "w34", "w35"}
    assert vmlal.writes == q8
    assert vmlal.reads == q8 | {"w0", "w1", "w8", "w9"}  # d0, d4
    assert vdiv.reads == {"w13", "w14"}


def test_a_miss_that_a_prefetcher_sees_coming_is_cheaper() -> None:
    def stall(**misses: int) -> float:
        none = {"l1_streamed": 0, "l1_other": 0, "l2_streamed": 0, "l2_other": 0}
        return a53.memory_cycles(Misses(accesses=9, **{**none, **misses}))

    assert stall() == 0
    assert 0 < stall(l1_streamed=1) < stall(l1_other=1)
    assert stall(l1_streamed=1, l2_streamed=1) < stall(l1_other=1, l2_other=1)
