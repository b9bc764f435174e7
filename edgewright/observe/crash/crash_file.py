"""A crash file, as `runtime_cpp/src/crash_file.cpp` writes it and docs/formats.md specifies it."""

from dataclasses import dataclass

from edgewright.observe.stacks.dump import (
    BUILD_ID,
    COMMAND,
    THREAD,
    DumpLines,
    Machine,
    Mapping,
    Thread,
)

FILE_CHARACTERS = 256 << 10
TIME = "[0-9]{1,11}"  # Unix seconds that a calendar has a date for
MOST_THREADS = 17
LOG_LINES = 2100


@dataclass(frozen=True, kw_only=True)
class CrashFile:
    """All that a crash file says; the first thread is the one that crashed."""

    machine: Machine
    command: str
    release: str
    build_id: str
    signal: int
    code: int  # si_code; 0: a process sent the signal
    address: int
    unix_s: int
    uptime_s: int
    threads: tuple[Thread, ...]
    mappings: tuple[Mapping, ...]
    log: tuple[str, ...]


def parse_crash_file(text: str, subject: str) -> CrashFile:
    """Raises TargetError for anything but a whole crash file."""
    lines = DumpLines(text, subject, kind="crash file", limit=FILE_CHARACTERS)
    lines.take("edgewright crash 1")
    machine = lines.machine()
    command = lines.take(COMMAND)[1]
    release = lines.take("release ([0-9a-f]{16})")[1]
    build_id = lines.take(BUILD_ID)[1]
    cause = lines.take("signal ([0-9]{1,2}) code ([0-9]{1,9}) address ([0-9a-f]{1,16})")
    times = lines.take(f"time ({TIME}) uptime ([0-9]{{1,12}})")
    threads = [lines.thread(lines.take(THREAD), machine)]
    threads += [lines.thread(head, machine) for head in lines.all(THREAD, MOST_THREADS - 1)]
    mappings = lines.mappings()
    lines.take("log")
    log = [line[1] for line in lines.all(r"\| ([ -~]*)", LOG_LINES)]
    lines.take("end")
    lines.end()
    return CrashFile(
        machine=machine,
        command=command,
        release=release,
        build_id=build_id,
        signal=int(cause[1]),
        code=int(cause[2]),
        address=int(cause[3], 16),
        unix_s=int(times[1]),
        uptime_s=int(times[2]),
        threads=tuple(threads),
        mappings=mappings,
        log=tuple(log),
    )
