"""Which key signs, and how often somebody is asked for its passphrase."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import UserError
from edgewright.deploy.signing_policy import EMULATED, FormerOrder, SigningPolicy
from edgewright.release import minisign, order
from edgewright.release.keys import KeyFolder
from edgewright.release.manifest import Release
from tests.boards import make_release

SECRET = "correct horse battery staple"


class Owner:
    """Tells the passphrase, and counts how often, and whether two asked at once."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.alone = threading.Lock()

    def __call__(self, name: str) -> str:
        assert self.alone.acquire(blocking=False), "two threads asked at once"
        self.asked.append(name)
        self.alone.release()
        return SECRET


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "keys")


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return make_release(tmp_path / "one", root="/opt/edgewright")


def policy(folder: KeyFolder, key: str = "") -> SigningPolicy:
    return SigningPolicy(keys=folder, ask=lambda _: None, key=key)


def signed_by(signature: bytes) -> str:
    return minisign.parse_signature(signature, "signature").id


def former(release: Release, **changes: Any) -> FormerOrder:
    """What a board hands over for a rollback; built on this machine unless changed."""
    order = FormerOrder(
        manifest=release.manifest,
        signature=b"",
        subject="pi@10.0.0.7: /opt/edgewright/releases/x/manifest.json",
        kinds=(release.manifest.compatible,),
        is_built_here=True,
    )
    return replace(order, **changes)


def test_a_signature_stays_unless_another_key_is_named(folder: KeyFolder, release: Release) -> None:
    default, other = folder.generate(), folder.generate("other")

    first = policy(folder).signature_of(release, emulated=False)
    assert signed_by(first) == default.public.id
    assert policy(folder).signature_of(release, emulated=False) == first
    assert policy(folder, "default").signature_of(release, emulated=False) == first
    assert signed_by(policy(folder, "other").signature_of(release, emulated=False)) == (
        other.public.id
    )


def test_without_a_default_key_only_emulated_boards_get_one(
    folder: KeyFolder, release: Release
) -> None:
    with pytest.raises(UserError, match="key 'default': not there"):
        policy(folder).signature_of(release, emulated=False)

    signature = policy(folder).signature_of(release, emulated=True)

    assert [key.name for key in folder.listed()] == [EMULATED]
    assert signed_by(signature) == folder.stored(EMULATED).public.id


def test_a_rollback_is_ordered_with_a_number_above_the_boards(
    folder: KeyFolder, release: Release
) -> None:
    folder.generate()
    floor = folder.next_sequence("default") + 1000

    signature = policy(folder).sign_anew(former(release), floor, emulated=False)

    trusted = [folder.stored("default").public]
    assert order.check(release.manifest, signature, trusted, "s").order.sequence > floor


def test_a_rollback_repeats_an_order_that_one_of_our_keys_signed(
    folder: KeyFolder, release: Release
) -> None:
    folder.generate()
    signature = policy(folder).signature_of(release, emulated=False)
    handed_over = former(release, signature=signature, is_built_here=False)

    anew = policy(folder).sign_anew(handed_over, 0, emulated=False)

    assert signed_by(anew) == folder.stored("default").public.id


def test_a_rollback_signs_nothing_that_a_stranger_signed(
    folder: KeyFolder, release: Release, tmp_path: Path
) -> None:
    ours = folder.generate().public
    strangers = KeyFolder(tmp_path / "strangers")
    stranger = strangers.generate().public
    signature = policy(strangers).signature_of(release, emulated=False)

    with pytest.raises(UserError) as refused:
        policy(folder).sign_anew(
            former(release, signature=signature, is_built_here=False), 0, emulated=False
        )

    assert str(refused.value) == (
        "pi@10.0.0.7: /opt/edgewright/releases/x/manifest.json: "
        "signed by a key that is not trusted here\n"
        f"  expected: one of {ours.id}\n"
        f"  found: {stranger.id}\n"
        "next: put its owner's .pub file into your key folder (invoke keys.list); "
        "or invoke release.sign"
    )


