"""Host keys: what files in OpenSSH's `known_hosts` format say about one host.

A file is read line by line for one name, so that a login costs the same whatever else is pinned:
Paramiko's `HostKeys` compares each line with all lines before it (43 s at 10,000 lines). Only a
line that names the host is judged; where such a line is damaged, that is an error and no unknown
host, since it may be the one that revokes a key.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.base.errors import UserError
from edgewright.base.files import locked, make_folder, write_file

LINE_BYTES = 64 << 10  # the longest key, of RSA with 16,384 bits, takes 3 KiB
REVOKED, AUTHORITY = b"@revoked", b"@cert-authority"
HASHED = b"|1|"
SPECIAL = re.compile(rb"[*?!|@]")
FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@dataclass(frozen=True, kw_only=True)
class KnownKey:
    """A key that a host is known by. Two keys with one fingerprint are one key."""

    fingerprint: str
    kind: str | None = None  # ssh-ed25519 …; None where somebody wrote down its fingerprint alone
    source: str  # file:line


@dataclass(frozen=True, kw_only=True)
class KnownKeys:
    """What is known of one host."""

    pinned: tuple[KnownKey, ...] = ()
    revoked: tuple[KnownKey, ...] = ()
    authorities: tuple[KnownKey, ...] = ()  # they sign host certificates, which we do not ask for

    @property
    def fingerprints(self) -> tuple[str, ...]:
        return tuple(key.fingerprint for key in self.pinned)

    def revocation(self, offered: str) -> KnownKey | None:
        """The line that revokes the key with this fingerprint, if one does."""
        return next((key for key in self.revoked if key.fingerprint == offered), None)


def fingerprint(blob: bytes) -> str:
    """As OpenSSH prints it: `SHA256:` and base64 without padding."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def known_keys(files: Iterable[Path], host: str) -> KnownKeys:
    """What files say about `host`, which is `addr`, `[addr]:port`, or another name of a pin.

    The first file that has a key of the host decides; what is revoked in any of them is revoked.
    Raises UserError for a line that names the host and is damaged, and for a file that cannot be
    read.
    """
    by_file = [_read(path, host.lower().encode()) for path in files if path.is_file()]
    return KnownKeys(
        pinned=next((keys.pinned for keys in by_file if keys.pinned), ()),
        revoked=tuple(key for keys in by_file for key in keys.revoked),
        authorities=tuple(key for keys in by_file for key in keys.authorities),
    )


