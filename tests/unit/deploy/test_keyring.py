"""Which keys a user signs for a board that answers as it likes."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError, UserError
from edgewright.deploy import keyring
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.keyring import BoundKeySet, KeySet, TheseBoards
from edgewright.deploy.remote import Result
from edgewright.deploy.signing_policy import SigningPolicy
from edgewright.release import minisign
from edgewright.release.keys import KeyFolder, Signer
from edgewright.release.minisign import PublicKey
from tests.boards import COMPATIBLE, NAMES, StandIn

ID = "0123456789abcdef" * 2
FACTS = {"version": 1, "helper": {"version": "0.2.0", "protocol": 2, "sha256": "0" * 64}}


class AnsweringBoard(StandIn):
    """Says that this is in force, and keeps what it is ordered to trust."""

    def __init__(self, in_force: str | None = None, names: tuple[str, ...] = NAMES) -> None:
        super().__init__()
        self.in_force, self.names = in_force, names
        self.called: list[str] = []  # the names that orders came with
        self.orders: list[bytes] = []
        names = ("compatible", "current", "previous", "floor", "txn", "lease", "service", "sound")
        self.status: dict[str, object] = dict.fromkeys(names) | {"keys": [], "releases": []}
        self.status |= {"quarantine": [], "objects": 0, "object_bytes": 0, "free_bytes": 0}

    @property
    def documents(self) -> list[bytes]:
        return [order.split(b"\n", 4)[4] for order in self.orders]

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        if argv[0] == "cat":
            return self._answer(argv, self.in_force or "")
        if argv[1] == "status":
            return self._answer(argv, json.dumps(FACTS | {"command": "status"} | self.status))
        if argv[1] == "identify":
            identity: dict[str, object] = {"board_id": ID, "document": self.in_force}
            identity |= {"compatible": next(iter(self.names), None), "aliases": self.names[1:]}
            return self._answer(argv, json.dumps(FACTS | {"command": "identify"} | identity))
        self.orders.append(data)
        self.called.append(argv[3].removeprefix("--compatible="))
        answer = {"changed": True, "keys": ["0" * 16], "sequence": 2, "compatible": COMPATIBLE}
        return self._answer(argv, json.dumps(FACTS | {"command": "keys"} | answer))

    def _answer(self, argv: Sequence[str], text: str) -> Result:
        return Result(argv=tuple(argv), returncode=0, stdout=text, stderr="")


def bound(*keys: PublicKey, sequence: int = 7) -> str:
    document = BoundKeySet(
        scope=TheseBoards(boards=(ID,)),
        previous="0" * 64,
        sequence=sequence,
        keys=tuple(key.line for key in keys),
    )
    return document.canonical().decode()


def at(board: AnsweringBoard, protocol: int = 2) -> Edgectl:
    return Edgectl(board=board, root="/opt/edgewright", protocol=protocol)


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


# Only keys that somebody named


def test_no_key_is_signed_because_the_board_lists_it(
    folder: KeyFolder, mine: Signer, stranger: PublicKey
) -> None:
    board, new = AnsweringBoard(bound(mine.public, stranger)), folder.generate("new").public

    with pytest.raises(UserError) as refused:
        keyring.provision(at(board), NAMES, new, mine, confirmed=confirmed(folder))

    assert board.orders == []
    assert str(refused.value) == (
        "root@board.test: trusts keys that are not in your key folder\n"
        f"  key {stranger.id}: {stranger.line}, {stranger.fingerprint}\n"
        "next: compare each with what invoke keys.list tells its owner, then repeat with "
        "--confirm=FINGERPRINT for each; or invoke keys.revoke --id=ID for one that nobody owns"
    )


def test_nor_by_any_other_change_of_keys(
    folder: KeyFolder, mine: Signer, stranger: PublicKey
) -> None:
    other, trusted = folder.generate("other").public, confirmed(folder)
    board = AnsweringBoard(bound(mine.public, other, stranger))

    with pytest.raises(UserError, match="trusts keys that are not in your key folder"):
        keyring.set_floor(at(board), NAMES, 5, mine, confirmed=trusted)
    with pytest.raises(UserError, match="trusts keys that are not in your key folder"):
        keyring.revoke(at(board), NAMES, [other.id], mine, confirmed=trusted)

    assert board.orders == []


def test_a_key_that_is_confirmed_or_in_the_folder_stays(
    folder: KeyFolder, mine: Signer, stranger: PublicKey
) -> None:
    board, new = AnsweringBoard(bound(mine.public, stranger)), folder.generate("new").public
    trusted = confirmed(folder, stranger.line)

    keyring.provision(at(board), NAMES, new, mine, confirmed=trusted)

    (document,) = board.documents
    assert BoundKeySet.model_validate_json(document).public == (mine.public, stranger, new)


def test_what_is_confirmed_is_a_whole_key(folder: KeyFolder, stranger: PublicKey) -> None:
    """Anybody can make a key with a given id."""
    with pytest.raises(UserError, match=r"--confirm: "):
        confirmed(folder, stranger.id)


def test_strangers_keys_are_revoked_together(
    folder: KeyFolder, mine: Signer, stranger: PublicKey, tmp_path: Path
) -> None:
    other = KeyFolder(tmp_path / "others").generate().public
    board = AnsweringBoard(bound(mine.public, stranger, other))

    ids = [stranger.id, other.id]
    keyring.revoke(at(board), NAMES, ids, mine, confirmed=confirmed(folder))

    (document,) = board.documents
    assert BoundKeySet.model_validate_json(document).public == (mine.public,)


# What a document is bound to


def test_a_document_is_for_one_board_and_after_one_document(
    folder: KeyFolder, mine: Signer
) -> None:
    board = AnsweringBoard(bound(mine.public))
    new = folder.generate("new").public

    keyring.provision(at(board), NAMES, new, mine)

    before = sha256(bound(mine.public).encode()).hexdigest()
    assert board.documents[0].decode() == (
        f'{{"keys":["{mine.public.line}","{new.line}"],"previous":"{before}","schema":2,'
        f'"scope":{{"boards":["{ID}"]}},"sequence":8}}\n'
    )
    signature = minisign.parse_signature(b"".join(board.orders[0].splitlines(True)[:4]), "s")
    assert signature.trusted_comment == (
        f"edgewright keys sequence=8 previous={before} scope=boards:{ID}"
    )


def test_a_board_cannot_have_orders_signed_for_another(
    folder: KeyFolder, mine: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hand on an order that wipes the other."""
    keyring.provision(at(AnsweringBoard(None)), NAMES, mine.public, mine)
    monkeypatch.setattr(AnsweringBoard, "host_key", "SHA256:another")
    board = AnsweringBoard(bound(mine.public))

    with pytest.raises(UserError) as refused:
        keyring.forget(at(board), mine)

    assert board.orders == []
    assert str(refused.value) == (
        f"root@board.test: calls itself board {ID}, which you know by another host key\n"
        "  expected: SHA256:of-this-machine\n"
        "  found: SHA256:another\n"
        "next: look at what runs there; "
        f"if you replaced its host key: rm {folder.path}/boards/{ID}; "
        "if its storage is a copy of the other's: rm /opt/edgewright/id*, there"
    )


