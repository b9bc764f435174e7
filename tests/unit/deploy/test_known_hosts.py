"""Host keys are found as OpenSSH finds them, at a cost that does not grow with other pins."""

import base64
import hashlib
import hmac
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.deploy.known_hosts import (
    KnownKeys,
    Pin,
    fingerprint,
    known_keys,
    write_pins,
)

KIND = "ssh-ed25519"


def blob(number: int = 0) -> bytes:
    """An Ed25519 key on the wire."""
    head = len(KIND).to_bytes(4, "big") + KIND.encode()
    return head + (32).to_bytes(4, "big") + number.to_bytes(32, "big")


def key(number: int = 0) -> str:
    return f"{KIND} {base64.b64encode(blob(number)).decode()}"


def hashed(host: str) -> str:
    salt = hashlib.sha1(host.encode()).digest()  # alike in every process that collects tests
    digest = hmac.digest(salt, host.encode(), "sha1")
    return "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, digest))


def keys_of(tmp_path: Path, text: str, host: str) -> KnownKeys:
    path = tmp_path / "known_hosts"
    path.write_text(text)
    return known_keys([path], host)


@pytest.mark.parametrize(
    ("hosts", "host"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("board.example,10.0.0.7", "10.0.0.7"),
        ("[10.0.0.7]:2222", "[10.0.0.7]:2222"),
        (hashed("10.0.0.7"), "10.0.0.7"),
        (hashed("[10.0.0.7]:2222"), "[10.0.0.7]:2222"),
        ("*.example", "a.example"),
        ("board-?.example", "board-1.example"),
        ("*.example,!bad.example", "good.example"),
        ("Board.Example", "board.example"),
        ("far", "Far"),
        ("10.0.0.7@gate", "10.0.0.7@gate"),
    ],
)
def test_a_line_that_names_the_host(tmp_path: Path, hosts: str, host: str) -> None:
    pins = keys_of(tmp_path, f"# a comment\n\n  {hosts}\t{key(7)} its comment\n", host)

    assert pins.fingerprints == (fingerprint(blob(7)),)
    assert pins.pinned[0].source.endswith("known_hosts:3")


@pytest.mark.parametrize(
    ("hosts", "host"),
    [
        ("10.0.0.7", "10.0.0.77"),
        ("10.0.0.7", "[10.0.0.7]:2222"),  # another board, maybe, behind one address
        ("[10.0.0.7]:2222", "10.0.0.7"),
        (hashed("10.0.0.7"), "10.0.0.8"),
        ("|1|not base64|either", "10.0.0.7"),
        ("*.example,!bad.example", "bad.example"),
        ("!bad.example,*", "bad.example"),
        ("!bad.example", "good.example"),
        ("10.0.0.[0-9]", "10.0.0.7"),
        ("#10.0.0.7", "10.0.0.7"),
    ],
)
def test_a_line_that_does_not(tmp_path: Path, hosts: str, host: str) -> None:
    assert keys_of(tmp_path, f"{hosts} {key()}\n", host) == KnownKeys()


PATTERNS = st.text("ab.*?", min_size=1, max_size=6)
NAMES = st.text("ab.", min_size=1, max_size=5).filter(lambda name: not name.startswith("."))


@limits(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), PATTERNS), min_size=1, max_size=3), NAMES)
def test_patterns_mean_what_openssh_takes_them_for(
    tmp_path_factory: pytest.TempPathFactory, patterns: list[tuple[bool, str]], host: str
) -> None:
    hosts = ",".join(f"{'!' * negated}{pattern}" for negated, pattern in patterns)
    path = tmp_path_factory.mktemp("hosts") / "known_hosts"
    path.write_text(f"{hosts} {key()}\n")
    openssh = subprocess.run(
        ["ssh-keygen", "-F", host, "-f", path], capture_output=True, text=True, check=False
    )

    assert bool(known_keys([path], host).pinned) == (key() in openssh.stdout)


