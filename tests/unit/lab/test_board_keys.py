from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgewright.lab import board_keys


def test_dropbear_host_key() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    made = board_keys.dropbear_key(key)
    assert made[:19] == b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x40"
    assert made[19:] == bytes(range(32)) + key.public_key().public_bytes_raw()


def test_pinned_key_is_the_one_that_the_board_shows(tmp_path: Path) -> None:
    board_keys.pin(tmp_path, 40022)
    shown = board_keys.host_key(tmp_path)[-32:]
    address, kind, _ = (tmp_path / "known_hosts").read_text().split()
    assert (address, kind) == ("[127.0.0.1]:40022", "ssh-ed25519")
    assert board_keys.key(tmp_path / board_keys.HOST).public_key().public_bytes_raw() == shown
