"""The byte stream under SSH, within limits: a board may send for ever, or never answer.

Paramiko and libssh2 have none: they take a first line without end, any number of packets that mean
nothing, and wait without end for the answer to some requests. What Paramiko reads comes through a
`Line`; libssh2 reads from the socket itself, of a `WatchedLine`, which a `Watch` ends at its
limits. So bytes and time are counted once, whatever they are for.
"""

import contextlib
import math
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

ANSWER_BYTES = 4 << 20  # of one command; an answer about a golden image has some 200
LOGIN_BYTES = 1 << 20  # banners, key exchange and login
SLOWEST = 4 << 10  # bytes a second; what a board takes more slowly counts as nothing
LONGEST = 600.0  # seconds
NO_SERVER = "does not answer as an SSH server"
WATCH_SECONDS = 0.1  # between two looks at lines that C reads from
# `tcpi_bytes_received` of Linux's `struct tcp_info`, since 4.1.
TCP_INFO_BYTES, RECEIVED_AT = 136, 128


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
        self._size, self._sum = size, 0
        self._seconds = self._sending = seconds
        self._began = time.monotonic()

    def take(self, count: int) -> None:
        """Count what came. Raises EndlessAnswerError at a limit."""
        self._sum += count
        self.require(self._sum)

    def require(self, size: int) -> None:
        """Raises EndlessAnswerError if that many bytes are too many, or the time is over."""
        if size > self._size:
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
        # The limit that ended it, in words: an exception would hold the frames that hold the line.
        self.excess: str | None = None

    def begin(self, budget: Budget) -> None:
        """What comes from now on belongs to another command."""
        self._budget = budget

    def carry(self) -> None:
        """A jump host's line carries that of the next hop, which has a budget of its own."""
        self._budget = Budget(math.inf, math.inf)

    def pause(self) -> None:
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
            self.excess = str(excess)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class WatchedLine:
    """A socket that C reads from, and that a `Watch` ends at the limits of its budget and patience.

    It is shut down at its end, and closed only when C has freed all that writes to its number:
    after that the number could be another thread's.
    """

    def __init__(self, tcp: socket.socket, seconds: float) -> None:
        self._tcp = tcp
        self.excess: str | None = None  # the limit that ended it, in words
        self.is_silent = False  # whether silence ended it
        self._sum, self._moved = 0, 0.0  # bytes that the watch saw last, and when they changed
        self.stop_waiting()
        self.begin(Budget(LOGIN_BYTES, seconds))

    def fileno(self) -> int:
        return self._tcp.fileno()

    def begin(self, budget: Budget) -> None:
        """What comes from now on belongs to another command."""
        self._budget = budget, self.received()

    def pause(self) -> None:
        """Between commands time does not count."""
        self.begin(Budget(LOGIN_BYTES, math.inf))

    def wait(self, seconds: float, first: float | None = None) -> None:
        """From now on it may be silent for so long, and until its first byte for `first`."""
        self._patience = time.monotonic(), seconds, seconds if first is None else first

    def stop_waiting(self) -> None:
        self.wait(math.inf)

    def end_at_limit(self) -> None:
        received, moment = self.received(), time.monotonic()
        if received != self._sum:
            self._sum, self._moved = received, moment
        (budget, before), (begun, seconds, first) = self._budget, self._patience
        try:
            budget.require(received - before)
        except EndlessAnswerError as excess:
            self.excess = str(excess)
        if moment - max(begun, self._moved) > (seconds if received else first):
            self.is_silent = True
        if self.excess or self.is_silent:
            self.end()

    def end(self) -> None:
        with contextlib.suppress(OSError):  # the board was quicker
            self._tcp.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._tcp.close()

    def received(self) -> int:
        """Bytes that have come."""
        facts = self._tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        received: int = struct.unpack_from("=Q", facts, RECEIVED_AT)[0]
        return received


class Watch:
    """Looks after the lines that C reads from, in one thread for all, as long as there are any."""

    def __init__(self) -> None:
        self._lines = set[WatchedLine]()
        self._alone = threading.Lock()
        self._is_at_work = False

    @contextlib.contextmanager
    def over(self, line: WatchedLine) -> Iterator[None]:
        """Meanwhile the line has its limits; then nobody looks at it, and it may be closed."""
        with self._alone:
            if not self._is_at_work:
                # Where that fails, nothing is watched, and the next line tries again.
                threading.Thread(target=self._work, daemon=True).start()
                self._is_at_work = True
            self._lines.add(line)
        try:
            yield
        finally:
            with self._alone:
                self._lines.discard(line)

    def _work(self) -> None:
        while self._look():
            time.sleep(WATCH_SECONDS)

    def _look(self) -> bool:
        """Look at every line; whether there are any."""
        with self._alone:
            for line in self._lines:
                try:
                    line.end_at_limit()
                except Exception:  # a line whose limits cannot be kept ends; the others go on
                    line.end()
            self._is_at_work = bool(self._lines)
            return self._is_at_work
