"""Deploys by the real `edgectl`, built for this machine, into a folder; cut and attacked."""

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import TargetError, UserError
from edgewright.board.profile import Arch
from edgewright.cli.common import Reach
from edgewright.cli.program import Edgewright
from edgewright.deploy import edgectl, keyring, one_board, service, smoke
from edgewright.deploy import install as deploy
from edgewright.deploy.edgectl import PROTOCOL, BoardRelease, Edgectl, RefusedError, signed_input
from edgewright.deploy.install import Deployer
from edgewright.deploy.one_board import DeploySettings
from edgewright.deploy.remote import Board, ConnectionLostError, Result
from edgewright.deploy.signing_policy import SigningPolicy
from edgewright.deploy.target import parse_host
from edgewright.fleet.bench.stand_in import program
from edgewright.lab import emulate
from edgewright.lab.proof.orders import state
from edgewright.release import keys
from edgewright.release import order as orders
from edgewright.release.manifest import Manifest, Release
from edgewright.release.minisign import parse_signature
from edgewright.release.programs import SERVICE_FILE
from tests import v0_1_0
from tests.boards import (
    COMPATIBLE,
    NAMES,
    LocalBoard,
    Watched,
    documents,
    make_release,
    rebuilt,
)
from tests.integration.conftest import wait_until
from tests.schemas import require_valid
from tests.signing import sign, sign_anew, signer, trust

pytestmark = pytest.mark.docker

Make = Callable[..., Release]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where there is such a place: nothing here is about the disk's speed."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with keys and caches of his own, on a machine that is a board too."""
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(deploy, "judge_target", lambda facts, target: [])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "board" / "edgewright"


@pytest.fixture
def make(tmp_path: Path, root: Path, host_edgectl: Path) -> Make:
    """Releases for the board at `root`; one after the other in the same build folder."""

    def make(name: str = "one", **changes: Any) -> Release:
        options: dict[str, Any] = {"model": name.encode(), "edgectl": host_edgectl}
        return make_release(tmp_path / "built", root=str(root), **options | changes)

    return make


def install(
    release: Release, board: Board | None = None, signature: bytes | None = None, **options: Any
) -> deploy.Installed:
    """Deploy with a fresh signature; first contact is not among the board's commands."""
    trust(LocalBoard(), release)
    options = {"reserve_bytes": 0} | options
    return deploy.deploy(board or LocalBoard(), release, signature or sign(release), **options)


def current(root: Path) -> str:
    """The id of the current release; its signature and every byte of it are checked."""
    link = (root / "current").readlink()
    assert link.parent == Path("releases")
    order = orders.verify(root / link, [key.public for key in keys.user_keys().listed()])
    assert order.manifest.id == link.name
    return link.name


def commands(board: LocalBoard) -> list[str]:
    """What was run on the board: commands of edgectl, else the program."""
    return [argv[1] if argv[0].endswith("edgectl") else argv[0] for argv in board.sent]


# A deploy, and another


def test_first_deploy_makes_the_layout(make: Make, root: Path) -> None:
    release, progress = make(), Watched()
    outcome = install(release, progress=progress)
    assert not outcome.unchanged
    assert outcome.former is None
    assert current(root) == release.id
    assert state(root, "board") == f"{COMPATIBLE}\n"
    assert not (root / "previous").is_symlink()
    assert not (root / "txn").exists()
    assert list((root / "tmp").iterdir()) == []
    assert (root / "current" / "bin" / "edge-infer").stat().st_mode & 0o777 == 0o755
    assert progress.uploads[-1] == (outcome.bytes_sent, outcome.bytes_sent)


def test_same_order_again_is_one_round_trip(make: Make, root: Path) -> None:
    release = make()
    order = sign(release)
    install(release, signature=order)
    board = LocalBoard()
    outcome = deploy.deploy(board, release, order, reserve_bytes=0)
    assert outcome.unchanged
    assert commands(board) == ["plan"]


def test_next_release_sends_only_what_differs(make: Make, root: Path) -> None:
    weights = bytearray(os.urandom(300_000))
    first = make(model=bytes(weights))
    install(first)
    weights[100_000:120_000] = os.urandom(20_000)
    second = make(model=bytes(weights))
    outcome = install(second)
    assert current(root) == second.id
    assert (root / "previous").readlink().name == first.id
    assert outcome.bytes_sent < 1.05 * 20_000 + 1_000  # the card has changed too


def test_base_that_is_on_the_board_alone(make: Make, root: Path, tmp_path: Path) -> None:
    weights = bytearray(os.urandom(300_000))
    install(make(model=bytes(weights)))
    shutil.rmtree(tmp_path / "built")
    weights[100_000:100_010] = os.urandom(10)
    second, board = make(model=bytes(weights)), LocalBoard()
    assert install(second, board).bytes_sent < 2 * deploy.BASE_CHUNK + 2_000
    assert "chunks" in commands(board)
    assert current(root) == second.id


