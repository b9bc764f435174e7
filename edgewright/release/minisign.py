"""minisign's three files: public key, secret key, signature. Pure: bytes and texts only.

The format is the stock tool's, so it reads our files and we read its (its page "Minisign":
"Signature format", "Public key format", "Secret key format"). Only prehashed signatures
('ED': Ed25519 over BLAKE2b-512) are made and accepted; the old 'Ed' ones are refused.
"""

import base64
import binascii
import hashlib
import hmac
import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edgewright.base.errors import UserError

UNTRUSTED = "untrusted comment: "
TRUSTED = "trusted comment: "
COMMENT_BYTES, TRUSTED_COMMENT_BYTES = 1024, 8192  # of a line, as in the stock tool
SECRET_BYTES = 104  # key id, seed, public key, checksum: the part that a passphrase covers
OPSLIMIT, MEMLIMIT = 1 << 22, 1 << 27  # scrypt with N = 2^17, r = 8, p = 1: 128 MiB, under 1 s
MEMLIMIT_READ = 1 << 30  # what the stock tool itself asks for


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """8 bytes of key id and the 32 of an Ed25519 public key."""

    key_id: bytes
    point: bytes

    @property
    def id(self) -> str:
        """16 hex digits, as the stock tool prints a key id."""
        return told_id(self.key_id)


