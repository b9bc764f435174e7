"""Signing keys."""

import getpass
import os
import sys

from invoke.context import Context
from invoke.tasks import task
from rich.table import Table

from edgewright import keys
from edgewright.cli.common import JSON, OUT, say, told
from edgewright.errors import UserError

NAME = "name of the key, 'default' unless given"


def ask(name: str) -> str | None:
    """The passphrase of a key: from the environment, else typed, if somebody is there to type."""
    given = os.environ.get(keys.PASSPHRASE)
    if given is None and sys.stdin.isatty():
        return getpass.getpass(f"passphrase of key '{name}': ")
    return given


@task(help={"name": NAME, "passphrase": "lock it: typed twice, or from EDGEWRIGHT_KEY_PASSPHRASE"})
@told
def generate(c: Context, name: str = keys.DEFAULT, passphrase: bool = False) -> None:
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


@task(name="list", help={"json": JSON})
@told
def list_(c: Context, json: bool = False) -> None:
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