def test_third_release_pushes_the_first_out(make: Make, root: Path) -> None:
    releases = [make(name) for name in ("one", "two", "three")]
    removed = [install(release).removed for release in releases]
    assert removed == [(), (), (releases[0].id,)]
    assert {path.name for path in (root / "releases").iterdir()} == {r.id for r in releases[1:]}
    remaining = {f.sha256 for release in releases[1:] for f in release.manifest.files}
    assert {path.name for path in (root / "store" / "sha256").iterdir()} == remaining


def test_dry_run_changes_nothing(make: Make, root: Path) -> None:
    first, second = make("one"), make("two")
    bare = deploy.dry_run(LocalBoard(), first, sign(first), reserve_bytes=0)
    assert (bare.installs_edgectl, bare.former) == (True, None)
    assert not root.exists()
    install(first)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    plan = deploy.dry_run(LocalBoard(), second, sign(second), reserve_bytes=0)
    assert (plan.installs_edgectl, plan.former) == (False, first.id)
    # run.json has the CRC-32 of the model.
    assert set(plan.paths.values()) == {"model/card.json", "model/model.ort", "run.json"}
    after = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert after == before


def test_dry_run_tells_what_would_be_refused(make: Make, root: Path) -> None:
    first, second = make("one"), make("two")
    old = sign(first)
    install(second)
    with pytest.raises(RefusedError, match="was signed with sequence"):
        deploy.dry_run(LocalBoard(), first, old, reserve_bytes=0)


def test_damaged_object_is_sent_again(make: Make, root: Path) -> None:
    release = make()
    install(release)
    (root / "current" / "model" / "model.ort").write_bytes(b"rot")
    outcome = install(release)
    assert 0 < outcome.bytes_sent < 1000
    assert current(root) == release.id


def test_helper_is_replaced_by_that_of_the_release(
    make: Make, root: Path, host_edgectl: Path, tmp_path: Path
) -> None:
    install(make())
    newer = tmp_path / "newer" / "edgectl"
    newer.parent.mkdir()
    newer.write_bytes(host_edgectl.read_bytes() + b"\0")
    newer.chmod(0o755)
    release = make(edgectl=newer)
    install(release)
    assert (root / "bin" / "edgectl").read_bytes() == newer.read_bytes()
    assert current(root) == release.id
    assert [path.name for path in (root / "bin").iterdir()] == ["edgectl"]


# Attacks: each is refused in its own words, and what runs goes on to run


def flip(release: Release, at: int) -> None:
    path = release.folder / "model" / "model.ort"
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_tampered_byte_is_refused_by_the_board(make: Make, root: Path) -> None:
    good, bad = make("good"), make("bad")
    install(good)
    order = sign(bad)
    flip(bad, 1)
    with pytest.raises(RefusedError) as refused:
        install(bad, signature=order)
    assert refused.value.code == "object_damaged"
    assert current(root) == good.id


def test_swapped_file_is_refused_by_the_board(make: Make, root: Path) -> None:
    good, bad = make("good"), make("bad")
    install(good)
    order = sign(bad)
    shutil.copy(bad.folder / "model" / "labels.txt", bad.folder / "model" / "model.ort")
    with pytest.raises(TargetError):
        install(bad, signature=order)
    assert current(root) == good.id


def test_changed_manifest_is_refused_by_the_board(make: Make, root: Path) -> None:
    good, bad = make("good"), make("bad")
    install(good)
    runtime = bad.manifest.runtime.model_copy(update={"threads": 64})
    other = Manifest.of(bad.manifest.body().model_copy(update={"runtime": runtime}))
    with pytest.raises(RefusedError) as refused:
        install(replace(bad, manifest=other), signature=sign(bad))
    assert refused.value.code == "signature_wrong"
    assert current(root) == good.id


def test_foreign_key_is_refused_by_the_board(make: Make, root: Path) -> None:
    good, bad = make("good"), make("bad")
    install(good)
    with pytest.raises(RefusedError) as refused:
        install(bad, signature=sign(bad, "stranger"))
    assert refused.value.code == "signature_unknown_key"
    assert keys.user_keys().stored("stranger").public.id in str(refused.value)
    assert current(root) == good.id


def test_replayed_older_release_is_refused_by_the_board(make: Make, root: Path) -> None:
    old, new = make("old"), make("new")
    order = sign(old)
    install(old, signature=order)
    install(new)
    with pytest.raises(RefusedError) as refused:
        install(old, signature=order)
    assert refused.value.code == "older"
    sequence = parse_signature(order, "s").trusted_comment.split()[1].partition("=")[2]
    assert sequence in str(refused.value)
    assert "next: if it is to go back: invoke release.sign, then deploy again; " in str(
        refused.value
    )
    assert current(root) == new.id