@pytest.mark.parametrize("board_id", ["../../../x", "", "0" * 31, "0" * 33, "0" * 32 + "\n"])
def test_an_id_that_is_none_is_refused(
    mine: Signer, monkeypatch: pytest.MonkeyPatch, board_id: str
) -> None:
    board = AnsweringBoard(None)
    monkeypatch.setattr("tests.unit.deploy.test_keyring.ID", board_id)

    with pytest.raises(TargetError):
        keyring.provision(at(board), NAMES, mine.public, mine)

    assert board.orders == []


def test_first_contact_follows_nothing(mine: Signer) -> None:
    board = AnsweringBoard(None)

    keyring.provision(at(board), NAMES, mine.public, mine)

    document = BoundKeySet.model_validate_json(board.documents[0])
    assert (document.previous, document.sequence) == (None, 1)


def test_a_board_of_protocol_1_is_migrated_by_provisioning_a_key_that_it_trusts(
    mine: Signer,
) -> None:
    old = KeySet(sequence=1763847600, keys=(mine.public.line,)).canonical().decode()
    board = AnsweringBoard(old)

    keyring.provision(at(board), NAMES, mine.public, mine)

    document = BoundKeySet.model_validate_json(board.documents[0])
    assert document.sequence == 1763847601
    assert document.previous == sha256(old.encode()).hexdigest()
    board.in_force = board.documents[0].decode()
    keyring.provision(at(board), NAMES, mine.public, mine)
    assert len(board.orders) == 1


