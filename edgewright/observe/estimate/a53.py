"""Model how many cycles a Cortex-A53 needs for counted blocks: its pipeline and its caches.

The core issues two instructions a cycle, in order. It has one load/store unit and one branch unit;
its two 64-bit SIMD halves work together on a 128-bit operation. Which instruction needs what, and
how long its result takes, follows Arm's own pipeline description in GCC (config/arm/cortex-a53.md)
and the published peak of the core, one 128-bit multiply-accumulate a cycle.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import capstone

from edgewright.observe.count.counts import Block, Counts, Misses

THUMB_WIDE = 0xE8  # least second byte of an instruction of four bytes in Thumb
# Cycles beyond an L1 hit, of a line that a prefetcher has on its way and of one that it has not.
# 64 bytes at the 2 GB/s or so of a 1.4 GHz board's memory, or its latency of about 120 ns.
L2_HIT_STREAMED, L2_HIT_OTHER = 4, 13
MEMORY_STREAMED, MEMORY_OTHER = 45, 170


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The units that one kind of instruction needs, and for how long."""

    latency: int  # cycles until a dependent instruction may issue
    units: tuple[str, ...] = ()
    busy: int = 1  # cycles that it holds its units
    alone: bool = False  # no other instruction issues beside it
    forward: int | None = None  # latency to the accumulator of the next one of its kind


ALU = Kind(latency=1)
MULTIPLY = Kind(latency=3, alone=True)
DIVIDE = Kind(latency=8, units=("divider",), busy=8)
BRANCH = Kind(latency=1, units=("branch",))
LOAD = Kind(latency=3, units=("memory",))
STORE = Kind(latency=1, units=("memory",))
TO_CORE = Kind(latency=2, units=("simd0",))
FROM_CORE = Kind(latency=4, units=("simd0",))
FLOAT = Kind(latency=4, units=("simd0",))
FLOAT_MAC = Kind(latency=8, units=("simd0",), forward=4)
FLOAT_DIVIDE = Kind(latency=14, units=("float divider",), busy=13)
SIMD = ("simd0", "simd1")


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction as the issue stage sees it; registers of SIMD by their 32-bit words."""

    kind: Kind
    reads: frozenset[str]
    writes: frozenset[str]
    words: int = 1  # 64-bit words moved to or from memory


@dataclass(frozen=True, kw_only=True)
class Cycles:
    """Cycles of an inference: in the pipeline, and waiting for the caches."""

    compute: float
    memory: float

    @property
    def total(self) -> float:
        return self.compute + self.memory


def cycles(counts: Counts, column: int) -> Cycles:
    """Cycles of one column. The counts must have been taken with the caches on."""
    compute = sum(
        times * block_cycles(block) for block, times in whole_blocks(counts.blocks, column)
    )
    return Cycles(compute=compute, memory=memory_cycles(counts.misses[column]))


def whole_blocks(blocks: Iterable[Block], column: int) -> Iterator[tuple[Block, int]]:
    """Blocks as the program has them, and how often each was entered.

    QEMU cuts a block where a page ends. Which loops lie across one is chance and changes with any
    byte before them; a loop that was modelled as two blocks moved an inference by 4 %.
    """
    ran = [block for block in blocks if block.executed[column]]
    starts = {block.address: block for block in ran}
    following = {
        block.address: starts[end]
        for block in ran
        if (end := block.address + len(block.code)) in starts and _falls_through(block)
    }
    entered = Counter({block.address: block.executed[column] for block in ran})
    for block in ran:
        if block.address in following:
            entered[following[block.address].address] -= block.executed[column]
    for block in ran:
        merged, last = block, block
        while following_block := following.get(last.address):
            last = following_block
            merged = replace(
                merged,
                code=merged.code + last.code,
                instructions=merged.instructions + last.instructions,
            )
        if entered[block.address] > 0:  # less only where a signal came in between
            yield merged, entered[block.address]


def _falls_through(block: Block) -> bool:
    steps = decode(block.code, thumb=is_thumb(block))
    return bool(steps) and steps[-1].kind is not BRANCH and "pc" not in steps[-1].writes


def memory_cycles(misses: Misses) -> float:
    """Cycles that the core waits for lines which are not in its L1 data cache."""
    return (
        L2_HIT_STREAMED * (misses.l1_streamed - misses.l2_streamed)
        + L2_HIT_OTHER * (misses.l1_other - misses.l2_other)
        + MEMORY_STREAMED * misses.l2_streamed
        + MEMORY_OTHER * misses.l2_other
    )


def block_cycles(block: Block) -> float:
    """Cycles from one execution of a block to the next, if it runs again and again."""
    steps = decode(block.code, thumb=is_thumb(block))
    # Twice minus once leaves out how the pipeline fills, which a loop does not repeat.
    once, twice = issue(steps), issue([*steps, *steps])
    return max(twice - once, len(steps) / 2)


def is_thumb(block: Block) -> bool:
    """Whether a block's code is Thumb: QEMU does not tell, the encoding does."""
    if len(block.code) != 4 * block.instructions:
        return True
    return all(byte >= THUMB_WIDE for byte in block.code[1::4])


