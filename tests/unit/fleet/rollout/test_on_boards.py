from pathlib import Path

import pytest

from edgewright.deploy.signing_policy import FormerOrder, SigningPolicy
from edgewright.fleet.rollout.on_boards import Former, sequence, sign_orders
from edgewright.release.keys import user_keys
from edgewright.release.manifest import Release
from tests.boards import NAMES, make_release
from tests.signing import sign, signer


@pytest.fixture
def signing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SigningPolicy:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    signer()
    return SigningPolicy(keys=user_keys(), ask=lambda _: None)


@pytest.fixture
def new(tmp_path: Path) -> Release:
    return make_release(tmp_path / "new", root="/opt/edgewright", model=b"new")


@pytest.fixture
def old(tmp_path: Path) -> Release:
    return make_release(tmp_path / "old", root="/opt/edgewright", model=b"old")


def test_the_way_back_has_a_higher_number_than_the_release(
    signing: SigningPolicy, new: Release, old: Release
) -> None:
    order = sign(old)
    back = FormerOrder(
        manifest=old.manifest, signature=order, subject="oven", kinds=NAMES, is_built_here=True
    )
    formers = [Former(board="oven", release=old.id, floor=sequence(order))]

    orders = {
        each.release: each for each in sign_orders({"x": new}, formers, {old.id: back}, signing)
    }

    assert sequence(orders[old.id].signature) > sequence(orders[new.id].signature) > sequence(order)


def test_a_release_that_boards_went_back_from_is_signed_anew(
    signing: SigningPolicy, new: Release, old: Release
) -> None:
    first = sequence(signing.signature_of(new, emulated=False))
    formers = [Former(board="oven", release=old.id, floor=first + 1)]

    (order,) = sign_orders({"x": new}, formers, {}, signing)

    assert sequence(order.signature) == first + 2


def test_a_board_that_makes_up_a_number_binds_no_other_board_to_it(
    signing: SigningPolicy, new: Release
) -> None:
    first = sequence(signing.signature_of(new, emulated=False))
    formers = [Former(board="hostile", release="0" * 16, floor=1 << 62)]

    (order,) = sign_orders({"x": new}, formers, {}, signing)

    assert sequence(order.signature) == first
