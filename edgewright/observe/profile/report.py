"""What `profile` says: how often which calls were met."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from edgewright.base.schema import Document, Part, Shown
from edgewright.observe.board_stream import Ending


class SampledStack(Shown, Part):
    """A chain of calls, and how often it was met."""

    frames: tuple[str, ...]  # functions, the first one of the thread first
    samples: int


class FunctionShare(Shown, Part):
    """A function in all stacks; what it called is in `total`, in `own` it is not."""

    function: str
    own: int  # samples
    total: int


class ProfileReport(Shown, Document):
    """`invoke profile --json`; the page holds the same."""

    version: Literal[1] = 1
    board: str
    target: str
    emulated: bool  # then shares are of an emulator's time, and say little about a board
    release: str
    model: str
    build_id: str
    run: tuple[str, ...]  # arguments of edge-infer; of a service its command
    is_service: bool  # that ran already
    ended: Ending
    exit_code: int | None  # null where it was made to end
    interval_us: int  # of CPU time, from one sample to the next
    samples: int
    dropped: int | None  # met while another one was written; null: it was made to end
    in_main: int  # samples whose calls lead to main
    in_threads: int  # to the first function of another thread
    unrooted: int  # to neither
    searched: int  # samples with a caller that was found by search, and may be wrong
    threads: int
    functions: tuple[FunctionShare, ...]  # by their own samples
    stacks: tuple[SampledStack, ...]  # the most frequent first
    page: str
    folded: str  # one line a stack, for other tools


def function_shares(stacks: Sequence[SampledStack]) -> tuple[FunctionShare, ...]:
    own, total = Counter[str](), Counter[str]()
    for stack in stacks:
        own[stack.frames[-1]] += stack.samples
        for function in set(stack.frames):  # one that calls itself is met once
            total[function] += stack.samples
    shares = (FunctionShare(function=f, own=own[f], total=total[f]) for f in total)
    return tuple(sorted(shares, key=lambda share: (-share.own, -share.total, share.function)))


def folded(stacks: Sequence[SampledStack]) -> str:
    """`main;edge::execute;… 12`: what flamegraph.pl, speedscope and others read."""
    lines = (
        f"{';'.join(name.replace(';', ':') for name in stack.frames)} {stack.samples}\n"
        for stack in stacks
    )
    return "".join(lines)