@pytest.mark.parametrize("is_built_here", [True, False])
def test_a_rollback_signs_nothing_for_another_kind_of_board(
    folder: KeyFolder, release: Release, is_built_here: bool
) -> None:
    folder.generate()
    signature = policy(folder).signature_of(release, emulated=False)
    handed_over = former(
        release, signature=signature, kinds=("acme,other",), is_built_here=is_built_here
    )

    with pytest.raises(UserError) as refused:
        policy(folder).sign_anew(handed_over, 0, emulated=False)

    assert str(refused.value) == (
        "pi@10.0.0.7: /opt/edgewright/releases/x/manifest.json: is for another kind of board\n"
        "  expected: acme,other\n"
        "  found: acme,board\n"
        "next: invoke deploy"
    )


def test_a_rollback_signs_a_release_of_a_former_name(folder: KeyFolder, release: Release) -> None:
    folder.generate()
    signature = policy(folder).signature_of(release, emulated=False)
    kinds = ("acme,renamed", release.manifest.compatible)

    assert policy(folder).sign_anew(
        former(release, signature=signature, kinds=kinds), 0, emulated=False
    )


def test_at_first_contact_the_new_key_authorises_itself(folder: KeyFolder) -> None:
    folder.generate("new")

    assert policy(folder).authority((), new="new").name == "new"


def test_the_authority_is_a_trusted_key_that_stays(folder: KeyFolder) -> None:
    old = folder.generate("a-old").public
    folder.generate("b-new")
    trusted = [folder.stored(name).public for name in ("a-old", "b-new")]

    assert policy(folder).authority(trusted).name == "a-old"
    assert policy(folder).authority(trusted, leaving=[old.id]).name == "b-new"


def test_a_board_that_trusts_none_of_our_keys_is_told(folder: KeyFolder, tmp_path: Path) -> None:
    folder.generate()
    theirs = KeyFolder(tmp_path / "theirs")
    stranger = theirs.generate().public
    with pytest.raises(UserError) as refused:
        policy(folder).authority([stranger])

    assert str(refused.value) == (
        "keys: none of yours is trusted by the board\n"
        f"  trusted: {stranger.id}\n"
        "next: ask an owner of one of these keys to provision yours"
    )


def test_a_release_that_is_signed_anew_meanwhile_has_its_new_signature(
    folder: KeyFolder, release: Release
) -> None:
    folder.generate()
    shared = policy(folder)
    first = shared.signature_of(release, emulated=False)
    assert shared.signature_of(release, emulated=False) == first

    order.sign_release(release, policy(folder).signer(emulated=False))

    anew = shared.signature_of(release, emulated=False)
    assert anew == release.signature.read_bytes() != first


def test_fifty_threads_sign_a_release_once_and_ask_for_the_passphrase_once(
    folder: KeyFolder, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minisign, "OPSLIMIT", 32768)
    monkeypatch.setattr(minisign, "MEMLIMIT", 1 << 20)
    folder.generate(passphrase=SECRET)
    owner = Owner()
    shared = SigningPolicy(keys=folder, ask=owner)
    start = threading.Barrier(50)

    def sign(number: int) -> tuple[bytes, bytes]:
        start.wait()
        signature = shared.signature_of(release, emulated=False)
        return signature, shared.sign_anew(former(release), number, emulated=False)

    with ThreadPoolExecutor(50) as pool:
        first, anew = zip(*pool.map(sign, range(50)), strict=True)

    assert owner.asked == ["default"]
    assert len({*first}) == 1
    assert len({*first, *anew}) == 51


def test_a_release_that_was_signed_in_the_future_is_not_sent(
    folder: KeyFolder, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.generate()
    clock = time.time()
    monkeypatch.setattr("edgewright.release.keys.time.time", lambda: clock + 5 * 86400)
    policy(folder).signature_of(release, emulated=False)
    monkeypatch.setattr("edgewright.release.keys.time.time", lambda: clock)

    with pytest.raises(UserError, match=r"with a number 5\.0 days ahead of this machine's clock"):
        policy(folder).signature_of(release, emulated=False)
