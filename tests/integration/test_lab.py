"""The full-system board. Its kernel is downloaded and booted once: see `invoke setup --lab`."""

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.base import debs
from edgewright.base.progress import Progress
from edgewright.board.catalogue import load_board
from edgewright.board.profile import BoardProfile, Manager
from edgewright.deploy import service
from edgewright.deploy.remote import connect
from edgewright.lab import board_image
from edgewright.lab import machine as lab
from edgewright.lab import machine_image as lab_image
from edgewright.lab.machine import Lab, Power
from edgewright.lab.proof import small_releases as lab_release
from edgewright.observe.bench.conditions import Gauge
from edgewright.observe.doctor import facts
from edgewright.observe.doctor.judge import judge
from edgewright.release import latest
from edgewright.release.manifest import Release
from tests import signing
from tests.checkout import ROOT, checkout

pytestmark = pytest.mark.nightly

if shutil.which(lab.QEMU) is None:
    pytest.skip("needs invoke setup --lab --yes", allow_module_level=True)

DOCKER = checkout().resources.docker


@pytest.fixture(scope="module")
def som(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    profile = load_board("a53-som", checkout().boards)
    board = Lab(profile=profile, folder=tmp_path_factory.mktemp("lab"), docker=DOCKER)
    yield board
    lab.down(board)


def output_of(board: Lab, script: str) -> str:
    with connect(lab.up(board).target) as ssh:
        return ssh.run(["sh", "-c", script]).stdout.strip()


def test_it_is_the_profile_s_machine(som: Lab) -> None:
    assert output_of(som, "grep -c 'CPU part.*0xd03' /proc/cpuinfo") == "4"
    assert 1900 < int(output_of(som, "grep MemTotal /proc/meminfo | tr -dc 0-9")) // 1024 < 2048
    assert output_of(som, "head -c 5 /bin/sh | tail -c 1 | tr '\\001' 1") == "1"
    assert "ext4" in output_of(som, "grep ' / ' /proc/mounts")


def test_a_power_cut_loses_the_page_cache_and_keeps_the_disk(som: Lab) -> None:
    before = output_of(som, "echo kept > /opt/kept; sync; echo lost > /opt/lost; cat /opt/lost")
    first = output_of(som, "cat /proc/sys/kernel/random/boot_id")
    assert before == "lost"

    lab.cut(som)

    assert lab.power(som) is Power.OFF
    assert output_of(som, "cat /opt/kept") == "kept"
    assert output_of(som, "cat /opt/lost") == ""
    assert output_of(som, "cat /proc/sys/kernel/random/boot_id") != first


def test_a_sensor_of_the_kernel_s_tells_its_temperature(tmp_path: Path) -> None:
    """QEMU's NVMe device says 50 °C, as far as Debian's kernel knows from a real one."""
    profile = load_board("a53-som", checkout().boards)
    board = Lab(profile=profile, folder=tmp_path, docker=DOCKER, has_nvme=True)
    try:
        with connect(lab.up(board).target) as ssh:
            reading = Gauge(board=ssh).read()
            checks = judge(facts.ask(ssh, profile.deploy.root), profile)
    finally:
        lab.down(board)

    assert reading.temperature_c is not None
    assert 40 < reading.temperature_c < 60
    assert reading.power == ()  # not measured, and never zero
    (heat,) = [check for check in checks if check.name.startswith("heat ")]
    assert heat.name == "heat nvme Composite"
    assert heat.found == f"{reading.temperature_c:.1f} °C"


# The service

PROCESS = "ps -o pid,args | sed -n 's/^ *\\([0-9]*\\) bin\\/edge-infer watch .*/\\1/p'"
RUNIT = ("runsvdir", "runsv", "sv")


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> list[Release]:
    if not checkout().build("a53-som").latest.is_file():
        pytest.skip("needs invoke build --board=a53-som")
    built = latest.release_of(checkout().build("a53-som"))
    return lab_release.small_releases(
        built, tmp_path_factory.mktemp("releases"), 2, random.Random(1)
    )


def managed(som: Lab, manager: Manager) -> BoardProfile:
    """The board, with a watchdog that bites early."""
    settings = {"manager": manager, "restart_s": 1, "watchdog_s": 15}
    changed = som.profile.service.model_copy(update=settings)
    return som.profile.model_copy(update={"service": changed})


def install_runit(board: Lab, folder: Path) -> None:
    """Debian's own, kept running by init."""
    debs.unpack("runit", "armhf", "trixie", folder, folder / "debs.log")
    with connect(lab.up(board).target) as ssh:
        for name in RUNIT:
            with (folder / "usr" / "bin" / name).open("rb") as program:
                ssh.put(program, f"/usr/bin/{name}")
        ssh.script("cd /usr/bin; chmod 0755 runsvdir runsv sv; mkdir -p /etc/service")
        ssh.script("echo '::respawn:runsvdir /etc/service' >> /etc/inittab; sync; kill -HUP 1")


DROPBEAR = "[Service]\nExecStart=/usr/sbin/dropbear -F -E -p 22 -r /etc/dropbear/host_key\n"


def systemd_files(files: Mapping[str, tuple[bytes, int]]) -> dict[str, tuple[bytes, int]]:
    """The board's own files, with systemd as its first process, which starts dropbear."""
    init, mode = files["usr/sbin/board-init"]
    units = "etc/systemd/system"
    return {
        **files,
        "usr/sbin/board-init": (init.replace(b"exec init", b"exec /usr/lib/systemd/systemd"), mode),
        "etc/machine-id": (b"", 0o644),
        f"{units}/dropbear.service": (DROPBEAR.encode(), 0o644),
        f"{units}/multi-user.target.d/ssh.conf": (b"[Unit]\nWants=dropbear.service\n", 0o644),
    }


@pytest.fixture(scope="module")
def systemd_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The same machine with Debian's systemd on its disk."""
    profile = load_board("a53-som", checkout().boards)
    folder = tmp_path_factory.mktemp("systemd")
    board = Lab(profile=profile, folder=folder, docker=DOCKER, disk_mb=384)
    plain = board_image.read_spec(profile.abi.arch, DOCKER)
    files = systemd_files({path: (data, mode) for path, data, mode in plain.files})
    spec = replace(
        plain,
        packages=(*plain.packages, "systemd"),
        files=tuple((path, data, mode) for path, (data, mode) in files.items()),
    )
    rootfs = board_image.rootfs(spec, board.log, Progress())
    lab_image.make_disk(board.disk, rootfs, board.folder, board.disk_mb, board.log)
    yield board
    lab.down(board)


def wait_until(board: Lab, profile: BoardProfile, images: int = 0, restarts: int = 0) -> None:
    """The service is well, and has done as much as that."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        with connect(lab.up(board).target) as ssh:
            state = service.status(ssh, profile)
        if state.healthy and state.images >= images and state.restarts >= restarts:
            return
        time.sleep(1)
    raise AssertionError(state)


def give_image(board: Lab, name: str) -> None:
    image = "/opt/edgewright/current/model/golden/lower.png"
    inbox = "/var/spool/edgewright/in"
    output_of(board, f"cp {image} {inbox}/.{name}; mv {inbox}/.{name} {inbox}/{name}.png")


@pytest.mark.usefixtures("own_keys")
@pytest.mark.parametrize("manager", [Manager.INITTAB, Manager.RUNIT, Manager.SYSTEMD])
def test_the_service_comes_back_whatever_happens(
    releases: list[Release], manager: Manager, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    som = request.getfixturevalue("systemd_board" if manager is Manager.SYSTEMD else "som")
    profile = managed(som, manager)
    if manager is Manager.RUNIT:
        install_runit(som, tmp_path)
    with connect(lab.up(som).target) as ssh:
        ssh.run(["rm", "-rf", "/opt/edgewright"])  # its keys are another test's
        signing.install(ssh, releases[0])
        service.install(ssh, profile)
    wait_until(som, profile)
    give_image(som, manager)  # a name of its own: a result that lies there would keep it waiting
    wait_until(som, profile, images=1)
    assert '"class":"lower"' in output_of(som, f"cat /var/spool/edgewright/out/{manager}.png.json")

    output_of(som, f"kill -KILL $({PROCESS})")
    wait_until(som, profile, restarts=1)
    output_of(som, f"kill -STOP $({PROCESS})")
    wait_until(som, profile, restarts=2)
    if manager is not Manager.SYSTEMD:
        assert "no heartbeat for" in output_of(som, "cat /run/edgewright/log")

    output_of(som, "sync")
    lab.cut(som)
    wait_until(som, profile)
    with connect(lab.up(som).target) as ssh:
        signing.install(ssh, releases[1])
    wait_until(som, profile)
    assert output_of(som, f"readlink /proc/$({PROCESS})/cwd").endswith(releases[1].id)

    with connect(lab.up(som).target) as ssh:
        service.remove(ssh, profile)
    time.sleep(3)
    assert output_of(som, PROCESS) == ""


def test_deploys_survive_power_cuts() -> None:
    """The task as a user runs it, on the last build."""
    if not (checkout().build("a53-som").latest).is_file():
        pytest.skip("needs invoke build --board=a53-som")
    argv = [sys.executable, "-m", "invoke", "lab.powercut", "--board=a53-som", "--cuts=5"]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    assert "5 power cuts in" in ended.stderr


def test_down_leaves_nothing_but_keys(tmp_path: Path) -> None:
    profile = load_board("a53-som", checkout().boards)
    board = Lab(profile=profile, folder=tmp_path, docker=DOCKER)
    lab.insert_disk(board, Progress())
    assert lab.down(board)
    assert {path.name for path in tmp_path.iterdir()} <= {
        "id_ed25519",
        "host_ed25519",
        "lock",
        "lab.log",
    }
    assert lab.power(board) is Power.ABSENT
