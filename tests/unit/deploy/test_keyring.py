"""Which keys a user signs for a board that answers as it likes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

from edgewright.base.errors import UserError
from edgewright.deploy import keyring
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.keyring import KeySet
from edgewright.deploy.remote import Result
from edgewright.deploy.signing_policy import SigningPolicy
from edgewright.release.keys import KeyFolder, Signer
from edgewright.release.minisign import PublicKey
from tests.boards import COMPATIBLE, LocalBoard

HELPER = {"version": "0.1.0", "protocol": 1, "sha256": "0" * 64}


class ListingBoard(LocalBoard):
    """Says that it trusts these keys, and keeps what it is ordered to trust."""

    def __init__(self, *trusted: PublicKey) -> None:
        super().__init__()
        self.trusted = trusted
        self.orders: list[KeySet] = []

    def _exchange(
        self, argv: Sequence[str], source: BinaryIO, timeout: object, on_bytes: object
    ) -> Result:
        if argv[0] == "cat":
            listed = KeySet(sequence=1, keys=tuple(key.line for key in self.trusted))
            return self._said(argv, listed.canonical().decode())
        order = source.read().split(b"\n", 4)
        self.orders.append(KeySet.model_validate_json(order[4]))
        answer = {"version": 1, "command": "keys", "helper": HELPER, "changed": True}
        answer |= {"keys": ["0" * 16], "sequence": 2, "compatible": COMPATIBLE}
        return self._said(argv, json.dumps(answer))

    def _said(self, argv: Sequence[str], text: str) -> Result:
        return Result(argv=tuple(argv), returncode=0, stdout=text, stderr="")


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "keys")


@pytest.fixture
def mine(folder: KeyFolder) -> Signer:
    folder.generate()
    return folder.open_signer("default", lambda _: None)


@pytest.fixture
def stranger(tmp_path: Path) -> PublicKey:
    return KeyFolder(tmp_path / "strangers").generate().public


def confirmed(folder: KeyFolder, *lines: str) -> tuple[PublicKey, ...]:
    return SigningPolicy(keys=folder, ask=lambda _: None).confirmed(lines)


def test_no_key_is_signed_because_the_board_lists_it(
    folder: KeyFolder, mine: Signer, stranger: PublicKey
) -> None:
    board = ListingBoard(mine.public, stranger)
    edgectl, new = Edgectl(board=board, root="/opt/edgewright"), folder.generate("new").public

    with pytest.raises(UserError) as refused:
        keyring.provision(edgectl, COMPATIBLE, new, mine, confirmed=confirmed(folder))

    assert board.orders == []
    assert str(refused.value) == (
        "root@board.test: trusts keys that are not in your key folder\n"
        f"  key {stranger.id}: {stranger.line}\n"
        "next: compare each with its owner's .pub file, then repeat with --confirm=KEY for each; "
        "or invoke keys.revoke --id=ID for one that nobody owns"
    )


def test_a_key_that_is_confirmed_or_in_the_folder_stays(
    folder: KeyFolder, mine: Signer, stranger: PublicKey
) -> None:
    board = ListingBoard(mine.public, stranger)
    edgectl, new = Edgectl(board=board, root="/opt/edgewright"), folder.generate("new").public

    keyring.provision(edgectl, COMPATIBLE, new, mine, confirmed=confirmed(folder, stranger.line))

    (order,) = board.orders
    assert order.public == (mine.public, stranger, new)


def test_what_is_confirmed_is_a_whole_key(folder: KeyFolder, stranger: PublicKey) -> None:
    """Anybody can make a key with a given id."""
    with pytest.raises(UserError, match=r"--confirm: "):
        confirmed(folder, stranger.id)


def test_a_strangers_key_is_revoked_and_no_other_is_signed_with_that(
    folder: KeyFolder, mine: Signer, stranger: PublicKey, tmp_path: Path
) -> None:
    other = KeyFolder(tmp_path / "others").generate().public
    board = ListingBoard(mine.public, stranger, other)
    edgectl = Edgectl(board=board, root="/opt/edgewright")

    with pytest.raises(UserError, match="trusts keys that are not in your key folder"):
        keyring.revoke(edgectl, COMPATIBLE, [stranger.id], mine, confirmed=confirmed(folder))
    assert board.orders == []

    ids = [stranger.id, other.id]
    keyring.revoke(edgectl, COMPATIBLE, ids, mine, confirmed=confirmed(folder))
    (order,) = board.orders
    assert order.public == (mine.public,)
