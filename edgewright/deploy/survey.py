"""A board surveyed over SSH: what `deploy.probe` asks, and what a profile needs beside it.

Plain POSIX shell, nothing but applets that busybox has; one that is missing costs one fact. What
comes back is not trusted: it is cut to limits, numbers are parsed strictly, and what cannot be
printed is escaped, so that no answer can draw on the terminal or break out of a TOML comment.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from edgewright.base.text import visible
from edgewright.board.audit import TargetFacts
from edgewright.board.survey import CpuPart, Libc, Mount, Survey
from edgewright.deploy.probe import APPLETS, PROBE, parse_probe
from edgewright.deploy.remote import Board

MAX_LINES = 4000
MAX_LINE = 2000  # characters
MAX_TEXT = 200  # characters of one fact
MAX_CORES = 64
MAX_FEATURES = 200
MAX_MB = 1 << 24
MAX_MOUNTS = 200
MAX_OPTIONS = 16  # of a mount: an overlay lists its folders after what counts here
MAX_COMPATIBLE = 16
Init = Literal["systemd", "runit", "inittab", "openrc", "procd"]

# Lines "key value". `read` instead of `cat`: /proc needs no applet then.
SURVEY = r"""
say() { printf '%s %s\n' "$1" "$2"; }
say kernel "$(uname -r)"
while IFS= read -r line; do
    case $line in
        processor*) say processor "$line" ;;
        'CPU implementer'*) say implementer "${line#*: }" ;;
        'CPU part'*) say part "${line#*: }" ;;
    esac
done 2>/dev/null </proc/cpuinfo
for tree in /proc/device-tree /sys/firmware/devicetree/base; do
    [ -r "$tree/compatible" ] || continue
    say model "$(tr '\000' '\n' <"$tree/model" 2>/dev/null | head -n 1)"
    tr '\000' '\n' <"$tree/compatible" | while IFS= read -r name; do say compatible "$name"; done
    break
done
for clock in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq; do
    [ -r "$clock" ] && read -r khz <"$clock" && say clock "$khz"
done
for ld in /lib/ld-musl-*; do
    [ -e "$ld" ] || continue
    say musl "$("$ld" 2>&1 </dev/null | grep '^Version')"
done
for ld in /lib/ld-uClibc*; do [ -e "$ld" ] && say uclibc "${ld##*/}"; done
say ldd "$(ldd --version 2>&1 </dev/null | head -n 1)"
[ -r /proc/1/comm ] && read -r comm </proc/1/comm && say comm "$comm"
[ -d /run/systemd/system ] && say runs systemd
[ -d /run/openrc ] && say runs openrc
[ -x /sbin/procd ] && say runs procd
[ -r /etc/inittab ] && say runs inittab
while read -r device point kind options rest; do
    say mount "$point $kind $options"
done 2>/dev/null </proc/mounts
exit 0
"""


def survey(board: Board, root: str) -> Survey:
    """Ask the board what it is, and about `root`, where releases would go.

    Raises TargetError for one that does not answer the basics.
    """
    basics = board.script(PROBE, root, *APPLETS).stdout
    more = board.script(SURVEY).stdout
    return parse_survey(basics, more, root, str(board.target))


def parse_survey(basics: str, more: str, root: str, subject: str) -> Survey:
    """The survey from the output of the probe's script and of ours."""
    facts = parse_probe("\n".join(limited_lines(basics)), subject)
    answers: dict[str, list[str]] = {}
    for line in limited_lines(more):
        key, _, value = line.partition(" ")
        answers.setdefault(key, []).append(value.strip())
    return Survey(
        machine=printable(facts.machine),
        kernel=_first(answers, "kernel"),
        userland_bits=64 if facts.userland_bits == 64 else 32 if facts.userland_bits else None,
        cores=_cores(answers.get("processor", ())),
        parts=_parts(answers.get("implementer", ()), answers.get("part", ())),
        features=tuple(sorted(map(printable, facts.cpu_features)))[:MAX_FEATURES],
        clock_mhz=_clock_mhz(answers.get("clock", ())),
        model=_first(answers, "model"),
        compatible=tuple(map(printable, filter(None, answers.get("compatible", ()))))[
            :MAX_COMPATIBLE
        ],
        libc=_libc(facts, answers),
        init=_init(answers),
        memory_mb=_within(facts.memory_kb >> 10, 1, MAX_MB),
        deploy_root=root,
        free_mb=min(facts.free_bytes >> 20, MAX_MB),
        mounts=_mounts(answers.get("mount", ())),
        missing_applets=tuple(name for name in APPLETS if name not in facts.applets),
    )


