"""A limit on how much is sent in a second, which several deploys may share."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, cast

PART_SECONDS = 0.1  # of sending, at once: 200 uploads that share a limit each send within 60 s


class RateLimit:
    """So many bytes a second, of all uploads together that go by it; in any thread."""

    def __init__(
        self,
        bytes_per_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.part = max(int(bytes_per_s * PART_SECONDS), 1)  # bytes that are taken at once, at most
        self._bytes_per_s, self._clock, self._sleep = bytes_per_s, clock, sleep
        self._alone = threading.Lock()
        self._free_at = clock()

    def take(self, count: int) -> None:
        """Wait until so many bytes more may be sent."""
        with self._alone:
            wait_s = self._free_at - self._clock()
            self._free_at = max(self._free_at, self._clock()) + count / self._bytes_per_s
        if wait_s > 0:
            self._sleep(wait_s)

    def slow(self, source: BinaryIO) -> BinaryIO:
        """What is read of this goes out at the limit. It has `read` alone."""
        return cast(BinaryIO, _Slow(source=source, limit=self))


@dataclass(frozen=True, kw_only=True)
class _Slow:
    source: BinaryIO
    limit: RateLimit

    def read(self, size: int = -1) -> bytes:
        part = self.source.read(min(size, self.limit.part) if size >= 0 else self.limit.part)
        self.limit.take(len(part))
        return part
