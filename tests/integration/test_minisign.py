"""Signatures and keys, both ways with the stock tool of Debian's package minisign."""

import shutil
import subprocess
from pathlib import Path

import pytest

from edgewright.release import keys, minisign
from edgewright.release import order as orders
from edgewright.release.minisign import SecretKey, parse_signature
from tests.boards import make_release

pytestmark = pytest.mark.skipif(
    not shutil.which("minisign"), reason="minisign is not installed: invoke setup --yes"
)


def stock(*argv: str, cwd: Path, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = ["minisign", *argv]
    return subprocess.run(
        command, cwd=cwd, input=typed, capture_output=True, text=True, check=False
    )


def test_the_stock_tool_verifies_our_signature(tmp_path: Path) -> None:
    key = SecretKey.generate()
    (tmp_path / "f").write_bytes(b"data")
    (tmp_path / "f.minisig").write_text(key.sign(b"data", "one two").text("of f"))
    (tmp_path / "k.pub").write_text(minisign.public_key_text(key.public))
    good = stock("-V", "-m", "f", "-p", "k.pub", cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert "Trusted comment: one two" in good.stdout
    (tmp_path / "f").write_bytes(b"Data")
    assert stock("-V", "-m", "f", "-p", "k.pub", cwd=tmp_path).returncode != 0


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_the_stock_tool_signs_with_our_key(tmp_path: Path, passphrase: str | None) -> None:
    key = SecretKey.generate()
    (tmp_path / "f").write_bytes(b"data")
    (tmp_path / "k.key").write_text(minisign.secret_key_text(key, passphrase))
    made = stock("-S", "-s", "k.key", "-m", "f", cwd=tmp_path, typed=f"{passphrase}\n")
    assert made.returncode == 0, made.stderr
    signature = parse_signature((tmp_path / "f.minisig").read_bytes(), "f")
    minisign.verify(signature, b"data", key.public, "f")


def test_the_stock_tool_verifies_a_signed_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    keys.user_keys().generate()
    release = make_release(tmp_path, root="/opt/edgewright")
    order = orders.sign_release(release, keys.user_keys().open_signer("default", lambda _: None))
    public = str(keys.user_keys().public_path("default"))
    good = stock("-V", "-m", "manifest.json", "-p", public, cwd=release.folder)
    assert good.returncode == 0, good.stderr
    assert f"Trusted comment: {order}\n" in good.stdout


def test_the_stock_tool_signs_as_an_external_command(tmp_path: Path) -> None:
    assert stock("-G", "-W", "-p", "k.pub", "-s", "k.key", cwd=tmp_path).returncode == 0
    public = minisign.parse_public_key((tmp_path / "k.pub").read_bytes(), "k.pub")
    command = (
        f"minisign -S -s {tmp_path}/k.key -m /dev/stdin -x /dev/stdout"
        ' -t "$EDGEWRIGHT_TRUSTED_COMMENT"'
    )
    folder = keys.KeyFolder(tmp_path / "keys")
    folder.add_external("stock", public, command)
    release = make_release(tmp_path / "release", root="/opt/edgewright")

    orders.sign_release(release, folder.open_signer("stock", lambda _: None))

    assert orders.verify_release(release, [public]).key == public
