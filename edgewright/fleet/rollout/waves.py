"""Which board comes in which wave: fixed when a rollout is planned.

A wave is written as what runs the release after it: `10,5%,25%,100%` is ten boards, then as many
as make 5 % of all, 25 %, all.
"""

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from edgewright.base.errors import UserError

WAVE = re.compile(r"([1-9][0-9]{0,6})(%?)")
MOST = 50  # waves
DURATION = re.compile(r"([0-9]{1,6})(s|m|h|d)")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def ends(text: str, boards: int) -> tuple[int, ...]:
    """How many of so many boards run the release after each wave.

    Raises UserError for a plan that does not come to all boards, or has a wave without any.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(WAVE.fullmatch(word) for word in words) or len(words) > MOST:
        raise _wrong(text, "expected numbers of boards, and shares of all, e.g. 10,25%,100%", ())
    counts = [_count(word, boards) for word in words]
    facts = [
        f"wave {number}: {word} of {boards} boards are {count}"
        for number, (word, count) in enumerate(zip(words, counts, strict=True), 1)
    ]
    rises = all(before < after for before, after in zip([0, *counts], counts, strict=False))
    if not rises:
        raise _wrong(text, "a wave adds no board to the one before it", facts)
    if counts[-1] != boards:
        raise _wrong(text, "the last wave does not come to all boards", facts)
    return tuple(counts)


def _count(word: str, boards: int) -> int:
    number, percent = int(word.rstrip("%")), word.endswith("%")
    return math.ceil(boards * number / 100) if percent else number


def _wrong(text: str, problem: str, facts: Sequence[str]) -> UserError:
    next = "the same command with --waves=100%, or with waves that rise to it"
    return UserError(f"--waves={text}", problem, facts=facts, next=next)


def assign(sites: Mapping[str, str], wave_ends: Sequence[int], salt: str) -> dict[str, int]:
    """The wave of each board, in the order in which boards are taken; `sites` has each one's site.

    Each wave has of each site what is its share, give or take one. Within a site the order is that
    of a salted hash: it says nothing about names, dates or addresses, and is the same each time.
    """
    by_site: dict[str, list[str]] = defaultdict(list)
    for board in sorted(sites, key=lambda board: _hash(salt, board)):
        by_site[sites[board]].append(board)
    places = {
        board: (rank + _hash(salt, site) / (1 << 64)) / len(boards)
        for site, boards in by_site.items()
        for rank, board in enumerate(boards)
    }
    order = sorted(places, key=lambda board: (places[board], _hash(salt, board)))
    starts = [0, *wave_ends]
    return {
        board: wave
        for wave, (start, end) in enumerate(zip(starts, wave_ends, strict=False), 1)
        for board in order[start:end]
    }


def _hash(salt: str, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{salt}\0{name}".encode()).digest()[:8])


def seconds(text: str, option: str) -> float:
    """`90s`, `10m`, `2h`, `1d` in seconds. Raises UserError."""
    match = DURATION.fullmatch(text)
    if match is None:
        raise UserError(
            f"{option}={text}", "expected a duration", next=f"the same command with {option}=10m"
        )
    return float(int(match[1]) * SECONDS[match[2]])
