"""Guest instructions of one inference and of one session load, by function and by operator."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgewright.base.errors import UserError
from edgewright.base.layout import BoardBuild, Resources
from edgewright.base.schema import Document, Part, parse_json
from edgewright.board.profile import Arch, BoardProfile
from edgewright.board.symbols import Function, Symbols, demangle, read_symbols, symbol_file
from edgewright.deploy.smoke import Golden
from edgewright.observe.count.counts import Counts, Guest, Span, count
from edgewright.release.manifest import MANIFEST, read_manifest
from edgewright.release.run_file import GOLDEN, MODEL

RUN = "_ZN7OrtApis3RunE"  # where each inference starts
INPUT = ("_ZN4edge10load_input",)  # no part of a session's load
COMPUTE = "7ComputeEPNS_15OpKernelContextE"  # how the name of a kernel's Compute(context) ends
OPERATOR = re.compile(r"(\w+)(?:<.*>)?::Compute$")
MARKS = 3  # a first inference, then a steady one: from mark 2 to mark 3
FIRST, STEADY = 1, 2  # columns
NO_NAME = "(no name)"


@dataclass(frozen=True, kw_only=True)
class Program:
    """An `edge-infer`, the file with its symbols, and the model and input that it infers."""

    arch: Arch
    cpu: str  # QEMU's model of it
    binary: Path
    symbols: Path
    options: tuple[str, ...]  # of `edge-infer`: what it runs, and how
    model: Path  # .ort
    inputs: tuple[Path, ...]  # an image, or a file for each tensor


def program_of_release(
    folder: Path, profile: BoardProfile, out: BoardBuild, binary: Path | None = None
) -> Program:
    """The program of a release, or `binary`, with the release's model and first golden image.

    Raises UserError if the program's symbols are not in the build folder.
    """
    binary = binary or folder / "bin" / "edge-infer"
    return Program(
        arch=profile.abi.arch,
        cpu=profile.qemu_cpu,
        binary=binary,
        symbols=symbol_file(binary, out.symbols, out.root.name),
        options=read_manifest(folder / MANIFEST).run_options(str(folder)),
        model=folder / MODEL,
        inputs=_golden_inputs(folder / GOLDEN),
    )


def _golden_inputs(golden: Path) -> tuple[Path, ...]:
    """The first picture of a golden set; of one that has none, the files of its first case."""
    if pictures := sorted(golden.glob("*.png")):
        return (pictures[0],)
    path = golden / "expected.json"
    expected = parse_json(Golden, path.read_bytes(), str(path), "is not a golden set")
    return tuple(golden / name for name in expected.cases[0].files)


class Cost(Part):
    """A function or an operator, and its part of one inference."""

    name: str
    calls: int = 1  # nodes, for operators
    instructions: int
    share: float  # of the inference


class InstructionReport(Document):
    """The cost of one program on one thread and batch 1, counted, not timed."""

    version: Literal[1] = 1
    board: str
    cpu: str = ""  # QEMU's model of the core that it was counted on
    program: Path
    model: Path
    load: int  # instructions, from the start of the process to its first inference
    first_inference: int
    inference: int  # a later one: they are alike
    functions: tuple[Cost, ...]  # the dearest first
    operators: tuple[Cost, ...]
    nodes: tuple[Cost, ...]  # in the order of execution


def measure(program: Program, board: str, resources: Resources) -> InstructionReport:
    """Count one program. Raises UserError if it does not run, or holds no runtime of ours."""
    symbols = read_symbols(program.symbols)
    counts = count(guest_of(program), resources)
    # Before the first inference the program also reads its image, which is no part of a load.
    starts = {function.address for name in INPUT for function in symbols.named(name)}
    before = _in_column(counts.spans, 0)
    reading_image = sum(span.instructions for span in before if span.address in starts)
    return InstructionReport(
        board=board,
        cpu=program.cpu,
        program=program.binary,
        model=program.model,
        load=counts.total(0) - reading_image,
        first_inference=counts.total(FIRST),
        inference=counts.total(STEADY),
        functions=tuple(by_function(counts, symbols)),
        operators=tuple(by_operator(counts, symbols)),
        nodes=tuple(by_node(counts, symbols)),
    )


def guest_of(program: Program, *, caches: bool = False) -> Guest:
    """The guest of a program, with marks between load, first and steady inference."""
    symbols = read_symbols(program.symbols)
    # One thread, whatever the release says: several would wait for each other, and the counts
    # would not repeat.
    argv = [str(program.binary), "bench", *program.options, "--threads", "1"]
    argv += ["--image", ",".join(map(str, program.inputs)), "--warmup", "0"]
    return Guest(
        arch=program.arch,
        cpu=program.cpu,
        argv=[*argv, "--runs", str(MARKS)],
        mark=_single(symbols, RUN).address,
        marks=MARKS,
        spans=[*operators(symbols), *(f.address for name in INPUT for f in symbols.named(name))],
        caches=caches,
    )


def _single(symbols: Symbols, prefix: str) -> Function:
    functions = symbols.named(prefix)
    if len(functions) != 1:
        problem = f"{len(functions)} functions named {prefix}…, expected 1"
        raise UserError(str(symbols.path), problem)
    return functions[0]


def operators(symbols: Symbols) -> dict[int, str]:
    """Address → operator, of the functions that compute one node each."""
    kernels = {f.address: f.name for f in symbols.functions if f.name.endswith(COMPUTE)}
    plain = demangle(kernels.values())
    matches = ((address, OPERATOR.search(plain[name])) for address, name in kernels.items())
    return {address: match[1] for address, match in matches if match}


def by_function(counts: Counts, symbols: Symbols) -> Iterable[Cost]:
    """The steady inference, by function."""
    spent: Counter[str] = Counter()
    for block in counts.blocks:
        function = symbols.at(block.address)
        spent[function.name if function else NO_NAME] += block.instructions * block.executed[STEADY]
    plain = demangle(spent)
    # Instances of one template become one name, without their parameters.
    merged: Counter[str] = Counter()
    for name, instructions in spent.items():
        merged[plain[name]] += instructions
    return _costs(merged, counts.total(STEADY))


def by_operator(counts: Counts, symbols: Symbols) -> Iterable[Cost]:
    """The steady inference, by operator; the executor's own work counts for the node before."""
    spent, nodes = Counter[str](), Counter[str]()
    for cost in by_node(counts, symbols):
        spent[cost.name] += cost.instructions
        nodes[cost.name] += 1
    return _costs(spent, counts.total(STEADY), nodes)


def by_node(counts: Counts, symbols: Symbols) -> Iterable[Cost]:
    """The steady inference, node by node."""
    names, total = operators(symbols), counts.total(STEADY)
    for span in _in_column(counts.spans, STEADY):
        if span.address in names:
            yield _cost(names[span.address], span.instructions, total)


def _in_column(spans: Iterable[Span], column: int) -> Iterable[Span]:
    return (span for span in spans if span.column == column)


def _costs(spent: Counter[str], total: int, calls: Counter[str] | None = None) -> Iterable[Cost]:
    for name, instructions in spent.most_common():
        if instructions:
            yield _cost(name, instructions, total, calls[name] if calls else 1)


def _cost(name: str, instructions: int, total: int, calls: int = 1) -> Cost:
    share = round(instructions / total, 5)
    return Cost(name=name, calls=calls, instructions=instructions, share=share)
