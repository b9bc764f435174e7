"""Releases in a store: published, promoted, pulled, and removed once nothing needs them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base.errors import UserError
from edgewright.base.files import update_file
from edgewright.base.layout import user_config
from edgewright.cli.common import (
    BOARD,
    DEFAULT_BOARD,
    BoardName,
    Json,
    one_release,
    open_store,
    say,
    task,
    workspace,
    write_document,
)
from edgewright.cli.keys import KeyName, ask
from edgewright.cli.ledgers import LedgerPlace, releases_of_rollouts
from edgewright.cli.words import counted
from edgewright.release import channels, keys, published
from edgewright.release.channels import Pointer
from edgewright.release.documents import (
    ChannelReport,
    PublishReport,
    PullReport,
    RetainReport,
)
from edgewright.release.minisign import PublicKey
from edgewright.release.store import Contents

StorePath = Annotated[
    str, "where releases are published: a folder, a URL of WebDAV, or oci://host/repository"
]
ChannelName = Annotated[str, "nightly, beta or stable"]
ReleaseName = Annotated[str, "id of a published release"]


def trusted() -> list[PublicKey]:
    return [key.public for key in keys.user_keys().listed()]


def point(store: Contents, board: str, channel: str, release: str, key: str) -> Pointer:
    """Point a channel to a published release, signed by a key of this user."""
    place = channels.channel(store, board, channel, user_config())
    signer = keys.user_keys().open_signer(key, ask)
    return published.point(place, release, signer, trusted())


def pointed(store: Contents, board: str, channel: str) -> str:
    """The release that a channel points to. Raises UserError while there is none."""
    pointer = channels.channel(store, board, channel, user_config()).read(trusted())
    if pointer is None:
        raise UserError(
            f"{store.place}: channel {channel} of {board}",
            "points to nothing",
            next=f"invoke release.list --store={store.place} --board={board}",
        )
    return pointer.release


@dataclass(frozen=True, kw_only=True)
class PublishOptions:
    store: StorePath
    board: Annotated[str, f"publish the last build for this {BOARD}; {DEFAULT_BOARD}"] = ""
    path: Annotated[str, "or the release in this folder"] = ""
    channel: Annotated[str, "and point this channel to it: nightly, beta or stable"] = ""
    key: KeyName = keys.DEFAULT


@task
def publish(c: Context, options: PublishOptions, json: Json = False) -> None:
    """Publish a signed release. Example: invoke release.publish /srv/releases --board=a53-som"""
    built = one_release(options.board, options.path)
    store = open_store(options.store, make=True)
    if options.channel:  # a name that nobody knows is refused before anything is published
        channels.channel(store, built.manifest.board, options.channel, user_config())
    publication = published.publish(built, store, trusted())
    item, pointer = publication.published, None
    if options.channel:
        pointer = point(store, item.board, options.channel, item.release, options.key)
    if json:
        document = PublishReport(
            release=item.release,
            board=item.board,
            store=options.store,
            files=len(item.files),
            bytes=item.total_bytes,
            written=publication.sent,
            evidence=publication.has_evidence,
            channel=pointer.channel if pointer else None,
        )
        write_document(document)
        return
    files = counted(publication.sent, "new file")
    say(f"{options.store}: release {item.release} for {item.board}, {files}")
    if not publication.has_evidence:
        say("it has no bill of materials and no provenance, as releases of 0.1.0 have none")
    if pointer:
        say(f"channel {pointer.channel}: sequence {pointer.sequence}")


@dataclass(frozen=True, kw_only=True)
class PromoteOptions:
    store: StorePath
    channel: ChannelName
    board: BoardName
    release: ReleaseName = ""
    of: Annotated[str, "or the release that this channel points to: nightly, beta or stable"] = ""
    key: KeyName = keys.DEFAULT


@task
def promote(c: Context, options: PromoteOptions, json: Json = False) -> None:
    """Point a channel to a release. Example: invoke release.promote STORE --channel=beta …"""
    if bool(options.release) == bool(options.of):
        raise UserError(
            "release",
            "expected one of --release and --of",
            next=f"invoke release.list --store={options.store}",
        )
    store = open_store(options.store)
    release = options.release or pointed(store, options.board, options.of)
    pointer = point(store, options.board, options.channel, release, options.key)
    if json:
        write_document(_channel_report(options.store, pointer))
    else:
        say(f"channel {pointer.channel} of {pointer.board}: release {pointer.release}")


def _channel_report(store: str, pointer: Pointer) -> ChannelReport:
    return ChannelReport(
        store=store,
        board=pointer.board,
        channel=pointer.channel,
        release=pointer.release,
        sequence=pointer.sequence,
    )


@dataclass(frozen=True, kw_only=True)
class PullOptions:
    store: StorePath
    board: BoardName
    channel: Annotated[str, "what this channel points to: nightly, beta or stable"] = ""
    release: ReleaseName = ""
    out: Annotated[str, "folder to put it in; default: where deploy takes it from"] = ""


@task
def pull(c: Context, options: PullOptions, json: Json = False) -> None:
    """Fetch and verify a release. Example: invoke release.pull STORE --channel=stable --board=…"""
    if bool(options.release) == bool(options.channel):
        raise UserError(
            "release",
            "expected one of --channel and --release",
            next=f"invoke release.list --store={options.store}",
        )
    store = open_store(options.store)
    release = options.release or pointed(store, options.board, options.channel)
    out = Path(options.out) if options.out else workspace().build(options.board).release
    pulled = published.pull(store, options.board, release, out, trusted())
    if not options.out:
        update_file(workspace().build(options.board).latest, f"{pulled.id}\n")
    if json:
        write_document(
            PullReport(release=pulled.id, board=options.board, folder=str(pulled.folder))
        )
    else:
        say(f"{pulled.folder}: verified")
        if not options.out:
            say(f"next: invoke deploy --board={options.board} takes it")


@task
def retain(
    c: Context,
    store: StorePath,
    keep: Annotated[
        int, "releases of each board to keep, the newest; channels and rollouts keep theirs"
    ] = 30,
    board: Annotated[str, f"of this {BOARD} only"] = "",
    ledger: LedgerPlace = "",
    json: Json = False,
) -> None:
    """Remove old releases of a store. Example: invoke release.retain STORE --keep=30"""
    if keep < 1:
        raise UserError(f"--keep={keep}", "is too few", next="--keep=1 or more")
    needed = releases_of_rollouts(ledger)
    retained = published.retain(open_store(store), user_config(), trusted(), keep, board, needed)
    if json:
        document = RetainReport(
            store=store,
            kept=len(retained.remaining),
            removed=tuple(item.release for item in retained.removed),
            files=retained.blobs,
            bytes=retained.bytes,
        )
        write_document(document)
    else:
        say(
            f"{store}: {counted(len(retained.remaining), 'release')} kept, "
            f"{len(retained.removed)} removed: "
            f"{counted(retained.blobs, 'file')}, {retained.bytes:,} bytes"
        )
