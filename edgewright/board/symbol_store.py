"""Programs and their debug symbols by build id, in folders as debuggers have them.

`.build-id/ab/cdef….debug` holds the symbols of the program whose build id is `abcdef…`, and
`.build-id/ab/cdef…` the program itself.
"""

from collections.abc import Iterable
from pathlib import Path

from edgewright.base.files import copy_file
from edgewright.board.elf import read_elf

SYMBOLS = "symbols"  # folder of a cache


def store_symbols(store: Path, programs: Iterable[Path], symbols: Path) -> None:
    """Keep programs, and of `symbols` what belongs to them, under their build ids in `store`."""
    for program in programs:
        build_id = read_elf(program).build_id
        if not build_id:
            continue
        copy_file(program, program_path(store, build_id))
        split_off = debug_path(symbols, build_id)
        if split_off.is_file():
            copy_file(split_off, debug_path(store, build_id))


def debug_path(folder: Path, build_id: str) -> Path:
    """Where a folder has the symbols of a build id."""
    return folder / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"


def program_path(folder: Path, build_id: str) -> Path:
    """Where a folder has the program of a build id."""
    return folder / ".build-id" / build_id[:2] / build_id[2:]
