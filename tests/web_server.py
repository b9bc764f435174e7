"""A web server of a test: it answers from a state that the test sees and changes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class AnsweringHandler(BaseHTTPRequestHandler):
    server_state: Any  # that of `serving`

    def answer(
        self, status: int, content: bytes = b"", *, header: tuple[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if header:
            self.send_header(*header)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""


@contextmanager
def serving(handler: type[AnsweringHandler], state: object) -> Iterator[int]:
    """The port of a server on this machine."""
    of_test = type("OfTest", (handler,), {"server_state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), of_test) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield http.server_port
        finally:
            http.shutdown()
            thread.join()
