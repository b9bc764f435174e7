"""Releases in a store: published, pulled, listed, and removed once nothing needs them.

What is pulled is verified before any of it has its name: signature and files as a board does, bill,
licence texts and provenance as `release.verify` does. The store is trusted with nothing but to
hand something out.
"""

import hashlib
import shutil
import tarfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from pydantic import Field

from edgewright.base.errors import UserError
from edgewright.base.files import HashedFile, make_folder, named
from edgewright.base.schema import Part, parse_json
from edgewright.release import channels, evidence, order
from edgewright.release.channels import Board, Channel, Pointer, ReleaseId
from edgewright.release.evidence import ENVELOPE, LICENSES, SBOM, STATEMENT, Evidence
from edgewright.release.keys import Signer
from edgewright.release.manifest import SIGNATURE, Release, ReleaseFile, load_release
from edgewright.release.minisign import PublicKey
from edgewright.release.store import BLOBS, CHANNELS, RELEASES, REPUBLISH, Contents

INDEX_BYTES = 1 << 20
MOST_FILES = 2_000
RELEASE_BYTES = 4 << 30  # of all files of a release
ARCHIVE, ORDER = "archive", "signature"  # names in an index; the rest lies in evidence/


class PublishedFile(Part):
    """A file of a published release, by the hash of its content."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+)*$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Published(Part):
    """`releases/<board>/<id>.json` of a store. Nothing in it is trusted: what it leads to is."""

    schema_: Literal[1] = 1
    board: Board
    release: ReleaseId
    sequence: Annotated[int, Field(ge=1, lt=1 << 64)]  # of the order to run it
    files: Annotated[tuple[PublishedFile, ...], Field(max_length=MOST_FILES)]

    @property
    def total_bytes(self) -> int:
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What `publish` did."""

    published: Published
    sent: int  # blobs that the store did not have
    has_evidence: bool


def publish(release: Release, store: Contents, trusted: Sequence[PublicKey]) -> Publication:
    """Publish a release that is signed, and whose evidence, if it has any, is complete.

    Raises UserError; the store then publishes what it did before.
    """
    verified = order.verify(release.archive, trusted)
    behind = evidence.beside(release)
    if behind.exists:
        proof = evidence.verify(behind, release.manifest, release.archive, trusted)
        evidence.require_complete(behind, proof)
    with store.alone():
        files, sent = [], 0
        for name, path in _files(release, behind):
            content = path.read_bytes()
            sent += store.put(content)
            sha256 = hashlib.sha256(content).hexdigest()
            files.append(PublishedFile(name=name, sha256=sha256, bytes=len(content)))
        published = Published(
            board=release.manifest.board,
            release=release.id,
            sequence=verified.order.sequence,
            files=tuple(files),
        )
        index = published.model_dump_json(indent=2, by_alias=True) + "\n"
        store.write(_index(published.board, release.id), index.encode())
    return Publication(published=published, sent=sent, has_evidence=behind.exists)


def _files(release: Release, behind: Evidence) -> Iterator[tuple[str, Path]]:
    yield ARCHIVE, release.archive
    yield ORDER, order.beside(release.archive)
    if behind.exists:
        for path in sorted(behind.folder.rglob("*")):
            name = f"evidence/{path.relative_to(behind.folder).as_posix()}"
            # What somebody left there besides would make an index that nobody can read.
            if path.is_file() and _is_fit(name):
                yield name, path


def _index(board: str, release: str) -> str:
    return f"{RELEASES}/{board}/{release}.json"


def find(store: Contents, board: str, release: str) -> Published:
    """A release of a board. Raises UserError where it is not published."""
    name = _index(board, release)
    if not store.exists(name):
        raise UserError(
            f"{store.place}: release {release} of {board}",
            "is not published",
            next=f"invoke release.list --store={store.place} --board={board}",
        )
    subject = f"{store.place}/{name}"
    raw = store.read(name, limit=INDEX_BYTES)
    published = parse_json(Published, raw, subject, "not the index of a release", next=REPUBLISH)
    names = [file.name for file in published.files]
    unfit = [name for name in names if not _is_fit(name)]
    if (
        (published.board, published.release) != (board, release)
        or unfit
        or published.total_bytes > RELEASE_BYTES
    ):
        facts = [*(f"unfit: {name}" for name in unfit), f"bytes: {published.total_bytes:,}"]
        raise UserError(subject, "is not the index of this release", facts=facts, next=REPUBLISH)
    if len(set(names)) != len(names) or not {ARCHIVE, ORDER} <= set(names):
        problem = "lacks archive or signature, or has a file twice"
        raise UserError(subject, problem, next=REPUBLISH)
    return published


def _is_fit(name: str) -> bool:
    if {".", ".."} & set(name.split("/")):
        return False
    place = name.removeprefix("evidence/")
    return name in (ARCHIVE, ORDER) or (
        place != name and (place in (SBOM, STATEMENT, ENVELOPE) or place.startswith(f"{LICENSES}/"))
    )


