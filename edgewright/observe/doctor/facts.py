"""What a board says of its health. It has no opinion: `judge` has.

Plain POSIX shell and applets that busybox has; one that is missing costs one fact. What comes back
is not trusted: see `deploy.survey`.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgewright.base.text import last_lines
from edgewright.board.survey import Survey
from edgewright.deploy import survey as surveys
from edgewright.deploy.remote import Board
from edgewright.deploy.survey import limited_lines, printable
from edgewright.observe import heat
from edgewright.observe.board_files import BoardFiles, read_files

PATTERNS = (
    "proc/loadavg",
    "proc/sys/kernel/panic",
    "proc/sys/kernel/tainted",
    "sys/devices/system/cpu/online",
    "sys/devices/system/cpu/present",
    *heat.PATTERNS,
    "sys/block/mmcblk*/device/type",
    "sys/block/mmcblk*/device/life_time",
    "sys/block/mmcblk*/device/pre_eol_info",
    "sys/fs/ext4/*/errors_count",
    "sys/class/ubi/ubi*/bad_peb_count",
    "sys/class/ubi/ubi*/reserved_for_bad",
    "sys/class/ubi/ubi*/ro_mode",
    "sys/class/rtc/rtc*/name",
    "sys/class/watchdog/watchdog*/identity",
)
STORAGE_ERRORS = r"I/O error|EXT4-fs error|UBIFS error|ubi[0-9]+ error|mmc[0-9]+: .*(error|timeout)"
QUOTED = 3  # lines of the kernel's log
MAX_SWAPS = 16
MAX_HOST_KEYS = 16

# Lines "key value". `$1` stands for `/`, `$2` is the deploy root.
LOOK = r"""
r=${1%/} at=$2
say() { printf '%s %s\n' "$1" "$2"; }
say date "$(date +%s 2>/dev/null)"
say ntp "$(adjtimex 2>/dev/null | grep 'status:')"
while [ ! -d "$at" ]; do at=${at%/*}; at=${at:-/}; done
say inodes "$(df -P -i "$at" 2>/dev/null | tail -n 1)"
while read -r key value rest; do
    case $key in MemAvailable: | SwapTotal:) say "${key%:}" "$value" ;; esac
done 2>/dev/null <"$r/proc/meminfo"
while read -r key value; do
    case $key in oom_kill) say oom_kill "$value" ;; esac
done 2>/dev/null <"$r/proc/vmstat"
while read -r file kind size used rest; do
    say swap "$file $size $used"
done 2>/dev/null <"$r/proc/swaps"
log=$(dmesg 2>/dev/null) && say log read
printf '%s\n' "$log" | grep -E "$3" 2>/dev/null | tail -n 3 |
    while IFS= read -r line; do say storage "$line"; done
for key in "$r"/etc/dropbear/dropbear_*_host_key "$r"/etc/ssh/ssh_host_*_key; do
    [ -e "$key" ] && say host_key "${key#"$r"}"
done
exit 0
"""


@dataclass(frozen=True, kw_only=True)
class Swap:
    """One file or partition of /proc/swaps."""

    file: str
    kib: int
    used_kib: int


@dataclass(frozen=True, kw_only=True)
class Health:
    """The answers of one board; None: it did not say."""

    survey: Survey
    files: BoardFiles
    clock_offset_s: float | None = None  # its clock less this machine's
    clock_error_s: float = 0.0  # of that: half of the round trip, and half a second
    synchronised: bool | None = None  # by NTP, as the kernel knows
    inodes: tuple[int, int] | None = None  # all and free ones; (0, 0) of a file system without
    available_kib: int | None = None
    oom_kills: int | None = None  # since power-on
    swaps: tuple[Swap, ...] = ()
    is_log_readable: bool = False
    storage_errors: tuple[str, ...] = ()  # last lines of the kernel's log
    host_keys: tuple[str, ...] = field(default=())  # files


def ask(board: Board, root: str, tree: str = "/", now: Callable[[], float] = time.time) -> Health:
    """Ask a board about its health; `tree` stands for its `/`, `root` is the deploy root.

    Raises TargetError for one that does not answer the basics.
    """
    survey = surveys.survey(board, root)
    before = now()
    text = board.script(LOOK, tree, root, STORAGE_ERRORS).stdout
    after = now()
    files = read_files(board, PATTERNS, tree)
    return parse_health(text, survey, files, asked=(before, after))


def parse_health(
    text: str, survey: Survey, files: BoardFiles, *, asked: tuple[float, float]
) -> Health:
    """The health from the answer of `LOOK`, which was asked between two times of this machine."""
    answers: dict[str, list[str]] = {}
    for line in limited_lines(text):
        key, _, value = line.partition(" ")
        answers.setdefault(key, []).append(value.strip())
    before, after = asked
    clock = _number(answers, "date")
    status = _first(answers, "ntp")
    return Health(
        survey=survey,
        files=files,
        clock_offset_s=None if clock is None else clock + 0.5 - (before + after) / 2,
        clock_error_s=(after - before) / 2 + 0.5,
        synchronised=None if not status else "UNSYNC" not in status,
        inodes=_inodes(_first(answers, "inodes")),
        available_kib=_number(answers, "MemAvailable"),
        oom_kills=_number(answers, "oom_kill"),
        swaps=_swaps(answers.get("swap", ()))[:MAX_SWAPS],
        is_log_readable="log" in answers,
        storage_errors=tuple(last_lines("\n".join(answers.get("storage", ())), QUOTED)),
        host_keys=tuple(map(printable, answers.get("host_key", ())))[:MAX_HOST_KEYS],
    )


def _first(answers: Mapping[str, Sequence[str]], key: str) -> str:
    return answers.get(key, ("",))[0]


def _number(answers: Mapping[str, Sequence[str]], key: str) -> int | None:
    text = _first(answers, key)
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else None


def _inodes(line: str) -> tuple[int, int] | None:
    """Of `df -P -i`: device, all, used, free, share or `-`, mount point."""
    match = re.search(r"\s([0-9]{1,18})\s+[0-9]{1,18}\s+([0-9]{1,18})\s+(?:[0-9]+%|-)\s", line)
    return (int(match[1]), int(match[2])) if match else None


def _swaps(lines: Sequence[str]) -> tuple[Swap, ...]:
    matches = (re.fullmatch(r"(/\S+) ([0-9]{1,12}) ([0-9]{1,12})", line) for line in lines)
    return tuple(
        Swap(file=printable(match[1]), kib=int(match[2]), used_kib=int(match[3]))
        for match in matches
        if match
    )
