"""edge-infer as a service for programs, on this machine: requests, garbage, floods, crashes."""

import array
import fcntl
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgewright.base import process
from edgewright.base.files import unique_name
from edgewright.client import (
    ANSWER,
    REQUEST,
    Client,
    ConnectionEndedError,
    Format,
    Frame,
    Kind,
    ServiceError,
    Status,
)
from edgewright.model.pack.import_folder import ImportRequest, import_model
from tests.checkout import checkout
from tests.integration.checkers import SANITIZERS, CheckedProgram, Checker, each_night
from tests.integration.conftest import accepts, end_containers, heat, wait_until
from tests.integration.toy_model import toy_model
from tests.raw_frames.reference import converted
from tests.schemas import require_valid
from tests.unit.model import tensor_network

pytestmark = pytest.mark.docker
ROOT = checkout().root
SIDE = 8
PATIENCE = 600.0  # seconds; Valgrind on a busy machine needs minutes to load a network
HEAD = REQUEST.size - 4  # what `length` counts of a request without an image


@dataclass
class Service:
    """One `edge-infer serve` in a container that has the checkout and this test's folder."""

    name: str
    folder: Path

    @property
    def path(self) -> str:
        return str(self.folder / "s" / "infer.sock")

    def client(self, timeout: float = PATIENCE) -> Client:
        return Client(self.path, timeout)

    def connect(self) -> socket.socket:
        """A connection whose bytes are the test's own."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(PATIENCE)
        connection.connect(self.path)
        return connection

    def metrics(self) -> dict[str, float]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(self.folder / "s" / "metrics.sock"))
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
        return samples(text.partition("\r\n\r\n")[2])

    def signal(self, name: str) -> None:
        process.check(["docker", "kill", "--signal", name, self.name])

    def exit_code(self) -> int:
        return int(process.check(["docker", "wait", self.name], timeout=PATIENCE).stdout)

    def log(self) -> str:
        return process.check(["docker", "logs", self.name]).stderr

    def descriptors(self) -> int:
        listed = process.check(["docker", "exec", self.name, "sh", "-c", "ls /proc/1/fd | wc -l"])
        return int(listed.stdout)


def samples(text: str) -> dict[str, float]:
    """Values of Prometheus' text format; asserts that it is nothing but that."""
    name = r'edge_infer_\w+(?:\{\w+="[^"\n]*"(?:,\w+="[^"\n]*")*\})?'
    line = re.compile(rf"({name}) (\d+(?:\.\d+)?(?:e-\d+)?)")  # a small network takes 9e-05 s
    rows = [row for row in text.splitlines() if not re.match("# (HELP|TYPE) edge_infer_", row)]
    matches = [line.fullmatch(row) for row in rows]
    assert all(matches), text
    assert len(rows) > 10
    return {match[1]: float(match[2]) for match in matches if match}


Start = Callable[..., Service]


@pytest.fixture
def start(program: CheckedProgram, tmp_path: Path) -> Iterator[Start]:
    names: list[str] = []

    def start_service(*options: str) -> Service:
        (tmp_path / "s").mkdir(exist_ok=True)
        if not (tmp_path / "model").exists():
            toy_model(tmp_path / "model", 1, SIDE, SIDE)
            golden_set(tmp_path / "model" / "golden")
        name = unique_name("edgewright-serve")
        names.append(name)
        argv = ["docker", "run", "--detach", "--name", name, "--volume", f"{ROOT}:{ROOT}"]
        argv += ["--user", f"{os.getuid()}:{os.getgid()}", "--volume", f"{tmp_path}:{tmp_path}"]
        argv += [program.image, str(program.path), "serve", "--folder", str(tmp_path / "s")]
        argv += ["--model", str(tmp_path / "model" / "model.onnx")]
        process.check([*argv, "--heartbeat", str(tmp_path / "s" / "beat"), *options])
        service = Service(name=name, folder=tmp_path)
        wait_until(lambda: accepts(service.path), seconds=PATIENCE)
        return service

    yield start_service
    end_containers(names)


