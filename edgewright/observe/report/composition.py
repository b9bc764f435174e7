"""What files are made of: a program by component and source, a network by operator and node.

The bytes of a program follow from its symbols.

An object's local symbols follow the name of its source in the symbol table, and the assembler
marks each stretch of code and data by such a symbol (`$t`, `$d`, `$x`: ELF for the Arm
Architecture, "mapping symbols"). So all bytes between two of them are the object's. Nothing of
this needs debug information, which ONNX Runtime is built without.
"""

import bisect
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from pathlib import Path, PurePosixPath

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from edgewright.base.schema import Part, Shown
from edgewright.board.symbols import STT_FUNC, THUMB, Symbol, symbol_table
from edgewright.model.convert.ort_sizes import node_sizes

STT_SECTION, STT_FILE = 3, 4
SHN_LORESERVE = 0xFF00  # from here on a section's number means something else
MERGED = "strings and tables, merged by the linker"
FORMAT = "ELF headers and padding"
OPERATORS = "operators"
GRAPH = "graph: nodes, names, shapes, and constants that no node takes"
SMALL_BYTES = 256  # sources and nodes that take less are added up

ONNXRUNTIME, MLAS = "ONNX Runtime", "MLAS"
# Component → what its functions' linked names hold; the first that fits counts.
NAMESPACES = (
    ("edge-infer", re.compile(r"(?<!\d)4edge")),
    ("edgewright's kernels", re.compile(r"10edgewright")),
    ("ONNX", re.compile(r"^_ZT?[A-Z]*K?4onnx")),
    (ONNXRUNTIME, re.compile(r"11onnxruntime|^Ort|^_ZN?K?\d*Ort")),
    ("Protocol Buffers", re.compile(r"6google8protobuf")),
    ("Abseil", re.compile(r"4absl")),
    ("FlatBuffers", re.compile(r"11flatbuffers")),
    (MLAS, re.compile(r"Mlas|MLAS")),
    ("C++ library", re.compile(r"^_Z|^__cxa|^__gxx|^_Unwind")),
)
# Component → names of its sources, where functions have no namespace.
SOURCES = (
    (MLAS, re.compile(r".*\.S\.o")),
    ("C library", re.compile(r".*\.o|crtstuff\.c")),
    ("libjpeg-turbo", re.compile(r"j[a-z0-9-]+\.c")),
    ("libspng", re.compile(r"spng\.c")),
    ("yyjson", re.compile(r"yyjson\.c")),
    ("zlib", re.compile(r"(adler32|compress|crc32|deflate|inf[a-z0-9]+|trees|uncompr|zutil)\.c")),
)
REGISTERED = re.compile(r"k[A-Za-z]+ExecutionProvider_([A-Za-z0-9]+)_k[A-Za-z]+Domain")


class FilePart(Shown, Part):
    """A part of a file: a component down to its sources, or an operator down to its nodes."""

    name: str
    bytes: int
    parts: tuple["FilePart", ...] = ()


class Composition(Shown, Part):
    """All bytes of one file, a program's or the network's; the largest part first."""

    path: str  # in the release
    bytes: int
    parts: tuple[FilePart, ...]


@dataclass(kw_only=True)
class CompiledObject:
    """What the linker took of one compiled source."""

    source: str  # the file's name, without its folder; "" of what the linker made itself
    bytes: int = 0
    functions: list[Symbol] = field(default_factory=list)

    @property
    def component(self) -> str:
        if not self.source:
            return MERGED
        weights: Counter[str] = Counter()
        for function in self.functions:
            for component, pattern in NAMESPACES:
                if pattern.search(function.name):
                    weights[component] += max(function.size, 1)
                    break
        if weights:
            return weights.most_common(1)[0][0]
        names = (component for component, names in SOURCES if names.fullmatch(self.source))
        return next(names, "other")

    @property
    def operators(self) -> tuple[str, ...]:
        """Those that it registers with ONNX Runtime."""
        names = (REGISTERED.search(function.name) for function in self.functions)
        return tuple(sorted({match[1] for match in names if match}))


def composition(path: str, program: Path, symbols: Path, folders: Mapping[str, str]) -> Composition:
    """Of the program that is `path` in its release.

    `symbols` is the file with its symbol table, `folders` that of each source of ONNX Runtime's.
    """
    total = program.stat().st_size
    objects = read_objects(program, symbols)
    components: dict[str, list[CompiledObject]] = defaultdict(list)
    for item in objects:
        components[item.component].append(item)
    parts = [
        FilePart(
            name=name,
            bytes=sum(item.bytes for item in items),
            parts=_groups(items, folders) if name == ONNXRUNTIME else _sources(items),
        )
        for name, items in components.items()
    ]
    parts.append(FilePart(name=FORMAT, bytes=total - sum(item.bytes for item in objects)))
    return Composition(path=path, bytes=total, parts=_ordered(parts))


def network_composition(path: str, model: Path) -> Composition:
    """Of the network that is `path` in its release: constants by the operators and nodes that take
    them, each by the first one. Raises UserError for what is no ORT-format model."""
    operators: dict[str, Counter[str]] = defaultdict(Counter)
    for node in node_sizes(model):
        operators[node.operator][node.name] += node.bytes
    parts = [
        FilePart(name=name, bytes=nodes.total(), parts=_large_and_small(nodes, "nodes"))
        for name, nodes in operators.items()
        if nodes.total()
    ]
    total = model.stat().st_size
    parts.append(FilePart(name=GRAPH, bytes=total - sum(part.bytes for part in parts)))
    return Composition(path=path, bytes=total, parts=_ordered(parts))


