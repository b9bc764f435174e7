"""minisign's formats: both ways with the stock tool, and a corpus of bad signatures."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.release import minisign
from edgewright.release.minisign import (
    SecretKey,
    parse_public_key,
    parse_secret_key,
    parse_signature,
)

CORPUS = Path(__file__).parents[2] / "corpus" / "signatures"
DATA = (CORPUS / "signed.txt").read_bytes()
STOCK = parse_public_key((CORPUS / "stock.pub").read_bytes(), "stock.pub")
BAD = dict(
    line.split(": ", 1)
    for line in (CORPUS / "bad" / "expected.txt").read_text().split("\n")
    if line
)


def read(name: str) -> bytes:
    return (CORPUS / name).read_bytes()


def verify(signature: bytes) -> None:
    minisign.verify(parse_signature(signature, "s"), DATA, STOCK, "s")


# The stock tool's files


def test_signature_of_the_stock_tool_is_verified() -> None:
    signature = parse_signature(read("signed.txt.minisig"), "s")
    assert signature.trusted_comment == "x y"
    minisign.verify(signature, DATA, STOCK, "s")


def test_changed_data_is_refused() -> None:
    signature = parse_signature(read("signed.txt.minisig"), "s")
    with pytest.raises(UserError, match="s: signature does not fit what it signs"):
        minisign.verify(signature, DATA + b"!", STOCK, "s")


def test_secret_keys_of_the_stock_tool_are_read() -> None:
    assert parse_secret_key(read("stock.key"), None, "k").public == STOCK
    assert not minisign.is_locked(read("stock.key"), "k")
    assert minisign.is_locked(read("stock-locked.key"), "k")


@pytest.mark.parametrize("name", sorted(BAD))
def test_bad_signature_is_refused_with_its_own_words(name: str) -> None:
    with pytest.raises(UserError) as refused:
        verify(read(f"bad/{name}.minisig"))
    assert BAD[name] in str(refused.value)


def test_the_corpus_is_the_one_that_its_script_writes() -> None:
    assert {path.stem for path in (CORPUS / "bad").glob("*.minisig")} == set(BAD)
    assert len(BAD) >= 16


# Files that edgewright 0.1.0 wrote, which had the format in its own code


def test_files_of_edgewright_0_1_0_are_read_to_the_last_bit() -> None:
    public = parse_public_key(read("ours.pub"), "k")
    signature = parse_signature(read("signed.txt.ours.minisig"), "s")

    minisign.verify(signature, DATA, public, "s")
    assert parse_secret_key(read("ours.key"), None, "k").public == public
    assert parse_secret_key(read("ours-locked.key"), "pw", "k").public == public
    assert minisign.public_key_text(public).encode() == read("ours.pub")
    assert signature.text("by 0.1.0").encode() == read("signed.txt.ours.minisig")


def test_a_key_makes_the_signature_that_it_made_before() -> None:
    key = parse_secret_key(read("ours.key"), None, "k")

    assert key.sign(DATA, "x y").text("by 0.1.0").encode() == read("signed.txt.ours.minisig")


# Ours


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A passphrase that costs little to try."""
    monkeypatch.setattr(minisign, "OPSLIMIT", 32768)
    monkeypatch.setattr(minisign, "MEMLIMIT", 1 << 20)


@pytest.mark.usefixtures("cheap")
def test_locked_key_opens_with_its_passphrase_alone() -> None:
    key = SecretKey.generate()
    text = minisign.secret_key_text(key, "correct horse").encode()
    assert minisign.is_locked(text, "k")
    assert parse_secret_key(text, "correct horse", "k") == key
    with pytest.raises(UserError) as wrong:
        parse_secret_key(text, "battery staple", "k")
    assert str(wrong.value) == "k: wrong passphrase"
    with pytest.raises(UserError, match="k: locked by a passphrase"):
        parse_secret_key(text, None, "k")


def test_damaged_unlocked_key_is_refused() -> None:
    lines = minisign.secret_key_text(SecretKey.generate(), None).splitlines()
    middle = lines[1][:120] + ("A" if lines[1][120] != "A" else "B") + lines[1][121:]
    with pytest.raises(UserError, match="damaged: its checksum does not fit"):
        parse_secret_key(f"{lines[0]}\n{middle}\n".encode(), None, "k")


def with_secret(name: str, change: Callable[[bytearray], None]) -> bytes:
    """A secret key file of the corpus, changed below its base64."""
    comment, line = read(name).decode().splitlines()
    blob = bytearray(base64.b64decode(line))
    change(blob)
    return f"{comment}\n{base64.b64encode(blob).decode()}\n".encode()


def test_open_key_with_another_keys_id_is_refused() -> None:
    def change(blob: bytearray) -> None:
        blob[54] ^= 1

    with pytest.raises(UserError, match="k: damaged: its checksum does not fit"):
        parse_secret_key(with_secret("ours.key", change), None, "k")


def test_open_key_without_checksum_whose_halves_differ_is_refused() -> None:
    """The stock tool writes no checksum into an open key."""

    def change(blob: bytearray) -> None:
        blob[94:126] = base64.b64decode(STOCK.line)[10:]
        blob[126:] = bytes(32)

    with pytest.raises(UserError, match="k: damaged: its checksum does not fit"):
        parse_secret_key(with_secret("ours.key", change), None, "k")


@pytest.mark.parametrize("at", [38, 46], ids=["operations", "memory"])
def test_passphrase_that_would_cost_years_is_refused_at_once(at: int) -> None:
    def change(blob: bytearray) -> None:
        blob[at : at + 8] = ((1 << 30) + 1).to_bytes(8, "little")

    with pytest.raises(UserError, match="limits of its passphrase out of range"):
        parse_secret_key(with_secret("ours-locked.key", change), "pw", "k")


def test_seed_is_not_shown() -> None:
    assert repr(SecretKey.generate()) == "SecretKey()"


KEY = SecretKey.generate()


@settings(max_examples=25)
@given(
    data=st.binary(max_size=200),
    comment=st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), max_size=40),
)
def test_signature_survives_its_file(data: bytes, comment: str) -> None:
    signature = KEY.sign(data, comment)
    again = parse_signature(signature.text("c").encode(), "s")
    assert again == signature
    minisign.verify(again, data, KEY.public, "s")


@given(raw=st.binary(max_size=400))
def test_any_bytes_are_a_signature_or_refused_in_words(raw: bytes) -> None:
    for parse in (parse_signature, parse_public_key, minisign.is_locked):
        with pytest.raises(UserError):
            parse(raw, "x")


@given(at=st.integers(min_value=0, max_value=10**6), bit=st.integers(min_value=0, max_value=7))
def test_every_changed_bit_of_a_signature_is_noticed(at: int, bit: int) -> None:
    """Except in the untrusted comment, which is for people."""
    raw = bytearray(read("signed.txt.minisig"))
    start = raw.index(b"\n") + 1
    raw[start + at % (len(raw) - start)] ^= 1 << bit
    with pytest.raises(UserError):
        verify(bytes(raw))
