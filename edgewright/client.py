"""Client of `edge-infer serve`: images and frames go to the board's service, answers come back.

This file needs Python 3.9 and nothing else: it can be copied to a board as it is. `docs/serve.md`
is the protocol. A frame lies in memory that both sides have, so no pixel is copied:

    with Client("/run/edgewright/serve/infer.sock") as client, Frame(640, 480) as frame:
        frame.pixels[:] = camera.read()
        print(client.frame(frame)["class"])
"""

import fcntl
import json
import mmap
import os
import socket
import struct
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Union

# length, id, kind, format, width, height, stride, offset, chroma
REQUEST = struct.Struct("<9I")
ANSWER = struct.Struct("<3I")  # length, id, status
LENGTH_BYTES = 4  # that the length itself has, and does not count
MAX_ANSWER = 64 << 20  # bytes; no answer is as long


class Kind(IntEnum):
    """What a request is."""

    IMAGE = 1  # an encoded image follows
    FILE = 2  # an encoded image, in the file whose descriptor comes with the request
    FRAME = 3  # pixels, in the sealed memory whose descriptor comes with the request
    STATUS = 4
    RELOAD = 5


class Format(IntEnum):
    """Pixels as a camera lays them out, 8 bits a channel."""

    GRAY = 1
    RGB = 2
    BGR = 3
    NV12 = 4  # BT.601, luma from 16 to 235
    YUYV = 5  # likewise
    NV12_FULL = 6  # luma from 0 to 255, as in a JPEG
    YUYV_FULL = 7
    BAYER_RGGB = 8  # named by the first two pixels of the first two rows
    BAYER_GRBG = 9
    BAYER_GBRG = 10
    BAYER_BGGR = 11

    def row_bytes(self, width: int) -> int:
        """Bytes of a row of `width` pixels; luma and chroma are of pairs of them."""
        if self in (Format.RGB, Format.BGR):
            return 3 * width
        if self in (Format.YUYV, Format.YUYV_FULL):
            return 2 * (width + width % 2)
        return width + width % 2 if self.has_plane_of_chroma else width

    def rows(self, height: int) -> int:
        """Rows of a frame of `height` pixels; NV12's chroma lies behind its luma."""
        return height + (height + 1) // 2 if self.has_plane_of_chroma else height

    @property
    def has_plane_of_chroma(self) -> bool:
        return self in (Format.NV12, Format.NV12_FULL)


class Status(IntEnum):
    """What became of a request."""

    DONE = 0
    ERROR = 1
    BUSY = 2
    REFUSED = 3


class ServiceError(Exception):
    """The service's answer is an error: `code` is its word for programs, `next` what to do."""

    def __init__(self, code: str, message: str, next: str) -> None:
        super().__init__(message)
        self.code = code
        self.next = next


class BusyError(ServiceError):
    """As many requests wait as may; this one was not taken. Ask again later."""


class ConnectionEndedError(Exception):
    """The service has ended, or ended the connection: there is no answer. Ask again on another."""


class Frame:
    """Memory for the pixels of one picture, which the service reads from where it lies.

    It must not be written to between a request and its answer; several frames may be in use. Where
    a camera pads its pictures (V4L2 gives 1080 rows as 1088), make one of the padded size and set
    `width` and `height` to the picture's then: rows and chroma stay where the camera puts them.
    """

    def __init__(self, width: int, height: int, format: Format = Format.GRAY) -> None:
        self.width, self.height, self.format = width, height, format
        self.stride = format.row_bytes(width)  # bytes from one row to the next
        # Of NV12: bytes from the first pixel to the first row of chroma.
        self.chroma = self.stride * height if format.has_plane_of_chroma else 0
        size = self.stride * format.rows(height)
        self.fd = os.memfd_create("edge-frame", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, size)
            # The service reads no memory that could become shorter under its hands.
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            self._memory = mmap.mmap(self.fd, size)
            self._memory[:] = bytes(size)  # nor any that it would pay for, as nobody wrote to it
        except BaseException:
            os.close(self.fd)
            raise
        self.pixels = memoryview(self._memory)  # rows, the top one first; numpy.frombuffer takes it

    def close(self) -> None:
        self.pixels.release()
        self._memory.close()
        os.close(self.fd)

    def __enter__(self) -> "Frame":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: "BaseException | None",
        trace: "TracebackType | None",
    ) -> None:
        self.close()


class Client:
    """One connection to a service; one thread at a time may use it.

    Each method waits for its answer, a document as `docs/serve.md` has it. All raise BusyError,
    ServiceError and ConnectionEndedError; TimeoutError where no answer comes in `timeout` seconds,
    after which this connection is of no more use.
    """

    def __init__(self, path: str, timeout: float = 60.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
        except BlockingIOError as error:
            self._socket.close()
            message = f"{path}: more clients wait to be let in than may"
            raise BusyError("busy", message, "ask again later") from error
        except BaseException:
            self._socket.close()
            raise
        self._last_id = 0

    def image(self, data: bytes) -> dict[str, Any]:
        """The answer for an encoded image (PNG, JPEG, PGM, PPM)."""
        return self._ask(self._head(Kind.IMAGE, extra=len(data)) + data)

    def file(self, path: Union[str, "os.PathLike[str]"]) -> dict[str, Any]:
        """The answer for an image file, which the service reads by our descriptor."""
        with Path(path).open("rb") as file:
            return self._ask(self._head(Kind.FILE), file.fileno())

    def frame(self, frame: Frame) -> dict[str, Any]:
        """The answer for a frame."""
        shape = (frame.format, frame.width, frame.height, frame.stride, 0, frame.chroma)
        return self._ask(self._head(Kind.FRAME, shape), frame.fd)

    def status(self) -> dict[str, Any]:
        """What is served and how it does; it is answered at once, however many wait."""
        return self._ask(self._head(Kind.STATUS))

    def reload(self) -> dict[str, Any]:
        """Have the model read anew; the former one goes on where the new one's self-test fails."""
        return self._ask(self._head(Kind.RELOAD))

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: "BaseException | None",
        trace: "TracebackType | None",
    ) -> None:
        self.close()

    def _head(self, kind: Kind, shape: tuple[int, ...] = (0,) * 6, extra: int = 0) -> bytes:
        self._last_id = self._last_id % 0xFFFFFFFF + 1
        length = REQUEST.size - LENGTH_BYTES + extra
        return REQUEST.pack(length, self._last_id, kind, *shape)

    def _ask(self, request: bytes, fd: "int | None" = None) -> dict[str, Any]:
        try:
            sent = 0
            if fd is not None:
                sent = socket.send_fds(self._socket, [request], [fd])
            self._socket.sendall(request[sent:])
        except (BrokenPipeError, ConnectionResetError):
            pass  # its last words may be there to read
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        length, _, status = ANSWER.unpack(self._receive(ANSWER.size))
        size = length - (ANSWER.size - LENGTH_BYTES)
        if not 0 <= size <= MAX_ANSWER:
            raise ConnectionEndedError(f"an answer of {length} bytes is none of this protocol")
        document: dict[str, Any] = json.loads(self._receive(size))
        if status == Status.DONE:
            return document
        error = document["error"]
        kind = BusyError if status == Status.BUSY else ServiceError
        raise kind(error["code"], error["message"], error["next"])

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                part = self._socket.recv(min(size - len(data), 1 << 16))
            except ConnectionResetError:
                part = b""
            if not part:
                raise ConnectionEndedError("the service ended the connection before its answer")
            data += part
        return bytes(data)
