"""`trust`: a changed key is never pinned by the way."""

from collections.abc import Callable

import pytest

from edgewright.deploy import remote
from edgewright.deploy.known_hosts import fingerprint
from edgewright.deploy.remote import HostKey
from edgewright.deploy.target import parse_host
from tests.unit.cli.test_program import run

HOST = "pi@10.0.0.7"


@pytest.fixture
def offer(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., None]:
    """Lets the board offer a key, where another one may be pinned."""
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path_factory.mktemp("config")))

    def offering(blob: bytes, *pinned: bytes) -> None:
        key = HostKey(
            target=parse_host(HOST),
            name="10.0.0.7",
            kind="ssh-rsa",
            blob=blob,
            pinned=tuple(map(fingerprint, pinned)),
        )
        monkeypatch.setattr("edgewright.deploy.remote.scan_host_key", lambda target: key)

    return offering


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("edgewright.cli.common.ERR.input", lambda prompt, markup: typed)


def trust(*options: str) -> int:
    return run("trust", f"--host={HOST}", *options)


def test_a_changed_key_shouts_and_shows_both(
    offer: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    offer(b"new", b"old")

    assert trust() == 2
    assert trust("--yes") == 2  # a script that always says yes

    message = capsys.readouterr().err
    assert "OFFERS ANOTHER HOST KEY" in message
    assert f"pinned: {fingerprint(b'old')}" in message
    assert f"offered: {fingerprint(b'new')}" in message
    assert not remote.pins().exists()


@pytest.mark.parametrize("typed", ["", "y", "yes", "SHA256:other"])
def test_at_a_terminal_nothing_but_the_new_fingerprint_replaces_it(
    typed: str, offer: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(b"new", b"old")
    at_a_terminal(monkeypatch, typed)

    assert trust() in (2, 3)
    assert not remote.pins().exists()


def test_the_new_fingerprint_replaces_it(
    offer: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(b"new", b"old")
    at_a_terminal(monkeypatch, fingerprint(b"new"))

    assert trust() == 0
    assert "bmV3" in remote.pins().read_text()


def test_off_a_terminal_the_option_has_it(offer: Callable[..., None]) -> None:
    offer(b"new", b"old")

    assert trust(f"--fingerprint={fingerprint(b'old')}") == 3
    assert trust(f"--fingerprint={fingerprint(b'new')}") == 0


def test_a_new_board_is_pinned_by_yes(offer: Callable[..., None]) -> None:
    offer(b"new")

    assert trust() == 2
    assert trust("--yes") == 0
