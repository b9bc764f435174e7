"""Signed releases: whose order it is that a board should run this release, and which is newer.

The signature is minisign's, over the bytes of `manifest.json`. Its trusted comment carries a
sequence number, so that the release itself stays what its content is: the same release signed
anew is a newer order, which is how an operator goes back to an older one.
"""

import hashlib
import re
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.base.errors import UserError
from edgewright.base.files import write_file
from edgewright.release import minisign
from edgewright.release.keys import Signer
from edgewright.release.manifest import (
    MANIFEST,
    SIGNATURE,
    Manifest,
    Release,
    load_release,
    parse_manifest,
)
from edgewright.release.minisign import PublicKey

ARCHIVE_BYTES = 1 << 30  # unpacked
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
    """Sign a release on this machine; its archive stays as it is, the signature lies beside."""
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
            next=f"invoke keys.list; or {SIGN} with a key of yours",
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
    """The signature file of a release on this machine; None while it is not signed."""
    try:
        return release.signature.read_bytes()
    except FileNotFoundError:
        return None


def verify(path: Path, trusted: Sequence[PublicKey]) -> Verified:
    """Verify a release folder or `<id>.tar.gz`: signature, then every file. Raises UserError."""
    if path.is_dir():
        return verify_release(load_release(path), trusted)
    manifest, raw = _read_archive(path)
    return _signed(manifest, raw, trusted, path)


def verify_release(release: Release, trusted: Sequence[PublicKey]) -> Verified:
    """Verify the signature of a release that was loaded."""
    return _signed(release.manifest, read_signature(release), trusted, release.folder)


def _signed(
    manifest: Manifest, raw: bytes | None, trusted: Sequence[PublicKey], path: Path
) -> Verified:
    if raw is None:
        raise UserError(str(path), "is not signed", next=SIGN)
    return check(manifest, raw, trusted, f"{path}: {SIGNATURE}")


def _read_archive(path: Path) -> tuple[Manifest, bytes | None]:
    """The manifest of an archive, after every file in it was held against it."""
    content = _unpacked(path)
    prefix = next(iter(content), "").partition("/")[0]
    manifest_name = f"{prefix}/{MANIFEST}"
    if manifest_name not in content:
        raise UserError(str(path), f"no {MANIFEST} in it", next="invoke build")
    manifest = parse_manifest(content.pop(manifest_name), f"{path}: {MANIFEST}")
    listed = {f"{manifest.id}/{file.path}": file.sha256 for file in manifest.files}
    packed = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    problems = [
        f"{name}: expected {listed.get(name, 'nothing')}, found {packed.get(name, 'nothing')}"
        for name in sorted(listed.keys() | packed.keys())
        if listed.get(name) != packed.get(name)
    ]
    if problems:
        raise UserError(str(path), "not the release its manifest describes", facts=problems)
    signature = beside(path)
    return manifest, signature.read_bytes() if signature.is_file() else None


def _unpacked(path: Path) -> dict[str, bytes]:
    """Name → bytes of an archive's regular files; anything else is refused.

    In memory: nothing is written of an archive that is not verified, and no path in it is used.
    """
    content: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isreg() else None
                size = sum(map(len, content.values()))
                if file is None or member.name in content or size > ARCHIVE_BYTES:
                    raise UserError(str(path), f"{member.name!r} has no place in a release")
                content[member.name] = file.read(ARCHIVE_BYTES)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(str(path), f"not readable: {reason}", next="invoke build") from error
    except (tarfile.TarError, zlib.error, EOFError) as broken:
        raise UserError(str(path), "not a whole archive", facts=[str(broken)]) from broken
    return content
