"""Judge ELF facts against a board profile, and against a board that was probed."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TargetFacts:
    """What deploy found on a board. A fact that could not be had is None or an empty set."""

    machine: str  # uname -m
    userland_bits: int | None = None  # 32 or 64: the ELF class of the board's own /bin/sh
    loaders: frozenset[str] = frozenset()  # names in /lib, /lib64: ld-linux-armhf.so.3 …
    cpu_features: frozenset[str]  # "Features" of /proc/cpuinfo
    libc: tuple[int, int] | None = None  # glibc, major and minor; None without one
    free_bytes: int  # on the file system of the deploy root, for this user
    memory_kb: int  # MemTotal of /proc/meminfo
    applets: frozenset[str] = frozenset()  # commands that answer on the board
