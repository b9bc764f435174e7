"""Stubs of the C library as it was at an older version: what to link against for older boards.

A linker binds a symbol to the newest version that it finds. The stubs have each symbol once, in the
newest version that the floor had, and nothing that came later: what needs more does not link.
"""

import re

# Of `readelf --wide --dyn-syms`: size, type, binding, section, name, version.
LINE = re.compile(
    r"\s*\d+: [0-9a-f]+\s+(?P<size>\S+) (?P<type>FUNC|IFUNC|OBJECT)\s+(?:GLOBAL|WEAK)\s+DEFAULT\s+"
    r"(?P<section>\S+) (?P<name>[^@\s]+)@@?GLIBC_(?P<version>[0-9.]+)"
)
# What glibc took into libc.so.6 from librt, libutil, libanl and libresolv, with the version that
# did. Today's libc.so.6 has these under their old versions, too; a library that binds to one does
# not start on a board where it is elsewhere.
MOVED = (
    ((2, 17), re.compile(r"clock_\w+")),
    ((2, 34), re.compile(r"(aio|dn|gai|lio|mq|ns|res|timer)_\w+|shm_(open|unlink)")),
    ((2, 34), re.compile(r"(open|fork)pty|login(_tty)?|logout|logwtmp|getaddrinfo_a")),
)


def parse_version(text):
    return tuple(int(part) for part in text.split("."))


def symbols_at(listing, floor):
    """Name → (version, size of an object or None), by readelf's listing of a library's symbols."""
    symbols = {}
    number = parse_version(floor)
    elsewhere = [names for since, names in MOVED if number < since]
    for match in map(LINE.match, listing.splitlines()):
        if match is None or match["section"] == "UND":
            continue
        if any(names.fullmatch(match["name"]) for names in elsewhere):
            continue
        version = parse_version(match["version"])
        known = symbols.get(match["name"])
        if version <= number and (known is None or version > known[0]):
            size = int(match["size"], 0) if match["type"] == "OBJECT" else None
            symbols[match["name"]] = (version, size)
    return symbols


def assembly(symbols):
    """The source of a library that defines these symbols."""
    lines = []
    for name, (_, size) in sorted(symbols.items()):
        kind = "function" if size is None else "object"
        lines += [
            ".text" if size is None else ".data",
            f".globl {name}",
            f".type {name}, %{kind}",
            f"{name}: .space {size or 4}",
            f".size {name}, {size or 4}",
        ]
    return "\n".join([*lines, '.section .note.GNU-stack,"",%progbits', ""])


def version_script(symbols):
    """The linker's version script that gives each symbol its version."""
    nodes = {}
    for name, (version, _) in sorted(symbols.items()):
        nodes.setdefault(version, []).append(name)
    return "".join(
        f"GLIBC_{'.'.join(map(str, version))} {{ global: {'; '.join(names)}; }};\n"
        for version, names in sorted(nodes.items())
    )
