"""Programs and symbols are kept by build id."""

import time
from pathlib import Path

from edgewright.board.symbol_store import debug_path, program_path, store_symbols
from tests.checkout import ROOT

ELF = ROOT / "tests" / "data" / "elf"
FIRST, SECOND = (
    "85e83586e510573cb8cc397574938c1b5a2e78e1",
    "711b4ec141f670cceeca0526b708ca94d09c5767",
)


def test_each_build_stays_with_its_symbols(tmp_path: Path) -> None:
    symbols = tmp_path / "symbols"
    debug_path(symbols, FIRST).parent.mkdir(parents=True)
    debug_path(symbols, FIRST).write_bytes(b"symbols of the first")
    store = tmp_path / "store"

    store_symbols(store, [ELF / "good-v7", ELF / "no-build-id"], symbols)
    store_symbols(store, [ELF / "good-v8"], tmp_path / "none")

    assert debug_path(store, FIRST).read_bytes() == b"symbols of the first"
    assert program_path(store, FIRST).read_bytes() == (ELF / "good-v7").read_bytes()
    assert program_path(store, SECOND).read_bytes() == (ELF / "good-v8").read_bytes()
    assert len([path for path in (store / ".build-id").rglob("*") if path.is_file()]) == 3


def test_the_builds_that_were_stored_longest_ago_make_room(tmp_path: Path) -> None:
    programs = [ELF / name for name in ("good-v7", "good-v8", "good-arm64")]
    store, sizes = tmp_path / "store", [program.stat().st_size for program in programs]
    for program in programs:
        store_symbols(store, [program], tmp_path, most=sizes[-1] + sizes[-2])
        time.sleep(0.02)  # of a file system's clock

    stored = [path.read_bytes() for path in (store / ".build-id").glob("*/*")]
    assert sorted(stored) == sorted(program.read_bytes() for program in programs[1:])
