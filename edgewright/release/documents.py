"""What is told of keys and releases as JSON: one model for each document."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal

from edgewright.base.schema import Document, Part
from edgewright.release.channels import Pointer
from edgewright.release.evidence import Proof
from edgewright.release.keys import StoredKey
from edgewright.release.manifest import Release
from edgewright.release.minisign import PublicKey
from edgewright.release.order import Verified, read_signature
from edgewright.release.osv import STALE_DAYS, Finding, Search
from edgewright.release.provenance import Statement
from edgewright.release.published import Published
from edgewright.release.sbom import Sbom
from edgewright.release.sdk import Sdk
from edgewright.release.wheel import VerifiedWheel


class ListedKey(Part):
    """A signing key in the user's folder."""

    name: str
    id: str  # 16 hexadecimal digits, as minisign shows them
    public: str  # the key itself: the second line of its .pub file
    fingerprint: str  # of the key
    secret: bool  # the secret half is there too
    command: str | None  # that signs with it instead
    locked: bool  # by a passphrase
    last_sequence: int  # 0: nothing was signed with it


class KeyList(Document):
    """`keys.list --json`."""

    version: Literal[1] = 1
    keys: tuple[ListedKey, ...]


class ListedRelease(Part):
    """The last build of one board."""

    board: str
    release: str
    bytes: int
    signed: bool
    folder: str


class ReleaseList(Document):
    """`release.list --json`."""

    version: Literal[1] = 1
    releases: tuple[ListedRelease, ...]


class VerifiedProvenance(Part):
    """A statement of who built a release from what."""

    key: str  # that signed it
    builder: str
    builder_sha256: str | None  # of its image
    repository: str | None  # its commit
    dependencies: int  # sources, recipes, model: each by its hash or revision


class VerifiedEvidence(Part):
    """What else is proven about a release, an SDK or a wheel."""

    components: int  # of its bill of materials
    licence_texts: int  # each of them what the bill says
    unlicensed: tuple[str, ...]  # components whose licence nobody stated
    provenance: VerifiedProvenance | None  # null: not signed


class VerifiedRelease(Document):
    """`release.verify --json`: a release whose signature and files are right."""

    version: Literal[1] = 1
    release: str
    board: str
    compatible: str
    sequence: int
    key: str
    files: int
    bytes: int
    evidence: VerifiedEvidence | None = None  # null: the release has none, as those of 0.1.0


class VerifiedSdk(Document):
    """`sdk.verify --json`: an SDK, or a wheel of one, whose signature and files are right."""

    version: Literal[1] = 1
    sdk: str
    wheel: str | None = None  # name of its file; null: it is the SDK that was verified
    board: str
    compatible: str
    key: str
    files: int
    evidence: VerifiedEvidence | None = None  # null: an SDK that has no bill


class ListedLicence(Part):
    """A part of a release and its licence."""

    component: str
    version: str
    licence: str  # SPDX expression


class SbomReport(Document):
    """`release.sbom --json`: the bill of materials of a release, and where it was written."""

    version: Literal[1] = 1
    release: str
    sbom: str  # the file
    format: Literal["cyclonedx"] = "cyclonedx"
    licences: tuple[ListedLicence, ...]
    licence_texts: int


class VulnerabilityReport(Document):
    """`release.vulnerabilities --json`."""

    version: Literal[1] = 1
    release: str
    database: str
    advisories: int  # that were looked at
    newest: str  # day on which the newest of them was changed
    days_old: int  # since then
    stale: bool  # the database is too old to be trusted
    packages: int  # of the release, that advisories may speak of
    findings: tuple[Finding, ...]


class PublishReport(Document):
    """`release.publish --json`."""

    version: Literal[1] = 1
    release: str
    board: str
    store: str
    files: int
    bytes: int
    written: int  # files that the store did not have
    evidence: bool  # it has bill of materials, licences and provenance
    channel: str | None  # that points to it now


class ChannelReport(Document):
    """`release.promote --json`: what a channel points to now."""

    version: Literal[1] = 1
    store: str
    board: str
    channel: str
    release: str
    sequence: int


class PullReport(Document):
    """`release.pull --json`: a release that was fetched and verified."""

    version: Literal[1] = 1
    release: str
    board: str
    folder: str


class PublishedRelease(Part):
    """A release of a store."""

    board: str
    release: str
    sequence: int
    bytes: int
    channels: tuple[str, ...]  # that point to it


