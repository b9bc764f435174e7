"""What a live board says of itself, beyond what a deploy needs to know.

Every field may be unknown: None, or empty. All texts are printable, for a board is not trusted.
"""

from pathlib import PurePosixPath
from typing import Literal

from edgewright.base.schema import Part
from edgewright.board.cores import ARM_LIMITED, PAIRS, Fpu, core_of_part
from edgewright.board.profile import Arch

ARMV8_FEATURES = frozenset({"asimd", "crc32", "aes", "pmull", "sha1", "sha2"})
MACHINES = {"aarch64": None, "armv7l": 32, "armv8l": 32, "armv6l": 32, "armv5tejl": 32}


class CpuPart(Part):
    """One kind of core, as /proc/cpuinfo identifies it: "0x41", "0xd03"."""

    implementer: str
    part: str


class Mount(Part):
    """One line of /proc/mounts."""

    point: str
    kind: str  # ext4, overlay, tmpfs …
    options: tuple[str, ...]

    @property
    def hindrance(self) -> str | None:
        """Why programs cannot be installed here, or None."""
        return next((word for word in ("ro", "noexec") if word in self.options), None)


class Libc(Part):
    """The C library; `version` is that which it states."""

    family: Literal["glibc", "musl", "uclibc"]
    version: str | None


class Survey(Part):
    """The answers of one board."""

    machine: str  # uname -m
    kernel: str | None  # uname -r
    userland_bits: Literal[32, 64] | None  # the ELF class of /bin/sh
    cores: int | None
    parts: tuple[CpuPart, ...]  # without repetition, in the order of the cores
    features: tuple[str, ...]  # "Features" of /proc/cpuinfo
    clock_mhz: int | None  # the highest of all cores
    model: str | None  # of the device tree
    compatible: tuple[str, ...]  # of the device tree, the most special one first
    libc: Libc | None
    init: Literal["systemd", "runit", "inittab", "openrc", "procd"] | None
    memory_mb: int | None  # MemTotal: what the kernel leaves, MiB
    deploy_root: str  # the folder that was asked about
    free_mb: int  # there, MiB
    mounts: tuple[Mount, ...]
    missing_applets: tuple[str, ...]  # of those that a deploy needs

    @property
    def arch(self) -> Arch | None:
        """The userland; a 64-bit kernel may have either."""
        bits = self.userland_bits or MACHINES.get(self.machine)
        return {32: Arch.ARMHF, 64: Arch.ARM64}.get(bits or 0)

    @property
    def core(self) -> str | None:
        """GCC's name of the core or the pair of cores, if there is one."""
        if any(part.implementer != ARM_LIMITED for part in self.parts):
            return None
        names = [core_of_part(part.part) for part in self.parts]
        if len(names) == 1:
            return names[0]
        # /proc/cpuinfo lists either kind first; GCC names the big core first.
        pairs = (f"{big}.{little}" for big in names for little in names)
        return next((pair for pair in pairs if len(names) == 2 and pair in PAIRS), None)

    @property
    def fpu(self) -> Fpu | None:
        """The most that the features promise to a 32-bit program; None without NEON."""
        features = set(self.features)
        if features & ARMV8_FEATURES:
            return Fpu.NEON_FP_ARMV8
        if "neon" not in features:
            return None
        return Fpu.NEON_VFPV4 if "vfpv4" in features else Fpu.NEON

    @property
    def deploy_mount(self) -> Mount | None:
        """The file system that `deploy_root` is on: the last one mounted at the longest point."""
        root = PurePosixPath(self.deploy_root)
        above = [mount for mount in self.mounts if root.is_relative_to(mount.point)]
        longest = max((len(mount.point) for mount in above), default=0)
        return next((mount for mount in reversed(above) if len(mount.point) == longest), None)
