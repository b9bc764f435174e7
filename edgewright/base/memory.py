"""Refuse work that this machine has no memory for: Linux ends a program that takes too much."""

from pathlib import Path

from edgewright.base.errors import UserError

MEMINFO = Path("/proc/meminfo")


def require_memory(subject: str, need: int, meminfo: Path | None = None) -> None:
    """Raise UserError if fewer than `need` bytes can be had."""
    free = available(meminfo)
    if free is not None and need > free:
        raise UserError(
            subject,
            "there is too little memory for it",
            facts=[f"needs about {need >> 20:,} MiB", f"available: {free >> 20:,} MiB"],
            next="close other programs, or take a smaller resolution",
        )


def available(meminfo: Path | None = None) -> int | None:
    """Bytes that a new program can have, by the kernel's estimate; None without one."""
    meminfo = meminfo or MEMINFO
    if not meminfo.is_file():
        return None
    lines = (line.split() for line in meminfo.read_text().splitlines())
    return next((int(line[1]) << 10 for line in lines if line[0] == "MemAvailable:"), None)
