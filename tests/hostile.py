"""A hostile board: an SSH server of this process that behaves as a test says."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko

from edgewright.deploy.target import Target

WAYS = "publickey,password"  # to log in, as it says
LETS_IN = True
HOST_KEY = paramiko.ECDSAKey.generate()
Answer = Callable[[paramiko.Channel, str], None]  # runs in a thread of its own


class _Server(paramiko.ServerInterface):
    """Lets everyone in, and runs what it is asked to run as it likes."""

    def __init__(self, answer: Answer, *, silent: bool) -> None:
        self._answer, self._silent = answer, silent
        self.ended = threading.Event()

    def get_allowed_auths(self, username: str) -> str:
        return WAYS

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.common.AUTH_SUCCESSFUL if LETS_IN else paramiko.common.AUTH_FAILED

    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if self._silent:
            self.ended.wait()  # the request gets no answer
        work = threading.Thread(
            target=self._run, args=(channel, command.decode(errors="replace")), daemon=True
        )
        work.start()
        return True

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._answer(channel, command)
            channel.close()


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port of this machine; each connection is served in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    link, _ = server.accept()
                    threading.Thread(target=serve_one, args=(link,), daemon=True).start()

        def serve_one(link: socket.socket) -> None:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException), link:
                serve(link)

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def hostile_board(folder: Path, answer: Answer, *, silent: bool = False) -> Iterator[Target]:
    """A board whose host key is pinned, and which answers every command with `answer`.

    It never answers the request to run one if it is `silent`.
    """
    ends: list[threading.Event] = []

    def serve(link: socket.socket) -> None:
        transport = paramiko.Transport(link)
        transport.add_server_key(HOST_KEY)
        server = _Server(answer, silent=silent)
        ends.append(server.ended)
        transport.start_server(server=server)
        transport.join()

    with listening(serve) as port:
        identity, known_hosts = folder / "identity", folder / "known_hosts"
        identity.parent.mkdir(parents=True, exist_ok=True)
        identity.unlink(missing_ok=True)
        paramiko.ECDSAKey.generate().write_private_key_file(str(identity))
        known_hosts.write_text(
            f"[127.0.0.1]:{port} {HOST_KEY.get_name()} {HOST_KEY.get_base64()}\n"
        )
        target = Target(
            address="127.0.0.1", user="root", port=port, identity=identity, known_hosts=known_hosts
        )
        try:
            yield target
        finally:
            for end in ends:
                end.set()


def end(channel: paramiko.Channel, output: bytes = b"", *, code: int = 0) -> None:
    """What an honest board does at the end of a command, and its shell where that is asked."""
    channel.sendall(output)
    channel.sendall_stderr(f"edgewright: exit {code}\n".encode())
    channel.send_exit_status(code)
