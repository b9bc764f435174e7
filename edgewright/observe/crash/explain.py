"""Crash files explained by the programs and symbols of their build ids."""

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgewright.board.elf import read_elf
from edgewright.board.symbol_store import debug_path, program_path
from edgewright.board.symbols import demangle, read_symbols
from edgewright.observe.crash.code import Code, read_code
from edgewright.observe.crash.crash_file import PROGRAM_COUNTER, CrashFile, Machine
from edgewright.observe.crash.lines import places
from edgewright.observe.crash.report import Cause, Crash, CrashedThread, Frame
from edgewright.observe.crash.unwind import Step, Unwinder, read_frame_rules

PROGRAM = "/edge-infer"
OURS = "runtime_cpp/"
ELF_MACHINES: dict[Machine, str] = {"arm": "ARM", "aarch64": "AARCH64"}
# How a program ends itself: who wanted that is the first caller of another name.
RAISING = frozenset(
    {"abort", "raise", "gsignal", "pthread_kill", "__pthread_kill", "__libc_do_syscall"}
    | {"__pthread_kill_implementation", "__pthread_kill_internal", "__libc_message"}
)


@dataclass(kw_only=True)
class Explainer:
    """Looks for symbols in folders as `board/symbol_store` has them; the first one counts."""

    folders: Sequence[Path]
    _unwinders: dict[Path, Unwinder] = field(default_factory=dict)

    def explain(self, crash: CrashFile, name: str, file: Path) -> Crash:
        """A crash with its frames named, as far as symbols are there.

        Raises UserError for symbols that are damaged.
        """
        symbols = self._first(debug_path, crash.build_id)
        # The file names both: a hostile board may take the build id of another machine's program.
        if symbols is not None and read_elf(symbols).machine != ELF_MACHINES[crash.machine]:
            symbols = None
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
            threads=_bare_threads(crash) if symbols is None else self._threads(crash, symbols),
            log=crash.log,
            symbols=symbols,
        )

    def _first(self, place: Callable[[Path, str], Path], build_id: str) -> Path | None:
        paths = (place(folder, build_id) for folder in self.folders)
        return next((path for path in paths if build_id and path.is_file()), None)

    def _threads(self, crash: CrashFile, symbols: Path) -> tuple[CrashedThread, ...]:
        if symbols not in self._unwinders:
            self._unwinders[symbols] = self._unwinder(crash, symbols)
        unwinder = replace(self._unwinders[symbols], bias=_bias(crash, symbols))
        steps = {thread.id: tuple(unwinder.steps(thread)) for thread in crash.threads}
        return tuple(
            CrashedThread(id=number, frames=frames)
            for number, frames in _frames(steps, unwinder, symbols).items()
        )

    def _unwinder(self, crash: CrashFile, symbols: Path) -> Unwinder:
        program = self._first(program_path, crash.build_id)
        code = read_code(program, crash.machine) if program else Code(crash.machine, ())
        return Unwinder(
            machine=crash.machine,
            code=code,
            symbols=read_symbols(symbols),
            rules=read_frame_rules((symbols, *([program] if program else []))),
        )


def signal_name(number: int) -> str:
    """`SIGSEGV` of 11; `signal 99` of what is none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _bias(crash: CrashFile, symbols: Path) -> int:
    """How far from its linked addresses the program lay; 0 of one that is not relocated."""
    if read_elf(symbols).type != "DYN":
        return 0
    return min(
        (at.start - at.offset for at in crash.mappings if at.path.endswith(PROGRAM)), default=0
    )


def _frames(
    steps: Mapping[int, Sequence[Step]], unwinder: Unwinder, symbols: Path
) -> dict[int, tuple[Frame, ...]]:
    """Frames of threads by their ids. The files are read once for all of them."""
    linked = {step.place - unwinder.bias for of_thread in steps.values() for step in of_thread}
    lines = places(symbols, linked)
    functions = {address: unwinder.symbols.at(address) for address in linked}
    names = demangle(function.name for function in functions.values() if function)

    def frame(step: Step) -> Frame:
        address = step.place - unwinder.bias
        function, place = functions[address], lines.get(address)
        return Frame(
            address=f"0x{step.address:x}",
            origin=step.origin,
            function=names[function.name] if function else None,
            file=place.file if place else None,
            line=place.line if place else None,
        )

    return {number: tuple(frame(step) for step in of_thread) for number, of_thread in steps.items()}


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
