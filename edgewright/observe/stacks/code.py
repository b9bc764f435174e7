"""The code of a program in memory: which addresses a call returns to, and where calls lead.

Encodings: Arm Architecture Reference Manual for A-profile (BL, BLX in A32 and T32; BL, BLR in A64).
"""

import bisect
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from elftools.elf.constants import P_FLAGS
from elftools.elf.elffile import ELFFile

from edgewright.observe.stacks.dump import Machine


class Call(NamedTuple):
    """The call that a return address comes after."""

    target: int | None  # None: what a register holds


@dataclass(frozen=True)
class Code:
    """Executable bytes of a program, by the addresses that it was linked for."""

    machine: Machine
    segments: tuple[tuple[int, bytes], ...]

    def at(self, address: int, size: int) -> bytes:
        """Empty where the program has no code."""
        place = bisect.bisect_right(self.segments, address, key=lambda segment: segment[0]) - 1
        if place < 0:
            return b""
        start, content = self.segments[place]
        part = content[address - start : address - start + size]
        return part if len(part) == size else b""

    def call_before(self, address: int) -> Call | None:
        """The call that returns to `address` (whose lowest bit tells Thumb), or None."""
        return CALL_BEFORE[self.machine](self, address)


def read_code(program: Path, machine: Machine) -> Code:
    """The executable segments of an ELF file."""
    with program.open("rb") as stream:
        segments = sorted(
            (segment["p_vaddr"], segment.data())
            for segment in ELFFile(stream).iter_segments("PT_LOAD")
            if segment["p_flags"] & P_FLAGS.PF_X
        )
    return Code(machine, tuple(segments))


def _call_arm(code: Code, address: int) -> Call | None:
    return _call_thumb(code, address & ~1) if address & 1 else _call_a32(code, address)


def _call_thumb(code: Code, address: int) -> Call | None:
    if short := code.at(address - 2, 2):
        (word,) = struct.unpack("<H", short)
        if word & 0xFF87 == 0x4780:  # BLX register
            return Call(None)
    if wide := code.at(address - 4, 4):
        high, low = struct.unpack("<HH", wide)
        is_bl, is_blx = low & 0xD000 == 0xD000, low & 0xD001 == 0xC000
        if high & 0xF800 == 0xF000 and (is_bl or is_blx):
            sign, j1, j2 = high >> 10 & 1, low >> 13 & 1, low >> 11 & 1
            i1, i2 = (j1 ^ sign) ^ 1, (j2 ^ sign) ^ 1
            bits = sign << 24 | i1 << 23 | i2 << 22 | (high & 0x3FF) << 12 | (low & 0x7FF) << 1
            target = address + _signed(bits, 25)
            return Call(target & ~3 if is_blx else target)
    return None


def _call_a32(code: Code, address: int) -> Call | None:
    if address & 3 or not (wide := code.at(address - 4, 4)):
        return None
    (word,) = struct.unpack("<I", wide)
    if word & 0x0FFFFFF0 == 0x012FFF30:  # BLX register
        return Call(None)
    offset = _signed(word & 0xFFFFFF, 24) * 4
    if word >> 25 == 0b1111101:  # BLX immediate
        return Call(address + 4 + offset + (word >> 23 & 2))
    if word & 0x0F000000 == 0x0B000000:
        return Call(address + 4 + offset)
    return None


def _call_aarch64(code: Code, address: int) -> Call | None:
    if address & 3 or not (wide := code.at(address - 4, 4)):
        return None
    (word,) = struct.unpack("<I", wide)
    if word & 0xFFFFFC1F == 0xD63F0000:  # BLR
        return Call(None)
    if word & 0xFC000000 == 0x94000000:
        return Call(address - 4 + _signed(word & 0x3FFFFFF, 26) * 4)
    return None


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


CALL_BEFORE: dict[Machine, Callable[[Code, int], Call | None]] = {
    "arm": _call_arm,
    "aarch64": _call_aarch64,
}
