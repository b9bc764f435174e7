"""A store of releases in a repository of an OCI registry.

A release is an artifact of its own, tagged `<board>.<id>`: its layers are its index and all of its
files, so that a registry which drops manifests without a tag takes nothing of it. Its bill, its
provenance and its licence texts are attached to it besides, as referrers, for other tools. A
channel is the artifact tagged `<board>.<channel>`. The tag comes last: what is listed is whole.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgewright.base.errors import TargetError, UserError
from edgewright.base.files import HashedFile
from edgewright.base.schema import parse_json
from edgewright.release import channels, web
from edgewright.release.evidence import ENVELOPE, LICENSES, SBOM, STATEMENT
from edgewright.release.published import ARCHIVE, INDEX_BYTES, ORDER, Published, place_of
from edgewright.release.registry import (
    EMPTY,
    Manifest,
    Registry,
    artifact,
    descriptor,
    digest_of,
)
from edgewright.release.registry_login import Login, docker_credentials
from edgewright.release.store import BLOBS, RELEASES, REPUBLISH, Contents

RELEASE_TYPE = "application/vnd.edgewright.release.v1"
CHANNEL_TYPE = "application/vnd.edgewright.channel.v1"
INDEX_TYPE = "application/vnd.edgewright.release.index.v1+json"
ARCHIVE_TYPE = "application/vnd.edgewright.release.archive.v1.tar+gzip"
LICENSES_TYPE = "application/vnd.edgewright.licenses.v1"
ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
SBOM_TYPE = "application/vnd.cyclonedx+json"
PROVENANCE_TYPE = "application/vnd.in-toto+json"
TEXT_TYPE = "text/plain"
MEDIA_TYPES = {
    ARCHIVE: ARCHIVE_TYPE,
    ORDER: TEXT_TYPE,
    f"evidence/{SBOM}": SBOM_TYPE,
    f"evidence/{STATEMENT}": PROVENANCE_TYPE,
    f"evidence/{ENVELOPE}": ENVELOPE_TYPE,
}
# Kind of what refers to a release → names of its files begin with one of these.
REFERRERS = {
    SBOM_TYPE: (f"evidence/{SBOM}",),
    PROVENANCE_TYPE: (f"evidence/{ENVELOPE}", f"evidence/{STATEMENT}"),
    LICENSES_TYPE: (f"evidence/{LICENSES}/",),
}
TITLE = "org.opencontainers.image.title"  # a file's name, for tools that pull an artifact
SCHEMES = {"oci": "https", "oci+http": "http"}
EXPECTED = "oci://host[:port]/repository, or oci+http:// for a registry without TLS"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_RELEASE_TAG = re.compile(r"([a-z0-9][a-z0-9-]*)\.([0-9a-f]{16})")
_CHANNEL_TAG = re.compile(rf"([a-z0-9][a-z0-9-]*)\.({'|'.join(channels.NAMES)})")


@dataclass(frozen=True, kw_only=True)
class OciStore(Contents):
    """A store in a repository."""

    registry: Registry

    @property
    def place(self) -> str:
        return self.registry.place

    def alone(self) -> AbstractContextManager[None]:
        """A registry has no lock: who writes a tag reads it again."""
        return nullcontext()

    def read(self, name: str, *, limit: int) -> bytes:
        """Raises UserError for what is missing or larger than `limit`."""
        if name.startswith(f"{BLOBS}/"):
            return self.registry.blob(_digest(name), limit=limit)
        return self._document(self._manifest(name), name, limit)

    def copy_blob(self, sha256: str, into: HashedFile, *, limit: int) -> None:
        self.registry.blob(_digest(sha256), limit=limit, into=into)

    def _manifest(self, name: str) -> bytes:
        tag = self._tag(name)
        raw = self.registry.manifest(tag)
        if raw is None:
            raise UserError(f"{self.place}:{tag}", "no such tag")
        return raw

    def _document(self, raw: bytes, name: str, limit: int) -> bytes:
        """The first layer of a manifest."""
        subject = f"{self.place}:{self._tag(name)}"
        document = parse_json(Manifest, raw, subject, "no manifest", next=REPUBLISH).layers[0]
        if document.size > limit:
            raise UserError(subject, "is too large", facts=[f"expected: at most {limit:,} bytes"])
        return self.get(document.sha256, document.size)

    def exists(self, name: str) -> bool:
        if name.startswith(f"{BLOBS}/"):
            return self.registry.has_blob(_digest(name))
        return self.registry.has_tag(self._tag(name))

    def write(self, name: str, content: bytes) -> None:
        """Raises TargetError if a tag has another manifest afterwards."""
        if name.startswith(f"{BLOBS}/"):
            self.registry.put_blob(content)
            return
        self.put(EMPTY)
        self.put(content)
        tag = self._tag(name)
        if name.startswith(f"{RELEASES}/"):
            layers = self._layers(name, content)
            manifest = artifact(RELEASE_TYPE, [*layers.values()])
            self.registry.attach(manifest, _referrers(layers, manifest))
        else:
            title = {TITLE: name.rpartition("/")[2]}
            layer = descriptor(ENVELOPE_TYPE, content, annotations=title)
            manifest = artifact(CHANNEL_TYPE, [layer])
        self.registry.put_manifest(tag, manifest)
        if self.registry.manifest(tag) != manifest:
            raise TargetError(
                f"{self.place}:{tag}",
                "is not what was written: somebody else wrote it at the same time",
                next="repeat the command",
            )

    def _layers(self, name: str, index: bytes) -> dict[str, dict[str, Any]]:
        """The layers of a release's manifest by the names of its index, this one first."""
        published = parse_json(Published, index, f"{self.place}/{name}", "no index of a release")
        title = {TITLE: name.rpartition("/")[2]}
        layers = {"": descriptor(INDEX_TYPE, index, annotations=title)}
        for file in published.files:
            title = {TITLE: place_of(Path(), published.release, file.name).as_posix()}
            layers[file.name] = {
                "mediaType": MEDIA_TYPES.get(file.name, TEXT_TYPE),
                "digest": f"sha256:{file.sha256}",
                "size": file.bytes,
                "annotations": title,
            }
        return layers

    def remove(self, name: str) -> int:
        """Remove a release; its contents go when the registry collects what nothing refers to."""
        manifest = self._manifest(name)
        layers = self._layers(name, self._document(manifest, name, INDEX_BYTES))
        self.registry.detach(manifest, _referrers(layers, manifest))
        self.registry.delete_manifest(digest_of(manifest))
        return len(manifest)

    def names(self, folder: str) -> Iterator[str]:
        """Documents by their tags; a registry does not list its contents, and removes them."""
        if folder == BLOBS:
            return
        pattern = _RELEASE_TAG if folder == RELEASES else _CHANNEL_TAG
        for tag in sorted(self.registry.tags()):
            if match := pattern.fullmatch(tag):
                yield f"{folder}/{match[1]}/{match[2]}.json"

    def _tag(self, name: str) -> str:
        tag = ".".join(name.removesuffix(".json").split("/")[1:])
        if not (_RELEASE_TAG.fullmatch(tag) or _CHANNEL_TAG.fullmatch(tag)):
            problem = "is no name of a release or a channel"
            raise UserError(tag, problem, next=f"invoke release.list --store={self.place}")
        return tag


