"""The crash model of a disk with a volatile cache."""

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.lab.proof import writelog

SECTORS = 64
Op = tuple[int, int, int]  # first sector, sectors, flags

operations = st.lists(
    st.one_of(
        st.tuples(st.integers(0, SECTORS - 1), st.integers(1, 20), st.sampled_from([0, 2])),
        st.just((0, 0, writelog.FLUSH)),
        st.just((3, 9, writelog.DISCARD)),
    ),
    max_size=12,
)


def log_of(path: Path, ops: list[Op], *, tail: bytes = b"") -> Path:
    """A log in which operation n writes the byte n + 1."""
    parts = [struct.pack("<3QI", writelog.MAGIC, 1, 0, 512).ljust(512, b"\0")]
    for number, (first, sectors, flags) in enumerate(ops):
        parts.append(writelog.HEADER.pack(first, sectors, flags, 0).ljust(512, b"\0"))
        if not flags & writelog.DISCARD:
            parts.append(bytes([number + 1]) * sectors * 512)
    path.write_bytes(b"".join(parts) + tail)
    return path


def disk_after(folder: Path, ops: list[Op], seed: int) -> list[int]:
    """The byte of each sector after a crash; 0 where nothing was ever written."""
    disk, log = folder / "disk", log_of(folder / "log", ops)
    disk.write_bytes(bytes((SECTORS + 20) * 512))
    pieces = writelog.survivors(writelog.read(log), random.Random(seed))
    writelog.apply(pieces, log, disk)
    data = disk.read_bytes()
    assert len(data) == (SECTORS + 20) * 512
    return [data[start] for start in range(0, len(data), 512)]


@given(ops=operations, seed=st.integers(0, 2**32))
def test_flushed_and_forced_writes_are_never_lost(
    tmp_path_factory: pytest.TempPathFactory, ops: list[Op], seed: int
) -> None:
    disk = disk_after(tmp_path_factory.mktemp("disk"), ops, seed)

    flushes = [number for number, op in enumerate(ops) if op[2] & writelog.FLUSH]
    safe = max(flushes, default=0)
    for sector, byte in enumerate(disk):
        touching = [
            number
            for number, (first, sectors, flags) in enumerate(ops)
            if first <= sector < first + sectors and not flags & writelog.DISCARD
        ]
        certain = [n for n in touching if n < safe or ops[n][2] & writelog.FUA]
        oldest = certain[-1] + 1 if certain else 0
        assert byte in {oldest, *(n + 1 for n in touching if n + 1 > oldest)}


def test_unflushed_writes_are_lost_sometimes_and_survive_sometimes(tmp_path: Path) -> None:
    ops = [(0, 8, 0), (0, 0, writelog.FLUSH), (0, 8, 0), (8, 8, 0)]
    disks = {tuple(disk_after(tmp_path, ops, seed)[:16:8]) for seed in range(200)}

    assert disks == {(1, 0), (3, 0), (1, 4), (3, 4)}


def test_a_large_write_may_be_torn_between_blocks_but_not_inside_one(tmp_path: Path) -> None:
    disks = {tuple(disk_after(tmp_path, [(0, 16, 0)], seed)[:16]) for seed in range(200)}

    assert disks == {(a,) * 8 + (b,) * 8 for a in (0, 1) for b in (0, 1)}


def test_a_write_that_was_under_way_ends_the_log(tmp_path: Path) -> None:
    intact = writelog.read(log_of(tmp_path / "whole", [(0, 8, 0)], tail=bytes(4096)))
    assert (len(intact.writes), intact.complete) == (1, True)

    gap = writelog.read(log_of(tmp_path / "gap", [(0, 8, 0)], tail=bytes(4096) + b"later"))
    assert (len(gap.writes), gap.complete) == (1, False)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"not a log")
    with pytest.raises(UserError) as refused:
        writelog.read(tmp_path / "log")
    assert str(refused.value) == f"{tmp_path}/log: not a log of a disk's writes"
