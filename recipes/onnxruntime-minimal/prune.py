"""Which kernel sources a reduced build can leave out.

ONNX Runtime compiles every kernel and drops most of them only when it registers them, so
two thirds of a reduced build's time is spent on code that the linker throws away. A source
file is left out if it registers kernels, none of them for a wanted operator, and no source
that stays includes its header. A file left out wrongly is a link error, never a wrong result.
"""

import re
from pathlib import Path

FOLDERS = ("core/providers/cpu", "contrib_ops/cpu")
REGISTRATION = re.compile(r"KERNEL")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
# Serves execution providers in shared libraries, which a minimal build has not.
PROVIDER_BRIDGE = "core/providers/cpu/cpu_provider_shared.cc"


def operator_names(config: str) -> set[str]:
    """Names of the operators of an op config: `domain;opset;Op{types},Op`."""
    names = set()
    for line in config.splitlines():
        if line and not line.startswith("#"):
            operators = re.sub(r"\{.*?\}(?=,[A-Za-z]|$)", "", line.split(";", 2)[2])
            names.update(name.strip() for name in operators.split(","))
    return names


def unused_kernels(root: Path, operators: set[str]) -> list[str]:
    """Source files below `root` (onnxruntime/onnxruntime) that the operators do not need."""
    sources = {
        path.relative_to(root).as_posix()
        for folder in FOLDERS
        for path in (root / folder).rglob("*.cc")
    }
    unused = {name for name in sources if _is_unwanted(root / name, operators)}
    return sorted(_without_included(root, sources, unused))


def _is_unwanted(source: Path, operators: set[str]) -> bool:
    text = source.read_text(errors="replace")
    wanted = re.compile(rf"\b(?:{'|'.join(sorted(operators))})\b")
    return bool(REGISTRATION.search(text)) and not wanted.search(text)


def _without_included(root: Path, sources: set[str], unused: set[str]) -> set[str]:
    """Take back every file whose header is reached from a file that stays."""
    left = set(unused)
    seen: set[str] = set()
    waiting = sorted(sources - left - {PROVIDER_BRIDGE})
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        waiting += _included(root, name)
        source = name.removesuffix(".h") + ".cc"
        if source in left:
            left.discard(source)
            waiting.append(source)
    return left


def _included(root: Path, name: str) -> list[str]:
    """The project's headers that a file includes, relative to `root`."""
    found = []
    for header in INCLUDE.findall((root / name).read_text(errors="replace")):
        for folder in (root, (root / name).parent):
            path = (folder / header).resolve()
            if path.is_file() and path.is_relative_to(root.resolve()):
                found.append(path.relative_to(root.resolve()).as_posix())
                break
    return found