def runtime_folders(links: Path) -> dict[str, str]:
    """Name of each source of ONNX Runtime → what part of it that is of, by `links.txt`.

    A name that several folders have is left out.
    """
    folders: dict[str, set[str]] = defaultdict(set)
    for line in links.read_text().splitlines():
        place = PurePosixPath(line.partition(":")[0])
        match = re.search(r"onnxruntime/onnxruntime/(?:core/)?([a-z_]+)/", str(place))
        if match:
            is_operator = match[1] in ("contrib_ops", "providers")
            folders[place.name].add(OPERATORS if is_operator else match[1])
    return {name: next(iter(parts)) for name, parts in folders.items() if len(parts) == 1}


def read_objects(program: Path, symbols: Path) -> list[CompiledObject]:
    """What of the program's file is of which object; those without a byte are left out."""
    with symbols.open("rb") as table, program.open("rb") as stream:
        elf = ELFFile(table)
        sections = [
            (number, section["sh_addr"], section["sh_addr"] + section["sh_size"])
            for number, section in enumerate(ELFFile(stream).iter_sections())
            if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_type"] != "SHT_NOBITS"
        ]
        thumb = THUMB if elf["e_machine"] == "EM_ARM" else 0
        return divide(symbol_table(elf), sections, thumb)


def divide(
    table: Iterable[Symbol], sections: Iterable[tuple[int, int, int]], thumb: int
) -> list[CompiledObject]:
    """The bytes of sections, each a number, first address and end, among objects."""
    objects, marks = _marks(table, thumb)
    for number, start, end in sections:
        _add_bytes(marks.get(number, ()), start, end, objects[0])
    return [item for item in objects if item.bytes]


# The first address of a stretch, and the object that it is of.
Mark = tuple[int, CompiledObject]


def _marks(
    table: Iterable[Symbol], thumb: int
) -> tuple[list[CompiledObject], dict[int, list[Mark]]]:
    """All objects with their functions, the linker's own first, and their marks by section."""
    current = linker = CompiledObject(source="")
    objects, functions = [linker], list[Symbol]()
    marks = defaultdict[int, list[Mark]](list)
    for symbol in table:
        if symbol.kind == STT_FILE:
            current = CompiledObject(source=symbol.name) if symbol.name else linker
            objects += [current] if symbol.name else []
        elif symbol.section < SHN_LORESERVE and symbol.kind != STT_SECTION:
            functions += [symbol] if symbol.kind == STT_FUNC else []
            if symbol.is_local:
                marks[symbol.section].append((_address(symbol, thumb), current))
    for of_section in marks.values():
        # Where the linker put a name at an object's begin, the object counts: it comes last.
        of_section.sort(key=lambda mark: (mark[0], bool(mark[1].source)))
    for function in functions:
        of_section = marks.get(function.section, [])
        place = bisect.bisect_right(of_section, _address(function, thumb), key=itemgetter(0)) - 1
        if place >= 0:
            of_section[place][1].functions.append(function)
    return objects, marks


def _address(symbol: Symbol, thumb: int) -> int:
    return symbol.value & ~thumb if symbol.kind == STT_FUNC else symbol.value


def _add_bytes(marks: Sequence[Mark], start: int, end: int, linker: CompiledObject) -> None:
    """Each stretch of a section from `start` to `end` to its object."""
    inside = [(start, linker), *(mark for mark in marks if start <= mark[0] < end)]
    for (first, owner), (following, _) in pairwise([*inside, (end, linker)]):
        owner.bytes += following - first


def _groups(objects: Sequence[CompiledObject], folders: Mapping[str, str]) -> tuple[FilePart, ...]:
    """The runtime by its parts; operators by what they register."""
    groups = defaultdict[str, list[CompiledObject]](list)
    for item in objects:
        group = folders.get(item.source, "other")
        groups[OPERATORS if item.operators else group].append(item)
    return _ordered(
        FilePart(name=name, bytes=sum(item.bytes for item in items), parts=_sources(items))
        for name, items in groups.items()
    )


def _sources(objects: Iterable[CompiledObject]) -> tuple[FilePart, ...]:
    """One part a source; two of one name are one."""
    sizes = Counter[str]()
    for item in objects:
        operators = f"{', '.join(item.operators)}: " if item.operators else ""
        sizes[operators + item.source] += item.bytes
    return _large_and_small(sizes, "sources")


def _large_and_small(sizes: Mapping[str, int], kind: str) -> tuple[FilePart, ...]:
    """What takes little is added up; one part alone is none."""
    large = {name: size for name, size in sizes.items() if size >= SMALL_BYTES}
    parts = [FilePart(name=name, bytes=size) for name, size in large.items()]
    if small := sum(sizes.values()) - sum(large.values()):
        parts.append(FilePart(name=f"{len(sizes) - len(large)} small {kind}", bytes=small))
    return _ordered(parts) if len(parts) > 1 else ()


def _ordered(parts: Iterable[FilePart]) -> tuple[FilePart, ...]:
    return tuple(sorted(parts, key=lambda part: (-part.bytes, part.name)))