def golden_set(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "g.png").write_bytes(png())
    case = {"image": "g.png", "class": "class0", "probabilities": [0.5, 0.5]}
    expected = {"schema": 1, "tolerance": 0.99, "cases": [case]}
    (folder / "expected.json").write_text(json.dumps(expected))


def pixels(side: int = SIDE) -> bytes:
    return bytes((7 * i * i) % 251 for i in range(side * side))


def png(side: int = SIDE) -> bytes:
    data = BytesIO()
    Image.frombytes("L", (side, side), pixels(side)).save(data, "PNG")
    return data.getvalue()


def slow_png() -> bytes:
    """An image that keeps the service busy for a while: 100 million pixels, few bytes."""
    data = BytesIO()
    Image.new("L", (8192, 8192)).save(data, "PNG")
    return data.getvalue()


def head(
    kind: Kind, number: int = 1, length: int = HEAD, shape: tuple[int, ...] = (0,) * 6
) -> bytes:
    return REQUEST.pack(length, number, kind, *shape)


def image_request(data: bytes, number: int = 1) -> bytes:
    return head(Kind.IMAGE, number, HEAD + len(data)) + data


def read_answer(stream: BinaryIO) -> tuple[int, Status]:
    """Id and status of the next one."""
    length, number, status = ANSWER.unpack(stream.read(ANSWER.size))
    require_valid("edge-infer-serve", stream.read(length - 8).decode())
    return number, Status(status)


def read_answers(connection: socket.socket, count: int) -> dict[int, Status]:
    """Id → status of so many answers, in whatever order."""
    with connection.makefile("rb") as stream:
        answers = [read_answer(stream) for _ in range(count)]
    statuses = dict(answers)
    assert len(statuses) == count
    return statuses


def test_an_image_a_file_and_a_frame_have_one_answer(start: Start, tmp_path: Path) -> None:
    service = start()
    (tmp_path / "part.png").write_bytes(png())

    with service.client() as client, Frame(SIDE, SIDE) as frame:
        frame.pixels[:] = pixels()
        answers = [client.image(png()), client.file(tmp_path / "part.png"), client.frame(frame)]
        status = client.status()

    assert answers[0]["class"].startswith("class")
    assert answers[0]["probabilities"] == answers[1]["probabilities"] == answers[2]["probabilities"]
    require_valid("edge-infer-serve", json.dumps(answers[0]))
    require_valid("edge-infer-serve", json.dumps(status))
    assert status["requests"]["done"] == 3


