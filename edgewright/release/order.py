"""Signed releases: whose order it is that a board should run this release, and which is newer.

The signature is minisign's, over the bytes of `manifest.json`. Its trusted comment carries a
sequence number, so that the release itself stays what its content is: the same release signed
anew is a newer order, which is how an operator goes back to an older one.
"""

import contextlib
import gzip
import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

from edgewright.base.errors import UserError
from edgewright.base.files import open_inside, read_inside, write_file
from edgewright.release import evidence, minisign
from edgewright.release.keys import Signer
from edgewright.release.manifest import (
    MANIFEST,
    MANIFEST_BYTES,
    SIGNATURE,
    Manifest,
    Release,
    load_release,
    parse_manifest,
    read_manifest,
)
from edgewright.release.minisign import PublicKey

SIGNATURE_BYTES = 4 << 10
# Unpacked, up to the manifest: `bin/` goes before it in an archive, `model/` after it.
UNSIGNED_BYTES = 256 << 20
BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 20
ORDER = re.compile(
    r"edgewright sequence=(?P<sequence>[1-9][0-9]{0,19}) release=(?P<release>[0-9a-f]{16})"
    r" compatible=(?P<compatible>[a-z0-9-]+,[a-z0-9.-]+)(?: .*)?"
)
SIGN = "invoke release.sign"


@dataclass(frozen=True, kw_only=True)
class Order:
    """The trusted comment: run this release, unless you have seen a higher number."""

    sequence: int
    release: str
    compatible: str

    def __str__(self) -> str:
        return (
            f"edgewright sequence={self.sequence} release={self.release}"
            f" compatible={self.compatible}"
        )


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A release whose signature and files were checked."""

    manifest: Manifest
    order: Order
    key: PublicKey


def sign(manifest: Manifest, signer: Signer, *, at_least: int = 0) -> bytes:
    """A signature file for the manifest, with a sequence number that was never used before."""
    sequence = signer.next_sequence(at_least=at_least)
    order = Order(sequence=sequence, release=manifest.id, compatible=manifest.compatible)
    signature = signer.sign(manifest.canonical(), str(order))
    return signature.text(f"signature of {manifest.id} by key {signer.public.id}").encode()


def sign_release(release: Release, signer: Signer, *, at_least: int = 0) -> Order:
    """Sign a release on this machine, and its provenance if it has one.

    Its archive stays as it is, the signature lies beside. Raises UserError for a provenance of
    anything else, and signs nothing then.
    """
    evidence.sign_release(release, signer)
    raw = sign(release.manifest, signer, at_least=at_least)
    for path in (release.signature, beside(release.archive)):
        write_file(path, raw, mode=0o644)
    return check(release.manifest, raw, [signer.public], str(release.signature)).order


def beside(archive: Path) -> Path:
    """Where the signature of an archive's manifest lies: `<id>.minisig`."""
    return archive.with_name(archive.name.removesuffix(".tar.gz") + ".minisig")


def check(manifest: Manifest, raw: bytes, trusted: Sequence[PublicKey], subject: str) -> Verified:
    """Check a signature file against a manifest. Raises UserError, a message for each fault."""
    signature = minisign.parse_signature(raw, subject)
    key = next((key for key in trusted if key.key_id == signature.key_id), None)
    if key is None:
        trusted_ids = ", ".join(key.id for key in trusted) or "none"
        raise UserError(
            subject,
            "signed by a key that is not trusted here",
            facts=[f"expected: one of {trusted_ids}", f"found: {signature.id}"],
            next=f"put its owner's .pub file into your key folder (invoke keys.list); or {SIGN}",
        )
    minisign.verify(signature, manifest.canonical(), key, subject)
    order = parse_order(signature.trusted_comment, subject)
    if (order.release, order.compatible) != (manifest.id, manifest.compatible):
        raise UserError(
            subject,
            "is for another release",
            facts=[
                f"expected: {manifest.id} for {manifest.compatible}",
                f"found: {order.release} for {order.compatible}",
            ],
            next=SIGN,
        )
    return Verified(manifest=manifest, order=order, key=key)


def parse_order(comment: str, subject: str) -> Order:
    """The order in a trusted comment; further words are a note. Raises UserError."""
    match = ORDER.fullmatch(comment)
    if match is None or int(match["sequence"]) >= 1 << 64:
        raise UserError(
            subject,
            "trusted comment is no order to run a release",
            facts=[
                "expected: edgewright sequence=N release=ID compatible=NAME",
                f"found: {comment[:200]}",
            ],
            next=SIGN,
        )
    return Order(
        sequence=int(match["sequence"]),
        release=match["release"],
        compatible=match["compatible"],
    )


def read_signature(release: Release) -> bytes | None:
    """The signature file of a release on this machine; None while it is not signed.

    Raises UserError for one that is a link, or no signature by its size.
    """
    return _signature_in(release.signature)


def _signature_in(path: Path) -> bytes | None:
    is_there = path.exists() or path.is_symlink()
    return read_inside(path.parent, path.name, limit=SIGNATURE_BYTES) if is_there else None


