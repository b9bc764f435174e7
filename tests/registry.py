"""A registry of a test: Debian's, in a folder and on a port of its own."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

from edgewright.base.ports import reserved_port

PROGRAM = "docker-registry"
SECONDS = 30.0  # to answer
SETTINGS = """\
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: {deletes}}}
http: {{addr: "127.0.0.1:{port}"}}
{more}
"""


@contextmanager
def running_registry(folder: Path, *, deletes: bool = True, more: str = "") -> Iterator[int]:
    """The port of a registry that keeps what it has below `folder`."""
    folder.mkdir(parents=True)
    settings = folder / "config.yml"
    with reserved_port() as port:
        values = {"folder": folder / "data", "deletes": str(deletes).lower(), "port": port}
        settings.write_text(SETTINGS.format(more=more, **values))
        with (folder / "log").open("wb") as log:
            argv = [PROGRAM, "serve", str(settings)]
            server = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(port, server)
            yield port
        finally:
            server.kill()
            server.wait()


def _wait(port: int, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError):
            urlopen(f"http://127.0.0.1:{port}/", timeout=SECONDS).close()
            return
        time.sleep(0.02)
    raise AssertionError(f"{PROGRAM} does not answer")
