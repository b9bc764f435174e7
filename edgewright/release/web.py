"""Requests to servers of which anything may be expected.

An answer is read to a limit, no redirect is followed, and a request ends, however slowly its server
drips. What a server could not serve is repeated twice: each request here may be.
"""

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from urllib.parse import SplitResult, urlsplit

from edgewright.base.errors import TargetError, UserError
from edgewright.base.files import HashedFile, NotWrittenError

TIMEOUT = 60.0  # seconds without a byte
LONGEST = 3600.0  # seconds of one request: a byte now and then would go on for years
TRIES = 3
WAIT = 0.5  # seconds before the second one, twice as many before the third
LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server said."""

    status: int
    content: bytes
    headers: Message


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    limit: int,
    body: bytes | None = None,
    into: HashedFile | None = None,
) -> Answer:
    """Send one request; no more than `limit` bytes of the answer are read.

    What comes with a status of 200 is written `into` a file, if there is one, in place of the
    answer's content. Raises OSError and HTTPException for a line that breaks, UserError for an
    answer that is larger.
    """
    parts, memory = urlsplit(url), io.BytesIO()
    received = into or HashedFile(memory)
    connection = _connection(parts)
    try:
        connection.connect()
        with _no_longer(connection.sock):
            target = parts._replace(scheme="", netloc="").geturl()
            connection.request(method, target, body=body, headers=dict(headers))
            response = connection.getresponse()
            if response.status == 200:
                received.begin()
                received.copy(response, limit, parts._replace(query="").geturl())
                content = memory.getvalue()
            else:
                # The page of a refusal may be longer than what was asked for, and says nothing.
                content = response.read(limit)
        is_whole = response.getheader("Content-Length") in (None, str(received.size))
        if method == "GET" and response.status == 200 and not is_whole:
            raise http.client.IncompleteRead(content)
        return Answer(status=response.status, content=content, headers=response.headers)
    finally:
        connection.close()


def repeated(once: Callable[[], Answer], subject: str) -> Answer:
    """What `once` answers, at the third try the latest.

    Raises TargetError for a broken line, NotWrittenError for a full disk of this machine.
    """
    for turn in range(TRIES):
        is_last = turn == TRIES - 1
        try:
            answer = once()
        except NotWrittenError:
            raise  # another try would find the same disk
        except (OSError, http.client.HTTPException) as broken:
            if is_last:
                raise TargetError(
                    subject,
                    "cannot be reached",
                    facts=[str(broken) or type(broken).__name__],
                    next="repeat the command: what was sent is not sent again",
                ) from broken
        else:
            if answer.status < 500 or answer.status == 501 or is_last:
                return answer
        time.sleep(WAIT * (turn + 1))
    raise AssertionError  # the last turn returns or raises


def status_line(method: str, status: int) -> str:
    """A fact of an error."""
    return f"{method}: HTTP {status} {http.client.responses.get(status, '')}".rstrip()


def is_private(url: str) -> bool:
    """Whether nobody but the server reads what is sent to a URL."""
    parts = urlsplit(url)
    is_local = parts.scheme == "http" and parts.hostname in LOOPBACK
    return bool(parts.hostname) and (parts.scheme == "https" or is_local)


def require_header(authorization: str) -> None:
    """Raises UserError for what cannot be the value of a header."""
    if not (authorization.isascii() and authorization.isprintable()):
        raise UserError(
            "EDGEWRIGHT_STORE_AUTHORIZATION",
            "has control characters, or letters beyond ASCII",
            next="mend it",
        )


def _connection(parts: SplitResult) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT)


@contextmanager
def _no_longer(line: socket.socket) -> Iterator[None]:
    """Cut a line after `LONGEST` seconds: whoever reads it then is told that it ended."""

    def cut() -> None:
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(LONGEST, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
