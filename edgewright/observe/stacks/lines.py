"""Source file and line of an address, by the DWARF line tables of a program's symbols."""

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.dwarf.lineprogram import LineProgram
from elftools.elf.elffile import ELFFile


class Place(NamedTuple):
    """A line of a source file, as its path was at build time: `runtime_cpp/src/…` for ours."""

    file: str
    line: int


def places(symbols: Path, addresses: Iterable[int]) -> Mapping[int, Place]:
    """Those of the addresses that a line table knows. ONNX Runtime is built without any."""
    with symbols.open("rb") as stream:
        dwarf = ELFFile(stream).get_dwarf_info(relocate_dwarf_sections=False)
        lines: dict[int, Place] = {}
        for unit, inside in _by_unit(dwarf, addresses).items():
            program = dwarf.line_program_for_CU(dwarf.get_CU_at(unit))
            if program is not None:
                lines |= _places(program, inside)
        return lines


def _by_unit(dwarf: DWARFInfo, addresses: Iterable[int]) -> dict[int, list[int]]:
    """The addresses by the compilation unit that `.debug_aranges` names for each."""
    ranges = dwarf.get_aranges()
    units: dict[int, list[int]] = {}
    for address in set(addresses):
        unit = ranges.cu_offset_at_addr(address) if ranges else None
        if unit is not None:
            units.setdefault(unit, []).append(address)
    return units


def _places(program: LineProgram, addresses: list[int]) -> dict[int, Place]:
    lines: dict[int, Place] = {}
    before = None
    for entry in program.get_entries():
        state = entry.state
        if state is None:
            continue
        if before is not None:
            for address in addresses:
                if before.address <= address < state.address:
                    lines[address] = Place(_path(program, before.file), before.line)
        before = None if state.end_sequence else state
    return lines


def _path(program: LineProgram, number: int) -> str:
    """The path of a file of the table; DWARF 5 counts from 0, older ones from 1."""
    header = program.header
    files, folders = header["file_entry"], header["include_directory"]
    first = 0 if header["version"] >= 5 else 1
    if not first <= number < len(files) + first:
        return "?"
    entry = files[number - first]
    folder = entry.dir_index - first
    inside = folders[folder] if 0 <= folder < len(folders) else b""
    return str(PurePosixPath(inside.decode(errors="replace"), entry.name.decode(errors="replace")))
