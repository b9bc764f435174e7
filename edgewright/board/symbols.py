"""Names of the functions in an ELF file, by address."""

import bisect
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from edgewright.base import process
from edgewright.base.errors import UserError
from edgewright.board.elf import read_elf
from edgewright.board.symbol_store import debug_path

THUMB = 1  # the lowest bit of a 32-bit ARM function's address: its code is Thumb
STT_FUNC, STT_IFUNC = 2, 10
# A symbol as ELF stores it, and the places of name, value, size, info and section in it.
_LAYOUT = {
    32: (struct.Struct("<IIIBBH"), (0, 1, 2, 3, 5)),
    64: (struct.Struct("<IBBHQQ"), (0, 4, 5, 1, 3)),
}


class Symbol(NamedTuple):
    """A defined symbol."""

    name: str
    value: int
    size: int
    kind: int  # STT_…
    section: int  # its number in the file, or SHN_…
    is_local: bool  # to the object that it came of


@dataclass(frozen=True, kw_only=True)
class Function:
    """One function: its first address, its length in bytes and its name as linked."""

    address: int
    size: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Symbols:
    """The functions of one file, by ascending address."""

    path: Path
    functions: tuple[Function, ...]

    def at(self, address: int) -> Function | None:
        """The function whose code `address` is part of, or None."""
        place = bisect.bisect_right(self.functions, address, key=lambda f: f.address) - 1
        if place < 0:
            return None
        function = self.functions[place]
        return function if address < function.address + max(function.size, 1) else None

    def named(self, prefix: str) -> list[Function]:
        """The functions whose linked name starts with `prefix`."""
        return [function for function in self.functions if function.name.startswith(prefix)]


def symbol_file(binary: Path, symbols: Path, board: str) -> Path:
    """The file that names a program's functions: itself, or the one split off by its build id.

    Raises UserError if there is neither.
    """
    facts = read_elf(binary)
    if facts.symbol_table:
        return binary
    build_id = facts.build_id or ""
    debug = debug_path(symbols, build_id)
    if not debug.is_file():
        raise UserError(
            str(binary),
            "its symbols are not here",
            facts=[f"expected: {debug}"],
            next=f"invoke build --board={board}",
        )
    return debug


def read_symbols(path: Path) -> Symbols:
    """Functions of `.symtab` and `.dynsym`; of several names at one address, the longest symbol.

    A function without a size (assembly) reaches to the next one. Raises UserError if the file
    is no ELF file or names no function at all.
    """
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        thumb = THUMB if elf["e_machine"] == "EM_ARM" else 0
        # Short ones first: the longest symbol at an address is the last, and stays.
        functions = {
            symbol.value & ~thumb: Function(
                address=symbol.value & ~thumb, size=symbol.size, name=symbol.name
            )
            for symbol in sorted(symbol_table(elf), key=lambda symbol: symbol.size)
            if symbol.kind == STT_FUNC
        }
    if not functions:
        raise UserError(str(path), "names no function", facts=["expected: a symbol table"])
    ordered = sorted(functions.values(), key=lambda function: function.address)
    return Symbols(path=path, functions=tuple(_with_sizes(ordered)))


def symbol_table(elf: ELFFile) -> Iterator[Symbol]:
    """The defined symbols of `.symtab` and `.dynsym`, mapping symbols too.

    pyelftools takes a second for 20,000 of them, which every audit would wait for.
    """
    layout, places = _LAYOUT[elf.elfclass]
    for section in elf.iter_sections():
        if isinstance(section, SymbolTableSection):
            names = elf.get_section(section["sh_link"]).data()
            for record in layout.iter_unpack(section.data()):
                name, value, size, info, place = (record[at] for at in places)
                if place != 0:  # SHN_UNDEF
                    text = names[name : names.index(b"\0", name)].decode(errors="replace")
                    yield Symbol(text, value, size, info & 0xF, place, info >> 4 == 0)


def _with_sizes(functions: list[Function]) -> Iterable[Function]:
    """Functions in order of address; one without a size gets all up to the next."""
    for this, following in zip(functions, [*functions[1:], None], strict=True):
        reach = following.address - this.address if following else 1
        yield this if this.size else Function(address=this.address, size=reach, name=this.name)


def demangle(names: Iterable[str]) -> dict[str, str]:
    """Linked name → the name as C++ writes it, without parameters and return type."""
    linked = list(dict.fromkeys(names))
    if not linked:
        return {}
    plain = process.check(
        ["c++filt", "--no-params"], input="\n".join(linked) + "\n"
    ).stdout.splitlines()
    return dict(zip(linked, plain, strict=True))
