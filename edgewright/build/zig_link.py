"""Links what zig compiled, by the builder's GNU ld and with the libraries that zig brings.

zig's own linker refuses much of what recipes ask of GNU ld, merges no objects for an archive, and
leaves the paths of its cache in what it links. This file is copied beside the programs that stand
for the compiler, and run by the builder's Python: it imports nothing of edgewright.

    zig_link.py LINKER LOADER COMPILER… -- WORDS…    (the words are those of GCC's command line)
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SOURCES = frozenset(
    {
        *(".c", ".i", ".s", ".S", ".sx"),
        *(".C", ".CPP", ".c++", ".cc", ".cp", ".cpp", ".cxx", ".ii"),
    }
)
# Of the compiler: the next word belongs to it.
IN_TWO_WORDS = frozenset(
    {
        *("-D", "-I", "-MF", "-MJ", "-MQ", "-MT", "-U", "-idirafter", "-imacros", "-include"),
        *("-iprefix", "-iquote", "-isysroot", "-isystem", "-iwithprefix", "-iwithprefixbefore"),
        *("-x", "--param", "-Xassembler", "-Xclang", "-Xpreprocessor"),
    }
)
REFUSED = frozenset({"-nolibc", "-nostartfiles", "-nostdlib++", "-static-pie"})
LINKED_IN_TWO_WORDS = frozenset({"-L", "-T", "-e", "-o", "-u", "-z"})
FOR_LINKER = frozenset({"-pie", "-r", "-rdynamic", "-s", "-shared", "-static"})
# They are in musl, in zig's compiler_rt, or beside libc among what is linked anyway.
INSIDE = frozenset({"atomic", "c", "dl", "gcc", "gcc_eh", "gcc_s", "m", "pthread", "rt", "stdc++"})
ALONE = frozenset({"-nodefaultlibs", "-nostdlib", "-r"})  # without libraries of the compiler's
# musl gives a thread 128 KiB unless a file that is loaded asks for more; glibc gives as much.
STACK_BYTES = 8 << 20
DEFAULTS = ("--eh-frame-hdr", "--hash-style=gnu", "-z", f"stack-size={STACK_BYTES}")


@dataclass
class Command:
    """A command line of GCC that links, sorted by who understands which word."""

    compiler: list[str] = field(default_factory=list)
    linker: list[str] = field(default_factory=list)  # inputs among them, in their order
    sources: list[str] = field(default_factory=list)  # of the inputs, those to be compiled
    inside: list[str] = field(default_factory=list)  # words that name libraries of `INSIDE`
    is_alone: bool = False

    @property
    def folder(self) -> str:
        """Which of zig's libraries are linked."""
        return "static" if "-static" in self.linker else "shared"


def parse(words: Sequence[str]) -> Command:
    """Raises SystemExit for what is not done."""
    command = Command()
    remaining = iter(words)
    for word in remaining:
        if word in REFUSED:
            raise SystemExit(f"{word}: not done with zig as the compiler")
        if word in IN_TWO_WORDS:
            command.compiler += [word, next(remaining, "")]
        elif word.startswith("-l"):
            name = word[2:] or next(remaining, "")
            (command.inside if name in INSIDE else command.linker).append(f"-l{name}")
        elif word.startswith("-"):
            if linked := [*_linker_words(word, remaining)]:
                command.linker += linked
            else:
                command.compiler.append(word)
            command.is_alone |= word in ALONE
        else:
            command.linker.append(word)
            if Path(word).suffix in SOURCES:
                command.sources.append(word)
    if command.is_alone and command.inside:
        named = " ".join(command.inside)
        raise SystemExit(f"{named}: not done with zig as the compiler beside -nodefaultlibs or -r")
    return command


def _linker_words(word: str, remaining: Iterator[str]) -> Iterator[str]:
    if word.startswith("-Wl,"):
        yield from word.split(",")[1:]
    elif word == "-Xlinker":
        yield next(remaining, "")
    elif word in LINKED_IN_TWO_WORDS:
        yield from (word, next(remaining, ""))
    elif word in FOR_LINKER:
        yield {"-rdynamic": "--export-dynamic"}.get(word, word)
    elif word.startswith(("-L", "-u")):
        yield word


def arguments(command: Command, zig: Path, loader: str) -> list[str]:
    """Those of GNU ld. `zig` is the folder with the libraries."""
    if command.is_alone:
        return command.linker
    libraries = zig / command.folder
    is_program = "-shared" not in command.linker
    start = [libraries / ("Scrt1.o" if "-pie" in command.linker else "crt1.o")]
    dynamic = [f"--dynamic-linker={loader}"] if command.folder == "shared" else []
    archives = sorted(libraries.glob("*.a"))
    return [
        *DEFAULTS,
        *(dynamic if is_program else ()),
        *(map(str, start) if is_program else ()),
        str(libraries / "crtbegin.o"),
        *command.linker,
        "--start-group",
        *map(str, archives),
        "--end-group",
        "--as-needed",
        *map(str, sorted(libraries.glob("*.so*"))),
    ]


def main(words: Sequence[str]) -> int:
    (linker, loader, *compiler), command_line = _split(words)
    command = parse(command_line)
    zig = Path(__file__).parent
    if not any(not word.startswith("-") for word in command.linker):
        return subprocess.call([*compiler, *command_line])  # a question, such as --version
    with tempfile.TemporaryDirectory() as scratch:
        for number, source in enumerate(command.sources):
            compiled = f"{scratch}/{number}.o"
            argv = [*compiler, *command.compiler, "-c", source, "-o", compiled]
            if code := subprocess.call(argv):
                return code
            command.linker = [compiled if word == source else word for word in command.linker]
        return subprocess.call([linker, *arguments(command, zig, loader)])


def _split(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    end = words.index("--")
    return words[:end], words[end + 1 :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