# Scope


def test_a_board_that_lost_its_kind_is_told_it_by_a_document_of_the_same_keys(
    mine: Signer,
) -> None:
    board = AnsweringBoard(bound(mine.public), ())

    keyring.provision(at(board), NAMES, mine.public, mine)

    assert board.called == [COMPATIBLE]


def test_a_document_for_a_whole_kind_follows_one_that_other_boards_have(mine: Signer) -> None:
    board = AnsweringBoard(None, ())

    keyring.provision(at(board), NAMES, mine.public, mine, for_kind=True)
    board.in_force, board.names = board.documents[0].decode(), NAMES
    keyring.provision(at(board), NAMES, mine.public, mine, for_kind=True)

    assert len(board.orders) == 1
    assert f" previous=none scope=compatible:{COMPATIBLE}" in board.orders[0].decode()


def test_of_keys_that_are_one_boards_alone_none_for_a_kind_follow(
    folder: KeyFolder, mine: Signer
) -> None:
    board, new = AnsweringBoard(bound(mine.public)), folder.generate("new").public

    with pytest.raises(UserError) as refused:
        keyring.provision(at(board), NAMES, new, mine, for_kind=True)

    assert board.orders == []
    assert str(refused.value) == (
        "root@board.test: its keys are signed for this board alone: no other takes what follows "
        f"them\n  in force: number 7, boards:{ID}\nnext: invoke keys.provision without --scope"
    )


# Names of a kind

RENAMED = ("acme,new", COMPATIBLE)


def test_a_board_of_a_former_name_is_told_the_new_one(mine: Signer) -> None:
    board = AnsweringBoard(bound(mine.public))

    keyring.provision(at(board), RENAMED, mine.public, mine)

    document = BoundKeySet.model_validate_json(board.documents[0])
    assert (document.names, document.public) == (RENAMED, (mine.public,))
    assert document.comment.endswith(f" scope=boards:{ID} names=acme,new/acme,board")
    assert board.called == [COMPATIBLE]


def test_a_board_that_knows_all_names_is_left_alone(mine: Signer) -> None:
    board = AnsweringBoard(bound(mine.public), RENAMED)

    keyring.provision(at(board), RENAMED, mine.public, mine)
    keyring.provision(at(board), RENAMED[:1], mine.public, mine)  # a release knows the one
    keyring.provision(at(board), RENAMED[1:], mine.public, mine)  # a profile of before

    assert board.orders == []


def test_a_board_of_another_kind_is_told_no_name(folder: KeyFolder, mine: Signer) -> None:
    board = AnsweringBoard(bound(mine.public), ("acme,other",))

    keyring.provision(at(board), RENAMED, folder.generate("new").public, mine)

    assert BoundKeySet.model_validate_json(board.documents[0]).names == ()
    assert board.called == ["acme,new"]  # which it refuses


