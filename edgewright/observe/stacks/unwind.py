"""Who called whom, from the registers and the stack of a thread.

Where a function's call frame information (DWARF 5, section 6.4) is there, its caller follows from
it. ONNX Runtime is built without, and so is all of arm64's programs that is not our own. 64-bit
code keeps frame records (AAPCS64, section 6.4.6), which are followed. In 32-bit code the stack is
searched upwards for the next address that a call returns to, which is the call of the function at
hand, or one through a register. Such a frame says so: a word that an earlier call left there may be
taken for it.
"""

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile

from edgewright.board.symbols import Function, Symbols
from edgewright.observe.stacks.code import Code
from edgewright.observe.stacks.dump import (
    PROGRAM_COUNTER,
    STACK_POINTER,
    Machine,
    Thread,
)

MOST_FRAMES = 64
SEARCHED_BYTES = 8 << 10  # of the stack for one caller: a hostile one would be searched for minutes
# Functions that nothing calls: above them lies what the kernel or the thread's maker put there.
FIRST = frozenset({"main", "_start", "start_thread", "__libc_start_main", "__clone"})
LINK_REGISTER: dict[Machine, int] = {"arm": 14, "aarch64": 30}
FRAME_POINTER = 29  # of AArch64: the address of the innermost frame record
# Of an address: cores with pointer authentication sign return addresses in the bits above.
ADDRESS_BITS: dict[Machine, int] = {"arm": 32, "aarch64": 48}
Origin = Literal["registers", "unwound", "searched"]
Registers = Mapping[int, int]  # by DWARF's numbers, which are the machine's own; known ones only


@dataclass(frozen=True, kw_only=True)
class Step:
    """A place in the code: the first one's own, the address that follows the call of all others."""

    address: int
    origin: Origin

    @property
    def place(self) -> int:
        """An address of the instruction that was at work, or of the call."""
        return self.address if self.origin == "registers" else self.address - 1


@dataclass(frozen=True)
class FrameRules:
    """Call frame information of a program, by the first address of each function."""

    entries: tuple[FDE, ...]
    starts: tuple[int, ...]

    def at(self, address: int) -> Mapping[Any, Any] | None:
        """The row of rules that counts at `address`, or None."""
        place = bisect.bisect_right(self.starts, address) - 1
        if place < 0 or address >= self.starts[place] + self.entries[place]["address_range"]:
            return None
        rows = [row for row in self.entries[place].get_decoded().table if row["pc"] <= address]
        return rows[-1] if rows else None


