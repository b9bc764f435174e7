"""minisign's three files: public key, secret key, signature. Pure: bytes and texts only.

The package `minisign` (py-minisign) knows the format, signs, verifies and locks keys. It reads more
than the stock tool writes, so what a file looks like is checked here: its lines, its comments, and
that each value has one text alone. A board is as strict. Only prehashed signatures (`ED`: Ed25519
over BLAKE2b-512) are made and accepted; the old `Ed` ones are refused.

The package is imported where it is used: it brings cryptography, which most commands do not need.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgewright.base.errors import UserError

if TYPE_CHECKING:
    import minisign

UNTRUSTED = "untrusted comment: "
TRUSTED = "trusted comment: "
COMMENT_BYTES, TRUSTED_COMMENT_BYTES = 1024, 8192  # of a line, as in the stock tool
PUBLIC_BYTES, SIGNED_BYTES, SIGNATURE_BYTES, SECRET_BYTES = 42, 74, 64, 158
OPSLIMIT, MEMLIMIT = 1 << 22, 1 << 27  # scrypt with N = 2^17, r = 8, p = 1: 128 MiB, under 1 s
# What the stock tool itself asks for. The package limits memory alike, but no operations: a key
# file could keep the reader busy for years.
LIMIT_READ = 1 << 30


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """An Ed25519 public key and its key id."""

    line: str  # the second one of its file: base64 of algorithm, key id and point

    @property
    def key_id(self) -> bytes:
        """8 bytes that tell which key a signature is by; they prove nothing."""
        return base64.b64decode(self.line)[2:10]

    @property
    def id(self) -> str:
        """16 hex digits, as the stock tool prints a key id."""
        return key_id_text(self.key_id)

    @property
    def fingerprint(self) -> str:
        """Of the whole key, in OpenSSH's form: what people compare."""
        digest = hashlib.sha256(base64.b64decode(self.line)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


@dataclass(frozen=True, kw_only=True)
class SecretKey:
    """An Ed25519 key and its key id, open to sign with."""

    key: "minisign.SecretKey" = field(repr=False)

    @classmethod
    def generate(cls) -> "SecretKey":
        import minisign

        return cls(key=minisign.KeyPair.generate().secret_key)

    @property
    def public(self) -> PublicKey:
        return PublicKey(line=self.key.get_public_key().to_base64().decode())

    def sign(self, data: bytes, trusted_comment: str) -> "Signature":
        """Sign `data`, and the signature together with the comment, which is ASCII."""
        raw = bytes(self.key.sign(data, trusted_comment=trusted_comment)) + b"\n"
        return parse_signature(raw, "signature")


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A signature over data, and one over that and the trusted comment."""

    signed: str  # the second line of its file: base64 of algorithm, key id and signature
    trusted_comment: str
    over_comment: str  # the fourth line: base64 of the "global signature"

    @property
    def key_id(self) -> bytes:
        """Of the key that made it."""
        return base64.b64decode(self.signed)[2:10]

    @property
    def id(self) -> str:
        """Of the key that made it."""
        return key_id_text(self.key_id)

    def text(self, untrusted_comment: str) -> str:
        """The four lines of a signature file."""
        return (
            f"{UNTRUSTED}{untrusted_comment}\n{self.signed}\n"
            f"{TRUSTED}{self.trusted_comment}\n{self.over_comment}\n"
        )


def key_id_text(key_id: bytes) -> str:
    """The number that a key id is, its first byte being the lowest."""
    return f"{int.from_bytes(key_id, 'little'):016X}"


def verify(signature: Signature, data: bytes, key: PublicKey, subject: str) -> None:
    """Raise UserError unless both signatures are by `key` and over this data and comment."""
    import minisign

    if signature.key_id != key.key_id:
        facts = [f"expected: key {key.id}", f"found: key {signature.id}"]
        raise UserError(subject, "signed by another key", facts=facts)
    public = minisign.PublicKey.from_base64(key.line)
    try:
        public.verify(data, minisign.Signature.from_bytes(signature.text("").encode()))
    except minisign.VerifyError as wrong:
        if _covers(signature, data, key):
            problem = "trusted comment was changed after signing"
        else:
            problem = "signature does not fit what it signs"
        raise UserError(subject, problem) from wrong


def _covers(signature: Signature, data: bytes, key: PublicKey) -> bool:
    """Whether the first signature, over the data alone, holds; for the words of a refusal.

    The package tells of both signatures at once.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    # Before either stand two bytes of algorithm and eight of the key's id.
    point, over_data = base64.b64decode(key.line)[10:], base64.b64decode(signature.signed)[10:]
    try:
        Ed25519PublicKey.from_public_bytes(point).verify(over_data, hashlib.blake2b(data).digest())
    except InvalidSignature:
        return False
    return True


# Signature files


def parse_signature(raw: bytes, subject: str) -> Signature:
    """A signature from its file's bytes. Raises UserError."""
    import minisign

    lines = _lines(raw, 4, subject)
    _comment(lines[0], UNTRUSTED, COMMENT_BYTES, subject)
    trusted_comment = _comment(lines[2], TRUSTED, TRUSTED_COMMENT_BYTES, subject)
    for line, size in ((lines[1], SIGNED_BYTES), (lines[3], SIGNATURE_BYTES)):
        _require_base64(line, size, subject)
    signature = Signature(signed=lines[1], trusted_comment=trusted_comment, over_comment=lines[3])
    try:
        prehashed = minisign.Signature.from_bytes(signature.text("").encode()).is_prehashed()
    except minisign.ParseError as broken:
        raise _malformed(subject, str(broken)) from broken
    if not prehashed:
        facts = ["expected: 'ED', Ed25519 over BLAKE2b-512", "found: 'Ed', not prehashed"]
        raise UserError(subject, "signature of the old kind", facts=facts, next="minisign -S -H")
    return signature


# Public keys


def public_key_text(key: PublicKey) -> str:
    return f"{UNTRUSTED}minisign public key {key.id}\n{key.line}\n"


def parse_public_key(raw: bytes, subject: str) -> PublicKey:
    """A public key from its file's bytes. Raises UserError."""
    import minisign

    lines = _lines(raw, 2, subject)
    _comment(lines[0], UNTRUSTED, COMMENT_BYTES, subject)
    _require_base64(lines[1], PUBLIC_BYTES, subject)
    try:
        minisign.PublicKey.from_base64(lines[1])
    except minisign.ParseError as broken:
        raise _malformed(subject, str(broken)) from broken
    return PublicKey(line=lines[1])


def public_key_of(line: str, subject: str) -> PublicKey:
    """A public key from the second line of its file, which is how people compare keys.

    Raises UserError.
    """
    return parse_public_key(f"{UNTRUSTED}\n{line}\n".encode(errors="replace"), subject)


# Secret keys


def secret_key_text(key: SecretKey, passphrase: str | None) -> str:
    """The two lines of a secret key file; without a passphrase the key lies open in it."""
    import minisign

    copy = minisign.SecretKey.from_base64(key.key.to_base64())  # locking changes the key itself
    if passphrase is not None:
        copy.encrypt(passphrase, opslimit=OPSLIMIT, memlimit=MEMLIMIT)
    return bytes(copy).decode() + "\n"


def is_locked(raw: bytes, subject: str) -> bool:
    """Whether a secret key file needs a passphrase. Raises UserError."""
    return bool(_read_secret_key(raw, subject).is_encrypted())


def parse_secret_key(raw: bytes, passphrase: str | None, subject: str) -> SecretKey:
    """A secret key from its file's bytes. Raises UserError; no message holds key or passphrase."""
    import minisign

    key = _read_secret_key(raw, subject)
    if key.is_encrypted():
        if passphrase is None:
            raise UserError(subject, "locked by a passphrase")
        limits = base64.b64decode(key.to_base64())[38:54]
        if max(int.from_bytes(limits[at : at + 8], "little") for at in (0, 8)) > LIMIT_READ:
            raise _malformed(subject, "limits of its passphrase out of range")
        try:
            key.remove_password(passphrase)
        except minisign.Error as wrong:
            raise UserError(subject, "wrong passphrase") from wrong
    if not _is_sound(key):
        raise UserError(subject, "damaged: its checksum does not fit")
    return SecretKey(key=key)


def _read_secret_key(raw: bytes, subject: str) -> "minisign.SecretKey":
    import minisign

    lines = _lines(raw, 2, subject)
    _comment(lines[0], UNTRUSTED, COMMENT_BYTES, subject)
    _require_base64(lines[1], SECRET_BYTES, subject)
    try:
        return minisign.SecretKey.from_base64(lines[1])
    except minisign.ParseError as broken:
        raise _malformed(subject, str(broken)) from broken


def _is_sound(key: "minisign.SecretKey") -> bool:
    """Whether an open key is whole; the package looks at the checksums of locked ones alone.

    The stock tool leaves the checksum of an open key blank. What such a key signs shows whether its
    two halves belong together.
    """
    import minisign

    # Three algorithms (6 bytes), salt (32) and limits (16) of the lock; then the key with its id
    # (72) and the checksum (32).
    blob = base64.b64decode(key.to_base64())
    key_bytes, checksum = blob[54:126], blob[126:]
    expected = hashlib.blake2b(b"Ed" + key_bytes, digest_size=32).digest()
    if any(checksum) and not hmac.compare_digest(checksum, expected):
        return False
    try:
        key.get_public_key().verify(b"", key.sign(b"", trusted_comment=""))
    except minisign.VerifyError:
        return False
    return True


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


def _require_base64(line: str, size: int, subject: str) -> None:
    """Strict: one text for each value, or a signature could be changed without a trace."""
    try:
        data = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as broken:
        raise _malformed(subject, "a line is not base64") from broken
    if len(data) != size or base64.b64encode(data).decode() != line:
        raise _malformed(subject, f"a line of {len(data)} bytes, expected {size}")


def _malformed(subject: str, fact: str) -> UserError:
    return UserError(subject, "not a file of minisign", facts=[fact])
