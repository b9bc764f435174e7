"""Real SSH servers of this machine, dropbear and OpenSSH, each of them like a board of its own.

A board has its own port, host key, /opt and /root; all else is this machine's. Needs root.
"""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgewright.base import debs
from edgewright.base.errors import UserError
from edgewright.base.files import cached_folder, locked, make_folder
from edgewright.base.ports import port_of, reserve_port
from edgewright.base.process import TAIL_LINES, check
from edgewright.base.text import last_lines
from edgewright.deploy.target import Target
from edgewright.lab import board_keys

Kind = Literal["dropbear", "openssh"]
SUITE = "bookworm"  # its programs run with the C library of any later Debian
PACKAGES = (
    *("dropbear-bin", "libtomcrypt1", "libtommath1"),
    *("openssh-server", "libwrap0", "libnsl2", "libtirpc3", "libssl3"),
)
START_SECONDS = 60.0
AT_ONCE = 200  # servers that start; the port of each is an open file of this process meanwhile

# Its folder, the programs' folder, the kind of server, where it listens (address:port), and the
# size of /opt, if it is to be small. OpenSSH wants a user and a folder that only an installed
# server has, and where it may not bind one of several addresses it serves the others, silently.
BOARD = """
set -e
mount --make-rprivate /
mount --bind "$2" /mnt  # the checkout may lie in /root
mount --bind "$1/root" /root
if [ "$5" ]; then mount -t tmpfs -o "size=$5" opt /opt; else mount --bind "$1/opt" /opt; fi
export LD_LIBRARY_PATH=$(echo /mnt/usr/lib/*-linux-gnu | tr ' ' :):$(echo /mnt/lib/*-linux-gnu)
if [ "$3" = dropbear ]; then exec /mnt/usr/sbin/dropbear -F -E -r "$1/host_key" -p "$4"; fi
mount -t tmpfs run /run
mkdir /run/sshd
cp /etc/passwd /run/passwd
echo sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin >> /run/passwd
mount --bind /run/passwd /etc/passwd
exec /mnt/usr/sbin/sshd -D -e -f "$1/sshd_config" -o "ListenAddress=$4"
"""
SSHD_CONFIG = """
HostKey {folder}/host_ed25519
PidFile none
UsePAM no
PasswordAuthentication no
MaxStartups 200
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A board of this machine while it runs."""

    name: str
    kind: Kind
    folder: Path  # with opt/, root/, its host key and known_hosts
    port: int
    process: "subprocess.Popen[bytes]"
    reservation: socket.socket  # of its port

    @property
    def host_key(self) -> str:
        return board_keys.public(board_keys.key(self.folder / board_keys.HOST))

    @property
    def log(self) -> Path:
        """What the server said."""
        return self.folder / "log"

    def target(self, identity: Path) -> Target:
        """The board, for whoever has the private key in the file `identity`."""
        return Target(
            address="127.0.0.1",
            user="root",
            port=self.port,
            identity=identity,
            known_hosts=self.folder / board_keys.KNOWN_HOSTS,
        )


def programs(folder: Path) -> Path:
    """Debian's servers for this machine, unpacked once into `folder`."""
    make_folder(folder.parent)
    with locked(folder.with_suffix(".lock")):
        if not folder.is_dir():
            arch = check(["dpkg", "--print-architecture"]).stdout.strip()
            with cached_folder(folder) as aside:
                debs.unpack_all(PACKAGES, arch, SUITE, aside, aside / "debs.log")
    return folder


def make_folders(folder: Path, login: str, host_key: Ed25519PrivateKey) -> None:
    """What a board has of its own; `login` is the public key that it lets in."""
    make_folder(folder / "opt")
    make_folder(folder / "root", mode=0o700)
    make_folder(folder / "root" / ".ssh", mode=0o700)
    (folder / "root" / ".ssh" / "authorized_keys").write_text(login + "\n")
    (folder / "host_key").write_bytes(board_keys.dropbear_key(host_key))
    (folder / "sshd_config").write_text(SSHD_CONFIG.format(folder=folder))


def start(
    name: str, kind: Kind, folder: Path, unpacked: Path, login: str, *, settings: Sequence[str] = ()
) -> Server:
    """A server that lets `login`, a public key, in; `settings` are more lines for OpenSSH's."""
    make_folders(folder, login, board_keys.key(folder / board_keys.HOST))
    with (folder / "sshd_config").open("a") as config:
        config.writelines(f"{line}\n" for line in settings)
    with ExitStack() as undo:
        reservation = undo.enter_context(reserve_port())
        port = port_of(reservation)
        board_keys.pin(folder, port)
        argv = ["unshare", "-m", "sh", "-c", BOARD, "_", str(folder), str(unpacked), kind]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*argv, f"127.0.0.1:{port}", ""], stderr=log)
        undo.pop_all()
    return Server(
        name=name, kind=kind, folder=folder, port=port, process=process, reservation=reservation
    )


def wait(server: Server) -> None:
    """Until it answers, and has its port. Raises UserError if it does not."""
    deadline = time.monotonic() + START_SECONDS
    while not board_keys.banner("127.0.0.1", server.port):
        if time.monotonic() > deadline or server.process.poll() is not None:
            raise UserError(
                f"{server.kind} on port {server.port}",
                "does not start",
                facts=last_lines(server.log.read_text(errors="replace"), TAIL_LINES),
                next=f"less {server.log}",
            )
        time.sleep(0.05)
    server.reservation.close()


@contextmanager
def running(
    folder: Path, kinds: Sequence[Kind], unpacked: Path, login: str
) -> Iterator[tuple[Server, ...]]:
    """A server of each of `kinds`, in folders of their names, as long as the block takes."""
    require_root()
    with ExitStack() as stack:
        servers: list[Server] = []
        for number, kind in enumerate(kinds):
            if number >= AT_ONCE:
                wait(servers[number - AT_ONCE])
            name = f"board-{number}"
            server = start(name, kind, folder / name, unpacked, login)
            stack.callback(stop, server)
            servers.append(server)
        for server in servers[-AT_ONCE:]:
            wait(server)
        yield tuple(servers)


def stop(server: Server) -> None:
    server.process.kill()
    server.process.wait()
    server.reservation.close()


def require_root() -> None:
    """Raises UserError where servers with folders of their own cannot run."""
    if shutil.which("unshare") is None or not _may_mount():
        raise UserError(
            "this machine",
            "cannot run servers with file systems of their own",
            facts=["expected: root, and unshare of util-linux"],
            next="the same command as root",
        )


def _may_mount() -> bool:
    return (
        subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
    )
