"""Signing and verifying releases."""

from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from edgewright.base.errors import UserError
from edgewright.build import pipeline
from edgewright.cli import keys as key_tasks
from edgewright.cli.common import BOARD, JSON, LAYOUT, OUT, say, told
from edgewright.release import keys
from edgewright.release import order as signed
from edgewright.release.manifest import Release, load_release


@task(
    help={
        "board": f"sign the last build for this {BOARD}",
        "path": "or the release in this folder",
        "key": key_tasks.NAME,
        "after": "a sequence number to go beyond, where a board has seen a higher one",
    }
)
@told
def sign(
    c: Context, board: str = "", path: str = "", key: str = keys.DEFAULT, after: int = 0
) -> None:
    """Sign a release, or anew as a newer order. Example: invoke release.sign --board=rpi2"""
    release = _release(board, path)
    order = signed.sign_release(release, keys.open_signer(key, key_tasks.ask), at_least=after + 1)
    say(f"{release.signature}: sequence {order.sequence}")


def _release(board: str, path: str) -> Release:
    if bool(path) == bool(board):
        raise UserError(
            "release", "expected one of --board and --path", next="invoke release.sign --board=…"
        )
    return load_release(Path(path)) if path else pipeline.latest_release(LAYOUT.build(board))


@task(positional=["path"], help={"path": "release folder, or its .tar.gz", "json": JSON})
@told
def verify(c: Context, path: str, json: bool = False) -> None:
    """Verify signature and files. Example: invoke release.verify 8c1f0123456789ab.tar.gz"""
    found = signed.verify(Path(path), [key.public for key in keys.listed()])
    if json:
        OUT.print_json(data=_document(found))
    else:
        say(
            f"release {found.manifest.id} for {found.manifest.compatible}: signed by key "
            f"{found.key.id}, sequence {found.order.sequence}; "
            f"{len(found.manifest.files)} files are what its manifest says"
        )


def _document(found: signed.Verified) -> dict[str, object]:
    return {
        "version": 1,
        "release": found.manifest.id,
        "board": found.manifest.board,
        "compatible": found.manifest.compatible,
        "sequence": found.order.sequence,
        "key": found.key.id,
        "files": len(found.manifest.files),
        "bytes": found.manifest.total_bytes,
    }
