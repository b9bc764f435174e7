"""Loads the library, where it can run: whoever imports it elsewhere learns why in one sentence."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

from edgewright_runtime._about import LIBRARY, About

AT_PLATFORM, AT_HWCAP = 15, 16
HWCAPS = {"NEON": 1 << 12, "VFPv4": 1 << 16, "integer division": 1 << 17}  # 32-bit ARM's
MACHINES = {3: "x86", 40: "ARM", 62: "x86-64", 183: "AArch64", 243: "RISC-V"}
ELF32, ARM, HARD_FLOAT = 1, 40, 0x400


class Machine(NamedTuple):
    """What an ELF file is made for."""

    bits: int
    number: int  # e_machine
    hard_float: bool  # 32-bit ARM: floats are passed in the FPU's registers

    def __str__(self) -> str:
        name = MACHINES.get(self.number, f"machine {self.number}")
        floats = ""
        if self.number == ARM:
            floats = ", hard float" if self.hard_float else ", soft float"
        return f"{name} ({self.bits} bits{floats})"


def machine_of(path: str) -> Machine | None:
    """Read an ELF file's header; None for what is no such file, or cannot be read."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(52)
    except OSError:
        return None
    if len(head) < 52 or head[:4] != b"\x7fELF":
        return None
    order = "<" if head[5] == 1 else ">"
    number = struct.unpack_from(order + "H", head, 18)[0]
    is_32 = head[4] == ELF32
    flags = struct.unpack_from(order + "I", head, 36 if is_32 else 48)[0]
    return Machine(32 if is_32 else 64, number, number == ARM and bool(flags & HARD_FLOAT))


def glibc_version() -> str | None:
    """Of the C library of this process; None where it is another one, as musl."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").rpartition(" ")[2] or None
    except (AttributeError, OSError, ValueError):
        return None


def processor() -> tuple[str, int]:
    """The kernel's word for the processor (`v7l`, `v8l`, `aarch64`), and its AT_HWCAP."""
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, (ctypes.c_ulong,)
    platform = ctypes.c_char_p(getauxval(AT_PLATFORM)).value or b""
    return platform.decode(), getauxval(AT_HWCAP)


def require_machine(about: About, library: Machine | None, python: Machine | None) -> None:
    """Raises ImportError if a library for one machine meets a Python for another one."""
    if library and python and library != python:
        raise ImportError(
            f"edgewright_runtime is a wheel for board '{about.board}', {library}; this Python is "
            f"for {python}. "
            "Install the wheel of this machine's board: invoke wheel --board=NAME"
        )


def require_libc(about: About, glibc: str | None) -> None:
    """Raises ImportError if the C library is of another family than the wheel's, or older.

    `glibc` is the version of glibc, None where it is another one. musl does not tell its version.
    """
    needed = f"edgewright_runtime needs {about.libc_family} {about.libc_floor} or newer"
    if (about.libc_family == "glibc") != (glibc is not None):
        system = "another C library (musl?)" if glibc is None else f"glibc {glibc}"
        other = "musl" if glibc is None else "glibc"
        raise ImportError(
            f"{needed}; this system has {system}. Install the wheel of a board with "
            f'libc.family = "{other}": invoke wheel --board=NAME'
        )
    if glibc is None:
        return
    if numbers(glibc) < numbers(about.libc_floor):
        raise ImportError(
            f"{needed}; this system has {glibc}. "
            f"Set libc.floor = \"{glibc}\" in the profile of board '{about.board}', then: "
            f"invoke wheel --board={about.board}"
        )


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def require_processor(about: About, platform: str, hwcap: int) -> None:
    """Raises ImportError if a 32-bit ARM processor lacks instructions that the library has."""
    lacks = [name for name, bit in HWCAPS.items() if name in about.instructions and not hwcap & bit]
    if "ARMv8" in about.instructions and platform.startswith(("v5", "v6", "v7")):
        lacks.insert(0, "ARMv8")
    if lacks:
        raise ImportError(
            f"edgewright_runtime is a wheel for board '{about.board}' with a {about.core}; this "
            f"processor ({platform or 'of an unknown kind'}) lacks {', '.join(lacks)}. "
            "Install the wheel of this machine's board: invoke wheel --board=NAME"
        )


def load(about: About, path: str = LIBRARY) -> ctypes.CDLL:
    """Load the library. Raises ImportError, in words, where it cannot run."""
    library = machine_of(path)
    require_machine(about, library, machine_of("/proc/self/exe"))
    require_libc(about, glibc_version())
    if library and library.number == ARM:
        require_processor(about, *processor())
    try:
        return ctypes.CDLL(path)
    except OSError as refused:
        raise ImportError(
            f"edgewright_runtime cannot load its library: {refused}. Install the wheel again: "
            "pip install --force-reinstall edgewright-runtime"
        ) from refused
