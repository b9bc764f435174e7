"""Keys that a command signs with: a script that uses py-minisign, and scripts that misbehave."""

import shlex
import sys
import time
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.release import external, minisign, order
from edgewright.release.keys import KeyFolder, Signer
from edgewright.release.minisign import PublicKey, SecretKey
from tests.boards import make_release

SCRIPT = """
import os, sys, minisign
key = minisign.SecretKey.from_bytes(open(sys.argv[1], "rb").read())
comment = os.environ["EDGEWRIGHT_TRUSTED_COMMENT"] + "".join(sys.argv[2:])
data = sys.stdin.buffer.read()
sys.stdout.buffer.write(bytes(key.sign(data, trusted_comment=comment)) + b"\\n")
"""


@pytest.fixture
def token(tmp_path: Path) -> tuple[PublicKey, str]:
    """A key outside of the key folder, and the command that signs with it."""
    key = SecretKey.generate()
    (tmp_path / "token.key").write_text(minisign.secret_key_text(key, None))
    (tmp_path / "sign.py").write_text(SCRIPT)
    argv = [sys.executable, str(tmp_path / "sign.py"), str(tmp_path / "token.key")]
    return key.public, shlex.join(argv)


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "keys")


def signer(folder: KeyFolder, public: PublicKey, command: str) -> Signer:
    folder.add_external("token", public, command)
    return folder.open_signer("token", lambda _: None)


def test_a_release_is_signed_by_a_command(
    folder: KeyFolder, token: tuple[PublicKey, str], tmp_path: Path
) -> None:
    release = make_release(tmp_path / "release", root="/opt/edgewright")

    signed = order.sign_release(release, signer(folder, *token))

    assert order.verify_release(release, [token[0]]).order == signed
    stored = folder.stored("token")
    assert (stored.can_sign, stored.has_secret, stored.last_sequence) == (
        True,
        False,
        signed.sequence,
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda command: f"{command} ' by somebody'", "has another trusted comment than $EDGEWR"),
        (lambda command: f"(printf x; cat) | {command}", "signature does not fit what it signs"),
        (lambda command: f"{command} | tr 0-9 1-9", "what its command wrote: "),
        (lambda _: "true", "what its command wrote: "),
        (lambda _: "cat", "what its command wrote: "),
    ],
)
def test_what_it_writes_is_not_believed(
    folder: KeyFolder, token: tuple[PublicKey, str], change: object, words: str
) -> None:
    public, command = token
    assert callable(change)
    broken = signer(folder, public, change(command))

    with pytest.raises(UserError) as refused:
        broken.sign(b"data", "edgewright test")

    assert words in str(refused.value)


def test_another_key_is_noticed(folder: KeyFolder, token: tuple[PublicKey, str]) -> None:
    other = SecretKey.generate().public
    with pytest.raises(UserError, match="what its command wrote: signed by another key"):
        signer(folder, other, token[1]).sign(b"data", "edgewright test")


def test_an_error_shows_the_commands_own_words(
    folder: KeyFolder, token: tuple[PublicKey, str]
) -> None:
    command = "echo half a signature; printf 'no token\\n\\033[2Jin slot 0\\n' >&2; exit 3"

    with pytest.raises(UserError) as refused:
        signer(folder, token[0], command).sign(b"data", "edgewright test")

    assert str(refused.value) == (
        "key 'token': its command: ended with exit code 3\n"
        f"  command: {command}\n"
        "  | no token\n"
        "  | \\x1b[2Jin slot 0\n"
        "next: edgewright help keys"
    )


def test_a_command_has_a_limit_of_time_and_leaves_nobody_behind(
    folder: KeyFolder, token: tuple[PublicKey, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "SECONDS", 0.5)
    monkeypatch.setattr(external, "GRACE_SECONDS", 0.2)
    alive = tmp_path / "alive"
    command = f"echo touch the token >&2; (sleep 2; touch {alive}) & wait"
    started = time.monotonic()

    with pytest.raises(UserError) as refused:
        signer(folder, token[0], command).sign(b"data", "edgewright test")

    assert "has not ended after 0.5 s" in str(refused.value)
    assert "| touch the token" in str(refused.value)
    assert time.monotonic() - started < 2
    time.sleep(2)
    assert not alive.exists()


def test_a_command_is_nobody_elses_to_read_or_change(
    folder: KeyFolder, token: tuple[PublicKey, str]
) -> None:
    signer(folder, *token)
    (folder.path / "token.command").chmod(0o666)

    with pytest.raises(UserError, match="a signing command that others can read"):
        folder.open_signer("token", lambda _: None)


def test_a_key_of_that_name_is_not_replaced(
    folder: KeyFolder, token: tuple[PublicKey, str]
) -> None:
    folder.generate("token")
    with pytest.raises(UserError, match="key 'token': is there already"):
        folder.add_external("token", *token)
