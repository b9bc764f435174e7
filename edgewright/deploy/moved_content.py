"""What new content has in common with a base, at the same place or moved. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WINDOW = 64  # bytes that must be equal for content that moved to be found
PIECE = 4 << 20  # bytes that are searched for moved content at a time
FIRST_BITS = 22  # of a hash; few windows of new content share them with a block
FACTOR = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2^64
INVERSE = pow(FACTOR, -1, 1 << 64)

AGREE_STEP = 1 << 14

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Positions = NDArray[np.int64]
Range = tuple[int, int, int]  # start in the new content, size, offset in the base


def common_ranges(content: bytes, base: bytes, *, least: int) -> list[Range]:
    """Ranges of the base in the new content, in order, not overlapping.

    Those at the same place have `least` bytes, those that moved `WINDOW`.
    """
    new, old = np.frombuffer(content, np.uint8), np.frombuffer(base, np.uint8)
    blocks = _Blocks.of(old)
    ranges: list[Range] = []
    covered = 0
    for same in [*_same_place(new, old, least), (len(new), 0, 0)]:
        for start in range(covered, same[0], PIECE):
            ranges += _moved(new, blocks, start, min(start + PIECE, same[0]))
        ranges += [same] if same[1] else []
        covered = same[0] + same[1]
    return ranges


def _same_place(new: Bytes, old: Bytes, least: int) -> list[Range]:
    """Runs of equal bytes at equal offsets, long enough to be worth a copy."""
    size = min(len(new), len(old))
    equal = np.concatenate(([False], new[:size] == old[:size], [False]))
    edges = np.flatnonzero(equal[1:] != equal[:-1])
    return [
        (int(start), int(end - start), int(start))
        for start, end in zip(edges[::2], edges[1::2], strict=True)
        if end - start >= least
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


def _moved(new: Bytes, blocks: _Blocks, start: int, end: int) -> Iterator[Range]:
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
            yield window - back, size, offset - back
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
