"""Facts about a board, asked of its own shell."""

import re
from collections.abc import Sequence

from edgewright.base.errors import TargetError
from edgewright.base.text import last_lines, visible
from edgewright.board.audit import TargetFacts
from edgewright.deploy.remote import Board

# What a deploy needs on a board, beside a POSIX shell.
APPLETS = (
    "cat",
    "chmod",
    "df",
    "grep",
    "head",
    "mkdir",
    "mv",
    "rm",
    "sha256sum",
    "sync",
    "tail",
    "tr",
    "uname",
)

MAX_CHARACTERS = 100_000
MAX_NAME = 80
QUOTED_LINES = 20

PROBE = r"""
at=$1; shift
while [ ! -d "$at" ]; do at=${at%/*}; at=${at:-/}; done
echo "machine $(uname -m)"
echo "bits $(head -c 5 /bin/sh | tail -c 1 | tr '\001\002' '12')"
echo "features $(grep -m 1 '^Features' /proc/cpuinfo)"
echo "memory $(grep '^MemTotal' /proc/meminfo)"
echo "space $(df -P -k "$at" | tail -n 1)"
for ld in /lib/ld-linux* /lib64/ld-linux* /lib/ld-musl-*; do
    [ -e "$ld" ] || continue
    echo "loader ${ld##*/}"
    echo "libc $("$ld" --version 2>/dev/null | head -n 1)"
done
for so in /lib/libc.so.6 /lib64/libc.so.6 /lib/*/libc.so.6 /usr/lib/*/libc.so.6; do
    [ -e "$so" ] && echo "libc $("$so" 2>/dev/null </dev/null | head -n 1)"
done
for name in "$@"; do command -v "$name" >/dev/null && echo "applet $name"; done
exit 0
"""


def probe(board: Board, root: str) -> TargetFacts:
    """Ask the board what it is. Raises TargetError for one that does not answer the basics."""
    return parse_probe(board.script(PROBE, root, *APPLETS).stdout, str(board.target))


def parse_probe(text: str, subject: str) -> TargetFacts:
    """Facts from the output of the probe script."""
    answers: dict[str, list[str]] = {}
    for line in text[:MAX_CHARACTERS].splitlines():
        key, _, value = line.partition(" ")
        answers.setdefault(key, []).append(value)
    first = {key: values[0] for key, values in answers.items()}
    memory = re.search(r"[0-9]{1,15}", first.get("memory", ""))
    # The last line of `df -P -k`: device, size, used, available, …
    space = re.search(r"\s([0-9]+)\s+([0-9]+)\s+([0-9]{1,15})\s+[0-9]+%\s", first.get("space", ""))
    if not first.get("machine") or space is None:
        lines = [f"| {line}" for line in last_lines(text, QUOTED_LINES)]
        raise TargetError(subject, "did not say what it is", facts=lines)
    return TargetFacts(
        machine=visible(first["machine"][:MAX_NAME]),
        userland_bits={"1": 32, "2": 64}.get(first.get("bits", "")),
        loaders=frozenset(answers.get("loader", ())),
        cpu_features=frozenset(first.get("features", "").partition(":")[2].split()),
        libc=_libc(answers.get("libc", ())),
        free_bytes=int(space[3]) * 1024,
        memory_kb=int(memory[0]) if memory else 0,
        applets=frozenset(answers.get("applet", ())),
    )


def _libc(lines: Sequence[str]) -> tuple[int, int] | None:
    """The oldest glibc that introduced itself: 'GNU C Library … release version 2.31.'"""
    versions = [re.search(r"release version ([0-9]{1,3})\.([0-9]{1,3})", line) for line in lines]
    return min(((int(v[1]), int(v[2])) for v in versions if v), default=None)