def verify(path: Path, trusted: Sequence[PublicKey]) -> Verified:
    """Verify a release folder or `<id>.tar.gz`: signature, then every file. Raises UserError.

    Before the signature is known to be right, nothing is read but the signature and the manifest,
    and afterwards no more than the manifest says.
    """
    if not path.exists():
        raise UserError(str(path), "no such release", next="invoke release.list")
    if not path.is_dir():
        return _verify_archive(path, trusted)
    verified = _signed(read_manifest(path / MANIFEST), path / SIGNATURE, trusted, path)
    load_release(path)
    return verified


def verify_release(release: Release, trusted: Sequence[PublicKey]) -> Verified:
    """Verify the signature of a release that was loaded."""
    return _signed(release.manifest, release.signature, trusted, release.folder)


def _signed(
    manifest: Manifest, signature: Path, trusted: Sequence[PublicKey], path: Path
) -> Verified:
    raw = _signature_in(signature)
    if raw is None:
        folder = path if path.is_dir() else path.parent / manifest.id
        raise UserError(str(path), "is not signed", next=f"invoke release.sign --path={folder}")
    return check(manifest, raw, trusted, f"{path}: {SIGNATURE}")


def _verify_archive(path: Path, trusted: Sequence[PublicKey]) -> Verified:
    """The archive is read twice: to the manifest, and, if that is signed, to its end."""
    with _unpacking(path) as stream:
        manifest = _packed_manifest(stream, path)
    verified = _signed(manifest, beside(path), trusted, path)
    with _unpacking(path) as stream:
        problems = list(_packed_problems(stream, manifest, path))
    if problems:
        raise UserError(str(path), "not the release its manifest describes", facts=problems)
    return verified


@contextlib.contextmanager
def _unpacking(path: Path) -> Iterator[BufferedIOBase]:
    """What an archive unpacks to, as a stream: nothing of it is written, or held as a whole."""
    try:
        with open_inside(path.parent, path.name) as packed, gzip.GzipFile(fileobj=packed) as stream:
            yield stream
    except (OSError, tarfile.TarError, zlib.error, EOFError) as broken:
        raise UserError(str(path), "not a whole archive", facts=[str(broken)]) from broken


def _packed_manifest(stream: BufferedIOBase, path: Path) -> Manifest:
    skipped = 0
    while member := _next_member(stream, path):
        if member.name.partition("/")[2] == MANIFEST:
            if member.size > MANIFEST_BYTES:
                raise UserError(
                    f"{path}: {MANIFEST}",
                    "is too large",
                    facts=[f"expected: at most {MANIFEST_BYTES:,} bytes"],
                )
            return parse_manifest(_read(stream, member.size), f"{path}: {MANIFEST}")
        skipped += BLOCK + member.size
        if skipped > UNSIGNED_BYTES:
            facts = [f"expected: a manifest within {UNSIGNED_BYTES >> 20} MiB"]
            raise UserError(str(path), "not a release", facts=facts, next="invoke build")
        _hash(stream, member.size)
    raise UserError(str(path), f"no {MANIFEST} in it", next="invoke build")


def _packed_problems(stream: BufferedIOBase, manifest: Manifest, path: Path) -> Iterator[str]:
    """What of an archive is not as its manifest says; nothing beyond its sizes is unpacked."""
    sizes = {file.path: file.bytes for file in manifest.files}
    missing = {file.path: file.sha256 for file in manifest.files}
    sizes[MANIFEST] = len(manifest.canonical())
    missing[MANIFEST] = hashlib.sha256(manifest.canonical()).hexdigest()
    while member := _next_member(stream, path):
        prefix, _, name = member.name.partition("/")
        expected = missing.pop(name, None) if prefix == manifest.id else None
        if expected is None or member.size != sizes[name]:
            yield f"{member.name!r}: not a file of this release, or not of its size"
            return
        if (sha256 := _hash(stream, member.size)) != expected:
            yield f"{name}: expected sha256 {expected}, found {sha256}"
    yield from (f"{name}: missing" for name in missing)


def _next_member(stream: BufferedIOBase, path: Path) -> tarfile.TarInfo | None:
    """The next header of an archive, None at its end.

    Of a release these are plain files of the ustar format. `tarfile.open` would also read
    extensions of the format, as long as the archive says, into memory.
    """
    block = _read(stream, BLOCK)
    if block == bytes(BLOCK):
        return None
    member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    if not member.isreg() or member.size < 0:
        raise UserError(str(path), f"{member.name!r} has no place in a release")
    return member


def _hash(stream: BufferedIOBase, size: int) -> str:
    """SHA-256 of a member's content; the stream then stands at the next header."""
    hasher = hashlib.sha256()
    for at in range(0, size, CHUNK):
        hasher.update(_read(stream, min(CHUNK, size - at)))
    _read(stream, -size % BLOCK)
    return hasher.hexdigest()


def _read(stream: BufferedIOBase, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("it ends in the middle of a file")
    return data
