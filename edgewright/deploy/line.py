"""The byte stream under SSH, within limits: a board may send for ever, or never answer.

Paramiko itself has none: it takes what comes beyond a channel's window, a first line without end,
any number of packets that mean nothing, and waits without end for the answer to some requests.
All of it comes through here, so that bytes and time are counted once, whatever they are for.
"""

import math
import time
from typing import Any

ANSWER_BYTES = 4 << 20  # of one command; an answer about a golden image has some 200
LOGIN_BYTES = 1 << 20  # banners, key exchange and login
SLOWEST = 4 << 10  # bytes a second; what a board takes more slowly counts as nothing
LONGEST = 600.0  # seconds
NO_SERVER = "does not answer as an SSH server"


def patience(idle: float) -> float:
    """Seconds that a command may take in all which may be silent for `idle` seconds."""
    return idle + min(5 * idle, LONGEST)


class EndlessAnswerError(EOFError):
    """A board sent more, or took longer, than any command of ours needs."""


class SilenceError(EOFError):
    """A server fell silent during the login; its text says at which step."""


class Budget:
    """Bytes that may still come, and seconds until they must be there."""

    def __init__(self, size: float, seconds: float) -> None:
        self._size = self._room = size
        self._seconds = self._sending = seconds
        self._began = time.monotonic()

    def take(self, count: int) -> None:
        """Count what came. Raises EndlessAnswerError at a limit."""
        self._room -= count
        if self._room < 0:
            raise EndlessAnswerError(f"its answer has more than {self._size / (1 << 20):g} MiB")
        if time.monotonic() - self._began > self._sending:
            raise EndlessAnswerError(f"its answer has no end after {self._sending:.3g} s")

    def add_sent(self, count: int) -> None:
        """Allow for the time that sending so many bytes may take."""
        self._sending += count / SLOWEST

    def end_sending(self) -> None:
        """The answer has no more time for a large input that was taken fast."""
        self._sending = self._seconds
        self._began = time.monotonic()


class Line:
    """A socket, or what serves as one, that Paramiko reads from and writes to within a budget.

    Paramiko's thread calls `recv` every 0.1 s, also while nothing comes. What it raises there
    ends the connection, and with it every wait for an answer.
    """

    def __init__(self, stream: Any, seconds: float) -> None:
        self._stream = stream
        self._budget = Budget(LOGIN_BYTES, seconds)
        self.excess: EndlessAnswerError | None = None  # what ended it

    def begin(self, budget: Budget) -> None:
        """What comes from now on belongs to another command."""
        self._budget = budget

    def carry(self) -> None:
        """A jump host's line carries that of the next hop, which has a budget of its own."""
        self._budget = Budget(math.inf, math.inf)

    def rest(self) -> None:
        """Between commands time does not count."""
        self._budget = Budget(LOGIN_BYTES, math.inf)

    def recv(self, size: int) -> bytes:
        self._count(0)
        data: bytes = self._stream.recv(size)
        self._count(len(data))
        return data

    def send(self, data: bytes) -> int:
        self._count(0)
        count: int = self._stream.send(data)
        return count

    def _count(self, size: int) -> None:
        try:
            self._budget.take(size)
        except EndlessAnswerError as excess:
            self.excess = excess
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