class StoreList(Document):
    """`release.list --store --json`; newest first."""

    version: Literal[1] = 1
    store: str
    releases: tuple[PublishedRelease, ...]


class RetainReport(Document):
    """`release.retain --json`."""

    version: Literal[1] = 1
    store: str
    kept: int  # releases
    removed: tuple[str, ...]  # ids
    files: int  # that were removed
    bytes: int  # of them


def store_list(store: str, releases: Iterable[Published], pointers: Iterable[Pointer]) -> StoreList:
    channels: dict[tuple[str, str], list[str]] = {}
    for pointer in pointers:
        channels.setdefault((pointer.board, pointer.release), []).append(pointer.channel)
    rows = (
        PublishedRelease(
            board=item.board,
            release=item.release,
            sequence=item.sequence,
            bytes=item.total_bytes,
            channels=tuple(sorted(channels.get((item.board, item.release), ()))),
        )
        for item in releases
    )
    return StoreList(store=store, releases=tuple(rows))


def key_list(keys: Iterable[StoredKey]) -> KeyList:
    rows = (
        ListedKey(
            name=key.name,
            id=key.public.id,
            public=key.public.line,
            fingerprint=key.public.fingerprint,
            secret=key.has_secret,
            command=key.command,
            locked=key.locked,
            last_sequence=key.last_sequence,
        )
        for key in keys
    )
    return KeyList(keys=tuple(rows))


def release_list(releases: Iterable[Release]) -> ReleaseList:
    rows = (
        ListedRelease(
            board=release.manifest.board,
            release=release.id,
            bytes=release.manifest.total_bytes,
            signed=read_signature(release) is not None,
            folder=str(release.folder),
        )
        for release in releases
    )
    return ReleaseList(releases=tuple(rows))


def verified_release(verified: Verified, proof: Proof | None) -> VerifiedRelease:
    return VerifiedRelease(
        release=verified.manifest.id,
        board=verified.manifest.board,
        compatible=verified.manifest.compatible,
        sequence=verified.order.sequence,
        key=verified.key.id,
        files=len(verified.manifest.files),
        bytes=verified.manifest.total_bytes,
        evidence=_verified_evidence(proof) if proof else None,
    )


def verified_sdk(sdk: Sdk, key: PublicKey, proof: Proof | None) -> VerifiedSdk:
    return VerifiedSdk(
        sdk=sdk.id,
        board=sdk.manifest.board,
        compatible=sdk.manifest.compatible,
        key=key.id,
        files=len(sdk.manifest.files),
        evidence=_verified_evidence(proof) if proof else None,
    )


def verified_wheel(wheel: Path, verified: VerifiedWheel) -> VerifiedSdk:
    return VerifiedSdk(
        sdk=verified.sdk,
        wheel=wheel.name,
        board=verified.board,
        compatible=verified.compatible,
        key=verified.key.id,
        files=verified.files,
        evidence=_verified_evidence(verified.proof),
    )


def _verified_evidence(proof: Proof) -> VerifiedEvidence:
    return VerifiedEvidence(
        components=len(proof.sbom.components),
        licence_texts=proof.texts,
        unlicensed=proof.sbom.unlicensed,
        provenance=_verified_provenance(proof.statement, proof.key)
        if proof.statement and proof.key
        else None,
    )


def _verified_provenance(statement: Statement, key: PublicKey) -> VerifiedProvenance:
    image, repository = statement.dependency("builder"), statement.dependency("repository")
    return VerifiedProvenance(
        key=key.id,
        builder=statement.predicate.run.builder.id,
        builder_sha256=image.digest.get("sha256") if image else None,
        repository=repository.digest.get("gitCommit") if repository else None,
        dependencies=len(statement.predicate.build.dependencies),
    )


def sbom_report(release: str, path: Path, sbom: Sbom, texts: int) -> SbomReport:
    rows = (
        ListedLicence(component=item.name, version=item.version, licence=item.licence)
        for item in sbom.components
    )
    return SbomReport(release=release, sbom=str(path), licences=tuple(rows), licence_texts=texts)


def vulnerability_report(
    release: str, database: Path, search: Search, now: datetime
) -> VulnerabilityReport:
    days = search.days_old(now)
    return VulnerabilityReport(
        release=release,
        database=str(database),
        advisories=search.advisories,
        newest=f"{search.newest:%Y-%m-%d}",
        days_old=days,
        stale=days > STALE_DAYS,
        packages=search.packages,
        findings=search.findings,
    )
