"""The line of a site to `fleet.serve`: requests over mutual TLS, a connection for each."""

import http.client
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

from cryptography import x509

from edgewright.base.errors import EdgewrightError, TargetError
from edgewright.base.schema import Document, Part, parse_json
from edgewright.fleet.documents import Refusal

TIMEOUT_SECONDS = 15.0  # without a byte; a lease, which is renewed in between, is longer
ANSWER_BYTES = 16 << 20
CHUNK = 1 << 20
Answer = TypeVar("Answer", bound=Document)


class LineError(TargetError):
    """The server is not reached, or what answers is not the server: later it may be."""


class RefusedError(TargetError):
    """The server does not meet a request, and would not meet it later."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A server, and the certificate to show to it."""

    url: str
    authority: Path  # PEM of who signed the server's certificate
    certificate: Path | None = None
    key: Path | None = None

    def ask(
        self, path: str, kind: type[Answer], body: Part | None = None, *, wait_s: float = 0.0
    ) -> Answer:
        """The server may take `wait_s` seconds. Raises LineError and RefusedError."""
        content = self._exchange(path, body, wait_s)
        return parse_json(kind, content, self.url, "answered strangely", blame=LineError)

    def tell(self, path: str, body: Part) -> None:
        """Raises LineError and RefusedError."""
        self._exchange(path, body)

    def _exchange(self, path: str, body: Part | None, wait_s: float = 0.0) -> bytes:
        with self._response(path, body, wait_s=wait_s) as response:
            content = response.read(ANSWER_BYTES)
        if response.status >= 500:
            raise LineError(self.url, f"answered {response.status}")
        if response.status >= 300:
            refusal = parse_json(
                Refusal, content, self.url, f"answered {response.status}", blame=LineError
            )
            raise RefusedError(self.url, refusal.message, next=refusal.next)
        return content

    def fetch(self, path: str, start: int, end: int, write: Callable[[bytes], object]) -> None:
        """A file from one byte to before another, whatever the server sends beyond.

        Raises LineError and RefusedError.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._response(path, None, headers) as response:
            if response.status != (206 if start else 200):
                raise RefusedError(self.url, f"answered {response.status} for {path}")
            while start < end and (chunk := response.read(min(CHUNK, end - start))):
                write(chunk)
                start += len(chunk)
            if start < end:
                raise LineError(self.url, "the line was cut")

    @contextmanager
    def _response(
        self,
        path: str,
        body: Part | None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> Iterator[http.client.HTTPResponse]:
        place = urlsplit(self.url)
        try:
            context = ssl.create_default_context(cafile=self.authority)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
            connection = http.client.HTTPSConnection(
                str(place.hostname), place.port, timeout=TIMEOUT_SECONDS + wait_s, context=context
            )
            try:
                # Without what is not there: an older server knows fewer keys.
                text = None if body is None else body.model_dump_json(exclude_none=True)
                method = "GET" if body is None else "POST"
                connection.request(method, quote(path), text, dict(headers or {}))
                yield connection.getresponse()
            finally:
                connection.close()
        except EdgewrightError:
            raise
        except (OSError, http.client.HTTPException) as fault:
            facts = [str(fault), *self._expiry()]
            raise LineError(self.url, "is not reached", facts=facts) from fault

    def _expiry(self) -> list[str]:
        """Why TLS may have refused: a server that does so need not say it."""
        if self.certificate is None:
            return []
        end = x509.load_pem_x509_certificate(self.certificate.read_bytes()).not_valid_after_utc
        if end > datetime.now(UTC):
            return []
        return [f"the certificate of this site ended on {end:%Y-%m-%d}: it enrols anew"]