def printable(text: str) -> str:
    r"""At most MAX_TEXT characters, those that draw or move the cursor as \x1b or \u202e."""
    return visible(text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…")


def limited_lines(text: str) -> list[str]:
    """Lines without anything but tabs to control a terminal."""
    # Not splitlines(): it also splits at characters that a file's name may hold.
    lines = text[: MAX_LINES * MAX_LINE].split("\n")[:MAX_LINES]
    return [visible(line[:MAX_LINE], allowed="\t") for line in lines]


def _first(answers: Mapping[str, Sequence[str]], key: str) -> str | None:
    return next(map(printable, filter(None, answers.get(key, ()))), None)


def _within(number: int, least: int, most: int) -> int | None:
    return number if least <= number <= most else None


def _cores(lines: Sequence[str]) -> int | None:
    """A 32-bit kernel also writes a line "Processor", with the name of the core."""
    cores = sum(1 for line in lines if re.fullmatch(r"processor\s*:\s*[0-9]+", line))
    return _within(cores, 1, MAX_CORES)


def _parts(implementers: Sequence[str], parts: Sequence[str]) -> tuple[CpuPart, ...]:
    """Both lines are there for each core, or once for all."""
    pairs = zip(implementers, parts, strict=False)
    return tuple(
        CpuPart(implementer=implementer, part=part)
        for implementer, part in dict.fromkeys(pairs)
        if re.fullmatch(r"0x[0-9a-f]{2}", implementer) and re.fullmatch(r"0x[0-9a-f]{3}", part)
    )


def _clock_mhz(lines: Iterable[str]) -> int | None:
    clocks = [int(khz) // 1000 for khz in lines if re.fullmatch(r"[0-9]{1,9}", khz)]
    return max((mhz for mhz in clocks if 100 <= mhz <= 5000), default=None)


def _libc(facts: TargetFacts, answers: Mapping[str, Sequence[str]]) -> Libc | None:
    """A library that is there as a loader; `ldd` may be a script that is not."""
    if facts.libc is not None:
        return Libc(family="glibc", version=f"{facts.libc[0]}.{facts.libc[1]}")
    if "musl" in answers:
        version = re.search(r"[0-9]+\.[0-9]+(\.[0-9]+)?", answers["musl"][0])
        return Libc(family="musl", version=version[0] if version else None)
    if "uclibc" in answers:
        return Libc(family="uclibc", version=None)
    ldd = re.search(r"(?:GLIBC|GNU libc).* ([0-9]+\.[0-9]+)$", answers.get("ldd", [""])[0])
    return Libc(family="glibc", version=ldd[1]) if ldd else None


def _init(answers: Mapping[str, Sequence[str]]) -> Init | None:
    """Process 1 by its name; `init` is busybox's or System V's where there is an inittab."""
    comm, marks = _first(answers, "comm"), answers.get("runs", ())
    if "systemd" in marks or comm == "systemd":
        return "systemd"
    if comm in ("runit", "runit-init", "runsvdir"):
        return "runit"
    if "procd" in marks and comm == "procd":
        return "procd"
    if "openrc" in marks:
        return "openrc"
    return "inittab" if "inittab" in marks and comm in ("init", "busybox", "linuxrc") else None


OCTAL = re.compile(r"\\([0-3][0-7]{2})")


def _mounts(lines: Iterable[str]) -> tuple[Mount, ...]:
    """/proc/mounts writes blanks in a path as octal numbers."""
    fields = [line.split(" ") for line in lines]
    return tuple(
        Mount(
            point=printable(OCTAL.sub(lambda octal: chr(int(octal[1], 8)), point)),
            kind=printable(kind),
            options=tuple(map(printable, options.split(",")[:MAX_OPTIONS])),
        )
        for point, kind, options in (field for field in fields if len(field) == 3)
        if point.startswith("/")
    )[-MAX_MOUNTS:]