def test_colour_frames_are_what_their_format_says(start: Start, tmp_path: Path) -> None:
    toy_model(tmp_path / "model", 3, SIDE, SIDE)
    service = start()
    red_first = bytes((i * 37 + i // 3) % 256 for i in range(3 * SIDE * SIDE))
    blue_first = bytes(red_first[i - i % 3 + 2 - i % 3] for i in range(len(red_first)))

    with (
        service.client() as client,
        Frame(SIDE, SIDE, Format.RGB) as rgb,
        Frame(SIDE, SIDE, Format.BGR) as bgr,
    ):
        rgb.pixels[:], bgr.pixels[:] = red_first, blue_first
        data = BytesIO()
        Image.frombytes("RGB", (SIDE, SIDE), red_first).save(data, "PNG")

        expected = client.image(data.getvalue())["probabilities"]
        assert client.frame(rgb)["probabilities"] == expected
        assert client.frame(bgr)["probabilities"] == expected


@pytest.mark.parametrize("format", [f for f in Format if f not in (Format.GRAY, Format.RGB)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_frame_as_the_camera_gives_it_is_judged_as_its_picture(
    start: Start, tmp_path: Path, format: Format, channels: int
) -> None:
    toy_model(tmp_path / "model", channels, SIDE, SIDE)
    service = start()
    width, height = SIDE + 1, SIDE - 1
    with service.client() as client, Frame(width, height, format) as frame:
        memory = bytes((i * 37 + i // 3) % 256 for i in range(len(frame.pixels)))
        frame.pixels[:] = memory
        picture = converted(memory, format, width, height, frame.stride, gray=channels == 1)
        data = BytesIO()
        shape = picture if picture.shape[2] == 3 else picture[..., 0]
        Image.fromarray(np.ascontiguousarray(shape)).save(data, "PNG")

        assert (
            client.frame(frame)["probabilities"] == client.image(data.getvalue())["probabilities"]
        )


def test_frames_that_no_camera_gives_are_refused(start: Start) -> None:
    service = start()
    with service.client() as client, Frame(8, 6, Format.NV12) as frame:
        frame.height = 8
        with pytest.raises(ServiceError, match="has chroma from byte 48 on, its luma ends at 64"):
            client.frame(frame)
        frame.chroma = 64
        with pytest.raises(ServiceError, match="reaches to byte 96, its memory has 72"):
            client.frame(frame)
        frame.height, frame.width = 6, 9
        with pytest.raises(ServiceError, match="has a stride of 8 bytes, its rows have 10"):
            client.frame(frame)
        frame.format, frame.width, frame.height = Format.BAYER_RGGB, 8, 1
        with pytest.raises(ServiceError, match="is a mosaic of less than 2 x 2 pixels"):
            client.frame(frame)
        frame.format = 12  # type: ignore[assignment]
        with pytest.raises(ServiceError, match="has pixels of format 12"):
            client.frame(frame)


def test_a_network_that_takes_tensors_is_refused(program: CheckedProgram, tmp_path: Path) -> None:
    network = tensor_network.write_network(tmp_path / "net")
    cases = tensor_network.write_cases(tmp_path / "cases", 1)
    out = tmp_path / "model"
    import_model(ImportRequest(model=network, out=out, task="tensor", images=str(cases)))
    argv = ["docker", "run", "--rm", "--volume", f"{ROOT}:{ROOT}", "--volume"]
    argv += [f"{tmp_path}:{tmp_path}", program.image, str(program.path), "serve"]
    argv += ["--folder", str(tmp_path), "--model", str(out / "model.onnx")]

    ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)

    assert ended.returncode == 5
    assert "is of a network that takes tensors, serve takes images" in ended.stderr
    assert "next: edge-infer watch takes tensors" in ended.stderr
    assert not (tmp_path / "infer.sock").exists()


def test_what_is_no_image_or_no_frame_is_told_and_ends_nothing(start: Start) -> None:
    service = start()
    with service.client() as client, Frame(SIDE, SIDE) as frame:
        with pytest.raises(ServiceError, match="is not an image") as no_image:
            client.image(b"no image")
        frame.height += 1
        with pytest.raises(ServiceError, match="reaches to byte 72, its memory has 64") as beyond:
            client.frame(frame)
        frame.height, frame.stride = SIDE, SIDE - 1
        with pytest.raises(ServiceError, match="has a stride of 7 bytes, its rows have 8"):
            client.frame(frame)
        frame.stride, frame.width = SIDE, 0
        with pytest.raises(ServiceError, match="has no pixels"):
            client.frame(frame)
        frame.width = SIDE
        assert client.frame(frame)["class"]
    assert (no_image.value.code, beyond.value.code) == ("image_format", "frame_invalid")


def test_memory_that_could_shrink_under_the_service_is_refused(
    start: Start, tmp_path: Path
) -> None:
    service = start()
    file = tmp_path / "frame"
    file.write_bytes(pixels())
    unsealed = os.memfd_create("frame", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, SIDE * SIDE)
    with service.client() as client, Frame(SIDE, SIDE) as frame, file.open("rb") as opened:
        for fd in (unsealed, opened.fileno()):
            own, frame.fd = frame.fd, fd
            with pytest.raises(ServiceError, match="is no memory that is sealed"):
                client.frame(frame)
            frame.fd = own
        assert client.frame(frame)["class"]
    os.close(unsealed)


def test_a_camera_may_pad_what_it_gives(start: Start) -> None:
    """Rows of luma below the picture and bytes beside it, as V4L2's drivers have them."""
    service = start()
    with (
        service.client() as client,
        Frame(SIDE, SIDE, Format.NV12) as close,
        Frame(SIDE + 4, SIDE + 8, Format.NV12) as padded,
    ):
        close.pixels[:] = bytes((i * 37 + i // 3) % 256 for i in range(len(close.pixels)))
        padded.pixels[:] = b"\xff" * len(padded.pixels)
        padded.width, padded.height = SIDE, SIDE
        for row in range(Format.NV12.rows(SIDE)):
            at = row * padded.stride if row < SIDE else padded.chroma + (row - SIDE) * padded.stride
            padded.pixels[at : at + SIDE] = close.pixels[row * SIDE : (row + 1) * SIDE]

        expected = client.frame(close)["probabilities"]

        assert client.frame(padded)["probabilities"] == expected


def test_memory_that_nobody_has_written_is_not_paid_by_the_service(start: Start) -> None:
    service = start()
    hollow = os.memfd_create("frame", os.MFD_ALLOW_SEALING)
    os.ftruncate(hollow, 3 * 8192 * 8192)
    fcntl.fcntl(hollow, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    with service.client() as client, Frame(SIDE, SIDE, Format.RGB) as frame:
        own, frame.fd = frame.fd, hollow
        frame.width, frame.height, frame.stride = 8192, 8192, 3 * 8192
        with pytest.raises(ServiceError, match="has pixels that nobody has written") as refused:
            client.frame(frame)
        frame.fd = own
    assert refused.value.code == "frame_invalid"
    assert os.fstat(hollow).st_blocks == 0
    os.close(hollow)


def test_a_frame_that_ends_beyond_4_gib_is_read_there(start: Start, tmp_path: Path) -> None:
    """A board of 32 bits refuses it: test_build.py."""
    toy_model(tmp_path / "model", 3, SIDE, SIDE)
    service = start()
    luma, chroma = pixels(), pixels()[: SIDE * SIDE // 2]
    begin_of_chroma = 2**32 - SIDE
    far = os.memfd_create("frame", os.MFD_ALLOW_SEALING)
    os.pwrite(far, luma, 0)
    os.pwrite(far, chroma, begin_of_chroma)
    fcntl.fcntl(far, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    with service.client() as client, Frame(SIDE, SIDE, Format.NV12) as frame:
        frame.pixels[:] = luma + chroma
        expected = client.frame(frame)["probabilities"]
        frame.pixels[:] = bytes(len(frame.pixels))
        own, frame.fd, frame.chroma = frame.fd, far, begin_of_chroma
        assert client.frame(frame)["probabilities"] == expected
        frame.fd = own
    os.close(far)


def test_garbage_is_refused_and_nothing_of_it_stays(start: Start) -> None:
    service = start()
    before = service.descriptors()

    @settings(
        max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(garbage())
    def throw(data: bytes) -> None:
        with service.connect() as connection:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                while connection.recv(65536):
                    pass

    throw()

    with service.client() as client:
        assert client.image(png())["class"]
    wait_until(lambda: service.metrics()["edge_infer_connections"] == 0)
    assert service.descriptors() == before


def garbage() -> st.SearchStrategy[bytes]:
    """Any bytes, and requests of which any field is anything."""
    number = st.one_of(st.integers(0, 70), st.integers(0, 2**32 - 1))
    fields = st.lists(number, min_size=9, max_size=9).map(lambda values: REQUEST.pack(*values))
    near = st.builds(
        lambda kind, body, extra: head(kind, 1, HEAD + len(body)) + body + extra,
        st.sampled_from([*Kind]),
        st.binary(max_size=100),
        st.binary(max_size=40),
    )
    return st.one_of(st.binary(max_size=200), fields, near)


def test_descriptors_that_belong_to_no_request_are_closed(start: Start, tmp_path: Path) -> None:
    service = start()
    before = service.descriptors()
    with (tmp_path / "x").open("w+b") as file:
        for kind, count in ((Kind.STATUS, 1), (Kind.FRAME, 2), (Kind.FRAME, 200), (Kind.FILE, 0)):
            with service.connect() as connection:
                rights = array.array("i", [file.fileno()] * count)
                control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if count else []
                connection.sendmsg([head(kind)], control)
                assert read_answers(connection, 1) == {1: Status.REFUSED}
                assert connection.recv(1) == b""
    wait_until(lambda: service.descriptors() == before)


def test_a_flood_is_answered_at_once_and_nothing_is_lost(start: Start) -> None:
    service = start("--queue", "3")
    slow = slow_png()
    with service.connect() as busy, service.connect() as flood:
        busy.sendall(image_request(slow))
        wait_until(lambda: service.metrics()["edge_infer_waiting"] == 0)
        count = 200
        requests = b"".join(image_request(png(), i) for i in range(count))
        sender = threading.Thread(target=flood.sendall, args=[requests])
        sender.start()
        statuses = Counter(read_answers(flood, count).values())
        sender.join()
        assert read_answers(busy, 1) == {1: Status.DONE}

    assert statuses[Status.DONE] >= 3
    assert statuses[Status.BUSY] == count - statuses[Status.DONE] > 0
    counted = service.metrics()
    assert counted['edge_infer_requests_total{outcome="busy"}'] == statuses[Status.BUSY]
    assert counted['edge_infer_requests_total{outcome="done"}'] == statuses[Status.DONE] + 1


@pytest.mark.parametrize("program", [Checker.NONE], indirect=True)
def test_images_under_way_have_a_limit_of_memory_together(start: Start) -> None:
    """Sanitizers take memory of their own for what is written to."""
    service = start("--queue", "32")
    large = image_request(b"P5\n8192 4800\n255\n" + bytes(8192 * 4800))  # of two: 75 MiB
    before = service.metrics()["edge_infer_resident_bytes"]
    with ExitStack() as stack:
        clients = [stack.enter_context(service.connect()) for _ in range(4)]
        for client in clients:
            client.sendall(large[: REQUEST.size])
            service.metrics()  # by then it has been read
        for client in clients:
            client.sendall(large[REQUEST.size : -1])
        resident = service.metrics()["edge_infer_resident_bytes"]
        for client in clients:
            client.sendall(large[-1:])
        statuses = [read_answers(client, 1)[1] for client in clients]

    assert statuses == [Status.DONE, Status.BUSY, Status.BUSY, Status.BUSY]
    assert resident - before < 64 << 20


def test_many_clients_at_once_have_their_own_answers(start: Start) -> None:
    service = start("--queue", "64")

    def ask(value: int, answers: list[Any]) -> None:
        with service.client() as client, Frame(SIDE, SIDE) as frame:
            frame.pixels[:] = bytes([value, 255 - value] * (SIDE * SIDE // 2))
            answers += [client.frame(frame)["probabilities"] for _ in range(20)]

    results: list[list[Any]] = [[] for _ in range(16)]
    threads = [
        threading.Thread(target=ask, args=(10 * i, answers)) for i, answers in enumerate(results)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [len(answers) for answers in results] == [20] * 16
    assert all(answer == answers[0] for answers in results for answer in answers)


def test_who_comes_when_all_connections_are_open_is_told(start: Start) -> None:
    service = start()
    connections = [service.connect() for _ in range(32)]
    wait_until(lambda: service.metrics()["edge_infer_connections"] == 32)

    with service.connect() as late:
        assert read_answers(late, 1) == {0: Status.BUSY}
        assert late.recv(1) == b""
    for connection in connections:
        connection.close()
    wait_until(lambda: service.metrics()["edge_infer_connections"] == 0)
    with service.client() as client:
        assert client.image(png())["class"]


def send_until_it_is_stuck(connection: socket.socket) -> None:
    """Requests whose answers nobody reads, until no more of them are taken."""
    connection.settimeout(2)
    with suppress(TimeoutError):
        for _ in range(100_000):
            connection.sendall(head(Kind.STATUS))
        pytest.fail("whatever is sent is taken")


def test_a_client_that_never_reads_keeps_nobody_waiting(start: Start) -> None:
    service = start()
    with service.connect() as deaf, service.client() as client:
        send_until_it_is_stuck(deaf)
        for _ in range(50):
            assert client.image(png())["class"]

        service.signal("TERM")
        ended = time.monotonic()
        assert service.exit_code() == 0
        assert time.monotonic() - ended < 15


@pytest.mark.parametrize("program", [Checker.NONE], indirect=True)
def test_a_client_that_never_reads_costs_no_memory(start: Start) -> None:
    """Sanitizers hold back what is freed."""
    service = start()
    with service.connect() as deaf, service.client() as client:
        send_until_it_is_stuck(deaf)
        resident = service.metrics()["edge_infer_resident_bytes"]
        for _ in range(50):
            assert client.image(png())["class"]
        assert service.metrics()["edge_infer_resident_bytes"] - resident < 2 << 20


def test_a_client_that_goes_in_the_middle_leaves_nothing_behind(start: Start) -> None:
    service = start("--queue", "8")
    before = service.descriptors()
    with service.client() as client:
        slow = image_request(slow_png())
        with service.connect() as dead:
            dead.sendall(slow)
            for number in range(2, 7):
                dead.sendall(image_request(png(), number))
        for data in (slow[:10], slow[:-1]):
            with service.connect() as dead:
                dead.sendall(data)
        with service.connect() as dead, Frame(SIDE, SIDE) as frame:
            shape = (Format.GRAY, SIDE, SIDE, SIDE, 0, 0)
            part = head(Kind.FRAME, shape=shape)[:20]
            socket.send_fds(dead, [part], [frame.fd])
        assert client.image(png())["class"]

        wait_until(lambda: service.metrics()["edge_infer_connections"] == 1)
        counted = service.metrics()
    assert counted['edge_infer_requests_total{outcome="done"}'] == 1
    assert counted['edge_infer_requests_total{outcome="abandoned"}'] >= 1
    wait_until(lambda: service.descriptors() == before)


def test_what_was_accepted_is_answered_after_sigterm(start: Start, tmp_path: Path) -> None:
    service = start("--queue", "8")
    with service.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(image_request(slow_png(), 1))
        for number in range(2, 8):
            connection.sendall(image_request(png(), number))
        connection.sendall(head(Kind.STATUS, 8))
        statuses = dict([read_answer(stream)])
        while 8 not in statuses:  # it overtakes: once it is answered the others were accepted
            statuses |= [read_answer(stream)]
        service.signal("TERM")
        while len(statuses) < 8:
            statuses |= [read_answer(stream)]

        assert statuses == dict.fromkeys(range(1, 9), Status.DONE)
        assert stream.read(1) == b""
    assert service.exit_code() == 0
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"beat", "metrics.prom"}


def test_who_waits_when_it_is_killed_knows_that_no_answer_comes(
    start: Start, tmp_path: Path
) -> None:
    service = start()
    with service.client() as client:
        ender = threading.Timer(0.3, service.signal, ["KILL"])
        ender.start()
        with pytest.raises(ConnectionEndedError):
            client.image(slow_png())
        ender.join()
    assert (tmp_path / "s" / "infer.sock").exists()

    with start().client() as client:
        assert client.image(png())["class"]
        assert client.status()["requests"]["done"] == 1


def test_a_second_service_does_not_take_the_first_one_s_socket(
    start: Start, program: CheckedProgram
) -> None:
    service = start()
    again = ["docker", "exec", service.name, str(program.path), "serve"]
    again += ["--folder", str(service.folder / "s")]
    again += ["--model", str(service.folder / "model" / "model.onnx")]

    ended = subprocess.run(again, capture_output=True, text=True, check=False, timeout=60)

    assert ended.returncode == 2
    assert "infer.sock: another service listens there" in ended.stderr
    with service.client() as client:
        assert client.image(png())["class"]


def replace(path: Path, content: bytes) -> None:
    aside = path.with_suffix(".aside")
    aside.write_bytes(content)
    aside.rename(path)


@pytest.mark.parametrize("put", [replace, Path.write_bytes], ids=["renamed", "overwritten"])
def test_a_corrupt_model_does_not_take_a_good_one_s_place(
    start: Start, tmp_path: Path, put: Callable[[Path, bytes], Any]
) -> None:
    service = start()
    model = tmp_path / "model" / "model.onnx"
    good = model.read_bytes()
    with service.client() as client:
        expected = client.image(png())["probabilities"]
        for corrupt in (good[:-40] + bytes(40), good[: len(good) // 2], b"", os.urandom(5000)):
            put(model, corrupt)
            with pytest.raises(ServiceError, match=r"model\.onnx: ") as refused:
                client.reload()
            assert refused.value.code == "reload_refused"
            assert client.image(png())["probabilities"] == expected
        put(model, good)

        assert client.reload()["model"] == "toy"
        assert client.image(png())["probabilities"] == expected
    assert service.metrics()['edge_infer_reloads_total{outcome="refused"}'] == 4
    assert service.metrics()['edge_infer_reloads_total{outcome="done"}'] == 1
    assert service.log().count("model.onnx: ") == 4


def test_sighup_brings_in_another_model_while_requests_go_on(start: Start, tmp_path: Path) -> None:
    service = start()
    card = tmp_path / "model" / "card.json"
    card.write_text(card.read_text().replace('"name": "toy"', '"name": "other"'))
    with service.client() as client:
        names = [client.image(png())["model"]]
        service.signal("HUP")
        deadline = time.monotonic() + 60
        while names[-1] != "other" and time.monotonic() < deadline:
            names.append(client.image(png())["model"])

    assert set(names) == {"toy", "other"}, service.log()
    assert "reload: serves other" in service.log()


@pytest.mark.parametrize("program", [Checker.VALGRIND, *each_night(*SANITIZERS)], indirect=True)
def test_all_that_a_service_does_is_clean(
    start: Start, program: CheckedProgram, tmp_path: Path
) -> None:
    """Under checkers alone; the fixture of the program asks what they found."""
    service = start("--thermal-limit", "80", "--sysfs", str(heat(tmp_path, 85)))
    (tmp_path / "part.png").write_bytes(png())
    with service.client() as client, Frame(SIDE, SIDE, Format.BGR) as frame:
        for _ in range(5):
            assert client.image(png())["class"] == client.frame(frame)["class"]
            assert client.file(tmp_path / "part.png")["class"]
        with pytest.raises(ServiceError, match="is not an image"):
            client.image(b"no image")
        assert client.status()["thermal"]["celsius"] == 85
        assert client.reload()["model"] == "toy"
        (tmp_path / "model" / "model.onnx").write_bytes(b"no network")
        with pytest.raises(ServiceError, match=r"model\.onnx: ") as refused:
            client.reload()
        assert refused.value.code == "reload_refused"
    with service.connect() as connection, service.connect() as garbage:
        garbage.sendall(b"\xff" * 100)
        for number in range(4):
            connection.sendall(image_request(png(300), number))
        service.signal("TERM")
        with suppress(ConnectionResetError):  # what is not read when it ends
            while connection.recv(65536):
                pass
    assert service.exit_code() == 0


def test_a_hot_board_is_slowed_down_and_tells_it(start: Start, tmp_path: Path) -> None:
    service = start("--thermal-limit", "80", "--sysfs", str(heat(tmp_path, 85)))
    with service.client() as client:
        client.image(png())
        thermal = client.status()["thermal"]

    assert (thermal["celsius"], thermal["sensor"]) == (85, "good")
    counted = service.metrics()
    assert counted["edge_infer_effort"] == thermal["effort"] < 1
    assert counted["edge_infer_temperature_celsius"] == 85


def test_counters_stand_in_a_file_too_and_it_beats(start: Start, tmp_path: Path) -> None:
    service = start()
    with service.client() as client:
        client.image(png())

    def written() -> float:
        text = (tmp_path / "s" / "metrics.prom").read_text()
        return samples(text)['edge_infer_requests_total{outcome="done"}']

    wait_until(lambda: written() == 1)
    beat = (tmp_path / "s" / "beat").read_text()
    require_valid("edge-infer-heartbeat", beat)
    assert json.loads(beat)["command"] == "serve"
    assert service.metrics()['edge_infer_model_info{model="toy",release=""}'] == 1
