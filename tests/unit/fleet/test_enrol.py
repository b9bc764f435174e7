"""Host keys of many boards: from a signed list, or by fingerprint; what is wrong with either."""

import json
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from edgewright.base.errors import ExitCode
from edgewright.deploy import remote
from edgewright.deploy.known_hosts import fingerprint
from edgewright.deploy.target import Target
from edgewright.release.minisign import SecretKey, public_key_text
from tests.hostile import HOST_KEY, end, hostile_board
from tests.schemas import require_valid
from tests.unit.cli.test_cli import run, start
from tests.unit.fleet.test_inventory import host_key

FLEET = """version = 1
[[sites]]
name = "hall"
[[gateways]]
name = "gate"
address = "ops@198.51.100.7:2222"
[[boards]]
name = "oven-1"
site = "hall"
kind = "rpi2"
address = "root@192.0.2.7"
[[boards]]
name = "oven-2"
site = "hall"
kind = "rpi2"
address = "root@10.0.0.8"
jump = "gate"
"""
PINS = (f"gate {host_key(1)}", f"oven-1 {host_key(2)} its comment", f"oven-2 {host_key(3)}")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    (tmp_path / "fleet.toml").write_text(FLEET)
    return tmp_path


@pytest.fixture
def signer(home: Path) -> SecretKey:
    """Somebody whose key is in the key folder."""
    key = SecretKey.generate()
    (home / "config" / "keys").mkdir(parents=True)
    (home / "config" / "keys" / "hall.pub").write_text(public_key_text(key.public))
    return key


def signed(home: Path, signer: SecretKey, *lines: str) -> tuple[str, ...]:
    """The options that name a list, and the fleet."""
    path = home / "hall.keys"
    path.write_text("\n".join(("# of the hall", "", *lines)) + "\n")
    signature = signer.sign(path.read_bytes(), "timestamp:1")
    (home / "hall.keys.minisig").write_text(signature.text("by minisign"))
    return (f"--keys={path}", f"--fleet={home / 'fleet.toml'}")


def test_a_signed_list_is_pinned_at_once(
    home: Path, signer: SecretKey, capsys: pytest.CaptureFixture[str]
) -> None:
    start("fleet.trust", *signed(home, signer, *PINS), "--json")

    shown = capsys.readouterr()
    require_valid("fleet.trust", shown.out)
    states = [host["state"] for host in json.loads(shown.out)["hosts"]]
    assert states == ["pinned", "pinned", "pinned"]
    assert sorted(remote.pins().read_text().splitlines()) == sorted(
        [
            f"[198.51.100.7]:2222 {host_key(1)}",
            f"192.0.2.7 {host_key(2)}",
            f"10.0.0.8@[198.51.100.7]:2222 {host_key(3)}",
        ]
    )

    start("fleet.trust", *signed(home, signer, *PINS))
    assert capsys.readouterr().out.count(": unchanged SHA256:") == 3


def test_another_pin_is_replaced_by_an_option_alone(
    home: Path, signer: SecretKey, capsys: pytest.CaptureFixture[str]
) -> None:
    start("fleet.trust", *signed(home, signer, *PINS))
    changed = signed(home, signer, PINS[0], f"oven-1 {host_key(9)}")

    assert run("fleet.trust", *changed) == ExitCode.USER
    assert "oven-1: ANOTHER HOST KEY IS PINNED\n" in capsys.readouterr().err
    assert f"192.0.2.7 {host_key(2)}" in remote.pins().read_text()

    start("fleet.trust", *changed, "--replace")
    assert f"192.0.2.7 {host_key(9)}" in remote.pins().read_text()
    assert f"192.0.2.7 {host_key(2)}" not in remote.pins().read_text()


def test_a_list_that_nobody_signed_is_not_read(
    home: Path, signer: SecretKey, capsys: pytest.CaptureFixture[str]
) -> None:
    options = signed(home, signer, *PINS)
    (home / "hall.keys.minisig").unlink()
    assert run("fleet.trust", *options) == ExitCode.USER
    assert "hall.keys.minisig: no such file" in capsys.readouterr().err

    options = signed(home, SecretKey.generate(), *PINS)
    assert run("fleet.trust", *options) == ExitCode.USER
    assert "signed by a key that is not in your key folder" in capsys.readouterr().err

    options = signed(home, signer, *PINS)
    with (home / "hall.keys").open("a") as file:
        file.write(f"oven-1 {host_key(66)}\n")
    assert run("fleet.trust", *options) == ExitCode.USER
    assert "signature does not fit what it signs" in capsys.readouterr().err
    assert not remote.pins().exists()


def test_every_line_that_is_wrong_is_named(
    home: Path, signer: SecretKey, capsys: pytest.CaptureFixture[str]
) -> None:
    pinned = FLEET.replace('"root@192.0.2.7"', f'"root@192.0.2.7"\nhost_key = "{host_key(2)}"')
    (home / "fleet.toml").write_text(pinned)
    lines = (
        f"gate {host_key(1)}",
        f"oven-3 {host_key(3)}",
        f"gate {host_key(4)}",
        f"oven-2 {host_key(1)}",
        "oven-2 ssh-ed25519 AAAA",
        f"oven-1 {host_key(5)}",
    )

    assert run("fleet.trust", *signed(home, signer, *lines), "--json") == ExitCode.USER

    message = json.loads(capsys.readouterr().out)["error"]["message"].splitlines()
    assert message[0] == "host keys: 5 cannot be pinned"
    assert [line.partition("hall.keys:")[2][:16] for line in message[1:]] == [
        "4: no board or g",
        "5: 'gate' stands",
        "6: 'oven-2' has ",
        "7: the key is no",
        "8: 'oven-1' has ",
    ]
    assert not remote.pins().exists()


def test_a_revoked_key_is_not_pinned(
    home: Path, signer: SecretKey, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "known_hosts").write_text(f"@revoked * {host_key(2)}\n")

    assert run("fleet.trust", *signed(home, signer, *PINS)) == ExitCode.USER

    assert "oven-1: its host key is revoked" in capsys.readouterr().err
    assert "192.0.2.7 " not in remote.pins().read_text().replace("@[", " ")


# By fingerprint


def honest(channel: paramiko.Channel, _: str) -> None:
    end(channel)


@pytest.fixture
def server(home: Path) -> Iterator[Target]:
    with hostile_board(home / "server", honest) as target:
        fleet = FLEET.replace("root@192.0.2.7", f"root@127.0.0.1:{target.port}")
        (home / "fleet.toml").write_text(fleet)
        yield target


def test_a_fingerprint_is_compared_with_what_the_board_offers(
    home: Path, server: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, right = f"--fleet={home / 'fleet.toml'}", fingerprint(HOST_KEY.asbytes())
    wrong = fingerprint(b"another")

    assert run("fleet.trust", fleet, f"--fingerprint=oven-1={wrong}") == ExitCode.TARGET
    assert f"expected: {wrong}\n  found: {right}\n" in capsys.readouterr().err
    assert not remote.pins().exists()

    start("fleet.trust", fleet, f"--fingerprint=oven-1={right}")
    assert remote.pins().read_text().split()[0] == f"[127.0.0.1]:{server.port}"


def test_one_source_of_keys_is_wanted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fleet.trust", f"--fleet={home / 'fleet.toml'}") == ExitCode.USER

    assert "expected --keys or --fingerprint" in capsys.readouterr().err
