"""The program that stacks are of: looked for by its build id, with its symbols."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgewright.base.schema import Part, Shown
from edgewright.board.elf import read_elf
from edgewright.board.symbol_store import debug_path, program_path
from edgewright.board.symbols import demangle, read_symbols
from edgewright.observe.stacks.code import Code, read_code
from edgewright.observe.stacks.dump import Machine, Mapping, Thread
from edgewright.observe.stacks.lines import places
from edgewright.observe.stacks.unwind import Origin, Step, Unwinder, read_frame_rules

PROGRAM = "/edge-infer"
ELF_MACHINES: dict[Machine, str] = {"arm": "ARM", "aarch64": "AARCH64"}


class Frame(Shown, Part):
    """A function that was at work: the first one of a thread, or one that called it."""

    address: str  # hex, as in the memory of the process
    origin: Origin  # `searched`: a word of the stack that a call may have left
    function: str | None
    file: str | None  # as its path was at build time
    line: int | None


@dataclass(frozen=True, kw_only=True)
class SymbolicProgram:
    """A program with its symbols."""

    symbols: Path
    unwinder: Unwinder  # without a bias
    is_relocated: bool

    def steps(self, thread: Thread, mappings: Iterable[Mapping]) -> tuple[Step, ...]:
        """The calls that led a thread of one process to where it was."""
        return tuple(replace(self.unwinder, bias=self.bias(mappings)).steps(thread))

    def bias(self, mappings: Iterable[Mapping]) -> int:
        """How far from its linked addresses the program lies in a process."""
        if not self.is_relocated:
            return 0
        starts = (at.start - at.offset for at in mappings if at.path.endswith(PROGRAM))
        return min(starts, default=0)

    def names(self, addresses: Iterable[int]) -> dict[int, str]:
        """Functions as C++ writes them, by linked addresses; what no symbol names is left out."""
        functions = {address: self.unwinder.symbols.at(address) for address in addresses}
        linked = {address: function.name for address, function in functions.items() if function}
        plain = demangle(linked.values())
        return {address: plain[name] for address, name in linked.items()}

    def frames(
        self, stacks: Sequence[Sequence[Step]], mappings: Iterable[Mapping]
    ) -> list[tuple[Frame, ...]]:
        """Stacks with functions and lines. The files are read once for all of them."""
        bias = self.bias(mappings)
        linked = {step.place - bias for stack in stacks for step in stack}
        names, lines = self.names(linked), places(self.symbols, linked)

        def frame(step: Step) -> Frame:
            place = lines.get(step.place - bias)
            return Frame(
                address=f"0x{step.address:x}",
                origin=step.origin,
                function=names.get(step.place - bias),
                file=place.file if place else None,
                line=place.line if place else None,
            )

        return [tuple(map(frame, stack)) for stack in stacks]


def find_program(
    folders: Sequence[Path], build_id: str, machine: Machine
) -> SymbolicProgram | None:
    """The program of a build id, by its symbols in the first of the folders that has them.

    Folders are as `board/symbol_store` has them. Raises UserError for symbols that are damaged.
    """
    symbols = _first(folders, debug_path, build_id)
    # A board names both: a hostile one may take the build id of another machine's program.
    if symbols is None or (facts := read_elf(symbols)).machine != ELF_MACHINES[machine]:
        return None
    program = _first(folders, program_path, build_id)
    unwinder = Unwinder(
        machine=machine,
        code=read_code(program, machine) if program else Code(machine, ()),
        symbols=read_symbols(symbols),
        rules=read_frame_rules((symbols, *([program] if program else []))),
    )
    return SymbolicProgram(symbols=symbols, unwinder=unwinder, is_relocated=facts.type == "DYN")


def _first(
    folders: Sequence[Path], place: Callable[[Path, str], Path], build_id: str
) -> Path | None:
    paths = (place(folder, build_id) for folder in folders)
    return next((path for path in paths if build_id and path.is_file()), None)