def _read(path: Path, host: bytes) -> KnownKeys:
    keys: dict[bytes, list[KnownKey]] = {b"": [], REVOKED: [], AUTHORITY: []}
    for number, line in _lines(path):
        if host not in line.lower() and not SPECIAL.search(line):
            continue  # of another host, by its plain name, as most lines are
        fields = line.split(None, 4)
        if not fields or fields[0].startswith(b"#"):
            continue
        marker = fields.pop(0) if fields[0].startswith(b"@") else b""
        if not fields or not _names(fields[0], host):
            continue
        if marker not in keys:
            raise _damaged(path, number, f"unknown mark {marker[:40]!r}")
        keys[marker].append(_key(fields[1:], path, number))
    return KnownKeys(
        pinned=tuple(keys[b""]),
        revoked=tuple(keys[REVOKED]),
        authorities=tuple(keys[AUTHORITY]),
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with path.open("rb") as file:
            while line := file.readline(LINE_BYTES + 1):
                number += 1
                if len(line) > LINE_BYTES:
                    raise _damaged(path, number, f"longer than {LINE_BYTES:,} bytes")
                yield number, line
    except OSError as error:
        raise UserError(str(path), f"not readable: {error.strerror}") from error


def _names(hosts: bytes, host: bytes) -> bool:
    """Whether the first field of a line is about a host: a hash of its name, or patterns."""
    if hosts.startswith(HASHED):
        return _is_hash_of(hosts, host)
    patterns = hosts.lower().split(b",")
    if any(pattern[:1] == b"!" and _matches(pattern[1:], host) for pattern in patterns):
        return False
    return any(_matches(pattern, host) for pattern in patterns)


def _is_hash_of(hosts: bytes, host: bytes) -> bool:
    """A hash that is damaged names nobody."""
    salt, _, digest = hosts.removeprefix(HASHED).partition(b"|")
    try:
        expected = base64.b64decode(digest, validate=True)
        return hmac.digest(base64.b64decode(salt, validate=True), host, "sha1") == expected
    except binascii.Error:
        return False


def _matches(pattern: bytes, host: bytes) -> bool:
    """OpenSSH's wildcards, `*` and `?`. A regular expression could be made to take for ever."""
    if b"*" not in pattern and b"?" not in pattern:
        return pattern == host
    at = place = 0
    star, resume = -1, 0  # the last `*`, and where what follows it is tried next
    while place < len(host):
        if at < len(pattern) and pattern[at : at + 1] == b"*":
            star, resume = at, place
            at += 1
        elif at < len(pattern) and pattern[at : at + 1] in (b"?", host[place : place + 1]):
            at, place = at + 1, place + 1
        elif star >= 0:
            resume += 1
            at, place = star + 1, resume
        else:
            return False
    return not pattern[at:].strip(b"*")


def _key(fields: Sequence[bytes], path: Path, number: int) -> KnownKey:
    """The key of a line, from the fields behind its hosts."""
    if len(fields) < 2:
        raise _damaged(path, number, "expected hosts, kind and key")
    try:
        kind = fields[0].decode("ascii")
        blob = key_blob(kind, fields[1])
    except ValueError as error:
        raise _damaged(path, number, str(error)) from error
    return KnownKey(fingerprint=fingerprint(blob), kind=kind, source=f"{path}:{number}")


def key_blob(kind: str, text: str | bytes) -> bytes:
    """A public key in base64, as SSH has it on the wire. Raises ValueError for what is none."""
    try:
        blob = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("the key is not base64") from error
    name = kind.encode()
    if not blob.startswith(len(name).to_bytes(4, "big") + name):
        raise ValueError(f"the key is not of kind {kind[:40]!r}")
    return blob


def kind_of(blob: bytes) -> str:
    """`ssh-ed25519` … of a public key as SSH has it on the wire."""
    return blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode("ascii")


def pinned_key(text: str, source: str) -> KnownKey:
    """A key that somebody wrote down: `ssh-ed25519 AAAA…`, or its fingerprint `SHA256:…`.

    Raises ValueError for what is neither.
    """
    if FINGERPRINT.fullmatch(text):
        return KnownKey(fingerprint=text, source=source)
    kind, _, blob = text.partition(" ")
    if not blob or not text.isascii():
        raise ValueError("expected 'ssh-ed25519 AAAA…' or 'SHA256:…'")
    return KnownKey(fingerprint=fingerprint(key_blob(kind, blob)), kind=kind, source=source)


def _damaged(path: Path, number: int, fact: str) -> UserError:
    return UserError(
        f"{path}:{number}",
        "not a line of a known_hosts file",
        facts=[fact],
        next=f"mend or remove line {number}, then run the same command again",
    )


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A line to write: a host by one name, and its key."""

    name: str
    kind: str
    blob: bytes

    def __str__(self) -> str:
        return f"{self.name} {self.kind} {base64.b64encode(self.blob).decode()}"


def write_pins(path: Path, pins: Sequence[Pin]) -> None:
    """Replace the lines of these hosts in our own file, by rename, one writer at a time."""
    make_folder(path.parent, mode=0o700)
    names = {pin.name for pin in pins}
    with locked(path.with_suffix(".lock")):
        lines = path.read_text().splitlines() if path.is_file() else []
        unrelated = [line for line in lines if line.split(" ", 1)[0] not in names]
        write_file(path, "\n".join([*unrelated, *map(str, pins)]) + "\n", durable=True)
