"""The client of `edge-infer serve`, and services that answer what none should."""

import ast
import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from edgewright import client
from edgewright.client import (
    ANSWER,
    BusyError,
    Client,
    ConnectionEndedError,
    Format,
    Frame,
    ServiceError,
)

ERROR = b'{"error":{"code":"busy","message":"request: waits","next":"ask again later"}}\n'


def answered(tmp_path: Path, answer: bytes) -> Client:
    """A client whose requests get these bytes, and then the end of the connection."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()

    def answer_once() -> None:
        connection, _ = listener.accept()
        connection.recv(4096)
        connection.sendall(answer)
        connection.close()
        listener.close()

    threading.Thread(target=answer_once, daemon=True).start()
    return Client(str(tmp_path / "socket"), timeout=10)


def test_it_is_one_file_that_an_older_python_of_a_board_takes() -> None:
    tree = ast.parse(Path(client.__file__).read_text(), feature_version=(3, 9))
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert names <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (b"", ConnectionEndedError),
        (ANSWER.pack(100, 1, 0)[:7], ConnectionEndedError),
        (ANSWER.pack(100, 1, 0) + b"{}", ConnectionEndedError),
        (ANSWER.pack(0xFFFFFFFF, 1, 0), ConnectionEndedError),
        (ANSWER.pack(0, 1, 0), ConnectionEndedError),
        (ANSWER.pack(8 + len(ERROR), 1, 1) + ERROR, ServiceError),
        (ANSWER.pack(8 + len(ERROR), 1, 2) + ERROR, BusyError),
    ],
    ids=["nothing", "half a head", "half a document", "4 GiB", "no head", "an error", "busy"],
)
def test_what_a_service_may_answer(tmp_path: Path, answer: bytes, raised: type[Exception]) -> None:
    with answered(tmp_path, answer) as connected, pytest.raises(raised) as fault:
        connected.status()
    assert type(fault.value) is raised


def test_a_frame_s_memory_cannot_become_shorter() -> None:
    with Frame(4, 3) as frame:
        frame.pixels[:] = bytes(12)
        with pytest.raises(PermissionError):
            os.ftruncate(frame.fd, 4)


@pytest.mark.parametrize(
    ("format", "stride", "size"),
    [
        (Format.GRAY, 5, 15),
        (Format.RGB, 15, 45),
        (Format.NV12, 6, 6 * (3 + 2)),
        (Format.YUYV_FULL, 12, 36),
        (Format.BAYER_GBRG, 5, 15),
    ],
)
def test_a_frame_has_the_memory_that_its_format_needs(
    format: Format, stride: int, size: int
) -> None:
    with Frame(5, 3, format) as frame:
        assert frame.stride == stride
        assert len(frame.pixels) == size
