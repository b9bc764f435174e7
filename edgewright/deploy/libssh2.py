"""SSH by libssh2, for less processor time than Paramiko takes in Python.

It is for checks of many boards: it knows keys and the agent, and neither passwords nor jump hosts.
It has no limits of its own, and may read for ever within one call: a `WatchedLine` is ended under
it. libssh2 judges no host key: whoever connects compares `host_key` before `log_in`.
"""

import contextlib
import re
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from ssh2 import session as ssh2
from ssh2.exceptions import ChannelWindowFullError, SSH2Error

from edgewright.deploy.line import NO_SERVER, Budget, EndlessAnswerError, SilenceError, WatchedLine
from edgewright.deploy.openssh import is_ready

CHUNK = 32 * 1024
WAKE_SECONDS = 0.25

# Nothing weaker than Paramiko asks for; a board that has none of these is Paramiko's.
METHODS = {
    ssh2.LIBSSH2_METHOD_KEX: "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,"
    "ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group16-sha512,"
    "diffie-hellman-group-exchange-sha256,diffie-hellman-group14-sha256",
    **dict.fromkeys(
        (ssh2.LIBSSH2_METHOD_CRYPT_CS, ssh2.LIBSSH2_METHOD_CRYPT_SC),
        "chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-gcm@openssh.com,"
        "aes128-ctr,aes192-ctr,aes256-ctr",
    ),
    **dict.fromkeys(
        (ssh2.LIBSSH2_METHOD_MAC_CS, ssh2.LIBSSH2_METHOD_MAC_SC),
        "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512",
    ),
}
HOST_KEYS = (
    *("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("rsa-sha2-512", "rsa-sha2-256"),
)
# The package has no word of an exit by a signal, and takes it for 0: the board's shell tells.
TELL_EXIT = "; echo edgewright: exit $? >&2"
EXIT = re.compile(rb"edgewright: exit ([0-9]{1,3})\n\Z")
BEFORE_BANNER = "Failed getting banner"  # libssh2's words for a line that ended before it
# Refused, damaged or cut; TimeoutError and EndlessAnswerError are among them.
LOST = (SSH2Error, OSError, EOFError)


class NoSessionError(Exception):
    """Board and libssh2 did not come to terms; Paramiko may."""


class Session:
    """An SSH session over a line that is open, and watched.

    libssh2 waits for the board in C, within `_waiting` alone: what it does where a channel is freed
    has no limit. Its objects are attributes of this one, never variables of a frame, which an
    exception may hold: so `close` frees them all, and nothing writes to the socket after it.
    """

    def __init__(self, line: WatchedLine, host_key_algorithms: Sequence[str]) -> None:
        self.line = line
        self._session = ssh2.Session()
        self._session.set_blocking(False)
        for method, names in METHODS.items():
            self._session.method_pref(method, names)
        self._session.method_pref(ssh2.LIBSSH2_METHOD_HOSTKEY, ",".join(host_key_algorithms))
        self._agent: Any = None
        self._channel: Any = None  # of the command that runs
        self._next_channel: Any = None
        self._idle = 0.0  # seconds that the board may be silent

    @property
    def host_key(self) -> bytes:
        """The key that the board has proved to hold, as SSH has it on the wire."""
        key: bytes = self._session.hostkey()[0]
        return key

    def exchange_keys(self, *, banner_seconds: float, seconds: float) -> None:
        """Raises SilenceError, EndlessAnswerError and NoSessionError."""
        try:
            with self._waiting(seconds, first=banner_seconds):
                self._session.handshake(self.line)
        except SSH2Error as failed:
            if self.line.excess:
                raise EndlessAnswerError(self.line.excess) from failed
            if not self.line.is_silent:
                raise NoSessionError(self._session.last_error()) from failed
            has_banner = BEFORE_BANNER not in self._session.last_error()
            problem = f"no key exchange within {seconds:g} s" if has_banner else NO_SERVER
            raise SilenceError(problem) from failed

    def log_in(
        self, user: str, keys: Sequence[str], own: Sequence[str], *, agent: bool, seconds: float
    ) -> bool:
        """Whether one of `keys`, of the agent's or of the user's `own` lets us in, in this order.

        A key that cannot be read, for its passphrase say, is passed over.
        Raises SilenceError and EndlessAnswerError.
        """
        try:
            with self._waiting(seconds):
                return (
                    any(self._is_let_in(self._by_file, user, path) for path in keys)
                    or (agent and self._agent_lets_in(user))
                    or any(self._is_let_in(self._by_file, user, path) for path in own)
                )
        except TimeoutError as silent:
            raise SilenceError(f"no answer to the login within {seconds:g} s") from silent

    def _agent_lets_in(self, user: str) -> bool:
        self._agent = self._session.agent_init()
        try:
            self._agent.connect()
            identities = self._agent.get_identities()
        except SSH2Error:  # there is none
            return False
        return any(self._is_let_in(self._by_agent, user, identity) for identity in identities)

    def _by_file(self, user: str, path: str) -> Any:
        return self._session.userauth_publickey_fromfile(user, path)

    def _by_agent(self, user: str, identity: object) -> Any:
        return self._agent.userauth(user, identity)

    def _is_let_in(self, attempt: Callable[..., Any], *arguments: object) -> bool:
        try:
            return bool(attempt(*arguments) == 0)
        except SSH2Error:
            self._raise_limit()
            return False

    def run(
        self,
        command: str,
        source: BinaryIO,
        on_bytes: Callable[[int], None] | None,
        idle: float,
        budget: Budget,
    ) -> tuple[int, bytes, bytes]:
        """Exit code (-1: the shell ended by a signal), output and errors of a command.

        Raises TimeoutError after `idle` seconds of silence, EOFError for a connection that ended,
        and EndlessAnswerError.
        """
        try:
            with self._waiting(idle):
                self._channel = self._next_channel or self._session.open_session()
                self._next_channel = None
                self._channel.execute(command + TELL_EXIT)
                answer = _Answer()
                self._send(answer, source, on_bytes, budget)
                budget.end_sending()
                self._receive(answer, budget)
                # Dropbear ends where the next command begins before it has closed this one.
                self._channel.close()
        except SSH2Error as lost:
            self._raise_limit()
            raise EOFError(type(lost).__name__) from lost
        finally:
            self._channel = None
        code = EXIT.search(answer.errors)
        errors = answer.errors[: code.start()] if code else answer.errors
        return int(code[1]) if code else -1, bytes(answer.output), bytes(errors)

    def _send(
        self,
        answer: "_Answer",
        source: BinaryIO,
        on_bytes: Callable[[int], None] | None,
        budget: Budget,
    ) -> None:
        """Feed standard input; stop early if the command ends early, its exit code says why."""
        with self._not_waiting():
            while chunk := source.read(CHUNK):
                if not self._send_chunk(answer, chunk, on_bytes, budget):
                    return
        self._channel.send_eof()

    def _send_chunk(
        self,
        answer: "_Answer",
        chunk: bytes,
        on_bytes: Callable[[int], None] | None,
        budget: Budget,
    ) -> bool:
        """Whether the command took all of it, and has not ended before."""
        moved = time.monotonic()
        while True:
            count: int = self._channel.write(chunk)[1]
            chunk = chunk[count:]
            budget.add_sent(count)
            if on_bytes and count:
                on_bytes(count)
            if not chunk:
                return True
            moved = time.monotonic() if count else moved
            # Half a packet is in the socket: libssh2 must be let send the rest before all else.
            is_cut = self._session.block_directions() & ssh2.LIBSSH2_SESSION_BLOCK_OUTBOUND
            # The board takes no more yet, and may wait until we take some. What it writes
            # meanwhile is no sign that it takes anything.
            if not is_cut and self._is_whole(answer, budget):
                return False
            if time.monotonic() - moved > self._idle:
                raise TimeoutError
            # Not for long: reading may have brought what writing waits for.
            events = select.POLLIN | (select.POLLOUT if is_cut else 0)
            is_ready(self.line.fileno(), events, WAKE_SECONDS)

    def _receive(self, answer: "_Answer", budget: Budget) -> None:
        """The answer to its end; libssh2 holds it until then, or until it can hold no more."""
        is_whole = False
        while not is_whole:
            with contextlib.suppress(ChannelWindowFullError):
                self._channel.wait_eof()
            with self._not_waiting():
                is_whole = self._is_whole(answer, budget)

    def _is_whole(self, answer: "_Answer", budget: Budget) -> bool:
        """Take what has come; whether that was all. Raises EndlessAnswerError."""
        # A board may send as fast as this takes it, and the watch looks now and then.
        while (chunk := self._channel.read(CHUNK))[0] > 0:
            answer.output += chunk[1]
            budget.require(len(answer.output) + len(answer.errors))
        while (chunk := self._channel.read_stderr(CHUNK))[0] > 0:
            answer.errors += chunk[1]
            budget.require(len(answer.output) + len(answer.errors))
        return bool(self._channel.eof())

    @contextlib.contextmanager
    def _waiting(self, idle: float, first: float | None = None) -> Iterator[None]:
        """Calls of libssh2 wait for the board, which may be silent for `idle` seconds."""
        self._idle = idle
        self.line.wait(idle, first)
        self._session.set_blocking(True)
        try:
            yield
        finally:
            self._session.set_blocking(False)
            self.line.stop_waiting()

    @contextlib.contextmanager
    def _not_waiting(self) -> Iterator[None]:
        """Within `_waiting`: calls of libssh2 end with what they can do at once."""
        self._session.set_blocking(False)
        try:
            yield
        finally:
            self._session.set_blocking(True)

    @contextlib.contextmanager
    def attended(self) -> Iterator[None]:
        """Answer the board meanwhile, which may ask whether anybody is there.

        libssh2 reads where it reads for a channel: that of the next command is opened before.
        What ends the line ends the next command.
        """
        has_ended = threading.Event()

        def answer() -> None:
            with contextlib.suppress(*LOST):
                with self._waiting(self._idle):
                    self._next_channel = self._session.open_session()
                while not has_ended.is_set():
                    if is_ready(self.line.fileno(), select.POLLIN, WAKE_SECONDS):
                        self._next_channel.read(CHUNK)

        attendant = threading.Thread(target=answer)
        attendant.start()
        try:
            yield
        finally:
            has_ended.set()
            attendant.join()

    def close(self) -> None:
        """End the line, and free what libssh2 has: the line can be closed then."""
        self.line.end()
        self._channel = self._next_channel = self._agent = self._session = None

    def _raise_limit(self) -> None:
        """What ended the line, if a limit did. Raises EndlessAnswerError and TimeoutError."""
        if self.line.excess:
            raise EndlessAnswerError(self.line.excess)
        if self.line.is_silent:
            raise TimeoutError


class _Answer:
    """What a command writes, as far as it has come."""

    def __init__(self) -> None:
        self.output, self.errors = bytearray(), bytearray()
