"""Debian's own updaters on the full-system board: they install the demo there and update it.

The board's disk has them for its own architecture, so what runs is what a board would run; the
kernel is real, and so is the power that is cut.
"""

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgewright.base import debs
from edgewright.base.process import check
from edgewright.board.catalogue import load_board
from edgewright.build.pipeline import BuildReport
from edgewright.deploy import install as deploys
from edgewright.deploy.edgectl import Edgectl, RefusedError, StatusAnswer, signed_input
from edgewright.deploy.one_board import smoke_current
from edgewright.deploy.remote import Board, CommandError, Result, connect
from edgewright.export.release import Format
from edgewright.export.updaters import ArtifactKey
from edgewright.lab import machine as lab
from edgewright.lab.machine import Lab
from edgewright.lab.proof.small_releases import small_releases
from edgewright.release import order
from edgewright.release.manifest import Release, load_release
from tests import signing
from tests.boards import rebuilt
from tests.checkout import checkout
from tests.exports import artifact_key, export, oci_bundle, public_half, sign_with_bill

pytestmark = [pytest.mark.docker, pytest.mark.nightly]

if shutil.which(lab.QEMU) is None:
    pytest.skip("needs invoke setup --lab --yes", allow_module_level=True)

ROOT_ON_BOARD = "/opt/edgewright"
PACKAGES = (
    *("dpkg", "libc-bin"),
    *("rauc-service", "dbus-system-bus-common", "e2fsprogs"),
    *("swupdate", "crun", "ostree"),
)
MENDER_SUITE = "bookworm"  # later ones of Debian have no client of Mender
MENDER_FILES = ("usr/bin/mender", "usr/share/mender/modules/v3/script")
INSTALL_SECONDS = 1800  # the demo's self-test: ten images, on a machine that may be busy

# What packages' own scripts do when they are installed, and what a board's maker configures.
CONFIGURE = """\
set -e
echo 'messagebus:x:100:100::/:/usr/sbin/nologin' >> /etc/passwd
echo 'messagebus:x:100:' >> /etc/group
mkdir -p /etc/rauc /etc/mender /var/lib/mender /usr/share/mender/modules/v3
head -c 1048576 /dev/zero > /root/slot
cat > /etc/rauc/system.conf << end
[system]
compatible=$1
bootloader=noop

[keyring]
path=/root/certificate.pem

[slot.rootfs.0]
device=/root/slot
type=raw
bootname=A
end
echo '{"ArtifactVerifyKey": "/root/public.pem"}' > /etc/mender/mender.conf
echo "device_type=$2" > /var/lib/mender/device_type
echo artifact_name=image > /etc/mender/artifact_info
"""
# The service as it is after a boot of the slot $3, by the configuration $2; its log has what the
# bundle's handler says.
RAUC = """\
set -e
if ! pidof dbus-daemon > /dev/null; then
    mkdir -p /run/dbus
    dbus-daemon --system
fi
while killall rauc 2> /dev/null; do sleep 1; done
rauc --conf="${2-/etc/rauc/system.conf}" --override-boot-slot="${3-A}" service \\
    > /run/rauc.log 2>&1 < /dev/null &
timeout 60 sh -c 'until rauc status > /dev/null 2>&1; do sleep 1; done'
code=0
rauc install "$1" || code=$?
cat /run/rauc.log
exit $code
"""
# Not `dpkg`, which is an applet of the shell.
DPKG_REMOVE = f"""\
set -e
/usr/bin/dpkg --remove edgewright-a53-som
[ -f {ROOT_ON_BOARD}/keys.json ]
[ ! -L {ROOT_ON_BOARD}/current ]
/usr/bin/dpkg --purge edgewright-a53-som
[ ! -e {ROOT_ON_BOARD} ]
"""


@dataclass(frozen=True, kw_only=True)
class Updater:
    """How a board is updated; scripts of its shell."""

    owner: str
    install: str  # of the file $1
    give_up: str = f"rm {ROOT_ON_BOARD}/owner"


UPDATERS = {
    Format.DEB: Updater(
        owner="dpkg edgewright-a53-som",
        install='/usr/bin/dpkg --install "$1"',
        give_up=DPKG_REMOVE,
    ),
    Format.RAUC: Updater(owner="rauc", install=RAUC),
    Format.SWU: Updater(
        owner="swupdate", install='swupdate -H a53-som:1.0 -k /root/certificate.pem -i "$1"'
    ),
    Format.MENDER: Updater(owner="mender", install='mender --no-syslog install "$1"'),
}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> ArtifactKey:
    return artifact_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def releases(
    built: BuildReport, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Release, ...]]:
    """The demo, an update of it by another network, and one whose network is none; signed so."""
    folder = tmp_path_factory.mktemp("releases")
    for path in built.folder.parent.glob(f"{built.release}*"):  # which other tests sign meanwhile
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, folder / path.name)
    demo = load_release(folder / built.release)
    (update,) = small_releases(demo, folder / "update", 1, random.Random(1))
    (folder / "broken.ort").write_bytes(b"no network")
    broken = rebuilt(update, folder / "broken", ort_model=folder / "broken.ort")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEWRIGHT_CONFIG", str(folder / "config"))
        order.sign_release(demo, signing.signer())
        yield demo, sign_with_bill(update), sign_with_bill(broken)