def test_release_for_another_board_is_refused_by_the_board(make: Make, root: Path) -> None:
    good = make()
    install(good)
    with pytest.raises(RefusedError) as refused:
        install(make("two", compatible="acme,other"))
    assert refused.value.code == "wrong_board"
    assert "acme,other" in str(refused.value)
    assert current(root) == good.id


def test_board_without_keys_takes_nothing(make: Make, root: Path) -> None:
    release = make()
    with pytest.raises(RefusedError) as refused:
        deploy.deploy(LocalBoard(), release, sign(release), reserve_bytes=0)
    assert refused.value.code == "no_keys"
    assert not (root / "current").is_symlink()


def test_board_without_space_is_refused_before_anything_is_sent(make: Make, root: Path) -> None:
    release, board = make(), LocalBoard()
    trust(LocalBoard(), release)
    with pytest.raises(RefusedError) as refused:
        install(release, board, reserve_bytes=1 << 39)
    assert refused.value.code == "no_space"
    assert "receive" not in commands(board)
    assert str(refused.value).endswith(
        "next: make room on the board, or lower deploy.reserve_mb in its profile"
    )


# Keys


def test_rotation_of_keys(make: Make, root: Path) -> None:
    release = make()
    trust(LocalBoard(), release)
    helper = Edgectl(board=LocalBoard(), root=str(root))
    old, new = signer(), signer("new")
    both = keyring.provision(helper, NAMES, new.public, old)
    assert both == (old.public.id, new.public.id)
    assert keyring.provision(helper, NAMES, new.public, old) == both
    remaining = keyring.revoke(helper, NAMES, [old.public.id], new)
    assert remaining == (new.public.id,)
    with pytest.raises(RefusedError) as refused:
        install(release, signature=sign(release))
    assert refused.value.code == "signature_unknown_key"
    install(release, signature=sign(release, "new"))
    assert current(root) == release.id


def test_stranger_cannot_make_a_board_trust_him(make: Make, root: Path) -> None:
    trust(LocalBoard(), make())
    helper, before = Edgectl(board=LocalBoard(), root=str(root)), (root / "keys.json").read_bytes()
    stranger = signer("stranger")
    with pytest.raises(RefusedError) as refused:
        keyring.provision(helper, NAMES, stranger.public, stranger, confirmed=[signer().public])
    assert refused.value.code == "signature_unknown_key"
    assert (root / "keys.json").read_bytes() == before


