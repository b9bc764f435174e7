from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError, UserError
from edgewright.board.catalogue import load_board
from edgewright.deploy import install, remote
from edgewright.deploy.edgectl import Edgectl
from edgewright.deploy.install import Deployer
from edgewright.deploy.remote import Result
from edgewright.deploy.signing_policy import FormerOrder, SigningPolicy
from edgewright.fleet.documents import SiteAnswer
from edgewright.fleet.rollout import on_boards
from edgewright.fleet.rollout.database import open_database
from edgewright.fleet.rollout.ledger import Claim, Order
from edgewright.fleet.rollout.on_boards import (
    FleetBoard,
    Former,
    Login,
    OnBoards,
    Roster,
    require_older,
    sequence,
    sign_back,
    sign_orders,
    survey_far,
)
from edgewright.fleet.rollout.sites import Sites
from edgewright.fleet.rollout.states import Goal
from edgewright.release.keys import user_keys
from edgewright.release.manifest import Release
from tests.boards import NAMES, StandIn, make_release
from tests.checkout import checkout
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


@pytest.mark.parametrize("is_hostile", [True, False])
def test_a_site_that_names_a_path_gets_nothing_signed_that_lies_there(
    old: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_hostile: bool
) -> None:
    profile = load_board("a53-som", checkout().boards)
    oven = FleetBoard(name="oven", site="lyon", target=StandIn().target, profile=profile)
    answer = SiteAnswer(current=str(old.folder) if is_hostile else old.id)
    monkeypatch.setattr(Sites, "ask", lambda *_: {"oven": 1})
    monkeypatch.setattr(Sites, "wait", lambda *_: {1: answer})
    built = tmp_path / "elsewhere" if is_hostile else old.folder.parent
    sites = Sites(open_database(str(tmp_path / "ledger.sqlite")), lambda: 0.0)

    formers, orders = survey_far([oven], sites, lambda _: built)

    assert [former.release for former in formers] == [answer.current]
    assert [*orders] == ([] if is_hostile else [old.id])


class Warm(StandIn):
    """A board whose zones are read."""

    def answer(self, argv: Sequence[str], data: bytes) -> Result:
        zones = "sys/class/thermal/thermal_zone{}/temp {}\n"
        text = zones.format(0, 48_250) + zones.format(1, 61_500) + zones.format(2, 999_999)
        return Result(argv=tuple(argv), returncode=0, stdout=text, stderr="")


@pytest.mark.parametrize(("emulated", "celsius"), [(False, 61.5), (True, None)])
def test_the_hottest_zone_of_a_board_but_not_of_an_emulator_s_host(
    emulated: bool, celsius: float | None
) -> None:
    assert on_boards._celsius(Warm(emulated=emulated)) == celsius


def test_a_board_that_joined_is_read_from_the_inventory_once_it_is_needed(
    signing: SigningPolicy, tmp_path: Path
) -> None:
    profile = load_board("a53-som", checkout().boards)
    fleet = [
        FleetBoard(name=name, site=f"site of {name}", target=StandIn().target, profile=profile)
        for name in ("oven", "new")
    ]
    rosters = [Roster(boards=fleet, orders={})]
    boards = OnBoards(
        Roster(boards=fleet[:1], orders={}),
        releases={},
        signing=signing,
        login=Login(deployer=Deployer(holder="test", locks=tmp_path), known_hosts=()),
        read_anew=rosters.pop,
    )

    assert boards.site_of("oven") == "site of oven"
    assert rosters
    assert boards.site_of("new") == "site of new"
    assert boards.opening("new") == 0


def test_a_board_that_the_inventory_lost_fails_and_ends_no_controller(
    signing: SigningPolicy, tmp_path: Path
) -> None:
    def read_anew() -> Roster:
        raise UserError("fleet.toml", "lacks 1 boards of rollout 'bread'")

    boards = OnBoards(
        Roster(boards=[], orders={}),
        releases={},
        signing=signing,
        login=Login(deployer=Deployer(holder="test", locks=tmp_path), known_hosts=()),
        read_anew=read_anew,
    )

    assert boards.opening("oven") == 0
    with pytest.raises(UserError, match="lacks 1 boards"):
        boards.look("oven")


def test_a_board_with_an_order_after_the_rollouts_cannot_join(
    signing: SigningPolicy, new: Release, old: Release
) -> None:
    order = Order(release=new.id, manifest=new.manifest.canonical(), signature=sign(new))
    orders = {new.id: order}
    fine = [
        Former(board="oven", release=old.id, floor=sequence(order.signature) - 1),
        Former(board="has it", release=new.id, floor=sequence(order.signature) + 5),
    ]
    require_older(fine, [new.id], orders)

    late = Former(board="late", release=old.id, floor=sequence(order.signature))
    with pytest.raises(UserError, match=f"1 had an order after .*\n  late: {old.id}"):
        require_older([*fine, late], [new.id], orders)


def test_who_joins_with_a_release_that_no_other_had_gets_an_order_back(
    signing: SigningPolicy, new: Release, old: Release
) -> None:
    order = Order(release=new.id, manifest=new.manifest.canonical(), signature=sign(new))
    back = FormerOrder(
        manifest=old.manifest, signature=sign(old), subject="oven", kinds=NAMES, is_built_here=True
    )

    (signed,) = sign_back({new.id: order}, {old.id: back}, signing)

    assert signed.release == old.id
    assert sequence(signed.signature) > sequence(order.signature)
    assert sign_back({new.id: order, old.id: signed}, {old.id: back}, signing) == ()


def test_a_board_that_a_stalled_worker_may_still_switch_has_not_gone_back(
    signing: SigningPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs its former release at this moment, and the bad one once that worker wakes up."""
    board, deployer = StandIn(), Deployer(holder="test", locks=tmp_path / "locks")
    profile = load_board("a53-som", checkout().boards)

    @contextmanager
    def connect(*_: object, **__: object) -> Iterator[StandIn]:
        yield board

    monkeypatch.setattr(remote, "connect", connect)
    fleet = FleetBoard(name="oven", site="hall", target=board.target, profile=profile)
    login = Login(deployer=deployer, known_hosts=())
    boards = OnBoards(Roster(boards=[fleet], orders={}), releases={}, signing=signing, login=login)
    claim = Claim(
        attempt=2, rollout="bread", board="oven", site="hall", goal=Goal.FORMER,
        release="0" * 16, fence=2, tries=1,
    )  # fmt: skip

    stalled = install.only_deploy(Edgectl(board=board, root=profile.deploy.root), deployer)
    with stalled, pytest.raises(TargetError, match="another deploy of yours is at work"):
        boards.go_back(claim, lambda last: last + 1)
