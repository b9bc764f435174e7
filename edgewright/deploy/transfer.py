"""What goes over the line: of each object only the bytes that the board does not hold.

The stream is the one of `edgectl receive` (docs/protocol.md): an object is made of new bytes, of
ranges of a base object and of what an earlier, cut upload left there. Pure.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import zstandard

MAGIC, END = b"EWR1", b"E"
PART_CHUNK = 64 * 1024
DATA_LIMIT = 1 << 20
COPY_LIMIT = 1 << 31
WORTH = 32  # bytes; a shorter copy costs more than it saves
PACKABLE = 256  # bytes; fewer are hardly ever smaller as a frame
FRAME = 256 * 1024  # bytes in a frame at most; a cut costs no more
LEVEL = 3  # higher ones take many times as long for 2 % of a release


@dataclass(frozen=True, kw_only=True)
class Data:
    """New bytes: `new[start : start + size]`."""

    start: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Packed:
    """New bytes as a Zstandard frame, which is smaller."""

    start: int
    size: int
    frame: bytes


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Bytes of the base object from `offset` on."""

    start: int
    size: int
    offset: int


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Bytes that the earlier upload holds at this very place."""

    start: int
    size: int


Op = Data | Packed | Copy | Keep


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """One object and how the board is to make it."""

    sha256: str
    content: bytes
    base: str | None  # SHA-256 of the base object
    ops: tuple[Op, ...]

    @property
    def bytes_to_send(self) -> int:
        """What it takes in the stream."""
        return sum(len(piece) for piece in _object(self))

    @property
    def new_bytes(self) -> int:
        """Of its content, what the board does not hold."""
        return sum(op.size for op in self.ops if isinstance(op, Data | Packed))


@dataclass(frozen=True, kw_only=True)
class BaseChunks:
    """A base that only the board has: 32 hex digits of SHA-256 for each `size` bytes."""

    size: int
    hashes: tuple[str, ...]


def plan_object(
    sha256: str,
    content: bytes,
    *,
    base: str | None = None,
    base_content: bytes | BaseChunks | None = None,
    part_bytes: int = 0,
    part_chunks: Sequence[str] = (),
    pack: bool = False,
) -> Outgoing:
    """How to make `content` of what the board holds: its part, else the base, else new bytes.

    `pack` is for a board that takes Zstandard frames.
    """
    ops: list[Op] = []
    copies = _copies(content, base_content) if base and base_content else []
    start = 0
    # The part is what an upload of this very content left when it was cut.
    for begin, size in _equal(content[:part_bytes], PART_CHUNK, part_chunks):
        ops += _fill(copies, start, begin)
        ops.append(Keep(start=begin, size=size))
        start = begin + size
    ops += _fill(copies, start, len(content))
    if pack:
        ops = list(_packed(ops, content))
    return Outgoing(sha256=sha256, content=content, base=base if copies else None, ops=tuple(ops))


def write_stream(objects: Iterable[Outgoing], out: BinaryIO) -> None:
    """Write the whole stream."""
    for piece in itertools.chain([MAGIC], *map(_object, objects), [END]):
        out.write(piece)


def _object(outgoing: Outgoing) -> Iterator[bytes]:
    base = bytes.fromhex(outgoing.base) if outgoing.base else bytes(32)
    yield b"O" + bytes.fromhex(outgoing.sha256) + len(outgoing.content).to_bytes(8, "little") + base
    for op in outgoing.ops:
        yield from _encoded(op, outgoing.content)


def _encoded(op: Op, content: bytes) -> Iterator[bytes]:
    if isinstance(op, Data):
        for start in range(op.start, op.start + op.size, DATA_LIMIT):
            piece = content[start : min(start + DATA_LIMIT, op.start + op.size)]
            yield b"D" + len(piece).to_bytes(4, "little") + piece
    elif isinstance(op, Copy):
        yield b"B" + op.offset.to_bytes(8, "little") + op.size.to_bytes(4, "little")
    elif isinstance(op, Packed):
        sizes = op.size.to_bytes(4, "little") + len(op.frame).to_bytes(4, "little")
        yield b"Z" + sizes + op.frame
    else:
        yield b"P" + op.size.to_bytes(4, "little")


def _packed(ops: Iterable[Op], content: bytes) -> Iterator[Op]:
    """Stretches of new bytes in pieces of one op, as frames where that is less."""
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    for op in ops:
        if not isinstance(op, Data) or op.size < PACKABLE:
            yield op
            continue
        for start in range(op.start, op.start + op.size, FRAME):
            size = min(FRAME, op.start + op.size - start)
            frame = compressor.compress(content[start : start + size])
            if len(frame) + 4 < size:  # an op Z has one number more
                yield Packed(start=start, size=size, frame=frame)
            else:
                yield Data(start=start, size=size)


def _equal(content: bytes, step: int, digests: Sequence[str]) -> list[tuple[int, int]]:
    """Start and size of what has these digests, chunk by chunk; neighbours joined."""
    runs: list[tuple[int, int]] = []
    for start, digest in zip(range(0, len(content), step), digests, strict=False):
        piece = content[start : start + step]
        if chunk_digest(piece) != digest:
            continue
        if runs and sum(runs[-1]) == start:
            runs[-1] = (runs[-1][0], runs[-1][1] + len(piece))
        else:
            runs.append((start, len(piece)))
    return runs


def chunk_digest(data: bytes) -> str:
    """The first 32 hex digits of SHA-256."""
    return hashlib.sha256(data).hexdigest()[:32]


def _fill(copies: Sequence[Copy], start: int, end: int) -> Iterator[Op]:
    """Copies cut to `[start, end)`, with new bytes between them."""
    for copy in copies:
        first, last = max(copy.start, start), min(copy.start + copy.size, end)
        if last - first < WORTH:
            continue
        if first > start:
            yield Data(start=start, size=first - start)
        yield Copy(start=first, size=last - first, offset=copy.offset + first - copy.start)
        start = last
    if end > start:
        yield Data(start=start, size=end - start)


# What the base has


def _copies(content: bytes, base: bytes | BaseChunks) -> list[Copy]:
    """Ranges of the base in the new content, in order, not overlapping."""
    if isinstance(base, BaseChunks):
        runs = _equal(content, base.size, base.hashes)
        return [Copy(start=start, size=size, offset=start) for start, size in runs]
    # Here, as it brings NumPy, which a deploy that sends nothing does without.
    from edgewright.deploy.moved_content import common_ranges

    return [
        Copy(start=start, size=size, offset=offset)
        for start, size, offset in common_ranges(content, base, least=WORTH)
    ]