@dataclass(frozen=True, kw_only=True)
class SecretKey:
    """8 bytes of key id and the 32 of an Ed25519 seed."""

    key_id: bytes
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> "SecretKey":
        return cls(key_id=os.urandom(8), seed=os.urandom(32))

    @property
    def public(self) -> PublicKey:
        return PublicKey(key_id=self.key_id, point=self._ed25519.public_key().public_bytes_raw())

    @property
    def _ed25519(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    def sign(self, data: bytes, trusted_comment: str) -> "Signature":
        """Sign `data`, and the signature together with the comment."""
        over_data = self._ed25519.sign(hashlib.blake2b(data).digest())
        return Signature(
            key_id=self.key_id,
            over_data=over_data,
            trusted_comment=trusted_comment,
            over_comment=self._ed25519.sign(over_data + trusted_comment.encode()),
        )


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A signature over data, and one over that and the trusted comment."""

    key_id: bytes
    over_data: bytes  # 64
    trusted_comment: str
    over_comment: bytes  # 64, the "global signature"

    @property
    def id(self) -> str:
        """Of the key that made it."""
        return told_id(self.key_id)

    def text(self, untrusted_comment: str) -> str:
        """The four lines of a signature file."""
        return (
            f"{UNTRUSTED}{untrusted_comment}\n{_b64(b'ED' + self.key_id + self.over_data)}\n"
            f"{TRUSTED}{self.trusted_comment}\n{_b64(self.over_comment)}\n"
        )


def told_id(key_id: bytes) -> str:
    return f"{int.from_bytes(key_id, 'little'):016X}"


def verify(signature: Signature, data: bytes, key: PublicKey, subject: str) -> None:
    """Raise UserError unless both signatures are by `key` and over this data and comment."""
    if signature.key_id != key.key_id:
        facts = [f"expected: key {key.id}", f"found: key {signature.id}"]
        raise UserError(subject, "signed by another key", facts=facts)
    point = Ed25519PublicKey.from_public_bytes(key.point)
    try:
        point.verify(signature.over_data, hashlib.blake2b(data).digest())
    except InvalidSignature as wrong:
        raise UserError(subject, "signature does not fit what it signs") from wrong
    try:
        point.verify(
            signature.over_comment, signature.over_data + signature.trusted_comment.encode()
        )
    except InvalidSignature as wrong:
        raise UserError(subject, "trusted comment was changed after signing") from wrong


# Signature files


def parse_signature(raw: bytes, subject: str) -> Signature:
    """A signature from its file's bytes. Raises UserError."""
    lines = _lines(raw, 4, subject)
    _comment(lines[0], UNTRUSTED, COMMENT_BYTES, subject)
    trusted = _comment(lines[2], TRUSTED, TRUSTED_COMMENT_BYTES, subject)
    signed = _unb64(lines[1], 2 + 8 + 64, subject)
    if signed[:2] == b"Ed":
        facts = ["expected: 'ED', Ed25519 over BLAKE2b-512", "found: 'Ed', not prehashed"]
        raise UserError(subject, "signature of the old kind", facts=facts, next="minisign -S -H")
    if signed[:2] != b"ED":
        raise _malformed(subject, f"algorithm {signed[:2]!r}")
    return Signature(
        key_id=signed[2:10],
        over_data=signed[10:],
        trusted_comment=trusted,
        over_comment=_unb64(lines[3], 64, subject),
    )


# Public keys


def public_key_text(key: PublicKey) -> str:
    return f"{UNTRUSTED}minisign public key {key.id}\n{_b64(b'Ed' + key.key_id + key.point)}\n"


def parse_public_key(raw: bytes, subject: str) -> PublicKey:
    """A public key from its file's bytes. Raises UserError."""
    lines = _lines(raw, 2, subject)
    _comment(lines[0], UNTRUSTED, COMMENT_BYTES, subject)
    blob = _unb64(lines[1], 2 + 8 + 32, subject)
    if blob[:2] != b"Ed":
        raise _malformed(subject, f"algorithm {blob[:2]!r}")
    return PublicKey(key_id=blob[2:10], point=blob[10:])


# Secret keys


def secret_key_text(key: SecretKey, passphrase: str | None) -> str:
    """The two lines of a secret key file; without a passphrase the key lies open in it."""
    whole = key.key_id + key.seed + key.public.point
    covered = whole + _checksum(whole)
    head = b"Ed" + (b"Sc" if passphrase is not None else b"\0\0") + b"B2"
    if passphrase is None:
        blob = head + bytes(32 + 8 + 8) + covered
    else:
        limits = OPSLIMIT.to_bytes(8, "little") + MEMLIMIT.to_bytes(8, "little")
        salt = os.urandom(32)
        blob = head + salt + limits + _xor(covered, _stream(passphrase, salt, OPSLIMIT, MEMLIMIT))
    comment = "minisign encrypted secret key" if passphrase is not None else "minisign secret key"
    return f"{UNTRUSTED}{comment}\n{_b64(blob)}\n"


def is_locked(raw: bytes, subject: str) -> bool:
    """Whether a secret key file needs a passphrase. Raises UserError."""
    return _secret_blob(raw, subject)[2:4] == b"Sc"


def parse_secret_key(raw: bytes, passphrase: str | None, subject: str) -> SecretKey:
    """A secret key from its file's bytes. Raises UserError; no message holds key or passphrase."""
    blob = _secret_blob(raw, subject)
    covered = blob[54:]
    if blob[2:4] == b"Sc":
        ops, mem = (int.from_bytes(blob[i : i + 8], "little") for i in (38, 46))
        if passphrase is None:
            raise UserError(subject, "locked by a passphrase")
        if mem > MEMLIMIT_READ or ops > MEMLIMIT_READ:
            raise _malformed(subject, "limits of its passphrase out of range")
        covered = _xor(covered, _stream(passphrase, blob[6:38], ops, mem))
    whole, checksum = covered[:72], covered[72:]
    key = SecretKey(key_id=whole[:8], seed=whole[8:40])
    unlocked = blob[2:4] == b"\0\0"
    blank = unlocked and not any(checksum)  # as the stock tool leaves it there
    sound = blank or hmac.compare_digest(checksum, _checksum(whole))
    if not sound or key.public.point != whole[40:]:
        wrong = "damaged: its checksum does not fit" if unlocked else "wrong passphrase"
        raise UserError(subject, wrong)
    return key


def _secret_blob(raw: bytes, subject: str) -> bytes:
    lines = _lines(raw, 2, subject)
    _comment(lines[0], UNTRUSTED, COMMENT_BYTES, subject)
    blob = _unb64(lines[1], 54 + SECRET_BYTES, subject)
    if (blob[:2], blob[4:6]) != (b"Ed", b"B2") or blob[2:4] not in (b"Sc", b"\0\0"):
        raise _malformed(subject, f"algorithms {blob[:6]!r}")
    return blob


def _checksum(whole: bytes) -> bytes:
    return hashlib.blake2b(b"Ed" + whole, digest_size=32).digest()


def _xor(data: bytes, stream: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(data, stream, strict=True))


def _stream(passphrase: str, salt: bytes, opslimit: int, memlimit: int) -> bytes:
    cost, lanes = scrypt_cost(opslimit, memlimit)
    return hashlib.scrypt(
        passphrase.encode(),
        salt=salt,
        n=cost,
        r=8,
        p=lanes,
        maxmem=128 * 8 * (cost + lanes + 2) + (1 << 20),
        dklen=SECRET_BYTES,
    )


def scrypt_cost(opslimit: int, memlimit: int) -> tuple[int, int]:
    """N and p for libsodium's limits, r being 8.

    Source: `pickparams` of libsodium's pwhash_scryptsalsa208sha256.c.
    """
    opslimit = max(opslimit, 32768)
    if opslimit < memlimit // 32:
        return _power_below(opslimit // 32), 1
    cost = _power_below(memlimit // 1024)
    return cost, min(opslimit // 4 // cost, 0x3FFFFFFF) // 8


def _power_below(limit: int) -> int:
    """The smallest power of two, from 2 on, that is more than half of `limit`."""
    power = 2
    while power <= limit // 2:
        power *= 2
    return power


# Lines


def _lines(raw: bytes, count: int, subject: str) -> list[str]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as broken:
        raise _malformed(subject, "not UTF-8") from broken
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if len(lines) != count:
        raise _malformed(subject, f"{len(lines)} lines, expected {count}")
    return lines


def _comment(line: str, prefix: str, limit: int, subject: str) -> str:
    if not line.startswith(prefix):
        raise _malformed(subject, f"no line starts with '{prefix.strip()}' where one should")
    if len(line.encode()) > limit or not line.replace("\t", " ").isprintable():
        raise _malformed(subject, f"a comment of more than {limit} bytes, or not printable")
    return line.removeprefix(prefix)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(line: str, size: int, subject: str) -> bytes:
    """Strict: one text for each value."""
    try:
        data = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as broken:
        raise _malformed(subject, "a line is not base64") from broken
    if len(data) != size or _b64(data) != line:
        raise _malformed(subject, f"a line of {len(data)} bytes, expected {size}")
    return data


def _malformed(subject: str, fact: str) -> UserError:
    return UserError(subject, "not a file of minisign", facts=[fact])
