"""Programs and their debug symbols by build id, in folders as debuggers have them.

`.build-id/ab/cdef….debug` holds the symbols of the program whose build id is `abcdef…`, and
`.build-id/ab/cdef…` the program itself.
"""

from collections.abc import Iterable
from pathlib import Path

from edgewright.base.files import copy_file, locked
from edgewright.board.elf import read_elf

SYMBOLS = "symbols"  # folder of a cache
MOST_BYTES = 4 << 30  # of a cache's symbols: some 370 builds


def store_symbols(
    store: Path, programs: Iterable[Path], symbols: Path, *, most: int = MOST_BYTES
) -> None:
    """Store programs, and of `symbols` what belongs to them, under their build ids.

    The builds that were stored longest ago go where all would take more than `most` bytes.
    """
    for program in programs:
        build_id = read_elf(program).build_id
        if not build_id:
            continue
        copy_file(program, program_path(store, build_id))
        split_off = debug_path(symbols, build_id)
        if split_off.is_file():
            copy_file(split_off, debug_path(store, build_id))
    with locked(store / ".lock"):
        _remove_oldest(store, most)


def _remove_oldest(store: Path, most: int) -> None:
    files: dict[Path, list[Path]] = {}
    for path in (store / ".build-id").glob("*/[!.]*"):  # what has a dot is being written
        files.setdefault(path.with_suffix(""), []).append(path)
    # By when it came here: a copy's own time is that of the build.
    changes = {build: max(path.stat().st_ctime for path in files[build]) for build in files}
    total = 0
    for build in sorted(files, key=changes.__getitem__, reverse=True):
        total += sum(path.stat().st_size for path in files[build])
        if total > most:
            for path in files[build]:
                path.unlink()


def debug_path(folder: Path, build_id: str) -> Path:
    """Where a folder has the symbols of a build id."""
    return folder / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"


def program_path(folder: Path, build_id: str) -> Path:
    """Where a folder has the program of a build id."""
    return folder / ".build-id" / build_id[:2] / build_id[2:]
