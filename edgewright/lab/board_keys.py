"""Keys of emulated boards: the host key, which is pinned, and the key that logs in."""

import shlex
import socket
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from edgewright.base.files import update_file, write_file
from edgewright.deploy import openssh
from edgewright.deploy.target import Target

USER, HOST, KNOWN_HOSTS = "id_ed25519", "host_ed25519", "known_hosts"


def key(path: Path) -> Ed25519PrivateKey:
    """The Ed25519 key in `path` (OpenSSH format), which is generated if the file is absent."""
    if not path.is_file():
        generated = Ed25519PrivateKey.generate()
        text = generated.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        write_file(path, text, mode=0o600)  # ssh refuses a key that others can read
    loaded = load_ssh_private_key(path.read_bytes(), password=None)
    assert isinstance(loaded, Ed25519PrivateKey)
    return loaded


def public(key: Ed25519PrivateKey) -> str:
    """`ssh-ed25519 AAAA…`"""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def authorized_keys(folder: Path) -> bytes:
    """The board's file of that name: whoever has the key in `folder` may log in."""
    return (public(key(folder / USER)) + "\n").encode()


def dropbear_key(key: Ed25519PrivateKey) -> bytes:
    """Dropbear's host key file: the type's name and seed + public key, each with its length.

    Source: `buf_put_ed25519_priv_key` in dropbear's src/ed25519.c.
    """
    kind = b"ssh-ed25519"
    pair = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    return len(kind).to_bytes(4, "big") + kind + len(pair).to_bytes(4, "big") + pair


def host_key(folder: Path) -> bytes:
    """The host key in `folder`, as dropbear reads it."""
    return dropbear_key(key(folder / HOST))


def pin(folder: Path, port: int) -> None:
    """Write the board's `known_hosts`: its host key under the port that it answers at."""
    # Written at every start, as the port is another one each time.
    line = f"[127.0.0.1]:{port} {public(key(folder / HOST))}\n"
    update_file(folder / KNOWN_HOSTS, line, mode=0o644)


def target_of(folder: Path, port: int, *, shares_memory: bool) -> Target:
    """How to reach the board whose keys lie in `folder`."""
    return Target(
        address="127.0.0.1",
        user="root",
        port=port,
        identity=folder / USER,
        known_hosts=folder / KNOWN_HOSTS,
        emulated=True,
        shares_memory=shares_memory,
    )


def ssh_command(target: Target) -> str:
    """The command line with which a person logs in on the board."""
    assert target.known_hosts  # `target_of` names both
    assert target.identity
    options = ["-o", openssh.path_setting("UserKnownHostsFile", target.known_hosts)]
    options += ["-o", openssh.path_setting("IdentityFile", target.identity)]
    options += ["-p", str(target.port)]
    return shlex.join([openssh.PROGRAM, *options, "root@127.0.0.1"])


def banner(address: str, port: int) -> bool:
    """Whether an SSH server sends its identification within two seconds."""
    try:
        with socket.create_connection((address, port), timeout=2) as link:
            return link.recv(16).startswith(b"SSH-2.0-")
    except OSError:
        return False
