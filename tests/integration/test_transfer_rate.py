"""A deploy's rate beside `ssh host 'cat > file'`, to a board whose processor is not emulated.

The board is this machine in a network namespace, behind a line of 100 Mbit/s: Debian's dropbear
with its window of 24 KiB, and edgectl. The files below /opt and /root are its own.
"""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.base.process import check
from edgewright.deploy import install as deploy
from edgewright.deploy.remote import connect
from edgewright.deploy.target import Target
from edgewright.lab import board_keys, debs
from edgewright.observe import transfer_rate as transfer_bench
from tests import signing
from tests.boards import make_release

RATE = "100mbit"
ADDRESS = "198.51.100.2"  # of a range that is kept for documentation
SUITE = "bookworm"  # its programs run with the C library of any host of ours
PACKAGES = ("dropbear-bin", "libtomcrypt1", "libtommath1")

pytestmark = pytest.mark.nightly

if os.getuid() != 0 or any(shutil.which(tool) is None for tool in ("ip", "tc", "unshare", "ssh")):
    pytest.skip("needs root, iproute2 and an SSH client", allow_module_level=True)


@pytest.fixture(scope="module")
def line() -> Iterator[str]:
    """The name of a network namespace at the other end of a line."""
    name, here, there = (f"ew{part}{secrets.token_hex(4)}" for part in ("ns", "a", "b"))
    shape = f"root tbf rate {RATE} burst 16kb latency 100ms"
    inside = f"ip netns exec {name}"
    try:
        for command in (
            f"ip netns add {name}",
            f"ip link add {here} type veth peer name {there} netns {name}",
            f"ip addr add 198.51.100.1/30 dev {here}",
            f"ip link set {here} up",
            f"tc qdisc add dev {here} {shape}",
            f"{inside} ip addr add {ADDRESS}/30 dev {there}",
            f"{inside} ip link set {there} up",
            f"{inside} tc qdisc add dev {there} {shape}",
        ):
            check(command.split())
        yield name
    finally:
        subprocess.run(["ip", "link", "delete", here], check=False)
        subprocess.run(["ip", "netns", "delete", name], check=False)


BOARD = """
set -e
mount --make-rprivate /
mount --bind "$1/root" /root
mount --bind "$1/opt" /opt
export LD_LIBRARY_PATH=$(echo "$1"/usr/lib/*-linux-gnu)
exec "$1/usr/sbin/dropbear" -F -E -r "$1/host_key" -p 22
"""


@pytest.fixture(scope="module")
def native_board(line: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("native")
    arch = check(["dpkg", "--print-architecture"]).stdout.strip()
    for package in PACKAGES:
        debs.unpack(package, arch, SUITE, folder, folder / "debs.log")
    (folder / "opt").mkdir()
    (folder / "root" / ".ssh").mkdir(parents=True, mode=0o700)
    (folder / "root").chmod(0o700)
    (folder / "root" / ".ssh" / "authorized_keys").write_bytes(board_keys.authorized_keys(folder))
    key = board_keys.key(folder / board_keys.HOST)
    (folder / "host_key").write_bytes(board_keys.dropbear_key(key))
    known = folder / "known_hosts"
    known.write_text(f"{ADDRESS} {board_keys.public(key)}\n")
    argv = ["ip", "netns", "exec", line, "unshare", "-m", "sh", "-c", BOARD, "_", str(folder)]
    server = subprocess.Popen(argv)
    try:
        deadline = time.monotonic() + 30
        while not board_keys.banner(ADDRESS, 22) and time.monotonic() < deadline:
            time.sleep(0.1)
        identity = folder / board_keys.USER
        yield Target(address=ADDRESS, user="root", identity=identity, known_hosts=known)
    finally:
        server.kill()
        server.wait()


def test_a_deploy_sends_nine_tenths_as_fast_as_plain_ssh(
    native_board: Target, host_edgectl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(deploy, "judge_target", lambda facts, target: [])
    built = make_release(tmp_path / "built", root=transfer_bench.ROOT, edgectl=host_edgectl)
    with connect(native_board) as board:
        report = transfer_bench.run(board, built, signing.signer(), megabytes=32, rounds=5)
    print(report.model_dump_json(indent=2))
    assert report.rate_ratio >= 0.9
