"""Deploys, cuts, rollbacks, key rotations, attacks and reboots in any order.

The real `edgectl` works on a folder of this machine. After every step `current` is a release
that was signed by a key that was trusted, with every byte in place; at the end a plain deploy
converges and leaves nothing behind.
"""

import contextlib
import itertools
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgewright.base.errors import TargetError
from edgewright.deploy import install as deploy
from edgewright.deploy import keyring
from edgewright.deploy.edgectl import Edgectl, RefusedError
from edgewright.deploy.remote import ConnectionLostError
from edgewright.lab.proof.orders import floor_of
from edgewright.release import order as orders
from edgewright.release.manifest import Release, load_release
from edgewright.release.minisign import PublicKey
from tests.boards import COMPATIBLE, LocalBoard, make_release
from tests.signing import signer

pytestmark = pytest.mark.docker

PLACE = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
RELEASES = 4
EXAMPLES, STEPS = 8, 8
DAY = 86400

releases = st.integers(0, RELEASES - 1)
cuts = st.tuples(
    st.one_of(st.just(0), st.integers(1, 12)),
    st.sampled_from(["before", "half", "killed", "after"]),
    st.sampled_from([0.0, 0.001, 0.005, 0.02]),
)


class Deploys(RuleBasedStateMachine):
    """One board, its users, and what may become of them."""

    built: Path
    helper: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=PLACE))
        self.root, self.proc = self.folder / "root", self.folder / "proc"
        self.patch = pytest.MonkeyPatch()
        self.patch.setenv("EDGEWRIGHT_CONFIG", str(self.folder / "config"))
        self.patch.setenv("EDGEWRIGHT_CACHE", str(self.folder / "cache"))
        self.patch.setattr(deploy, "judge_target", lambda facts, target: [])
        self.patch.setattr(deploy, "TRIAL_SECONDS", 3)
        self.names = (f"key{number}" for number in itertools.count(1))
        self.key = "default"
        self.trusted: list[PublicKey] = []  # now, or at any time before
        self.allowed: set[str] = set()  # what may be current
        self.floor = 0
        self.played: list[tuple[Release, bytes, int]] = []
        self.reboot()
        self.made = [self.release(number) for number in range(RELEASES)]
        self.first_contact()

    def release(self, number: int) -> Release:
        return make_release(
            self.folder / "built",
            root=str(self.root),
            model=bytes([number]) * 30_000 + os.urandom(30_000),
            edgectl=self.helper,
        )

    def first_contact(self) -> None:
        edgectl = deploy.ensure_edgectl(self.board(), str(self.root), self.made[0])
        default_key = signer(self.key)
        keyring.provision(edgectl, (COMPATIBLE,), default_key.public, default_key)
        self.trusted.append(default_key.public)

    def board(self, cut: tuple[int, str, float] = (0, "", 0.0)) -> LocalBoard:
        return LocalBoard(cut_at=cut[0], how=cut[1], after=cut[2], proc=self.proc)

    def sign(self, release: Release) -> bytes:
        return orders.sign(release.manifest, signer(self.key), at_least=self.floor + 1)

    # What users do

    @rule(number=releases, cut=cuts)
    def deploy(self, number: int, cut: tuple[int, str, float]) -> None:
        release = self.made[number]
        order = self.sign(release)
        try:
            deploy.deploy(self.board(cut), release, order, reserve_bytes=0)
        except ConnectionLostError:
            self.allowed.add(release.id)
        except RefusedError as refused:
            if refused.code != "txn_pending":  # another release's trial, which ends by itself
                raise
        except TargetError as late:
            # This machine had so much else to do that the trial was over before the commit.
            if "did not hold after the switch" not in str(late):
                raise
        else:
            self.allowed = {release.id}
            self.played.append((release, order, self.read_floor()))

    @precondition(lambda self: self.played)
    @rule(cut=cuts)
    def roll_back(self, cut: tuple[int, str, float]) -> None:
        with contextlib.suppress(TargetError):
            _, current_id = deploy.rollback(
                self.board(cut),
                str(self.root),
                lambda former, floor: orders.sign(
                    former.manifest, signer(self.key), at_least=floor + 1
                ),
            )
            self.allowed = {current_id}
            return
        self.allowed |= {release.id for release in self.made}

    @rule(cut=cuts)
    def rotate_keys(self, cut: tuple[int, str, float]) -> None:
        old, new = signer(self.key), next(self.names)
        edgectl = Edgectl(board=self.board(cut), root=str(self.root))
        added = signer(new).public
        self.trusted.append(added)
        with contextlib.suppress(ConnectionLostError):
            # a rotation that was cut before leaves a key of ours that neither of these two is
            own = tuple(self.trusted)
            keyring.provision(edgectl, (COMPATIBLE,), added, old, confirmed=own)
            keyring.revoke(edgectl, (COMPATIBLE,), [old.public.id], signer(new), confirmed=own)
        in_force = self.key_set()
        self.key = self.key if old.public in in_force.public else new
        assert signer(self.key).public in in_force.public

    def key_set(self) -> keyring.InForce:
        return keyring.read(Edgectl(board=self.board(), root=str(self.root)))

    @rule(days=st.sampled_from([-0.4, 0, 0.5]))
    def set_a_wrong_clock(self, days: float) -> None:
        clock = self.built.stat().st_mtime + days * DAY
        self.patch.setattr("edgewright.release.keys.time.time", lambda: clock)

    # What must be refused

    @precondition(lambda self: len(self.played) > 1)
    @rule(data=st.data())
    def replay_an_older_order(self, data: st.DataObject) -> None:
        release, order, floor = data.draw(st.sampled_from(self.played))
        if floor < self.read_floor():
            self.refused(release, order, "older", "signature_unknown_key", "txn_pending")

    @rule(number=releases)
    def deploy_with_a_foreign_key(self, number: int) -> None:
        release = self.made[number]
        order = orders.sign(release.manifest, signer("stranger"), at_least=self.floor + 1)
        self.refused(release, order, "signature_unknown_key")

    @rule()
    def deploy_without_space(self) -> None:
        release = self.release(RELEASES)
        self.refused(release, self.sign(release), "no_space", reserve_bytes=1 << 39)

    @rule(number=releases, at=st.integers(0, 10**6))
    def deploy_a_tampered_file(self, number: int, at: int) -> None:
        good = self.made[number]
        folder = self.folder / "tampered"
        shutil.copytree(good.folder, folder)
        path = folder / "model" / "model.ort"
        data = bytearray(path.read_bytes())
        data[at % len(data)] ^= 1
        path.write_bytes(bytes(data))
        bad = Release(folder=folder, manifest=good.manifest)
        with contextlib.suppress(RefusedError):
            deploy.deploy(self.board(), bad, self.sign(good), reserve_bytes=0)
            self.allowed = {good.id}  # the board had that file: nothing was sent of it
        shutil.rmtree(folder)

    def refused(self, release: Release, order: bytes, *codes: str, reserve_bytes: int = 0) -> None:
        with pytest.raises(RefusedError) as refused:
            deploy.deploy(self.board(), release, order, reserve_bytes=reserve_bytes)
        assert refused.value.code in codes

    @rule()
    def reboot(self) -> None:
        """Another boot id; what a guard process was waiting for is forgotten."""
        (self.proc / "sys" / "kernel" / "random").mkdir(parents=True, exist_ok=True)
        (self.proc / "sys" / "kernel" / "random" / "boot_id").write_text(f"{os.urandom(8).hex()}\n")
        shutil.copy("/proc/uptime", self.proc / "uptime")

    # What is promised

    def read_floor(self) -> int:
        return floor_of(self.root)

    @invariant()
    def current_is_verified_and_whole(self) -> None:
        link = self.root / "current"
        if not link.is_symlink():
            assert not self.played
            return
        release = load_release(link.resolve())
        assert release.id in self.allowed
        raw = orders.read_signature(release)
        assert raw is not None
        orders.check(release.manifest, raw, self.trusted, "current")

    @invariant()
    def the_floor_never_falls(self) -> None:
        floor = self.read_floor()
        assert floor >= self.floor
        self.floor = floor

    def teardown(self) -> None:
        try:
            self.converges()
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder, ignore_errors=True)

    def converges(self) -> None:
        """A plain deploy of each of two releases works; nothing else is left."""
        for release in self.made[:2]:
            order = self.sign(release)
            deploy.deploy(self.board(), release, order, reserve_bytes=0, take_over=True)
            self.floor = self.read_floor()
        assert (self.root / "current").readlink().name == self.made[1].id
        hashes = {file.sha256 for release in self.made[:2] for file in release.manifest.files}
        assert {path.name for path in (self.root / "store" / "sha256").iterdir()} == hashes
        assert list((self.root / "tmp").iterdir()) == []
        assert not (self.root / "txn").exists()
        assert [path.name for path in (self.root / "bin").iterdir()] == ["edgectl"]


def test_what_is_promised_holds_in_any_order(host_edgectl: Path, tmp_path: Path) -> None:
    Deploys.helper, Deploys.built = host_edgectl, tmp_path
    machine = Deploys.TestCase
    machine.settings = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine("runTest").runTest()