def test_every_key_of_a_host_counts(tmp_path: Path) -> None:
    """Paramiko goes by the first of each kind."""
    pins = keys_of(tmp_path, f"a {key(1)}\nb {key(2)}\na {key(3)}\n", "a")

    assert pins.fingerprints == (fingerprint(blob(1)), fingerprint(blob(3)))


def test_a_revoked_key_is_told_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "ours").write_text(f"a {key(1)}\n")
    (tmp_path / "theirs").write_text(f"@revoked * {key(1)}\n")

    pins = known_keys([tmp_path / "ours", tmp_path / "none", tmp_path / "theirs"], "a")

    revocation = pins.revocation(fingerprint(blob(1)))
    assert revocation is not None
    assert revocation.source == f"{tmp_path}/theirs:1"
    assert pins.revocation(fingerprint(blob(2))) is None


def test_an_authority_s_key_is_no_host_s(tmp_path: Path) -> None:
    pins = keys_of(tmp_path, f"@cert-authority *.example {key(1)}\n", "a.example")

    assert pins.pinned == ()
    assert [key.fingerprint for key in pins.authorities] == [fingerprint(blob(1))]


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("a", "expected hosts, kind and key"),
        (f"a {KIND}", "expected hosts, kind and key"),
        (f"a {KIND} AAAA=B", "the key is not base64"),
        (f"a ssh-rsa {key().split()[1]}", "the key is not of kind 'ssh-rsa'"),
        (f"@revoked a {KIND} !", "the key is not base64"),
        (f"@trusted a {key()}", "unknown mark b'@trusted'"),
        ("a" * 70_000, "longer than 65,536 bytes"),
    ],
)
def test_a_damaged_line_of_the_host_is_named(tmp_path: Path, line: str, fact: str) -> None:
    with pytest.raises(UserError) as damaged:
        keys_of(tmp_path, f"b {key()}\n{line}\n", "a")

    assert str(damaged.value) == (
        f"{tmp_path}/known_hosts:2: not a line of a known_hosts file\n"
        f"  {fact}\n"
        "next: mend or remove line 2, then run the same command again"
    )


def test_a_damaged_line_of_another_host_stops_nobody(tmp_path: Path) -> None:
    pins = keys_of(tmp_path, f"b {KIND} AAAA=B\n@trusted b x y\n@revoked\na {key()}\n", "a")

    assert len(pins.pinned) == 1


@limits(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_file_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("hosts") / "known_hosts"
    path.write_bytes(b"a " + content)
    with suppress(UserError):
        known_keys([path], "a")


def test_a_hostile_pattern_takes_no_time(tmp_path: Path) -> None:
    started = time.process_time()

    assert keys_of(tmp_path, f"{'*a' * 5000}b {key()}\n", "a" * 250).pinned == ()

    assert time.process_time() - started < 1


def test_one_host_of_ten_thousand_is_found_in_a_moment(tmp_path: Path) -> None:
    """Paramiko's own reading of such a file took 43 s of processor time."""
    names = [f"[10.0.{n // 250}.{n % 250}]:22{n % 100:02}" for n in range(9_000)]
    lines = [f"{name} {key(n)}" for n, name in enumerate(names)]
    lines += [f"{hashed(f'board-{n}')} {key(n)}" for n in range(1_000)]
    path = tmp_path / "known_hosts"
    path.write_text("\n".join(lines) + "\n")
    started = time.process_time()

    pins = known_keys([path], names[-1])

    assert pins.fingerprints == (fingerprint(blob(8_999)),)
    assert time.process_time() - started < 1


def test_pins_are_written_at_once_and_replace_those_of_the_same_hosts(tmp_path: Path) -> None:
    path = tmp_path / "config" / "known_hosts"
    write_pins(path, [Pin(name=name, kind=KIND, blob=blob()) for name in ("a", "b", "c")])

    write_pins(path, [Pin(name=name, kind=KIND, blob=blob(1)) for name in ("a", "c")])

    assert path.read_text() == f"b {key()}\na {key(1)}\nc {key(1)}\n"