def point(channel: Channel, release: str, signer: Signer, trusted: Sequence[PublicKey]) -> Pointer:
    """Point a channel to a published release; one that points to it already is left alone.

    Raises UserError for a release that is not published, and for a pointer that is not believed.
    """
    with channel.store.alone():
        find(channel.store, channel.board, release)
        return channel.point(release, signer, trusted)


def listed(store: Contents, board: str = "") -> list[Published]:
    """All releases of a store, or of one board of it; the newest order of a board first."""
    releases = [
        find(store, parts[1], parts[2].removesuffix(".json"))
        for name in store.names(RELEASES)
        if len(parts := name.split("/")) == 3 and name.endswith(".json")
        if not board or parts[1] == board
    ]
    return sorted(releases, key=lambda item: (item.board, -item.sequence, item.release))


def pull(
    store: Contents, board: str, release: str, out: Path, trusted: Sequence[PublicKey]
) -> Release:
    """Fetch a release into `out/<id>/`, with archive, signature and evidence beside it.

    Raises UserError, and leaves nothing there, unless all of it is right.
    """
    published = find(store, board, release)
    make_folder(out)
    with TemporaryDirectory(prefix=f".{release}.", dir=out) as scratch:
        aside = Path(scratch)
        archive, behind = aside / f"{release}.tar.gz", Evidence.of(aside, release)
        for file in published.files:
            place = place_of(aside, release, file.name)
            make_folder(place.parent)
            with named(out / release), place.open("xb") as content:
                store.fetch(file.sha256, file.bytes, HashedFile(content))
            place.chmod(0o644)  # whatever the umask says
        verified = order.verify(archive, trusted)
        if (verified.manifest.id, verified.manifest.board) != (release, board):
            facts = [f"found: {verified.manifest.id} for board {verified.manifest.board}"]
            raise UserError(f"{store.place}: release {release}", "is another one", facts=facts)
        if behind.exists:
            proof = evidence.verify(behind, verified.manifest, archive, trusted)
            evidence.require_complete(behind, proof)  # as it was when it was published
        _unpack(archive, verified.manifest.files, aside)
        shutil.copyfile(order.beside(archive), aside / release / SIGNATURE)
        load_release(aside / release)
        for path in sorted(aside.iterdir()):
            if (out / path.name).is_dir():
                shutil.rmtree(out / path.name)
            path.rename(out / path.name)
    return load_release(out / release)


def place_of(folder: Path, release: str, name: str) -> Path:
    """Where a file of an index lies beside a release in `folder`."""
    archive = folder / f"{release}.tar.gz"
    if name in (ARCHIVE, ORDER):
        return archive if name == ARCHIVE else order.beside(archive)
    return Evidence.of(folder, release).folder / name.removeprefix("evidence/")


def _unpack(archive: Path, files: Iterable[ReleaseFile], into: Path) -> None:
    """Unpack an archive that was verified: plain files of the manifest alone."""
    modes = {file.path: int(file.mode, 8) for file in files}
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="data")
    for path, mode in modes.items():
        (into / archive.name.removesuffix(".tar.gz") / path).chmod(mode)


@dataclass(frozen=True, kw_only=True)
class Retained:
    """What `retain` left and removed."""

    remaining: tuple[Published, ...]
    removed: tuple[Published, ...]
    blobs: int  # that were removed
    bytes: int  # of them


def retain(
    store: Contents,
    config: Path,
    trusted: Sequence[PublicKey],
    keep: int,
    board: str = "",
    needed: Collection[str] = (),
) -> Retained:
    """Keep the newest `keep` releases of each board, `needed` ids, and all that channels point to.

    Contents go once no release has them. `config` is the user's folder. Raises UserError for a
    store of which anything, a pointer too, cannot be read or believed: nothing is removed then.
    """
    with store.alone():
        releases = listed(store)
        pointers = (channel.read(trusted) for channel in all_channels(store, config))
        pointed = {(pointer.board, pointer.release) for pointer in pointers if pointer}
        remaining: list[Published] = []
        removed: list[Published] = []
        counts: dict[str, int] = {}
        for item in releases:
            counts[item.board] = counts.get(item.board, 0) + 1
            is_old = counts[item.board] > keep and (not board or item.board == board)
            is_free = (item.board, item.release) not in pointed and item.release not in needed
            (removed if is_old and is_free else remaining).append(item)
        for item in removed:
            store.remove(_index(item.board, item.release))
        blobs = size = 0
        needed = {file.sha256 for item in remaining for file in item.files}
        for name in store.names(BLOBS):
            if name.rpartition("/")[2] not in needed:
                size += store.remove(name)
                blobs += 1
    return Retained(remaining=tuple(remaining), removed=tuple(removed), blobs=blobs, bytes=size)


def all_channels(store: Contents, config: Path) -> list[Channel]:
    """Every channel that a store has, of all boards."""
    pointers = []
    for name in store.names(CHANNELS):
        parts = name.split("/")
        if len(parts) == 3 and name.endswith(".json"):
            pointers.append(
                channels.channel(store, parts[1], parts[2].removesuffix(".json"), config)
            )
    return pointers
