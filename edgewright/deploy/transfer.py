"""What goes over the line: of each object only the bytes that the board does not hold.

The stream is the one of `edgectl receive` (docs/protocol.md): an object is made of new bytes, of
ranges of a base object and of what an earlier, cut upload left there. Pure.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import zstandard
from numpy.typing import NDArray

MAGIC, END = b"EWR1", b"E"
PART_CHUNK = 64 * 1024
DATA_LIMIT = 1 << 20
COPY_LIMIT = 1 << 31
WORTH = 32  # bytes; a shorter copy costs more than it saves
WINDOW = 64  # bytes that must be equal for content that moved to be found
PIECE = 4 << 20  # bytes that are searched for moved content at a time
FIRST_BITS = 22  # of a hash; few windows of new content share them with a block
FACTOR = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2^64
INVERSE = pow(FACTOR, -1, 1 << 64)

AGREE_STEP = 1 << 14
PACKABLE = 256  # bytes; fewer are hardly ever smaller as a frame
FRAME = 256 * 1024  # bytes in a frame at most; a cut costs no more
LEVEL = 3  # higher ones take many times as long for 2 % of a release

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Positions = NDArray[np.int64]


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
    new, old = np.frombuffer(content, np.uint8), np.frombuffer(base, np.uint8)
    blocks = _Blocks.of(old)
    copies: list[Copy] = []
    at = 0
    for same in [*_same_place(new, old), Copy(start=len(new), size=0, offset=0)]:
        for start in range(at, same.start, PIECE):
            copies += _moved(new, blocks, start, min(start + PIECE, same.start))
        copies += [same] if same.size else []
        at = same.start + same.size
    return copies


def _same_place(new: Bytes, old: Bytes) -> list[Copy]:
    """Runs of equal bytes at equal offsets, long enough to be worth a copy."""
    size = min(len(new), len(old))
    equal = np.concatenate(([False], new[:size] == old[:size], [False]))
    edges = np.flatnonzero(equal[1:] != equal[:-1])
    return [
        Copy(start=int(start), size=int(end - start), offset=int(start))
        for start, end in zip(edges[::2], edges[1::2], strict=True)
        if end - start >= WORTH
    ]


@dataclass(frozen=True, kw_only=True)
class _Blocks:
    """The blocks of a base at multiples of WINDOW, by the order of their hashes."""

    old: Bytes
    hashes: Words
    offsets: Positions
    filter: NDArray[np.bool_]  # by the first bits of a hash: whether any block has them

    @classmethod
    def of(cls, old: Bytes) -> "_Blocks":
        blocks = old[: len(old) // WINDOW * WINDOW].reshape(-1, WINDOW)
        hashes = (blocks * _powers(FACTOR, WINDOW)).sum(axis=1, dtype=np.uint64)
        order = np.argsort(hashes, kind="stable")
        # Nearly all windows of new content are told from every block by these bits alone, which
        # is one look-up; a search in the sorted hashes costs some twenty.
        filter_ = np.zeros(1 << FIRST_BITS, np.bool_)
        filter_[_first(hashes)] = True
        return cls(old=old, hashes=hashes[order], offsets=order * WINDOW, filter=filter_)

    def matches(self, new: Bytes) -> tuple[Positions, Positions]:
        """Offsets in `new` where a block seems to stand, and where it stands in the base."""
        hashes = _window_hashes(new)
        windows = np.flatnonzero(self.filter[_first(hashes)])
        candidates = hashes[windows]
        blocks = np.minimum(np.searchsorted(self.hashes, candidates), len(self.hashes) - 1)
        equal = self.hashes[blocks] == candidates
        return windows[equal], self.offsets[blocks[equal]]


def _moved(new: Bytes, blocks: _Blocks, start: int, end: int) -> Iterator[Copy]:
    """Content of `new[start:end]` that stands elsewhere in the base.

    The blocks of the base are looked for at every offset by their hashes, as rsync does
    (Tridgell and Mackerras, 1996); a match grows as far as the bytes agree.
    """
    if end - start < 2 * WINDOW or len(blocks.old) < WINDOW:
        return
    windows, offsets = blocks.matches(new[start:end])
    covered = start  # by copies, from here to the left
    for window, offset in zip((windows + start).tolist(), offsets.tolist(), strict=True):
        if window < covered:
            continue
        back = _agreeing(new[covered:window][::-1], blocks.old[:offset][::-1])
        size = back + _agreeing(new[window:end], blocks.old[offset:])
        if size >= WINDOW:
            yield Copy(start=window - back, size=size, offset=offset - back)
            covered = window - back + size


def _window_hashes(data: Bytes) -> Words:
    """Sum of data[i + k] · FACTOR^k over each window i, modulo 2^64, from running sums.

    A false match costs nothing but bytes: the bytes are compared before they are copied.
    """
    terms = data * _powers(FACTOR, len(data))
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)))
    return (sums[WINDOW:] - sums[:-WINDOW]) * _powers(INVERSE, len(data) - WINDOW + 1)


def _first(hashes: Words) -> Words:
    """The upper bits, which depend on every byte of a window."""
    return hashes >> np.uint64(64 - FIRST_BITS)


def _powers(factor: int, count: int) -> Words:
    """1, factor, factor², …, modulo 2^64; each round makes twice as many of them."""
    powers = np.ones(1, np.uint64)
    while len(powers) < count:
        next_power = np.uint64(pow(factor, len(powers), 1 << 64))
        powers = np.concatenate((powers, powers * next_power))
    return powers[:count]


def _agreeing(a: Bytes, b: Bytes) -> int:
    """How many bytes at the start of both are equal."""
    size = min(len(a), len(b))
    for start in range(0, size, AGREE_STEP):
        end = min(start + AGREE_STEP, size)
        differing = np.flatnonzero(a[start:end] != b[start:end])
        if len(differing):
            return start + int(differing[0])
    return size
