"""Releases on this machine: which there are, signing and verifying them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base.errors import UserError
from edgewright.board.catalogue import board_names
from edgewright.build import pipeline
from edgewright.cli.common import BOARD, OUT, Json, say, task, task_named, workspace, write_document
from edgewright.cli.documents import SignedRelease
from edgewright.cli.keys import KeyName, ask
from edgewright.release import keys, order
from edgewright.release.documents import release_list, verified_release
from edgewright.release.manifest import Release, load_release


@task_named("list")
def list_(c: Context, json: Json = False) -> None:
    """List the last build of each board. Example: edgewright release.list"""
    boards = board_names(*workspace().board_folders)
    builds = [workspace().build(board) for board in boards]
    # Most boards of the catalogue were never built here: that is no error.
    releases = [pipeline.latest_release(build) for build in builds if build.latest.is_file()]
    if json:
        write_document(release_list(releases))
        return
    table = Table("board", "release", "bytes", "signed", box=None, pad_edge=False)
    for release in releases:
        size = f"{release.manifest.total_bytes:,}"
        state = "no" if order.read_signature(release) is None else "yes"
        table.add_row(release.manifest.board, release.id, size, state)
    OUT.print(table)


@dataclass(frozen=True, kw_only=True)
class SignOptions:
    board: Annotated[str, f"sign the last build for this {BOARD}"] = ""
    path: Annotated[str, "or the release in this folder"] = ""
    key: KeyName = keys.DEFAULT
    after: Annotated[int, "a sequence number to go beyond, where a board has seen a higher one"] = 0


@task
def sign(c: Context, options: SignOptions, json: Json = False) -> None:
    """Sign a release, or anew as a newer order. Example: invoke release.sign --board=rpi2"""
    release = _release(options.board, options.path)
    signer = keys.user_keys().open_signer(options.key, ask)
    signed = order.sign_release(release, signer, at_least=options.after + 1)
    say(f"{release.signature}: sequence {signed.sequence}")
    if json:
        document = SignedRelease(
            release=release.id,
            key=signer.public.id,
            sequence=signed.sequence,
            signature=str(release.signature),
        )
        write_document(document)


def _release(board: str, path: str) -> Release:
    if bool(path) == bool(board):
        raise UserError(
            "release", "expected one of --board and --path", next="invoke release.sign --board=…"
        )
    return load_release(Path(path)) if path else pipeline.latest_release(workspace().build(board))


@task
def verify(
    c: Context, path: Annotated[str, "release folder, or its .tar.gz"], json: Json = False
) -> None:
    """Verify signature and files. Example: invoke release.verify 8c1f0123456789ab.tar.gz"""
    verified = order.verify(Path(path), [key.public for key in keys.user_keys().listed()])
    if json:
        write_document(verified_release(verified))
    else:
        say(
            f"release {verified.manifest.id} for {verified.manifest.compatible}: signed by key "
            f"{verified.key.id}, sequence {verified.order.sequence}; "
            f"{len(verified.manifest.files)} files are what its manifest says"
        )
