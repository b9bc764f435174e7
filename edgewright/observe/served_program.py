"""A program under the emulator that serves images: how it is reached."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgewright.client import Client

ANSWER = "_ZN4edge10set_result"  # where the answer of a request begins to be written
READY_SECONDS = 60.0


@contextmanager
def connected(folder: Path) -> Iterator[Client]:
    """A connection, once somebody listens."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            client = Client(str(folder / "infer.sock"))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
            continue
        with client:
            yield client
        return
