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
from edgewright.cli.common import OUT, Json, Reach, say, task, task_named, workspace, write_document
from edgewright.cli.documents import TrustedKeys
from edgewright.deploy import install, keyring
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.remote import Board
from edgewright.deploy.signing_policy import SigningPolicy
from edgewright.release import keys, order
from edgewright.release.documents import key_list

KeyName = Annotated[str, "name of the key, 'default' unless given"]
Authority = Annotated[
    str, "name of the key that authorises it; default: one of yours that the board trusts"
]
After = Annotated[int, "a sequence number to go beyond"]
Confirm = Annotated[
    tuple[str, ...], "a key that the board may go on trusting: line 2 of its .pub file"
]


def ask(name: str) -> str | None:
    """The passphrase of a key: from the environment, else typed, if somebody is there to type."""
    passphrase = os.environ.get(keys.PASSPHRASE)
    if passphrase is None and sys.stdin.isatty():
        return getpass.getpass(f"passphrase of key '{name}': ")
    return passphrase


def signing_policy(key: str = "") -> SigningPolicy:
    """This user's keys; `key` is the name of the one to sign with, if one was named."""
    return SigningPolicy(keys=keys.user_keys(), ask=ask, key=key)


def sign_build(board: str) -> None:
    """Sign the last build if there is a default key that opens without anybody's help."""
    release, folder = pipeline.latest_release(workspace().build(board)), keys.user_keys()
    if order.read_signature(release) is not None or not folder.exists(keys.DEFAULT):
        return
    if folder.stored(keys.DEFAULT).locked and ask(keys.DEFAULT) is None:
        say("not signed: the default key is locked, and nobody is there to unlock it")
        return
    signed = order.sign_release(release, folder.open_signer(keys.DEFAULT, ask))
    say(f"signed with sequence {signed.sequence}")


@task
def provision(
    c: Context,
    reach: Reach,
    key: KeyName = keys.DEFAULT,
    by: Authority = "",
    confirm: Confirm = (),
    after: After = 0,
    json: Json = False,
) -> None:
    """Make a board trust a key. Example: invoke keys.provision --board=rpi2 --host=root@10.0.0.7"""
    folder, policy = keys.user_keys(), signing_policy()
    new, confirmed = folder.stored(key), policy.confirmed(confirm)
    with reach.connect() as board:
        edgectl = _edgectl(board, reach.board)
        if by:
            signer = folder.open_signer(by, ask)
        else:
            signer = policy.authority(keyring.read(edgectl), new=key)
        ids = keyring.provision(
            edgectl,
            reach.profile.compatible,
            new.public,
            signer,
            confirmed=confirmed,
            after=after,
        )
    _say_trusted(board, ids, json=json)


@task
def revoke(
    c: Context,
    reach: Reach,
    key: Annotated[str, "name of the key, if you have its public half"] = "",
    id: Annotated[tuple[str, ...], "or its id, as invoke status tells it"] = (),
    by: Authority = "",
    confirm: Confirm = (),
    after: After = 0,
    json: Json = False,
) -> None:
    """Make a board forget a key. Example: invoke keys.revoke --board=rpi2 --emulated --key=old"""
    if bool(key) == bool(id):
        raise UserError("key", "expected one of --key and --id", next="invoke keys.list")
    folder, policy = keys.user_keys(), signing_policy()
    # Ids are written in capitals; a person may type them otherwise.
    revoked = [one.upper() for one in id] or [folder.stored(key).public.id]
    confirmed = policy.confirmed(confirm)
    with reach.connect() as board:
        edgectl = _edgectl(board, reach.board)
        if by:
            signer = folder.open_signer(by, ask)
        else:
            signer = policy.authority(keyring.read(edgectl), leaving=revoked)
        ids = keyring.revoke(
            edgectl, reach.profile.compatible, revoked, signer, confirmed=confirmed, after=after
        )
    _say_trusted(board, ids, json=json)


def _edgectl(board: Board, profile: str) -> Edgectl:
    """`edgectl` of the last build, on a board that may have none yet."""
    release = pipeline.latest_release(workspace().build(profile))
    return install.ensure_edgectl(board, release.manifest.deploy_root, release)


def _say_trusted(board: Board, ids: Sequence[str], *, json: bool) -> None:
    say(f"{board.target}: trusts {', '.join(ids)}")
    if json:
        write_document(TrustedKeys(target=str(board.target), keys=tuple(ids)))


@task
def generate(
    c: Context,
    name: KeyName = keys.DEFAULT,
    passphrase: Annotated[bool, "lock it: typed twice, or from EDGEWRIGHT_KEY_PASSPHRASE"] = False,
    json: Json = False,
) -> None:
    """Make a signing key. Example: invoke keys.generate --passphrase"""
    folder = keys.user_keys()
    key = folder.generate(name, _new_passphrase() if passphrase else None)
    say(f"key {key.public.id}: {folder.secret_path(name)}")
    say("next: invoke keys.provision puts it on a board")
    if json:
        write_document(key_list([key]))


def _new_passphrase() -> str:
    preset = os.environ.get(keys.PASSPHRASE)
    passphrase = preset if preset is not None else getpass.getpass("new passphrase: ")
    if not passphrase:
        raise UserError("passphrase", "empty", next="leave out --passphrase, or type one")
    # What is typed unseen is typed twice; a script's text has no slip of the finger.
    if preset is None and getpass.getpass("again: ") != passphrase:
        raise UserError("passphrase", "typed differently the second time", next="try again")
    return passphrase


@task_named("list")
def list_(c: Context, json: Json = False) -> None:
    """List your keys. Example: invoke keys.list"""
    listed = keys.user_keys().listed()
    if json:
        write_document(key_list(listed))
        return
    table = Table("key", "id", "secret half", "last sequence", box=None, pad_edge=False)
    for key in listed:
        secret = ("locked" if key.locked else "open") if key.has_secret else "not here"
        table.add_row(key.name, key.public.id, secret, str(key.last_sequence or "none"))
    OUT.print(table)
