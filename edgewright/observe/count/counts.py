"""Count exactly what a guest program executes, by a plugin of QEMU's user-mode emulation.

A plugin sees every block of code once when it is translated, and counts it inline from then on;
sampling would be neither exact nor the same twice.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgewright.base import digest, process
from edgewright.base.errors import UserError
from edgewright.base.files import replacing
from edgewright.base.layout import Resources, user_cache
from edgewright.board.cores import ANY_CORE
from edgewright.board.profile import Arch

COMPILER = "cc"
EMULATORS = {Arch.ARMHF: "qemu-arm", Arch.ARM64: "qemu-aarch64"}
FLAGS = ("-shared", "-fPIC", "-O2", "-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden")


@dataclass(frozen=True, kw_only=True)
class Block:
    """Instructions that run one after the other."""

    address: int
    instructions: int
    code: bytes
    executed: tuple[int, ...]  # times, in each column


@dataclass(frozen=True, kw_only=True)
class Span:
    """What ran from one listed address to the next."""

    column: int
    address: int
    instructions: int


@dataclass(frozen=True, kw_only=True)
class Misses:
    """Of the data caches of a Cortex-A53 (32 KiB 4-way, 512 KiB 16-way, 64-byte lines).

    A streamed miss follows another one on a neighbouring line: a prefetcher sees it come.
    """

    accesses: int
    l1_streamed: int
    l1_other: int
    l2_streamed: int
    l2_other: int


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """A part of a file that the guest could run code of."""

    start: int
    end: int
    offset: int  # in the file
    path: Path


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counts of one run. Column 0 is all before the first mark, column n all from mark n on."""

    blocks: tuple[Block, ...]
    spans: tuple[Span, ...]
    misses: tuple[Misses, ...]  # by column; () for a guest without `caches`
    maps: tuple[Mapped, ...]

    def total(self, column: int) -> int:
        """Instructions in one column."""
        return sum(block.instructions * block.executed[column] for block in self.blocks)


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A program to count."""

    arch: Arch
    argv: Sequence[str]
    cpu: str = ANY_CORE  # QEMU's model of it
    mark: int = 0  # address of a function; 0: none
    mark_syscall: int | None = None  # a system call, in place of an address
    marks: int = 0  # the program is ended when it reaches the mark for the n-th time
    spans: Sequence[int] = ()  # addresses of functions
    caches: bool = False  # follow the data caches too, which is slow
    env: Mapping[str, str] = field(default_factory=dict)


def tools(arch: Arch) -> tuple[str, str]:
    """The programs that counting needs on this machine."""
    return COMPILER, EMULATORS[arch]


def plugin(resources: Resources) -> Path:
    """The plugin, compiled into the user's cache if it is not there."""
    code = resources.counts_plugin
    library = user_cache() / "bench" / f"counts-{digest.file_sha256(code)[:16]}.so"
    if not library.is_file():
        with replacing(library) as aside:
            process.check([COMPILER, *FLAGS, str(code), "-o", str(aside)])
    return library


def count(guest: Guest, resources: Resources) -> Counts:
    """Run a program to its last mark, or to its end.

    Raises UserError if it ends before its last mark, ChildFailed if it does not end well.
    """
    with tempfile.TemporaryDirectory(prefix="edgewright-counts-") as scratch:
        out, spans = Path(scratch) / "counts", Path(scratch) / "spans"
        spans.write_text("".join(f"{address:x}\n" for address in guest.spans))
        options = [f"out={out}", f"spans={spans}"]
        options += [f"marks={guest.marks}", f"mark={guest.mark:x}"]
        options += [] if guest.mark_syscall is None else [f"syscall={guest.mark_syscall}"]
        options += ["caches=on"] if guest.caches else []
        emulator = [
            EMULATORS[guest.arch],
            "-cpu",
            guest.cpu,
            "-plugin",
            ",".join([str(plugin(resources)), *options]),
        ]
        process.check([*emulator, *guest.argv], env=guest.env)
        counts = parse(out.read_text())
    # Without its marks a run has fewer columns, and a steady inference would be read from none.
    columns = len(counts.blocks[0].executed) - 1 if counts.blocks else 0
    if columns < guest.marks:
        raise UserError(
            process.quote(guest.argv),
            f"came to its mark {columns} times",
            facts=[f"expected: {guest.marks} times at {guest.mark:#x}"],
        )
    return counts


def parse(text: str) -> Counts:
    """Read the plugin's output; `bench/plugin/counts.c` describes its format."""
    records = [line.split(" ") for line in text.splitlines()]
    return Counts(
        blocks=tuple(_blocks(records)),
        spans=tuple(
            Span(column=int(column), address=int(address, 16), instructions=int(instructions))
            for kind, column, address, instructions in (r for r in records if r[0] == "span")
        ),
        misses=tuple(
            Misses(accesses=a, l1_streamed=b, l1_other=c, l2_streamed=d, l2_other=e)
            for a, b, c, d, e in (map(int, r[2:]) for r in records if r[0] == "cache")
        ),
        maps=tuple(
            Mapped(start=int(r[1], 16), end=int(r[2], 16), offset=int(r[3], 16), path=Path(r[4]))
            for r in records
            if r[0] == "map"
        ),
    )


def _blocks(records: list[list[str]]) -> Iterator[Block]:
    for kind, *values in records:
        if kind == "block":
            address, instructions, code, *columns = values
            yield Block(
                address=int(address, 16),
                instructions=int(instructions),
                code=bytes.fromhex(code),
                executed=tuple(map(int, columns)),
            )
