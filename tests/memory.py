"""The memory that a part of a test takes, whatever came before it in the same process."""

import ctypes
import gc
from pathlib import Path
from typing import Self


class Memory:
    """Measures what this process takes within, at its peak, beyond what it held before."""

    grown: int  # bytes

    def __enter__(self) -> Self:
        gc.collect()
        # Python looks for garbage the more rarely the more it holds. What other tests left does
        # not count, or the garbage of this one could grow to a quarter of it.
        gc.freeze()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed would be taken again, unseen
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self._before = _status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.grown = _status("VmHWM") - self._before
        gc.unfreeze()


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) << 10
