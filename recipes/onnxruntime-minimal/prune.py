"""Which sources a reduced build can leave out.

ONNX Runtime compiles every kernel and all of its libraries; a linker takes a quarter of that into
a program with fourteen operators. `links.txt` tells what it takes: which sources every program
holds, and which others each source needs. So a build compiles the sources that every program
holds, those that register a wanted operator, and what these need. Of kernels that `links.txt`
does not know the headers tell what they need; other sources that it does not know are compiled.
One left out wrongly is a link error, never a wrong result.

A build with `sources=all` writes such a file for its board, by `links_of`; `links.txt` is those
of an armhf board with the NEON kernels and of an arm64 one, `sort -u`. `links.xnnpack.txt` is the
same of builds with XNNPACK's provider, which hold what partitions a graph at load.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Names of sources are relative to the folder that holds the sources and the build.
ORT = "src/onnxruntime/onnxruntime"
ENTRY = f"{ORT}/core/session/onnxruntime_c_api.cc"  # defines OrtGetApiBase
KERNELS = (f"{ORT}/core/providers/cpu", f"{ORT}/contrib_ops/cpu")
REGISTRATION = re.compile(r"KERNEL\w*\s*\(([^()]*)")
REGISTRARS = re.compile(r"/cpu_(execution_provider|contrib_kernels)\.cc$")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
ALWAYS = "*"


@dataclass(frozen=True, kw_only=True)
class Links:
    """What a linker takes."""

    always: frozenset[str] = frozenset()  # in every program
    needs: Mapping[str, frozenset[str]] = field(default_factory=dict)  # beside these

    def text(self) -> str:
        """The lines of `links.txt`."""
        lines = {**{name: [ALWAYS] for name in self.always}, **self.needs}
        return "".join(" ".join([f"{n}:", *sorted(lines[n])]) + "\n" for n in sorted(lines))


def read_links(text: str) -> Links:
    """`links.txt`: `source: *` where every program holds it, else `source: source…`.

    Lines of several processors stand side by side: all that any of them tells of a source holds.
    """
    needs = defaultdict(set)
    for line in text.splitlines():
        name, needed = line.split(":", 1)
        needs[name] |= set(needed.split())
    always = frozenset(name for name in needs if ALWAYS in needs[name])
    known = {name: frozenset(needs[name] - {ALWAYS}) for name in needs}
    return Links(always=always, needs={n: known[n] for n in known if known[n] or n not in always})


def unused_sources(root: Path, links: Links, operators: set[str]) -> list[str]:
    """Sources below `root` that a program with these operators does not hold."""
    kernels = _kernels(root)
    optional = (set(links.needs) | kernels) - links.always
    wanted = {name for name in kernels if _operators(root / name) & operators}

    def needs(name: str) -> Iterable[str]:
        if name in links.needs or name in links.always:
            return links.needs.get(name, ())
        return _needs_by_headers(root, name) & optional

    return sorted(optional - _reached(links.always | wanted, needs))


def operator_names(config: str) -> set[str]:
    """Names of the operators of an op config: `domain;opset;Op{types},Op`."""
    names = set()
    for line in config.splitlines():
        if line and not line.startswith("#"):
            operators = re.sub(r"\{.*?\}(?=,[A-Za-z]|$)", "", line.split(";", 2)[2])
            names.update(name.strip() for name in operators.split(","))
    return names


def layout_operators(header: str) -> set[str]:
    """Operators that ONNX Runtime may add where a provider changes a graph's layout at load.

    From the text of `layout_transformation_potentially_added_ops.h`.
    """
    return set(re.findall(r'\{k\w+Domain, "(\w+)", \d+\}', header))


def _kernels(root: Path) -> set[str]:
    """Kernels and their helpers; not the lists of all kernels, which every program holds."""
    paths = (path for folder in KERNELS for path in (root / folder).rglob("*.cc"))
    names = {path.relative_to(root).as_posix() for path in paths}
    return {name for name in names if not REGISTRARS.search(name)}


def _operators(source: Path) -> set[str]:
    """Words in a source's registrations of kernels: the operators' names are among them."""
    text = source.read_text(errors="replace")
    arguments = REGISTRATION.findall(text)
    return {word for argument in arguments for word in re.findall(r"\w+", argument)}


def _needs_by_headers(root: Path, name: str) -> set[str]:
    """The sources that belong to a source's headers, and to the headers of these."""
    includes = _reached(_included(root, name), lambda header: _included(root, header))
    sources = {header.removesuffix(".h") + ".cc" for header in includes}
    return {source for source in sources if (root / source).is_file()}


def _included(root: Path, name: str) -> Iterator[str]:
    """The project's headers that a file includes."""
    for header in INCLUDE.findall((root / name).read_text(errors="replace")):
        for folder in (root / ORT, (root / name).parent):
            path = (folder / header).resolve()
            if path.is_file() and path.is_relative_to(root.resolve()):
                yield path.relative_to(root.resolve()).as_posix()
                break


def _reached(roots: Iterable[str], needs: Callable[[str], Iterable[str]]) -> set[str]:
    """The roots and all that they need, and so on."""
    reached: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += needs(name)
    return reached


def links_of(root: Path, symbols: Mapping[str, "Symbols"]) -> Links:
    """Links of the sources below `root` whose objects have these symbols.

    A symbol that several sources define leads to each of them. Kernels are not followed from
    where all are registered: the op config tells which are.
    """
    definers = defaultdict(set)
    for name, of_source in symbols.items():
        for symbol in of_source.defined:
            definers[symbol].add(name)
    needs = {
        name: {to for symbol in of_source.undefined for to in definers[symbol]} - {name}
        for name, of_source in symbols.items()
    }
    kernels = {name for name in _kernels(root) if _operators(root / name)}
    for name in filter(REGISTRARS.search, needs):
        needs[name] -= kernels
    always = _reached([ENTRY], lambda name: needs.get(name, ()))
    others = {name: frozenset(needs[name] - always) for name in set(needs) - always}
    return Links(always=frozenset(always), needs=others)


@dataclass(kw_only=True)
class Symbols:
    """Those of one object that other objects define, and those that they may use."""

    defined: set[str] = field(default_factory=set)
    undefined: set[str] = field(default_factory=set)


def read_symbols(objects: Iterable[str], listing: Iterable[str]) -> dict[str, Symbols]:
    """Object → symbols, from the output of `nm --print-file-name --format=posix`."""
    symbols = {name: Symbols() for name in objects}
    for name, symbol, kind in _columns(listing):
        if kind == "U":
            symbols[name].undefined.add(symbol)
        elif kind.isupper() or kind == "u":
            symbols[name].defined.add(symbol)
    return symbols


def _columns(listing: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    for line in listing:
        name, rest = line.split(": ", 1)
        symbol, kind = rest.split()[:2]
        yield name, symbol, kind
