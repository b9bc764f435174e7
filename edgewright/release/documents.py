"""What is told of keys and releases as JSON: one model for each document."""

from collections.abc import Iterable
from typing import Literal

from edgewright.base.schema import Document, Part
from edgewright.release.keys import StoredKey
from edgewright.release.manifest import Release
from edgewright.release.order import Verified, read_signature


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


def verified_release(verified: Verified) -> VerifiedRelease:
    return VerifiedRelease(
        release=verified.manifest.id,
        board=verified.manifest.board,
        compatible=verified.manifest.compatible,
        sequence=verified.order.sequence,
        key=verified.key.id,
        files=len(verified.manifest.files),
        bytes=verified.manifest.total_bytes,
    )
