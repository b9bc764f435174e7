"""Crash files explained by the programs and symbols of their build ids."""

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgewright.observe.crash.crash_file import CrashFile
from edgewright.observe.crash.report import Cause, Crash, CrashedThread
from edgewright.observe.stacks.dump import PROGRAM_COUNTER, Machine
from edgewright.observe.stacks.program import Frame, SymbolicProgram, find_program

OURS = "runtime_cpp/"
# How a program ends itself: who wanted that is the first caller of another name.
RAISING = frozenset(
    {"abort", "raise", "gsignal", "pthread_kill", "__pthread_kill", "__libc_do_syscall"}
    | {"__pthread_kill_implementation", "__pthread_kill_internal", "__libc_message"}
)


@dataclass(kw_only=True)
class Explainer:
    """Looks for symbols in folders as `board/symbol_store` has them; the first one counts."""

    folders: Sequence[Path]
    _programs: dict[tuple[str, Machine], SymbolicProgram | None] = field(default_factory=dict)

    def explain(self, crash: CrashFile, name: str, file: Path) -> Crash:
        """A crash with its frames named, as far as symbols are there.

        Raises UserError for symbols that are damaged.
        """
        build = crash.build_id, crash.machine
        if build not in self._programs:
            self._programs[build] = find_program(self.folders, *build)
        program = self._programs[build]
        return Crash(
            name=name,
            file=file,
            release=crash.release,
            build_id=crash.build_id,
            command=crash.command,
            signal=signal_name(crash.signal),
            address=f"0x{crash.address:x}" if crash.code else None,
            unix_s=crash.unix_s,
            uptime_s=crash.uptime_s,
            threads=_bare_threads(crash) if program is None else _threads(crash, program),
            log=crash.log,
            symbols=program.symbols if program else None,
        )


def signal_name(number: int) -> str:
    """`SIGSEGV` of 11; `signal 99` of what is none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _threads(crash: CrashFile, program: SymbolicProgram) -> tuple[CrashedThread, ...]:
    stacks = [program.steps(thread, crash.mappings) for thread in crash.threads]
    return tuple(
        CrashedThread(id=thread.id, frames=frames)
        for thread, frames in zip(
            crash.threads, program.frames(stacks, crash.mappings), strict=True
        )
    )


def _bare_threads(crash: CrashFile) -> tuple[CrashedThread, ...]:
    """Without symbols each thread's own place is all that is known."""
    counter = PROGRAM_COUNTER[crash.machine]
    return tuple(
        CrashedThread(
            id=thread.id,
            frames=(
                Frame(
                    address=f"0x{thread.registers[counter]:x}",
                    origin="registers",
                    function=None,
                    file=None,
                    line=None,
                ),
            ),
        )
        for thread in crash.threads
    )


def group(crashes: Iterable[Crash]) -> tuple[Cause, ...]:
    """Crashes by signal and place, the most frequent first."""
    names: dict[str, list[str]] = {}
    for crash in crashes:
        names.setdefault(_summary(crash), []).append(crash.name)
    causes = [Cause(summary=text, crashes=tuple(of_cause)) for text, of_cause in names.items()]
    return tuple(sorted(causes, key=lambda cause: -len(cause.crashes)))


def _summary(crash: Crash) -> str:
    """`SIGSEGV in edge::resize, runtime_cpp/src/preprocess.cpp:120`.

    In a library's code many causes look alike: there the first of our own callers is told, too.
    """
    named = [frame for frame in crash.threads[0].frames if frame.function]
    culprit = next((frame for frame in named if frame.function not in RAISING), None)
    if culprit is None:
        build = crash.build_id[:12] or "unknown"
        return f"{crash.signal} at {crash.threads[0].frames[0].address} of build {build}"
    caller = next((frame for frame in named if (frame.file or "").startswith(OURS)), culprit)
    below = "" if caller is culprit else f", below {_placed(caller)}"
    return f"{crash.signal} in {_placed(culprit)}{below}"


def _placed(frame: Frame) -> str:
    return f"{frame.function}, {frame.file}:{frame.line}" if frame.file else str(frame.function)
