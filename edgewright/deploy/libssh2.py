"""SSH by libssh2, for less processor time than Paramiko takes in Python.

It is for checks of many boards: it knows keys and the agent, and neither passwords nor jump hosts.
It gets one end of a socket pair in place of the board's socket, so that every byte passes through
`Line` first and has its limits, and so that a call in C ends once it has read what was handed over.
libssh2 judges no host key: whoever connects compares `host_key` before `log_in`.
"""

import contextlib
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from ssh2 import session as ssh2
from ssh2.error_codes import LIBSSH2_ERROR_EAGAIN as MUST_WAIT
from ssh2.exceptions import SSH2Error

from edgewright.deploy.line import NO_SERVER, Budget, EndlessAnswerError, Line, SilenceError
from edgewright.deploy.openssh import is_ready

CHUNK = 32 * 1024  # at once: what a pair takes without waiting is several times as much
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
# Refused, damaged or cut; TimeoutError and EndlessAnswerError are among them.
LOST = (SSH2Error, OSError, EOFError)


class NoSessionError(Exception):
    """Board and libssh2 did not come to terms; Paramiko may."""


class _Descriptor:
    """An end of a socket pair that lives as long as libssh2 may write to it, to say goodbye.

    The number of an end that was closed before could be another thread's socket by then.
    """

    def __init__(self, end: socket.socket) -> None:
        self._number = end.detach()

    def fileno(self) -> int:
        return self._number

    def __del__(self) -> None:
        os.close(self._number)