@pytest.fixture(scope="module")
def board(key: ArtifactKey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("updaters")
    profile = load_board("a53-som", checkout().boards)
    docker = checkout().resources.docker
    board = Lab(profile=profile, folder=folder, docker=docker, packages=PACKAGES)
    try:
        with connect(lab.up(board).target) as ssh:
            ssh.script(CONFIGURE, profile.compatible, profile.name)
            put_mender(ssh, folder / "mender")
            assert key.certificate
            put(ssh, key.certificate, "/root/certificate.pem")
            put(ssh, public_half(key), "/root/public.pem")
        yield board
    finally:
        lab.down(board)


def put_mender(ssh: Board, folder: Path) -> None:
    """From another suite than the board's: its programs need what the others brought already."""
    debs.unpack("mender-client", "armhf", MENDER_SUITE, folder, folder / "debs.log")
    for file in MENDER_FILES:
        put(ssh, folder / file, f"/{file}")
        ssh.run(["chmod", "0755", f"/{file}"])


def put(ssh: Board, file: Path, path: str) -> None:
    with file.open("rb") as content:
        ssh.put(content, path)


def status(ssh: Board) -> StatusAnswer:
    answer = Edgectl(board=ssh, root=ROOT_ON_BOARD).status(verify=True)
    assert answer.sound
    return answer


def is_well(ssh: Board, release: Release) -> bool:
    """It is current and sound, and passes the smoke test."""
    report = smoke_current(ssh, ROOT_ON_BOARD, deploys.this_user())
    assert report.passed, report.checks
    return status(ssh).current == release.id


@pytest.mark.parametrize("format", UPDATERS)
def test_an_updater_of_the_board_installs_and_updates_and_is_refused_what_fails(
    format: Format,
    board: Lab,
    releases: tuple[Release, ...],
    key: ArtifactKey,
    tmp_path: Path,
) -> None:
    updater, (demo, update, broken) = UPDATERS[format], releases

    def install(ssh: Board, release: Release, *, fails: bool = False) -> str:
        put(ssh, Path(export(release, format, tmp_path, key=key).file), "/root/update")
        argv = ["sh", "-c", updater.install, "_", "/root/update"]
        ended = ssh.run(argv, timeout=INSTALL_SECONDS)
        written = ended.stdout + ended.stderr
        assert (ended.returncode != 0) == fails, written
        return written

    with connect(lab.up(board).target) as ssh:
        ssh.run(["rm", "-rf", ROOT_ON_BOARD])
        install(ssh, demo)
        assert is_well(ssh, demo)
        install(ssh, update)
        assert is_well(ssh, update)

    lab.cut(board)

    with connect(lab.up(board).target) as ssh:
        assert is_well(ssh, update)
        assert f"release {broken.id}: " in install(ssh, broken, fails=True)
        assert "was signed with sequence" in install(ssh, demo, fails=True)
        assert is_well(ssh, update)

        edgectl = Edgectl(board=ssh, root=ROOT_ON_BOARD)
        by_hand = signed_input(signing.sign(demo), demo.manifest.canonical())
        with pytest.raises(RefusedError, match=f"belong to {updater.owner}"):
            edgectl.begin(by_hand, holder="by-hand", reserve_bytes=0, take_over=True)
        with pytest.raises(RefusedError, match=f"belong to {updater.owner}"):
            signing.install(ssh, demo)
        assert status(ssh).current == update.id

        ssh.script(updater.give_up)
        signing.install(ssh, demo)
        assert status(ssh).current == demo.id


# Two groups of slots, A and B; the application's are devices of their own.
SLOTS = """\
set -e
for slot in a b; do head -c 33554432 /dev/zero > /root/app-$slot; done
losetup /dev/loop6 /root/app-a
losetup /dev/loop7 /root/app-b
cat > /root/slots.conf << end
[system]
compatible=$1
bootloader=noop
statusfile=/root/slots.status

[keyring]
path=/root/certificate.pem

[slot.rootfs.0]
device=/root/slot
type=raw
bootname=A

[slot.rootfs.1]
device=/root/other-slot
type=raw
bootname=B

[slot.app.0]
device=/dev/loop6
type=ext4
parent=rootfs.0

[slot.app.1]
device=/dev/loop7
type=ext4
parent=rootfs.1
end
"""


def test_rauc_of_the_board_writes_the_app_slot_that_is_not_booted(
    board: Lab, releases: tuple[Release, ...], key: ArtifactKey, tmp_path: Path
) -> None:
    demo, update, broken = releases

    def install(ssh: Board, release: Release, booted: str, *, fails: bool = False) -> str:
        bundle = export(release, Format.RAUC, tmp_path, key=key, slot="app").file
        put(ssh, Path(bundle), "/root/update")
        argv = ["sh", "-c", RAUC, "_", "/root/update", "/root/slots.conf", booted]
        ended = ssh.run(argv, timeout=INSTALL_SECONDS)
        written = ended.stdout + ended.stderr
        assert (ended.returncode != 0) == fails, written
        return written

    @contextmanager
    def mounted(ssh: Board, device: str) -> Iterator[None]:
        """As the system of that group has it."""
        ssh.script('mkdir -p "$1" && mount "$2" "$1"', ROOT_ON_BOARD, device)
        try:
            yield
        finally:
            ssh.check(["umount", ROOT_ON_BOARD])

    with connect(lab.up(board).target) as ssh:
        ssh.run(["rm", "-rf", ROOT_ON_BOARD])
        ssh.script(SLOTS, board.profile.compatible)
        install(ssh, demo, "A")
        with mounted(ssh, "/dev/loop7"):
            assert is_well(ssh, demo)
        install(ssh, update, "B")
        assert f"release {broken.id}: self-test of " in install(ssh, broken, "A", fails=True)
        with mounted(ssh, "/dev/loop6"):
            assert is_well(ssh, update)
            with pytest.raises(RefusedError, match="belong to rauc"):
                signing.install(ssh, demo)


def test_crun_of_the_board_runs_the_image_and_its_update(
    board: Lab, releases: tuple[Release, ...], tmp_path: Path
) -> None:
    demo, update, broken = releases

    def run(ssh: Board, release: Release) -> Result:
        folder = tmp_path / release.id
        folder.mkdir()
        bundle = oci_bundle(release, folder)
        archive = tmp_path / f"{release.id}.tar"
        check(["tar", "-cf", str(archive), "-C", str(bundle), "config.json", "rootfs"])
        put(ssh, archive, "/root/bundle.tar")
        ssh.check(["rm", "-rf", "/root/bundle"])
        ssh.check(["mkdir", "/root/bundle"])
        ssh.check(["tar", "-xf", "/root/bundle.tar", "-C", "/root/bundle"])
        argv = ["crun", "run", "--bundle=/root/bundle", "release"]
        return ssh.run(argv, timeout=INSTALL_SECONDS)

    with connect(lab.up(board).target) as ssh:
        for release in (demo, update):
            ended = run(ssh, release)
            assert json.loads(ended.stdout)["passed"] is True
        assert run(ssh, broken).returncode != 0
        assert ssh.check(["crun", "list", "--quiet"]).stdout == ""


# Beside the system's own: a repository and a checkout, as of a folder that it mounts.
OSTREE_TAKE = """\
set -e
cd /root
rm -rf incoming tree
mkdir incoming
tar -xf update -C incoming
[ -d repo ] || ostree init --repo=repo --mode=bare
ostree pull-local --repo=repo incoming edgewright/a53-som
ostree checkout --repo=repo edgewright/a53-som tree
cd tree/usr/lib/edgewright/current/
bin/edge-infer selftest --release=.
"""
OSTREE_REMOVE = """\
set -e
cd /root
ostree refs --repo=repo --delete edgewright
ostree prune --repo=repo --refs-only
[ -z "$(find repo/objects -type f)" ]
"""


def test_ostree_of_the_board_takes_the_commit_and_its_update_and_removes_both(
    board: Lab, releases: tuple[Release, ...], tmp_path: Path
) -> None:
    demo, update, broken = releases
    with connect(lab.up(board).target) as ssh:
        for release in (demo, update):
            put(ssh, Path(export(release, Format.OSTREE, tmp_path).file), "/root/update")
            tested = ssh.script(OSTREE_TAKE, timeout=INSTALL_SECONDS)
            assert json.loads(tested.stdout.splitlines()[-1])["passed"] is True
        put(ssh, Path(export(broken, Format.OSTREE, tmp_path).file), "/root/update")
        with pytest.raises(CommandError):
            ssh.script(OSTREE_TAKE)
        ssh.script(OSTREE_REMOVE)
