import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgewright.lab import board_keys


def test_dropbear_host_key() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    line = board_keys.dropbear_key(key)
    assert line[:19] == b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x40"
    assert line[19:] == bytes(range(32)) + key.public_key().public_bytes_raw()


def test_pinned_key_is_the_one_that_the_board_shows(tmp_path: Path) -> None:
    board_keys.pin(tmp_path, 40022)
    shown = board_keys.host_key(tmp_path)[-32:]
    address, kind, _ = (tmp_path / "known_hosts").read_text().split()
    assert (address, kind) == ("[127.0.0.1]:40022", "ssh-ed25519")
    assert board_keys.key(tmp_path / board_keys.HOST).public_key().public_bytes_raw() == shown


@pytest.mark.parametrize("folder", ["plain", "with blank", 'it\'s "50%d" \\'])
def test_a_shell_reaches_the_board_from_any_folder(tmp_path: Path, folder: str) -> None:
    """As docs/programs.md has it: the command, evaluated with one for the board behind it."""
    target = board_keys.target_of(tmp_path / folder, 40022, shares_memory=True)
    board_keys.key(tmp_path / folder / board_keys.USER)
    command = board_keys.ssh_command(target).replace("ssh ", "ssh -G ", 1)

    answer = subprocess.run(
        ["sh", "-c", "eval \"$1 'true; true'\"", "sh", command],
        capture_output=True,
        text=True,
        check=True,
    )

    settings = dict(line.split(" ", 1) for line in answer.stdout.splitlines())
    assert settings["userknownhostsfile"] == str(target.known_hosts)
    assert settings["identityfile"].replace("%%", "%") == str(target.identity)
    assert (settings["hostname"], settings["port"]) == ("127.0.0.1", "40022")