class Session:
    """An SSH session over a line that is open."""

    def __init__(self, line: Line, host_key_algorithms: Sequence[str]) -> None:
        self.line = line
        self._pair, end = socket.socketpair()
        self._pair.setblocking(False)
        end.setblocking(False)
        self._end = _Descriptor(end)
        self._session = ssh2.Session()
        self._session.set_blocking(False)
        for method, names in METHODS.items():
            self._session.method_pref(method, names)
        self._session.method_pref(ssh2.LIBSSH2_METHOD_HOSTKEY, ",".join(host_key_algorithms))
        self._next_channel: Any = None
        self._idle = 0.0  # seconds that the board may be silent

    @property
    def host_key(self) -> bytes:
        """The key that the board has proved to hold, as SSH has it on the wire."""
        key: bytes = self._session.hostkey()[0]
        return key

    def exchange_keys(self, *, banner_seconds: float, seconds: float) -> None:
        """Raises SilenceError, EndlessAnswerError and NoSessionError."""
        self._idle = seconds
        has_banner = False
        try:
            self._session.handshake(self._end)  # says who we are
            self._forward()
            has_banner = b"SSH-" in self._receive(banner_seconds)
            self._call(self._session.handshake, self._end)
        except TimeoutError as silent:
            problem = f"no key exchange within {seconds:g} s"
            raise SilenceError(problem if has_banner else NO_SERVER) from silent
        except EndlessAnswerError:
            raise
        except LOST as failed:
            raise NoSessionError(str(failed)) from failed

    def log_in(
        self, user: str, keys: Sequence[str], own: Sequence[str], *, agent: bool, seconds: float
    ) -> bool:
        """Whether one of `keys`, of the agent's or of the user's `own` lets us in, in this order.

        A key that cannot be read, for its passphrase say, is passed over.
        Raises SilenceError and EndlessAnswerError.
        """
        self._idle = seconds
        by_file = self._session.userauth_publickey_fromfile
        try:
            return (
                any(self._is_let_in(by_file, user, path) for path in keys)
                or (agent and self._agent_lets_in(user))
                or any(self._is_let_in(by_file, user, path) for path in own)
            )
        except TimeoutError as silent:
            raise SilenceError(f"no answer to the login within {seconds:g} s") from silent

    def _agent_lets_in(self, user: str) -> bool:
        agent = self._session.agent_init()
        try:
            agent.connect()
            identities = agent.get_identities()
        except SSH2Error:  # there is none
            return False
        return any(self._is_let_in(agent.userauth, user, identity) for identity in identities)

    def _is_let_in(self, attempt: Callable[..., int], *arguments: object) -> bool:
        try:
            return bool(self._call(attempt, *arguments) == 0)
        except (TimeoutError, EndlessAnswerError):
            raise
        except LOST:
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
        self._idle = idle
        self.line.settimeout(idle)
        try:
            channel, self._next_channel = self._next_channel or self._open(), None
            self._call(channel.execute, command + TELL_EXIT)
            answer = _Answer(channel)
            self._send(answer, source, on_bytes, budget)
            budget.end_sending()
            while not answer.is_whole():
                self._forward()
                self._receive(idle)
            self._call(channel.close)
            code = EXIT.search(answer.errors)
            errors = answer.errors[: code.start()] if code else answer.errors
            return int(code[1]) if code else -1, bytes(answer.output), bytes(errors)
        except SSH2Error as lost:
            raise EOFError(type(lost).__name__) from lost

    def _send(
        self,
        answer: "_Answer",
        source: BinaryIO,
        on_bytes: Callable[[int], None] | None,
        budget: Budget,
    ) -> None:
        """Feed standard input; stop early if the command ends early, its exit code says why."""
        channel, moved = answer.channel, time.monotonic()
        while chunk := source.read(CHUNK):
            while chunk:
                count: int = channel.write(chunk)[1]
                self._forward()
                chunk = chunk[count:]
                moved = time.monotonic() if count else moved
                budget.add_sent(count)
                if on_bytes and count:
                    on_bytes(count)
                if chunk:  # the board takes no more yet, and may wait until we take some
                    if answer.is_whole():
                        return
                    self._forward()
                    # What the board writes meanwhile is no sign that it takes anything.
                    self._receive(max(0, moved + self._idle - time.monotonic()))
        self._call(channel.send_eof)

    @contextlib.contextmanager
    def attended(self) -> Iterator[None]:
        """Answer the board meanwhile, which may ask whether anybody is there.

        libssh2 reads where it reads for a channel: that of the next command is opened before.
        What ends the line ends the next command.
        """
        done = threading.Event()

        def answer() -> None:
            with contextlib.suppress(*LOST):
                self._next_channel = self._open()
                while not done.is_set():
                    if is_ready(self.line.fileno(), select.POLLIN, WAKE_SECONDS):
                        self._receive(0)
                        self._next_channel.read(CHUNK)
                        self._forward()

        attendant = threading.Thread(target=answer)
        attendant.start()
        try:
            yield
        finally:
            done.set()
            attendant.join()

    def close(self) -> None:
        self.line.close()
        self._pair.close()

    def _open(self) -> Any:
        return self._call(self._session.open_session)

    def _call(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Call a function of libssh2 until it waits for the board no more."""
        while (result := function(*arguments)) == MUST_WAIT:
            self._forward()
            self._receive(self._idle)
        self._forward()
        return result

    def _receive(self, seconds: float) -> bytes:
        """Hand over what the board sends next. Raises TimeoutError if it sends nothing."""
        if not is_ready(self.line.fileno(), select.POLLIN, seconds):
            raise TimeoutError
        data = self.line.recv(CHUNK)
        if not data:
            raise EOFError("the board ended the connection")
        self._pair.sendall(data)
        return data

    def _forward(self) -> None:
        """Send what libssh2 has for the board."""
        with contextlib.suppress(BlockingIOError):
            while data := self._pair.recv(CHUNK):
                while data:
                    data = data[self.line.send(data) :]


class _Answer:
    """What a command writes, as far as it has come."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.output, self.errors = bytearray(), bytearray()

    def is_whole(self) -> bool:
        """Take what has come; whether that was all."""
        for read, stream in (
            (self.channel.read, self.output),
            (self.channel.read_stderr, self.errors),
        ):
            while (chunk := read(CHUNK))[0] > 0:
                stream += chunk[1]
        return bool(self.channel.eof())
