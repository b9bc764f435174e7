"""Signing keys."""

import getpass
import os
import sys
from collections.abc import Sequence
from typing import Annotated

from invoke.context import Context
from rich.table import Table

from edgewright.base.errors import UserError
from edgewright.build import pipeline
from edgewright.cli.common import (
    OUT,
    Json,
    Reach,
    say,
    task,
    task_named,
    workspace,
)
from edgewright.deploy import install as deploy
from edgewright.deploy import keyring
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.remote import Board
from edgewright.release import keys, minisign
from edgewright.release import order as signed
from edgewright.release.manifest import Release

KeyName = Annotated[str, "name of the key, 'default' unless given"]
Authority = Annotated[
    str, "name of the key that authorises it; default: one of yours that the board trusts"
]
After = Annotated[int, "a sequence number to go beyond"]
EMULATED = "emulated"  # key that emulated boards trust where there is no default key


def ask(name: str) -> str | None:
    """The passphrase of a key: from the environment, else typed, if somebody is there to type."""
    given = os.environ.get(keys.PASSPHRASE)
    if given is None and sys.stdin.isatty():
        return getpass.getpass(f"passphrase of key '{name}': ")
    return given


def signer_for(key: str, *, emulated: bool) -> keys.Signer:
    """The key to sign with: the one named, else the default one; emulated boards get their own."""
    name = key or keys.DEFAULT
    if emulated and not key and not keys.exists(name):
        name = EMULATED
        if not keys.exists(name):
            keys.generate(name)
    return keys.open_signer(name, ask)


def signature_of(release: Release, key: str, *, emulated: bool) -> bytes:
    """The signature that the release has; it is signed first if it has none or not by `key`."""
    made = signed.read_signature(release)
    if made is None or (key and not _is_by(made, key)):
        signed.sign_release(release, signer_for(key, emulated=emulated))
    return release.signature.read_bytes()


def _is_by(signature: bytes, key: str) -> bool:
    return minisign.parse_signature(signature, "signature").key_id == keys.stored(key).public.key_id


def sign_build(board: str) -> None:
    """Sign the last build if there is a default key that opens without anybody's help."""
    release = pipeline.latest_release(workspace().build(board))
    if signed.read_signature(release) is not None or not keys.exists(keys.DEFAULT):
        return
    if keys.stored(keys.DEFAULT).locked and ask(keys.DEFAULT) is None:
        say("not signed: the default key is locked, and nobody is there to unlock it")
        return
    order = signed.sign_release(release, keys.open_signer(keys.DEFAULT, ask))
    say(f"signed with sequence {order.sequence}")


def trust_emulated(there: Board, release: Release, signature: bytes) -> None:
    """An emulated board trusts whoever started it."""
    helper = deploy.ensure_helper(there, release.manifest.deploy_root, release)
    trusted = keyring.read(helper)
    wanted = minisign.parse_signature(signature, str(release.signature)).key_id
    if trusted and any(key.key_id == wanted for key in trusted.public):
        return
    mine = next((key for key in keys.listed() if key.public.key_id == wanted), None)
    if mine is not None:
        signer = keys.open_signer(authority(trusted, mine.name), ask)
        keyring.provision(helper, release.manifest.compatible, mine.public, signer)


def authority(trusted: keyring.KeySet | None, new: str) -> str:
    """A key of ours that may change what the board trusts; at first contact, the new one."""
    if trusted is None:
        return new
    mine = [key for key in keys.listed() if key.has_secret and key.public in trusted.public]
    if not mine:
        raise UserError(
            "keys",
            "none of yours is trusted by the board",
            facts=[f"trusted: {key.id}" for key in trusted.public],
            next="ask an owner of one of these keys to provision yours",
        )
    return mine[0].name


@task
def provision(
    c: Context,
    reach: Reach,
    key: KeyName = keys.DEFAULT,
    by: Authority = "",
    after: After = 0,
) -> None:
    """Make a board trust a key. Example: invoke keys.provision --board=rpi2 --host=root@10.0.0.7"""
    new = keys.stored(key)
    with reach.connect() as there:
        helper = _helper(there, reach.board)
        signer = keys.open_signer(by or authority(keyring.read(helper), key), ask)
        ids = keyring.provision(helper, reach.profile.compatible, new.public, signer, after=after)
        _say_trusted(str(there.target), ids)


@task
def revoke(
    c: Context,
    reach: Reach,
    key: Annotated[str, "name of the key, if you have its public half"] = "",
    id: Annotated[str, "or its id, as invoke status tells it"] = "",
    by: Authority = "",
    after: After = 0,
) -> None:
    """Make a board forget a key. Example: invoke keys.revoke --board=rpi2 --emulated --key=old"""
    if bool(key) == bool(id):
        raise UserError("key", "expected one of --key and --id", next="invoke keys.list")
    gone = id.upper() or keys.stored(key).public.id
    with reach.connect() as there:
        helper = _helper(there, reach.board)
        signer = keys.open_signer(by or _other_authority(keyring.read(helper), gone), ask)
        ids = keyring.revoke(helper, reach.profile.compatible, gone, signer, after=after)
        _say_trusted(str(there.target), ids)


def _other_authority(trusted: keyring.KeySet | None, gone: str) -> str:
    """A key of ours that the board trusts, if there is one, one that is to stay."""
    public = trusted.public if trusted else ()
    mine = [key for key in keys.listed() if key.has_secret and key.public in public]
    others = (key.name for key in mine if key.public.id != gone)
    return next(others, None) or authority(trusted, keys.DEFAULT)


def _helper(there: Board, board: str) -> Edgectl:
    release = pipeline.latest_release(workspace().build(board))
    return deploy.ensure_helper(there, release.manifest.deploy_root, release)


def _say_trusted(target: str, ids: Sequence[str]) -> None:
    say(f"{target}: trusts {', '.join(ids)}")


@task
def generate(
    c: Context,
    name: KeyName = keys.DEFAULT,
    passphrase: Annotated[bool, "lock it: typed twice, or from EDGEWRIGHT_KEY_PASSPHRASE"] = False,
) -> None:
    """Make a signing key. Example: invoke keys.generate --passphrase"""
    made = keys.generate(name, _new_passphrase() if passphrase else None)
    say(f"key {made.public.id}: {keys.secret_path(name)}")
    say("next: invoke keys.provision puts it on a board")


def _new_passphrase() -> str:
    given = os.environ.get(keys.PASSPHRASE)
    typed = given if given is not None else getpass.getpass("new passphrase: ")
    if not typed:
        raise UserError("passphrase", "empty", next="leave out --passphrase, or type one")
    if given is None and getpass.getpass("again: ") != typed:
        raise UserError("passphrase", "typed differently the second time", next="try again")
    return typed


@task_named("list")
def list_(c: Context, json: Json = False) -> None:
    """List your keys. Example: invoke keys.list"""
    found = keys.listed()
    if json:
        rows = [
            {
                "name": key.name,
                "id": key.public.id,
                "secret": key.has_secret,
                "locked": key.locked,
                "last_sequence": key.last_sequence,
            }
            for key in found
        ]
        OUT.print_json(data={"version": 1, "keys": rows})
        return
    table = Table("key", "id", "secret half", "last sequence", box=None, pad_edge=False)
    for key in found:
        secret = ("locked" if key.locked else "open") if key.has_secret else "not here"
        table.add_row(key.name, key.public.id, secret, str(key.last_sequence or "none"))
    OUT.print(table)