def read_frame_rules(files: tuple[Path, ...]) -> FrameRules:
    """Those of `.debug_frame` and `.eh_frame` of a program and its split-off symbols."""
    entries: dict[int, FDE] = {}
    for file in files:
        elf = ELFFile(file.open("rb"))  # open as long as its rules, which are decoded one by one
        dwarf = elf.get_dwarf_info(relocate_dwarf_sections=False)
        sections = [dwarf.CFI_entries] if dwarf.has_CFI() else []
        sections += [dwarf.EH_CFI_entries] if dwarf.has_EH_CFI() else []
        for read in sections:
            entries |= {e["initial_location"]: e for e in read() if isinstance(e, FDE)}
    starts = tuple(sorted(entries))
    return FrameRules(tuple(entries[start] for start in starts), starts)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A step, and what is known of the machine as it was there."""

    step: Step
    registers: Registers
    bottom: int  # no frame of this function's callers begins below it


@dataclass(frozen=True, kw_only=True)
class Unwinder:
    """Unwinds threads of one program."""

    machine: Machine
    code: Code
    symbols: Symbols
    rules: FrameRules
    bias: int = 0  # address in memory less the one that the program was linked for

    def steps(self, thread: Thread) -> Iterator[Step]:
        """From the function that was at work to the first one of the thread, as far as is known."""
        frame: Frame | None = Frame(
            step=Step(address=thread.registers[PROGRAM_COUNTER[self.machine]], origin="registers"),
            registers={
                number: self._without_signature(value)
                for number, value in enumerate(thread.registers)
            },
            bottom=thread.registers[STACK_POINTER[self.machine]],
        )
        for _ in range(MOST_FRAMES):
            if frame is None:
                return
            yield frame.step
            function = self.symbols.at(frame.step.place - self.bias)
            if function and function.name in FIRST:
                return
            frame = (
                self._by_rules(frame, thread)
                or self._by_record(frame, thread, function)
                or self._by_search(frame, thread, function.address if function else None)
            )

    def _by_rules(self, frame: Frame, thread: Thread) -> Frame | None:
        row = self.rules.at(frame.step.place - self.bias)
        if row is None or row["cfa"].reg not in frame.registers:
            return None
        base = frame.registers[row["cfa"].reg] + row["cfa"].offset
        registers = dict(frame.registers)
        for number, rule in row.items():
            if number in ("pc", "cfa"):
                continue
            registers.pop(number, None)
            value = self._read(thread, base + rule.arg) if rule.type == "OFFSET" else None
            if value is not None:
                registers[number] = value
        registers[STACK_POINTER[self.machine]] = base
        back = registers.pop(LINK_REGISTER[self.machine], None)
        if back is None or not self._is_return(back):
            return None
        step = Step(address=self._plain(back), origin="unwound")
        return Frame(step=step, registers=registers, bottom=base)

    def _by_record(self, frame: Frame, thread: Thread, function: Function | None) -> Frame | None:
        """By the caller's x29 and the return address, which 64-bit code keeps together."""
        record = frame.registers.get(FRAME_POINTER)
        if self.machine != "aarch64" or record is None or record < frame.bottom:
            return None
        older, back = self._read(thread, record), self._read(thread, record + self._word)
        link = frame.registers.get(LINK_REGISTER[self.machine])
        # A call leaves an address of the function at hand in x30. Any other is the caller's, and so
        # is x29, unless the function has only just stored both.
        if link is not None and link != back and self._returns_elsewhere(link, function):
            step = Step(address=link, origin="unwound")
            return Frame(step=step, registers={FRAME_POINTER: record}, bottom=frame.bottom)
        if older is None or back is None or not self._is_return(back):
            return None
        step, end = Step(address=back, origin="unwound"), record + 2 * self._word
        return Frame(step=step, registers={FRAME_POINTER: older}, bottom=end)

    def _returns_elsewhere(self, link: int, function: Function | None) -> bool:
        return self._is_return(link) and self.symbols.at(link - self.bias - 1) != function

    def _by_search(self, frame: Frame, thread: Thread, start: int | None) -> Frame | None:
        """`start` is where the function at hand begins."""
        link = frame.registers.get(LINK_REGISTER[self.machine])
        if frame.step.origin == "registers" and link is not None and self._calls(link, start):
            # Of a function that calls nothing, or has not yet; what it has pushed is not known.
            step = Step(address=self._plain(link), origin="searched")
            return Frame(step=step, registers={}, bottom=frame.bottom)
        likely = None
        for place in range(frame.bottom, frame.bottom + SEARCHED_BYTES, self._word):
            back = self._read(thread, place)
            if back is None or self.code.call_before(back - self.bias) is None:
                continue
            step = Step(address=self._plain(back), origin="searched")
            end = place + self._word
            # Only 32-bit code saves the return address last: there its frame ends behind it.
            registers = {STACK_POINTER["arm"]: end} if self.machine == "arm" else {}
            caller = Frame(step=step, registers=registers, bottom=end)
            if self._calls(back, start):
                return caller
            likely = likely or caller  # a function that ends in a jump is not called by its caller
        return likely

    def _is_return(self, back: int) -> bool:
        """Whether a call may return there; without the program's code any of its functions will."""
        if not self.code.segments:
            return self.symbols.at(back - self.bias - 1) is not None
        return self.code.call_before(back - self.bias) is not None

    def _calls(self, back: int, start: int | None) -> bool:
        """Whether `back` follows a call of the function at `start`, or one through a register."""
        call = self.code.call_before(back - self.bias)
        return call is not None and call.target in (None, start)

    @property
    def _word(self) -> int:
        return 4 if self.machine == "arm" else 8

    def _read(self, thread: Thread, address: int) -> int | None:
        at = address - thread.stack_address
        if at < 0 or at + self._word > len(thread.stack):
            return None
        return self._without_signature(int.from_bytes(thread.stack[at : at + self._word], "little"))

    def _without_signature(self, address: int) -> int:
        return address & ((1 << ADDRESS_BITS[self.machine]) - 1)

    def _plain(self, address: int) -> int:
        """Without the bit that tells Thumb."""
        return address & ~1 if self.machine == "arm" else address