def test_keys_change_on_a_board_of_a_former_name(folder: KeyFolder, mine: Signer) -> None:
    other = folder.generate("other").public
    board = AnsweringBoard(bound(mine.public, other))

    keyring.revoke(at(board), RENAMED, [other.id], mine)

    assert BoundKeySet.model_validate_json(board.documents[0]).names == ()
    assert board.called == [COMPATIBLE]


def test_first_contact_tells_all_names(mine: Signer) -> None:
    board = AnsweringBoard(None, ())

    keyring.provision(at(board), RENAMED, mine.public, mine)

    assert BoundKeySet.model_validate_json(board.documents[0]).names == RENAMED
    assert board.called == ["acme,new"]


def test_a_helper_of_protocol_1_gets_a_document_that_it_can_read(
    folder: KeyFolder, mine: Signer
) -> None:
    board = AnsweringBoard(KeySet(sequence=5, keys=(mine.public.line,)).canonical().decode())

    keyring.provision(at(board, protocol=1), NAMES, folder.generate("new").public, mine)

    assert KeySet.model_validate_json(board.documents[0]).keys[0] == mine.public.line


def test_no_floor_is_set_into_the_future(mine: Signer) -> None:
    """It is this machine's clock that is wrong."""
    board, clock = AnsweringBoard(bound(mine.public)), 1764374400
    board.status["clock"] = {"unix_s": clock, "synchronised": True}

    with pytest.raises(UserError, match=r"5\.0 days ahead of its clock"):
        keyring.set_floor(at(board), NAMES, clock + 5 * 86400, mine)
    assert board.orders == []

    keyring.set_floor(at(board), NAMES, clock, mine)
    assert BoundKeySet.model_validate_json(board.documents[0]).floor == clock


def test_an_order_to_forget_names_one_board_and_no_key(mine: Signer) -> None:
    document = BoundKeySet(scope=TheseBoards(boards=(ID,)), previous="a" * 64, sequence=8, keys=())

    assert document.comment == (
        f"edgewright forget sequence=8 previous={'a' * 64} scope=boards:{ID}"
    )
    with pytest.raises(UserError, match="trusts no key: there is nothing to forget"):
        keyring.forget(at(AnsweringBoard(None)), mine)
    with pytest.raises(UserError, match="speak protocol 1\nnext: invoke build"):
        keyring.forget(at(AnsweringBoard(None), protocol=1), mine)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "[]",
        '{"schema":3,"sequence":1,"keys":[]}',
        '{"schema":2,"sequence":1,"keys":[]}',
        '{"schema":1,"sequence":0,"keys":[]}',
        json.dumps({"schema": 1, "sequence": 1, "keys": ["x"] * 17}),
    ],
)
def test_what_is_no_set_of_keys_is_told(mine: Signer, message: str) -> None:
    with pytest.raises(TargetError, match="not a set of keys"):
        keyring.provision(at(AnsweringBoard(message)), NAMES, mine.public, mine)


def test_no_document_can_follow_the_last_number(mine: Signer) -> None:
    board = AnsweringBoard(bound(mine.public, sequence=2**64 - 1))

    with pytest.raises(UserError, match="no document can follow the one in force"):
        keyring.set_floor(at(board), NAMES, 5, mine)


def test_a_kinds_first_keys_are_for_boards_that_trust_none(mine: Signer) -> None:
    order = keyring.first_of_kind(mine, COMPATIBLE)

    signature, document = b"\n".join(order.split(b"\n", 4)[:4]) + b"\n", order.split(b"\n", 4)[4]
    parsed = minisign.parse_signature(signature, "signature")
    minisign.verify(parsed, document, mine.public, "document")
    content = BoundKeySet.model_validate_json(document)
    assert (content.previous, content.sequence) == (None, 1)
    assert content.public == (mine.public,)
    assert parsed.trusted_comment == (
        f"edgewright keys sequence=1 previous=none scope=compatible:{COMPATIBLE}"
    )
    assert keyring.first_of_kind(mine, COMPATIBLE) == order
