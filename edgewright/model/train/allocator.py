"""How the C library treats the memory that training frees."""

import ctypes


def keep_freed_memory() -> None:
    """Let glibc reuse freed blocks.

    Giving each activation back to the kernel and faulting it in again halves the speed of
    training on a CPU.
    """
    # Absent in other C libraries, which need no such advice.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no block of its own mapping
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: never shrink
