"""Names of the functions in an ELF file, by address."""

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from edgewright.base import process
from edgewright.base.errors import UserError

THUMB = 1  # the lowest bit of a 32-bit ARM function's address: its code is Thumb


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


def read_symbols(path: Path) -> Symbols:
    """Functions of `.symtab` and `.dynsym`; of several names at one address, the longest symbol.

    A function without a size (assembly) reaches to the next one. Raises UserError if the file
    is no ELF file or names no function at all.
    """
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        thumb = THUMB if elf["e_machine"] == "EM_ARM" else 0
        tables = [s for s in elf.iter_sections() if isinstance(s, SymbolTableSection)]
        functions = {
            symbol["st_value"] & ~thumb: Function(
                address=symbol["st_value"] & ~thumb, size=symbol["st_size"], name=symbol.name
            )
            for table in tables
            # Short ones first: the longest symbol at an address is the last, and stays.
            for symbol in sorted(table.iter_symbols(), key=lambda s: s["st_size"])
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] != "SHN_UNDEF"
        }
    if not functions:
        raise UserError(str(path), "names no function", facts=["expected: a symbol table"])
    ordered = sorted(functions.values(), key=lambda function: function.address)
    return Symbols(path=path, functions=tuple(_with_sizes(ordered)))


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