def issue(steps: Iterable[Instruction]) -> int:
    """The cycle after the last of some instructions issued, in order and at most two a cycle."""
    ready: dict[str, int] = {}
    forwarded: dict[str, int] = {}
    free: dict[str, int] = {}
    cycle, slots = 0, 2
    for step in steps:
        kind = step.kind
        alone = kind.alone or step.words > 1
        # A multiply-accumulate hands its sum to the next one early.
        results = {**ready, **forwarded} if kind.forward else ready
        waits = [results.get(name, 0) for name in step.reads]
        earliest = max([0, *waits, *(free.get(unit, 0) for unit in kind.units)])
        # In order: an instruction that must wait holds back all that follow it.
        if earliest > cycle or slots == 0 or (alone and slots < 2):
            cycle, slots = max(cycle + (slots < 2), earliest), 2
        slots = 0 if alone else slots - 1
        free.update(dict.fromkeys(kind.units, cycle + kind.busy * step.words))
        ready.update(dict.fromkeys(step.writes, cycle + kind.latency + step.words - 1))
        for name in step.writes:
            forwarded.pop(name, None)
            if kind.forward:
                forwarded[name] = cycle + kind.forward
    return cycle + 1


@cache
def _disassembler(thumb: bool) -> capstone.Cs:
    mode = capstone.CS_MODE_THUMB if thumb else capstone.CS_MODE_ARM
    engine = capstone.Cs(capstone.CS_ARCH_ARM, mode | capstone.CS_MODE_V8)
    engine.detail = True
    return engine


def decode(code: bytes, *, thumb: bool) -> list[Instruction]:
    """The instructions of a block, up to the first that cannot be decoded."""
    return [_step(insn) for insn in _disassembler(thumb).disasm(code, 0)]


def _step(insn: Any) -> Instruction:
    reads, writes = insn.regs_access()
    name = insn.mnemonic
    register = capstone.arm.ARM_OP_REG
    # capstone's list of registers read leaves out d4 of vmlal q8, d0, d4[0]; the operands have it.
    operands = [op.reg for op in insn.operands[1:] if op.type == register]
    return Instruction(
        kind=_kind(name, insn.op_str),
        reads=_parts(insn, [*reads, *([] if LOADS.match(name) else operands)]),
        writes=_parts(insn, writes),
        words=_words(name, insn),
    )


def _parts(insn: Any, registers: Iterable[int]) -> frozenset[str]:
    """Names of registers; a SIMD register is its 32-bit words: q1 is w4 to w7, d2 is w4 and w5.

    A write of d2 then delays a read of q1, of which it is a half.
    """
    names = set()
    for register in map(insn.reg_name, registers):
        match = SIMD_REGISTER.fullmatch(register)
        if match:
            size = WORDS[match[1]]
            names |= {f"w{int(match[2]) * size + word}" for word in range(size)}
        else:
            names.add(register)
    return frozenset(names)


SIMD_REGISTER = re.compile(r"([qds])(\d+)")
WORDS = {"q": 4, "d": 2, "s": 1}
LOADS = re.compile(r"(v?ld|pop|vpop|vldm)")
STORES = re.compile(r"(v?st|push|vpush|vstm)")
MULTIPLIES = re.compile(r"[us]?mul|mla|mls|[us]mlal|[us]mull|smm|smla|smul")
BRANCHES = re.compile(
    r"(b|bl|blx|bx|cbn?z|tb[bh])(eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?(\.\w)?$"
)
MAC = re.compile(r"v(q?dml|ml|nml|fn?m|pada|aba|sra|rsra)")
LONG = re.compile(r"v(mull|mlal|mlsl|qdmull|qdmlal|movl|addl|addw|subl|subw|shll|abdl|abal)")


def _kind(name: str, operands: str) -> Kind:
    """The kind of an instruction, by its mnemonic and its operands."""
    if BRANCHES.match(name):
        return BRANCH
    if LOADS.match(name):
        return LOAD
    if STORES.match(name):
        return STORE
    if name.startswith("v"):
        return _simd_kind(name, operands)
    if name.startswith(("sdiv", "udiv")):
        return DIVIDE
    return MULTIPLY if MULTIPLIES.match(name) else ALU


def _simd_kind(name: str, operands: str) -> Kind:
    first = operands.split(",")[0].strip()
    if name.startswith(("vdiv", "vsqrt")):
        return FLOAT_DIVIDE
    if name.startswith("vmrs") or (name.startswith("vmov") and first[0] == "r"):
        return TO_CORE
    if name.startswith("vmov") and re.search(r", (r\d+|ip|lr|sl|fp|sb)$", operands):
        return FROM_CORE
    if first.startswith("s"):
        return FLOAT_MAC if MAC.match(name) else FLOAT
    # A 128-bit operation takes both halves; so does one whose result is 128 bits wide.
    wide = "q" in operands or LONG.match(name)
    units = SIMD if wide else ("simd0",)
    if MAC.match(name):
        real = ".f" in name
        return Kind(latency=8 if real else 4, units=units, forward=4 if real else 1)
    return Kind(latency=4, units=units)


def _words(name: str, insn: Any) -> int:
    """64-bit words that an instruction moves to or from memory, 1 for any other."""
    if not (LOADS.match(name) or STORES.match(name)):
        return 1
    moved: list[str] = [
        insn.reg_name(op.reg) for op in insn.operands if op.type == capstone.arm.ARM_OP_REG
    ]
    doubles: int = sum(register.startswith("d") for register in moved)
    singles = (
        len(moved) - doubles
        if name.startswith(("ldm", "stm", "pop", "push", "ldrd", "strd"))
        else 0
    )
    return max(1, doubles, (singles + 1) // 2)