def test_of_two_colleagues_at_once_one_is_refused(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both know the same keys; one revokes what the other would revive."""
    trust(LocalBoard(), make())
    helper = Edgectl(board=LocalBoard(), root=str(root))
    default_key, leaver, new = signer(), signer("leaver"), signer("new").public
    keyring.provision(helper, NAMES, leaver.public, default_key)
    keys = keyring.read(helper)
    keyring.revoke(helper, NAMES, [leaver.public.id], default_key)
    monkeypatch.setattr(keyring, "read", lambda _: keys)

    with pytest.raises(RefusedError) as refused:
        keyring.provision(helper, NAMES, new, default_key, confirmed=[leaver.public])

    assert refused.value.code == "keys_conflict"
    assert helper.status().keys == (default_key.public.id,)


def test_a_change_of_keys_counts_on_one_board(make: Make, root: Path, tmp_path: Path) -> None:
    default_key, release, orders_seen = signer(), make(), []
    trust(LocalBoard(), release)

    class Listening(LocalBoard):
        def _run(self, argv: Sequence[str], data: bytes, *, kill: bool) -> Result:
            if "keys" in argv:
                orders_seen.append(data)
            return super()._run(argv, data, kill=kill)

    helper = Edgectl(board=Listening(), root=str(root))
    other = deploy.ensure_edgectl(LocalBoard(), str(tmp_path / "other"), release)
    keyring.provision(other, NAMES, default_key.public, default_key)
    keyring.provision(helper, NAMES, signer("new").public, default_key)

    with pytest.raises(RefusedError) as refused:
        other.keys(orders_seen[0], compatible=COMPATIBLE)

    assert refused.value.code == "keys_scope"
    assert other.status().keys == (default_key.public.id,)


def test_a_board_of_protocol_1_goes_on_and_is_migrated_by_provisioning(
    make: Make, root: Path
) -> None:
    release, default_key = make(), signer()
    helper = deploy.ensure_edgectl(LocalBoard(), str(root), release)
    leaver = signer("leaver").public

    def signed(document: keyring.KeySet) -> bytes:
        signature = default_key.sign(document.canonical(), document.comment)
        return signature.text("a set of keys").encode() + document.canonical()

    keys_of_0_1_0 = keyring.KeySet(sequence=1, keys=(default_key.public.line, leaver.line))
    helper.keys(signed(keys_of_0_1_0), compatible=COMPATIBLE)
    install(release)

    keyring.revoke(helper, NAMES, [leaver.id], default_key, confirmed=[leaver])

    assert json.loads(state(root, "keys.json"))["schema"] == 2
    newer = keys_of_0_1_0.model_copy(update={"sequence": 9})
    with pytest.raises(RefusedError) as refused:
        helper.keys(signed(newer), compatible=COMPATIBLE)
    assert refused.value.code == "keys_schema"
    assert current(root) == release.id


def test_a_board_of_a_former_name_is_migrated_by_one_signed_command(
    make: Make, root: Path, tmp_path: Path
) -> None:
    names = ("fsl,imx8mm-evk", "nxp,imx8mm-evk")
    old, new = make("old", compatible=names[1]), make("new", compatible=names[0])
    install(old)
    settings = DeploySettings(
        target=parse_host("root@board.test"),
        release=new,
        former_names=names[1:],
        signing=SigningPolicy(keys=keys.user_keys(), ask=lambda _: None),
        deployer=deploy.this_user(),
        known_hosts=(),
    )
    signer()
    with pytest.raises(TargetError) as refused:
        one_board.deploy_connected(LocalBoard(), settings)
    assert str(refused.value).splitlines() == [
        "root@board.test: goes by a former name of 'board'",
        "  expected: fsl,imx8mm-evk",
        "  found: nxp,imx8mm-evk",
        "next: invoke keys.provision --board=board with the same way to the board: it signs the "
        "new name, and releases of the former one go on",
    ]

    helper = Edgectl(board=LocalBoard(), root=str(root))
    for _ in range(2):
        keyring.provision(helper, names, signer().public, signer())
    assert helper.status().names == names
    assert json.loads(state(root, "keys.json"))["sequence"] == 2

    deploy.deploy(LocalBoard(), new, sign(new), reserve_bytes=0)
    assert current(root) == new.id
    deploy.rollback(LocalBoard(), str(root), sign_anew)
    assert current(root) == old.id
    older = make("older", compatible=names[1])
    deploy.deploy(LocalBoard(), older, sign(older), reserve_bytes=0)
    assert current(root) == older.id
    foreign = make("foreign", compatible="nxp,imx8mq-evk")
    with pytest.raises(RefusedError, match="is for nxp,imx8mq-evk, this board is fsl,imx8mm-evk"):
        deploy.deploy(LocalBoard(), foreign, sign(foreign), reserve_bytes=0)


@pytest.fixture
def old_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The deploy root of a board that 0.1.0 provisioned; its `edgectl` is for armhf."""
    emulate.require_emulation(Arch.ARMHF)
    v0_1_0.unpack(v0_1_0.BOARD_ROOT.name, tmp_path / "opt")
    v0_1_0.install_keys(tmp_path / "config", monkeypatch)
    return tmp_path / "opt" / "edgewright"


def test_a_board_that_0_1_0_provisioned_goes_on_and_is_migrated(
    make: Make, old_root: Path, tmp_path: Path
) -> None:
    old_release, default_key = v0_1_0.release(tmp_path / "old"), signer()
    older = deploy.ensure_edgectl(LocalBoard(), str(old_root), old_release)
    assert (older.protocol, older.status().helper.protocol) == (1, 1)
    names = older.status().names
    added = signer("added").public
    keyring.provision(older, names, added, default_key)
    assert keyring.read(older).public == (default_key.public, added)

    newer = deploy.ensure_edgectl(LocalBoard(), str(old_root), make())
    assert newer.protocol == PROTOCOL
    assert newer.status().current == v0_1_0.CURRENT
    keyring.provision(newer, names, default_key.public, default_key, confirmed=[added])
    assert json.loads(state(old_root, "keys.json"))["schema"] == 2

    again = deploy.ensure_edgectl(LocalBoard(), str(old_root), old_release)
    assert again.protocol == again.status().helper.protocol == PROTOCOL
    order = orders.sign(old_release.manifest, default_key)
    plan = again.plan(signed_input(order, old_release.manifest.canonical()))
    assert (plan.state, plan.sound) == ("current", True)


def reset_keys(root: Path) -> str:
    """As somebody at the board does it; returns the id that the board had."""
    program = f"{root}/bin/edgectl"
    board_id = str(json.loads(LocalBoard().run([program, "identify"]).stdout)["board_id"])
    answer = LocalBoard().check([program, "reset-keys", f"--board-id={board_id}"]).stdout
    require_valid("edgectl-reset-keys", answer)
    return board_id


def test_lost_keys_are_no_first_contact_and_are_mended_at_the_board(make: Make, root: Path) -> None:
    release, default_key = make(), signer()
    install(release)
    for copy in ("keys.json", "keys.json.copy"):
        (root / copy).unlink()
    helper, stranger = Edgectl(board=LocalBoard(), root=str(root)), signer("stranger")
    with pytest.raises(RefusedError) as refused:
        keyring.provision(helper, NAMES, stranger.public, stranger)
    assert refused.value.code == "keys_lost"

    wrong = LocalBoard().run([f"{root}/bin/edgectl", "reset-keys", f"--board-id={'0' * 32}"])
    assert json.loads(wrong.stdout)["error"]["code"] == "wrong_board"
    board_id = reset_keys(root)

    keyring.provision(helper, NAMES, default_key.public, default_key)
    assert helper.identify().board_id != board_id
    assert current(root) == release.id
    install(make("two"))
    assert current(root) == make("two").id


def test_a_board_that_is_forgotten_holds_nothing_and_may_begin_anew(make: Make, root: Path) -> None:
    first, second, default_key = make("one"), make("two"), signer()
    install(first)
    install(second)
    helper = Edgectl(board=LocalBoard(), root=str(root))
    stranger = signer("stranger")
    with pytest.raises(RefusedError) as refused:
        keyring.forget(helper, stranger)
    assert refused.value.code == "signature_unknown_key"
    assert current(root) == second.id

    answer = keyring.forget(helper, default_key)

    require_valid("edgectl-forget", answer.model_dump_json(by_alias=True))
    assert set(answer.removed.releases) == {first.id, second.id}
    assert answer.removed.objects > 0
    assert answer.remains == ("bin", "locks")
    assert sorted(path.name for path in root.iterdir()) == ["bin", "locks"]
    assert helper.status().keys == ()
    keyring.provision(helper, NAMES, stranger.public, stranger)


def test_a_floor_in_the_future_locks_nobody_out_for_good(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A colleague's clock was 5 days ahead; without NTP, the board did not notice."""
    first, second, default_key = make("one"), make("two"), signer()
    install(first)
    today = time.time()
    with monkeypatch.context() as colleague:
        colleague.setattr("edgewright.release.keys.time.time", lambda: today + 5 * 86400)
        ahead = sign(second, "colleague")
    helper = Edgectl(board=LocalBoard(), root=str(root))
    keyring.provision(helper, NAMES, signer("colleague").public, default_key)
    monkeypatch.setattr(deploy, "require_present", lambda edgectl, sequence, clock: None)
    install(second, signature=ahead)

    with pytest.raises(UserError, match=r"5\.0 days ahead of this machine's clock") as refused:
        deploy.rollback(LocalBoard(), str(root), sign_anew)
    assert str(refused.value).endswith("which a board has taken: invoke keys.floor")

    confirmed = [signer("colleague").public]
    keyring.set_floor(helper, NAMES, int(time.time()) - 1, default_key, confirmed=confirmed)
    assert deploy.rollback(LocalBoard(), str(root), sign_anew) == (second.id, first.id)
    assert current(root) == first.id


@pytest.mark.parametrize("content", [b"", b"17638", None])
@pytest.mark.parametrize("copy", ["floor", "floor.copy"])
def test_a_floor_of_which_one_copy_is_whole_counts_as_ever(
    make: Make, root: Path, copy: str, content: bytes | None
) -> None:
    first, second = make("one"), make("two")
    old = sign(first)
    install(first, signature=old)
    install(second)
    (root / copy).unlink()
    if content is not None:
        (root / copy).write_bytes(content)

    with pytest.raises(RefusedError) as refused:
        install(first, signature=old)
    assert refused.value.code == "older"
    install(first)
    assert (root / "floor").read_bytes() == (root / "floor.copy").read_bytes()


@pytest.mark.parametrize("content", [b"", b"17638", None])
def test_a_lost_floor_lets_no_older_release_in_and_is_mended(
    make: Make, root: Path, content: bytes | None
) -> None:
    first, second, default_key = make("one"), make("two"), signer()
    old = sign(first)
    install(first, signature=old)
    install(second)
    for copy in ("floor", "floor.copy"):
        (root / copy).unlink()
        if content is not None:
            (root / copy).write_bytes(content)

    with pytest.raises(RefusedError) as refused:
        install(first, signature=old)
    assert refused.value.code == "floor_lost"
    assert str(refused.value).endswith("then invoke keys.floor")

    helper = Edgectl(board=LocalBoard(), root=str(root))
    keyring.set_floor(helper, NAMES, keys.user_keys().next_sequence("default"), default_key)
    with pytest.raises(RefusedError) as refused:
        install(first, signature=old)
    assert refused.value.code == "older"
    install(first)
    assert current(root) == first.id


def test_the_tasks_of_a_boards_keys(
    make: Make,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    release, default_key, leaver = make(compatible="edgewright,a53-som"), signer(), signer("leaver")
    stranger = keys.KeyFolder(tmp_path / "strangers").generate().public

    @contextmanager
    def connect(_: Reach) -> Iterator[Board]:
        yield LocalBoard()

    monkeypatch.setattr(Reach, "connect", connect)
    monkeypatch.setattr("edgewright.release.latest.release_of", lambda _: release)

    def task(name: str, *options: str) -> dict[str, Any]:
        argv = [f"keys.{name}", "--board=a53-som", "--host=root@board.test", *options, "--json"]
        with contextlib.suppress(SystemExit):
            Edgewright().run(["edgewright", *argv])
        written = capsys.readouterr().out
        document: dict[str, Any] = json.loads(written)
        if "error" not in document:
            require_valid(f"keys.{name}", written)
        return document

    assert task("provision")["keys"] == [default_key.public.id]
    assert task("provision", "--key=leaver")["keys"] == [default_key.public.id, leaver.public.id]
    assert task("revoke", "--key=leaver")["keys"] == [default_key.public.id]
    helper = Edgectl(board=LocalBoard(), root=str(root))
    keyring.provision(helper, ("edgewright,a53-som",), stranger, default_key)
    assert "not in your key folder" in task("floor")["error"]["message"]
    before = int(time.time())
    assert task("floor", f"--confirm={stranger.line}")["floor"] >= before
    assert (root / "floor").read_text() >= f"{before} "
    assert task("revoke", f"--id={stranger.id.lower()}")["keys"] == [default_key.public.id]
    forgotten = task("forget")
    assert (forgotten["releases"], forgotten["remains"]) == ([], ["bin", "locks"])
    assert "nothing to forget" in task("forget")["error"]["message"]


def test_key_cannot_revoke_itself(make: Make, root: Path) -> None:
    trust(LocalBoard(), make())
    helper, default_key = Edgectl(board=LocalBoard(), root=str(root)), signer()
    with pytest.raises(Exception, match="would be revoked by a key that is not to stay"):
        keyring.revoke(helper, NAMES, [default_key.public.id], default_key)


# Smoke before the switch, rollback


def test_failed_selftest_keeps_the_former_release(make: Make, root: Path) -> None:
    good = make("good")
    install(good)
    wrong = documents()
    wrong["selftest"]["passed"] = False
    bad = make("bad", edge_infer=program(wrong, exit_code=6))
    with pytest.raises(RefusedError) as refused:
        install(bad)
    assert refused.value.code == "selftest_failed"
    assert current(root) == good.id


def test_failed_smoke_keeps_the_former_release(make: Make, root: Path) -> None:
    good = make("good")
    install(good)
    wrong = documents()
    wrong["run"]["results"][0]["class"] = "defective"
    bad = make("bad", edge_infer=program(wrong))
    with pytest.raises(TargetError, match="smoke test failed"):
        install(bad, gate=smoke.Gate(bad.manifest))
    assert current(root) == good.id
    assert not (root / "txn").exists()


def test_smoke_runs_in_the_inactive_folder(make: Make, root: Path) -> None:
    release, states = make(), []

    def gate(release: BoardRelease, selftest: Result) -> None:
        states.append((release.folder, (root / "current").exists()))

    install(release, gate=gate)
    assert states == [(f"{root}/releases/{release.id}", False)]


def test_rollback_goes_back_and_forth_and_sends_nothing(make: Make, root: Path) -> None:
    first, second = make("one"), make("two")
    install(first)
    install(second)
    board = LocalBoard()
    assert deploy.rollback(board, str(root), sign_anew) == (second.id, first.id)
    assert "receive" not in commands(board)
    assert current(root) == first.id
    assert deploy.rollback(LocalBoard(), str(root), sign_anew) == (first.id, second.id)
    assert current(root) == second.id


def test_rollback_without_a_previous_release(make: Make, root: Path) -> None:
    release = make()
    install(release)
    with pytest.raises(TargetError) as refused:
        deploy.rollback(LocalBoard(), str(root), sign_anew)
    assert str(refused.value) == (
        f"root@board.test: no previous release to go back to\n  current: {release.id}"
    )


def test_a_service_of_a_users_is_not_switched_to_where_an_older_edgewright_starts_services(
    make: Make, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its launcher would start the default program in its place: by deploy and by rollback."""
    launcher = tmp_path / "run"
    launcher.write_text('exec bin/edge-infer "$@"\n')
    monkeypatch.setattr(service, "PROGRAM", str(launcher))
    script = tmp_path / "service"
    script.write_text("#!/bin/sh\nexec bin/edge-infer watch\n")
    own = rebuilt(make("one"), tmp_path / "own", program_files={SERVICE_FILE: script})
    second = make("two")
    problem = "its service is of an edgewright that knows no programs of yours"
    with pytest.raises(TargetError, match=problem):
        install(own)
    launcher.write_text(f"exec {SERVICE_FILE}\n")
    install(own)
    install(second)
    launcher.write_text('exec bin/edge-infer "$@"\n')
    with pytest.raises(TargetError, match=problem) as refused:
        deploy.rollback(LocalBoard(), str(root), sign_anew)
    assert str(refused.value).endswith("next: invoke service.install, then repeat the command")
    assert current(root) == second.id
    launcher.write_text(f"exec {SERVICE_FILE}\n")
    assert deploy.rollback(LocalBoard(), str(root), sign_anew) == (second.id, own.id)


def test_rollback_to_a_damaged_release_is_refused(make: Make, root: Path) -> None:
    first, second = make("one"), make("two")
    install(first)
    install(second)
    (root / "previous" / "model" / "model.ort").write_bytes(b"rot")
    with pytest.raises(TargetError, match=f"release {first.id} is damaged on the board"):
        deploy.rollback(LocalBoard(), str(root), sign_anew)
    assert current(root) == second.id


def test_status_of_a_bare_board_and_of_one_in_use(make: Make, root: Path) -> None:
    assert deploy.status(LocalBoard(), str(root)).edgectl is None
    release = make()
    install(release)
    used = deploy.status(LocalBoard(), str(root))
    assert used.manifest == release.manifest
    assert used.edgectl is not None
    assert used.edgectl.keys == (signer().public.id,)
    assert used.edgectl.floor is not None
    assert used.edgectl.floor.release == release.id


def test_manifest_changed_on_the_board_is_not_believed(make: Make, root: Path) -> None:
    release = make()
    install(release)
    path = root / "current" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"board": "other"}))
    with pytest.raises(TargetError, match="changed after the release was made"):
        deploy.status(LocalBoard(), str(root))


# Cut anywhere


@pytest.fixture
def former(make: Make, root: Path) -> tuple[Release, Release, Callable[[], None]]:
    """A board with one release, a second one to deploy, and the way back to the start."""
    first, second = make("one", model=os.urandom(400_000)), make("two", model=os.urandom(400_000))
    install(first)
    start = root.parent / "start"
    shutil.copytree(root, start, symlinks=True, copy_function=os.link)

    def again() -> None:
        shutil.rmtree(root)
        shutil.copytree(start, root, symlinks=True)

    return first, second, again


@pytest.mark.parametrize("how", ["killed", "after"])
def test_cut_at_every_command_leaves_a_whole_release_and_the_next_deploy_converges(
    former: tuple[Release, Release, Callable[[], None]], root: Path, how: str
) -> None:
    first, second, again = former
    order, local_board = sign(second), LocalBoard()
    install(second, local_board, order)
    for cut_at in range(1, len(local_board.sent) + 1):
        again()
        board = LocalBoard(cut_at=cut_at, how=how, after=0.003 * (cut_at % 5))
        with pytest.raises(ConnectionLostError, match="connection lost"):
            install(second, board, order)
        assert current(root) in (first.id, second.id)
        install(second, signature=order)
        assert current(root) == second.id
        assert (root / "previous").readlink().name == first.id
        assert not (root / "txn").exists()


def test_a_deploy_begins_with_a_fence_that_comes_from_elsewhere(make: Make, root: Path) -> None:
    last: list[int] = []

    def ten_more(fence: int) -> int:
        last.append(fence)
        return fence + 10

    first, second = make("one"), make("two")
    install(first)
    install(second, next_fence=ten_more)
    assert last == [1]
    assert (root / "fence").read_text().split()[0] == "11"

    with pytest.raises(RefusedError) as refused:
        install(make("three"), next_fence=lambda fence: fence)
    assert refused.value.code == "fence_lost"
    assert current(root) == second.id


def test_cut_upload_goes_on_where_it_was_cut(
    former: tuple[Release, Release, Callable[[], None]], root: Path
) -> None:
    first, second, _ = former
    order, board = sign(second), LocalBoard(how="half", cut_at=4)  # plan, sh, begin, receive
    with pytest.raises(ConnectionLostError):
        install(second, board, order)
    assert commands(board)[-1] == "receive"
    assert current(root) == first.id
    assert install(second, signature=order).bytes_sent < 300_000
    assert current(root) == second.id


def test_deployer_that_vanishes_after_the_switch_is_reverted_at_the_deadline(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make("one"), make("two")
    install(first)
    monkeypatch.setattr(deploy, "TRIAL_SECONDS", 2)
    # plan, probe, begin, receive, seal, selftest, whether there is a service, switch
    board = LocalBoard(cut_at=9)
    with pytest.raises(ConnectionLostError):
        install(second, board)
    assert commands(board)[-2:] == ["switch", "status"]
    assert current(root) == second.id
    deadline = time.monotonic() + 30
    while current(root) != first.id:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    install(second)
    assert current(root) == second.id


@pytest.mark.parametrize("late", ["status", "commit"])
def test_a_deployer_that_comes_back_after_the_deadline_is_told_what_became_of_the_release(
    late: str, make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(LocalBoard):
        def answer(self, argv: Sequence[str], data: bytes) -> Result:
            if argv[1:2] == [late] and "switch" in commands(self):
                wait_until(lambda: current(root) == first.id)
            return super().answer(argv, data)

    first, second = make("one"), make("two")
    install(first)
    with monkeypatch.context() as short:
        short.setattr(deploy, "TRIAL_SECONDS", 2)
        with pytest.raises(TargetError, match="did not hold after the switch: the former one is"):
            install(second, Slow())

    assert current(root) == first.id
    install(second)
    assert current(root) == second.id


# Two at once


def eve(root: Path) -> Deployer:
    """Another user, on another machine."""
    return Deployer(holder="eve@elsewhere", locks=root.parent / "other")


def test_second_user_is_refused_and_the_first_goes_on(make: Make, root: Path) -> None:
    first, second, refused = make("one"), make("two"), []

    def gate(release: BoardRelease, selftest: Result) -> None:
        with pytest.raises(RefusedError) as busy:
            install(second, deployer=eve(root))
        refused.append(busy.value)

    install(first, gate=gate)
    assert refused[0].code == "busy"
    assert deploy.this_user().holder in str(refused[0])
    assert current(root) == first.id


def test_deploy_that_was_taken_over_does_not_switch(make: Make, root: Path) -> None:
    first, second = make("one"), make("two")

    def gate(release: BoardRelease, selftest: Result) -> None:
        install(second, take_over=True, deployer=eve(root))

    with pytest.raises(RefusedError) as lost:
        install(first, gate=gate)
    assert lost.value.code == "fence_lost"
    assert current(root) == second.id


def test_two_deploys_of_one_user_do_not_mix(make: Make, root: Path) -> None:
    refused = []

    def gate(release: BoardRelease, selftest: Result) -> None:
        with pytest.raises(TargetError) as busy:
            install(make("two"))
        refused.append(str(busy.value))

    first = make()
    install(first, gate=gate)
    assert refused == [
        "root@board.test: another deploy of yours is at work\n"
        "next: wait for the other deploy to end, then run the same command again"
    ]


def test_two_deploys_of_one_user_by_two_names_of_a_board_do_not_mix(make: Make, root: Path) -> None:
    refused = []

    def gate(release: BoardRelease, selftest: Result) -> None:
        by_alias = LocalBoard()
        by_alias.target = replace(by_alias.target, address="alias.test")
        with pytest.raises(RefusedError) as busy:
            install(make("two"), by_alias)
        refused.append(busy.value.code)

    first = make()
    install(first, gate=gate)
    assert refused == ["busy"]
    assert current(root) == first.id


def test_a_smoke_test_and_a_deploy_of_one_user_do_not_mix(make: Make, root: Path) -> None:
    refused = []

    def gate(release: BoardRelease, selftest: Result) -> None:
        with pytest.raises(TargetError, match="another deploy of yours is at work"):
            one_board.smoke_current(LocalBoard(), str(root), deploy.this_user())
        with pytest.raises(RefusedError) as busy:
            one_board.smoke_current(LocalBoard(), str(root), eve(root))
        refused.append(busy.value.code)

    install(make("one"))
    install(make("two"), gate=gate)
    assert refused == ["busy"]
    report = one_board.smoke_current(LocalBoard(), str(root), deploy.this_user())
    assert report.passed


# Before there were signatures


def test_board_of_the_former_unsigned_layout_converges(make: Make, root: Path) -> None:
    old, new = make("old"), make("new")
    unsigned_install(old, root)
    with pytest.raises(RefusedError) as refused:
        install(new)  # to its helper, a board that lost its keys: no first contact for anybody
    assert refused.value.code == "keys_lost"
    reset_keys(root)
    install(new)
    assert current(root) == new.id
    assert (root / "previous").readlink().name == old.id
    assert deploy.rollback(LocalBoard(), str(root), sign_anew) == (new.id, old.id)
    assert current(root) == old.id


def unsigned_install(release: Release, root: Path) -> None:
    """As a deploy left it before edgectl: store, hard links, links, no signature, a dead lock."""
    store, place = root / "store" / "sha256", root / "releases" / release.id
    store.mkdir(parents=True)
    (root / "tmp").mkdir()
    for file in release.manifest.files:
        shutil.copy(release.path(file), store / file.sha256)
        (place / file.path).parent.mkdir(parents=True, exist_ok=True)
        (place / file.path).hardlink_to(store / file.sha256)
    manifest = store / ("0" * 64)
    manifest.write_bytes(release.manifest.canonical())
    (place / "manifest.json").hardlink_to(manifest)
    (root / "current").symlink_to(f"releases/{release.id}")
    (root / "board").write_text(f"{COMPATIBLE}\n")
    (root / "lock").symlink_to("someone@somewhere/01234567/another-boot/1/2")


def test_helper_that_is_no_program_is_replaced(make: Make, root: Path) -> None:
    release = make()
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "edgectl").write_text("half a fi")
    (root / "bin" / "edgectl").chmod(0o755)
    install(release)
    assert current(root) == release.id
    assert edgectl.PROGRAM == "bin/edgectl"
