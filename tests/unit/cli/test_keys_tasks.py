"""What `keys.…` asks for before a board's keys change: fingerprints, and a scope."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edgewright.board.catalogue import load_board
from edgewright.cli.common import Reach
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.keyring import BoundKeySet
from edgewright.deploy.remote import Board
from edgewright.deploy.target import Target
from edgewright.release import keys
from edgewright.release.keys import Ask, KeyFolder, Signer
from edgewright.release.minisign import PublicKey
from tests.checkout import checkout
from tests.schemas import require_valid
from tests.unit.cli.test_program import run
from tests.unit.deploy.test_keyring import AnsweringBoard, bound

KIND = load_board("rpi2", checkout().resources.boards).compatible


@pytest.fixture(autouse=True)
def config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path_factory.mktemp("config")))
    keys.user_keys().generate()


@pytest.fixture
def stranger(tmp_path_factory: pytest.TempPathFactory) -> PublicKey:
    return KeyFolder(tmp_path_factory.mktemp("strangers")).generate().public


@pytest.fixture
def board(stranger: PublicKey, monkeypatch: pytest.MonkeyPatch) -> AnsweringBoard:
    """A board that trusts a stranger's key beside the user's."""
    board = AnsweringBoard(bound(keys.user_keys().stored("default").public, stranger), (KIND,))
    board.status["compatible"] = KIND

    @contextmanager
    def connect(_: Reach) -> Iterator[Board]:
        yield board

    release = type("Release", (), {"manifest": type("M", (), {"deploy_root": "/opt/edgewright"})})
    monkeypatch.setattr(Reach, "connect", connect)
    monkeypatch.setattr("edgewright.release.latest.release_of", lambda _: release)
    monkeypatch.setattr(
        "edgewright.cli.keys.install.ensure_edgectl",
        lambda board, root, _: Edgectl(board=board, root=root),
    )
    return board


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("edgewright.cli.common.ERR.input", lambda prompt, markup: typed)


def provision(*options: str) -> int:
    if not keys.user_keys().exists("new"):
        keys.user_keys().generate("new")
    return run("keys.provision", "--board=rpi2", "--host=root@board.test", "--key=new", *options)


def test_at_a_terminal_a_key_stays_for_its_fingerprint(
    board: AnsweringBoard, stranger: PublicKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    for typed in ("", "y", stranger.id, "SHA256:other"):
        at_a_terminal(monkeypatch, typed)
        assert provision() == 2
    assert board.orders == []

    at_a_terminal(monkeypatch, stranger.fingerprint)
    assert provision() == 0
    assert stranger in BoundKeySet.model_validate_json(board.documents[0]).public


def test_off_a_terminal_the_option_names_the_key(
    board: AnsweringBoard, stranger: PublicKey, capsys: pytest.CaptureFixture[str]
) -> None:
    assert provision() == 2
    assert stranger.fingerprint in capsys.readouterr().err
    assert provision("--confirm=SHA256:other") == 2
    assert provision("--confirm=RWother") == 2
    assert board.orders == []

    assert provision(f"--confirm={stranger.fingerprint}") == 0
    assert provision(f"--confirm={stranger.line}") == 0


def test_a_key_that_is_revoked_is_asked_for_by_nobody(
    board: AnsweringBoard, stranger: PublicKey
) -> None:
    argv = ("--board=rpi2", "--host=root@board.test", f"--id={stranger.id}")
    assert run("keys.revoke", *argv) == 0


def test_keys_for_a_whole_kind_are_confirmed_by_its_name(
    board: AnsweringBoard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board.in_force, board.names = None, ()
    assert provision("--scope=compatible") == 2
    message = capsys.readouterr().err
    assert f"these keys will count on every board of {KIND}" in message.replace("\n", " ")
    assert f"next: the same command with --scope={KIND}" in message.replace("\n", " ")
    assert provision("--scope=acme,other") == 2
    at_a_terminal(monkeypatch, "yes")
    assert provision("--scope=compatible") == 2
    assert board.orders == []

    at_a_terminal(monkeypatch, KIND)
    assert provision("--scope=compatible") == 0


def test_off_a_terminal_the_name_of_the_kind_confirms(board: AnsweringBoard) -> None:
    board.in_force, board.names = None, ()

    assert provision(f"--scope={KIND}") == 0

    document = BoundKeySet.model_validate_json(board.documents[0])
    assert str(document.scope) == f"compatible:{KIND}"


@pytest.fixture
def two(board: AnsweringBoard, monkeypatch: pytest.MonkeyPatch) -> dict[str, AnsweringBoard]:
    """Two boards, one of which trusts a stranger's key too."""
    own = AnsweringBoard(bound(keys.user_keys().stored("default").public), (KIND,))
    own.status["compatible"] = KIND
    boards = {"root@one.test": own, "root@two.test": board}

    @contextmanager
    def connect(target: Target, **_: object) -> Iterator[Board]:
        boards[str(target)].target = target
        yield boards[str(target)]

    monkeypatch.setattr("edgewright.deploy.remote.connect", connect)
    return boards


def to_two(command: str, *options: str) -> int:
    hosts = ("--host=root@one.test", "--host=root@two.test")
    return run(command, "--board=rpi2", *hosts, "--json", *options)


def test_two_boards_get_a_key_and_a_stranger_s_key_is_never_asked_for(
    two: dict[str, AnsweringBoard],
    stranger: PublicKey,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys.user_keys().generate("new")
    at_a_terminal(monkeypatch, stranger.fingerprint)

    assert to_two("keys.provision", "--key=new") == 2

    shown = capsys.readouterr()
    require_valid("keys.provision--many", shown.out)
    first, other = json.loads(shown.out)["boards"]
    assert (first["state"], other["state"]) == ("done", "failed")
    document = BoundKeySet.model_validate_json(two["root@one.test"].documents[0])
    assert keys.user_keys().stored("new").public in document.public
    assert stranger.fingerprint in other["error"]["message"]
    assert two["root@two.test"].orders == []


def test_a_key_is_opened_once_for_all_boards(
    two: dict[str, AnsweringBoard], stranger: PublicKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    open_signer = KeyFolder.open_signer

    def count(folder: KeyFolder, name: str, ask: Ask) -> Signer:
        opened.append(name)
        return open_signer(folder, name, ask)

    monkeypatch.setattr(KeyFolder, "open_signer", count)
    assert to_two("keys.floor", f"--confirm={stranger.line}") == 0
    assert opened == ["default"]
    assert all(board.orders for board in two.values())


def test_keys_for_a_whole_kind_are_made_on_one_board(
    two: dict[str, AnsweringBoard], capsys: pytest.CaptureFixture[str]
) -> None:
    assert to_two("keys.provision", "--scope=compatible") == 2
    assert "--scope: is for one board" in capsys.readouterr().err
