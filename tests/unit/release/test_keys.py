"""Keys of this user, and the sequence numbers that they sign with."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.release import keys, minisign
from edgewright.release import order as orders
from edgewright.release.keys import Signer
from edgewright.release.manifest import Manifest, Release, parse_manifest
from edgewright.release.order import Order, parse_order
from tests.boards import make_release

SECRET = "correct horse battery staple"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(minisign, "OPSLIMIT", 32768)
    monkeypatch.setattr(minisign, "MEMLIMIT", 1 << 20)
    return tmp_path / "config"


def signer(name: str = "default") -> Signer:
    if not keys.user_keys().exists(name):
        keys.user_keys().generate(name)
    return keys.user_keys().open_signer(name, lambda _: None)


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return make_release(tmp_path / "one", root="/opt/edgewright")


def at(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    monkeypatch.setattr("edgewright.release.keys.time.time", lambda: float(seconds))


# Files


def test_secret_key_is_for_its_owner_alone(config: Path) -> None:
    key = keys.user_keys().generate()
    secret = config / "keys" / "default.key"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (config / "keys").stat().st_mode & 0o777 == 0o700
    assert (key.has_secret, key.locked, key.last_sequence) == (True, False, 0)
    assert sorted(p.name for p in secret.parent.iterdir()) == ["default.key", "default.pub"]


def test_second_key_of_a_name_is_refused_and_the_first_stays(config: Path) -> None:
    first = keys.user_keys().generate()
    with pytest.raises(UserError) as refused:
        keys.user_keys().generate()
    assert str(refused.value) == (
        "key 'default': is there already\n"
        f"  file: {config / 'keys' / 'default.key'}\n"
        "next: invoke keys.generate --name=OTHER; keys.provision puts it on the boards"
    )
    assert keys.user_keys().stored("default") == first


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "A", "-x", "x" * 65])
def test_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="not a name for a file"):
        keys.user_keys().generate(name)


def test_key_that_others_can_read_is_not_used(config: Path) -> None:
    keys.user_keys().generate()
    path = config / "keys" / "default.key"
    path.chmod(0o644)
    with pytest.raises(UserError) as refused:
        signer()
    assert str(refused.value) == (
        f"{path}: a secret key that others can read\n"
        "  expected: mode 0600\n"
        "  found: mode 0644\n"
        f"next: chmod 600 {path}; if others use this machine, make a new key"
    )


def test_missing_key_says_how_to_make_it(config: Path) -> None:
    with pytest.raises(UserError) as missing:
        keys.user_keys().open_signer("nightly", lambda _: None)
    assert str(missing.value) == (
        "key 'nightly': not there\n"
        f"  {config / 'keys' / 'nightly.key'}: no such file or directory\n"
        "next: invoke keys.generate --name=nightly"
    )


def test_passphrase_is_asked_for_only_where_it_is_needed_and_told_nowhere() -> None:
    keys.user_keys().generate("open")
    keys.user_keys().generate("shut", SECRET)
    prompts: list[str] = []

    def ask(name: str) -> str:
        prompts.append(name)
        return SECRET

    keys.user_keys().open_signer("open", ask)
    keys.user_keys().open_signer("shut", ask)
    assert prompts == ["shut"]
    with pytest.raises(UserError) as wrong:
        keys.user_keys().open_signer("shut", lambda _: SECRET + "!")
    assert str(wrong.value) == "key 'shut': wrong passphrase"
    with pytest.raises(UserError) as nobody:
        keys.user_keys().open_signer("shut", lambda _: None)
    assert str(nobody.value) == (
        "key 'shut': locked by a passphrase\nnext: set EDGEWRIGHT_KEY_PASSPHRASE"
    )


def test_keys_are_listed_with_a_colleagues_public_half(config: Path) -> None:
    mine = keys.user_keys().generate("mine", SECRET)
    (config / "keys" / "theirs.pub").write_bytes((config / "keys" / "mine.pub").read_bytes())
    listed = keys.user_keys().listed()
    assert [(k.name, k.has_secret, k.locked) for k in listed] == [
        ("mine", True, True),
        ("theirs", False, False),
    ]
    assert {key.public for key in listed} == {mine.public}


# Sequence numbers


def test_sequence_is_the_time_and_never_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    keys.user_keys().generate()
    at(monkeypatch, 1000)
    assert [keys.user_keys().next_sequence("default") for _ in range(2)] == [1000, 1001]
    at(monkeypatch, 10)
    assert keys.user_keys().next_sequence("default") == 1002
    at(monkeypatch, 5000)
    assert keys.user_keys().next_sequence("default") == 5000
    assert keys.user_keys().next_sequence("default", at_least=9000) == 9000
    assert keys.user_keys().stored("default").last_sequence == 9000


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(clock=st.lists(st.integers(min_value=1, max_value=10**6), min_size=2, max_size=8))
def test_every_sequence_is_higher_whatever_the_clock(
    monkeypatch: pytest.MonkeyPatch, clock: list[int]
) -> None:
    """A clock that went back by more than a day signs nothing."""
    numbers: list[int] = []
    signer()
    for seconds in clock:
        at(monkeypatch, seconds)
        with contextlib.suppress(UserError):
            numbers.append(keys.user_keys().next_sequence("default"))
    assert numbers == sorted(set(numbers))


def test_nothing_is_signed_into_the_future(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    """A clock that was 5 days ahead, and is right again."""
    folder, clock = keys.user_keys(), 1764374400
    folder.generate()
    at(monkeypatch, clock + 5 * keys.DAY)
    folder.next_sequence("default")
    at(monkeypatch, clock)
    path = config / "keys" / "default.sequence"

    with pytest.raises(UserError) as refused:
        folder.next_sequence("default")

    assert str(refused.value) == (
        "key 'default': its last number is 5.0 days ahead of this machine's clock\n"
        "  number 1764806400: 2025-12-04 00:00:00 UTC\n"
        "next: set the clock, if it is wrong; if it was when that was signed: "
        f"rm {path}, and invoke keys.floor for each board that has taken it"
    )
    path.unlink()
    assert folder.next_sequence("default") == clock


def test_a_number_that_a_board_reports_is_not_followed_into_the_future(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, clock = keys.user_keys(), 1764374400
    folder.generate()
    at(monkeypatch, clock)

    for number, words in ((clock + 5 * keys.DAY, "5.0 days"), (2**64 - 1, "centuries")):
        with pytest.raises(UserError, match=f"with a number {words} ahead of this") as refused:
            folder.next_sequence("default", at_least=number)
        assert str(refused.value).endswith("which a board has taken: invoke keys.floor")

    assert folder.next_sequence("default") == clock


def test_two_at_once_never_get_the_same_number() -> None:
    keys.user_keys().generate()
    numbers: list[int] = []

    def work() -> None:
        numbers.extend(keys.user_keys().next_sequence("default") for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(numbers)) == 40


def test_damaged_sequence_is_not_begun_anew(config: Path) -> None:
    keys.user_keys().generate()
    (config / "keys" / "default.sequence").write_text("")
    with pytest.raises(UserError, match="not a sequence number"):
        keys.user_keys().next_sequence("default")


# Signed releases


def trusted() -> list[minisign.PublicKey]:
    return [key.public for key in keys.user_keys().listed()]


def test_signed_folder_and_archive_are_verified(release: Release) -> None:
    archive = release.archive.read_bytes()
    order = orders.sign_release(release, signer())
    assert order.release == release.id
    assert release.archive.read_bytes() == archive
    for path in (release.folder, release.archive):
        found = orders.verify(path, trusted())
        assert (found.manifest, found.order) == (release.manifest, order)
        assert found.key == keys.user_keys().stored("default").public


def test_signing_anew_is_a_newer_order_for_the_same_release(release: Release) -> None:
    first, second = (orders.sign_release(release, signer()) for _ in range(2))
    assert second.sequence > first.sequence
    assert second.release == first.release


def test_unsigned_release_is_told_from_a_signed_one(release: Release) -> None:
    with pytest.raises(UserError) as unsigned:
        orders.verify(release.folder, trusted())
    assert (
        str(unsigned.value)
        == f"{release.folder}: is not signed\nnext: invoke release.sign --path={release.folder}"
    )


def test_release_of_a_foreign_key_is_refused(release: Release) -> None:
    orders.sign_release(release, signer("theirs"))
    mine = keys.user_keys().generate().public
    with pytest.raises(UserError) as foreign:
        orders.verify(release.folder, [mine])
    theirs = keys.user_keys().stored("theirs").public.id
    assert str(foreign.value) == (
        f"{release.folder}: manifest.json.minisig: signed by a key that is not trusted here\n"
        f"  expected: one of {mine.id}\n"
        f"  found: {theirs}\n"
        "next: put its owner's .pub file into your key folder (invoke keys.list); "
        "or invoke release.sign"
    )


Change = Callable[[Release, Path], None]


def swap_file(release: Release, other: Path) -> None:
    (release.folder / "model" / "model.ort").write_bytes(b"swapped!!")


def swap_signature(release: Release, other: Path) -> None:
    two = make_release(other, root="/opt/edgewright", model=b"model two")
    orders.sign_release(two, signer())
    release.signature.write_bytes(two.signature.read_bytes())


def tamper_manifest(release: Release, other: Path) -> None:
    path = release.folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"threads":2', b'"threads":3'))


def sign_other_comment(release: Release, other: Path) -> None:
    signature = signer().sign(release.manifest.canonical(), "hello 1")
    release.signature.write_text(signature.text("c"))


def sign_for_another(release: Release, other: Path) -> None:
    order = Order(sequence=1, release=release.id, compatible="acme,other")
    signature = signer().sign(release.manifest.canonical(), str(order))
    release.signature.write_text(signature.text("c"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swap_file, "model/model.ort: expected sha256"),
        (swap_signature, "signature does not fit what it signs"),
        (tamper_manifest, "changed after the release was made"),
        (sign_other_comment, "trusted comment is no order to run a release"),
        (sign_for_another, "is for another release"),
    ],
)
def test_each_attack_is_refused_with_its_own_words(
    release: Release, tmp_path: Path, change: Change, words: str
) -> None:
    orders.sign_release(release, signer())
    change(release, tmp_path / "other")
    with pytest.raises(UserError, match=words):
        orders.verify(release.folder, trusted())


def test_archive_of_another_release_or_half_of_one_is_refused(
    release: Release, tmp_path: Path
) -> None:
    orders.sign_release(release, signer())
    other = make_release(tmp_path / "other", root="/opt/edgewright", model=b"model two")
    archive = release.archive.read_bytes()
    release.archive.write_bytes(other.archive.read_bytes())
    with pytest.raises(UserError, match="signature does not fit what it signs"):
        orders.verify(release.archive, trusted())
    release.archive.write_bytes(archive[: len(archive) // 2])
    with pytest.raises(UserError, match="not a whole archive"):
        orders.verify(release.archive, trusted())


@pytest.mark.parametrize(
    "comment",
    [
        "edgewright sequence=0 release=0123456789abcdef compatible=a,b",
        "edgewright sequence=01 release=0123456789abcdef compatible=a,b",
        "edgewright sequence=-1 release=0123456789abcdef compatible=a,b",
        "edgewright sequence=18446744073709551616 release=0123456789abcdef compatible=a,b",
        "edgewright  sequence=1 release=0123456789abcdef compatible=a,b",
        "edgewright sequence=1 release=0123456789ABCDEF compatible=a,b",
        "edgewright sequence=1 release=0123456789abcdef compatible=a,b\n",
        "edgewright keys sequence=1",
        "",
    ],
)
def test_comment_that_is_no_order_is_refused(comment: str) -> None:
    with pytest.raises(UserError, match="is no order to run a release"):
        parse_order(comment, "s")


@given(
    sequence=st.integers(min_value=1, max_value=2**64 - 1),
    release=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    note=st.sampled_from(["", " note", " a b"]),
)
def test_orders_survive_their_comment(sequence: int, release: str, note: str) -> None:
    order = Order(sequence=sequence, release=release, compatible="acme,board")
    assert parse_order(f"{order}{note}", "s") == order


def test_manifest_is_read_as_it_was_signed(release: Release) -> None:
    raw = (release.folder / "manifest.json").read_bytes()
    assert parse_manifest(raw, "m").canonical() == raw
    assert isinstance(release.manifest, Manifest)
