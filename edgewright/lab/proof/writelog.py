"""The content that a disk with a volatile cache may have after a power cut, by its log of writes.

The log is in the format of Linux's dm-log-writes, as QEMU's `blklogwrites` driver writes it:
a superblock sector, then for each operation a sector with its header, followed by its data.
Source: Documentation/admin-guide/device-mapper/log-writes.rst of Linux, block/blklogwrites.c.

What came before the last flush is on the disk. Of everything later any part may be: each block
of 4 KiB survives or is lost by itself.
"""

import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.base.errors import UserError

SECTOR = 512
BLOCK = 4096
MAGIC = 0x6A736677736872
HEADER = struct.Struct("<4Q")  # first sector, sectors, flags, bytes of other data
FLUSH, FUA, DISCARD = 1, 2, 4


@dataclass(frozen=True, kw_only=True)
class Write:
    """One write: where on the disk, and where its bytes stand in the log."""

    offset: int  # bytes
    length: int  # bytes
    at: int  # bytes into the log
    forced: bool  # on the disk when it is answered (FUA)


@dataclass(frozen=True, kw_only=True)
class WriteLog:
    """A board's writes in order; the first `flushed` of them came before the last flush."""

    writes: tuple[Write, ...]
    flushed: int
    complete: bool  # no operation follows one that was under way when the power was cut


def read(path: Path) -> WriteLog:
    """Read a log. Raises UserError for another file."""
    writes: list[Write] = []
    flushed = end = 0
    with path.open("rb") as log:
        head = log.read(SECTOR)
        if len(head) < SECTOR or struct.unpack_from("<Q", head)[0] != MAGIC:
            raise UserError(str(path), "not a log of a disk's writes")
        for at, first, sectors, flags in _operations(path):
            end = at
            if flags & FLUSH:
                flushed = len(writes)
            if sectors and not flags & DISCARD:
                forced = bool(flags & FUA)
                offset, length = first * SECTOR, sectors * SECTOR
                writes.append(Write(offset=offset, length=length, at=at, forced=forced))
                end += length
        # Bytes behind a gap are of an operation that ended although an earlier one did not.
        log.seek(end)
        gap = bool(log.read().strip(b"\0"))
    return WriteLog(writes=tuple(writes), flushed=flushed, complete=not gap)


def _operations(path: Path) -> Iterator[tuple[int, int, int, int]]:
    """(offset of the data in the log, first sector, sectors, flags) of each, up to a gap."""
    size = path.stat().st_size
    with path.open("rb") as log:
        at = SECTOR
        while at + SECTOR <= size:
            log.seek(at)
            first, sectors, flags, _ = HEADER.unpack(log.read(HEADER.size))
            carried = 0 if flags & DISCARD else sectors * SECTOR
            if not (sectors or flags) or at + SECTOR + carried > size:
                return
            yield at + SECTOR, first, sectors, flags
            at += SECTOR + carried


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Bytes that are lost or survive together: their places in the log and on the disk."""

    at: int
    offset: int
    length: int
    safe: bool  # before the last flush, or forced


def survivors(log: WriteLog, rng: random.Random) -> list[Piece]:
    """One disk that a power cut may leave, chosen by `rng`, in the order to apply."""
    # One chance for the whole disk: some disks lose nearly all, others nearly nothing.
    chance = rng.random()
    return [piece for piece in blocks(log) if piece.safe or rng.random() < chance]


def blocks(log: WriteLog) -> list[Piece]:
    """All writes, in pieces that are lost or survive as a whole."""
    return [
        Piece(
            at=write.at + start,
            offset=write.offset + start,
            length=min(BLOCK, write.length - start),
            safe=number < log.flushed or write.forced,
        )
        for number, write in enumerate(log.writes)
        for start in range(0, write.length, BLOCK)
    ]


def apply(pieces: Sequence[Piece], log: Path, disk: Path) -> None:
    """Write the surviving pieces to an image of the disk from before the log began."""
    with log.open("rb") as source, disk.open("r+b") as target:
        for piece in pieces:
            source.seek(piece.at)
            target.seek(piece.offset)
            target.write(source.read(piece.length))