def _referrers(layers: Mapping[str, Mapping[str, Any]], release: bytes) -> list[bytes]:
    """Manifests that attach files of a release to its own."""
    chosen = {
        kind: [layer for name, layer in layers.items() if name.startswith(names)]
        for kind, names in REFERRERS.items()
    }
    return [artifact(kind, files, subject=release) for kind, files in chosen.items() if files]


def _digest(name: str) -> str:
    return f"sha256:{name.removeprefix(f'{BLOBS}/')}"


def oci_store(address: str, authorization: str | None, docker_config: Path) -> OciStore:
    """The store at an address; `authorization` goes before the login that Docker has.

    Raises UserError for what is no address, and for a secret that would go in clear.
    """
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError as broken:
        raise UserError(address, f"is no address: {broken}", next=EXPECTED) from broken
    repository = parts.path.strip("/")
    is_plain = parts.hostname and not (parts.username or parts.query or parts.fragment)
    if parts.scheme not in SCHEMES or not is_plain or not _REPOSITORY.fullmatch(repository):
        raise UserError(
            f"{parts.scheme}://{parts.hostname}{parts.path}",
            "is no address of a registry's repository",
            facts=[f"expected: {EXPECTED}", "without user, password or tag"],
            next="the same command with such an address",
        )
    is_loopback = parts.hostname in web.LOOPBACK
    scheme = "http" if is_loopback else SCHEMES[parts.scheme]
    credentials = authorization or docker_credentials(parts.netloc, docker_config)
    if credentials:
        web.require_header(credentials)
    url = f"{scheme}://{parts.netloc}"
    if credentials and not web.is_private(url):
        raise UserError(address, "would get the login in clear", next="use oci://, with TLS")
    place = f"{parts.scheme}://{parts.netloc}/{repository}"
    login = Login(credentials=credentials)
    return OciStore(registry=Registry(place=place, url=url, repository=repository, login=login))
