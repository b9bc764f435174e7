"""What Meson is told of a board, and where it comes from."""

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from edgewright.board.catalogue import load_board
from edgewright.build import container, meson
from edgewright.build.supply import Network, Pins
from tests.checkout import checkout
from tests.unit.build.local_host import Host

CHECKOUT = checkout()
DEB = "meson_1.7.0-1_all.deb"


class ByHand(Network):
    """A mirror, say: hands out one file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.asked = 0

    def sources(self, pins: Pins, into: Path, log: Path) -> None:
        self.asked += 1
        (into / DEB).write_bytes(self.file.read_bytes())


def test_meson_comes_by_its_hash_from_the_supply_of_the_build_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "missing_tools", list)
    tree, deb, recipe = tmp_path / "tree", tmp_path / DEB, tmp_path / "recipes" / "meson"
    for folder in (tree / "DEBIAN", tree / "usr" / "bin", recipe):
        folder.mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: meson\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: a\n"
    )
    (tree / "usr" / "bin" / "meson").write_text("a program")
    subprocess.run(["dpkg-deb", "--build", tree, deb], check=True, stdout=subprocess.DEVNULL)
    sha256 = hashlib.sha256(deb.read_bytes()).hexdigest()
    (recipe / "conandata.yml").write_text(
        f"sources: [{{package: meson, file: {DEB}, sha256: {sha256}}}]\n"
    )
    builder = Host(workspace=tmp_path, cache=tmp_path / "cache")
    resources, supply = replace(CHECKOUT.resources, root=tmp_path), ByHand(deb)

    for _ in range(2):
        folder = meson.unpacked(builder, resources, supply, tmp_path / "log")
        assert (folder / "usr" / "bin" / "meson").read_text() == "a program"

    assert supply.asked == 1


@pytest.mark.parametrize(
    ("name", "machine", "flag"),
    [
        ("a53-som", ("arm-linux-gnueabihf", "arm"), "-mcpu=cortex-a53"),
        ("a53-som-arm64", ("aarch64-linux-gnu", "aarch64"), "-march=armv8-a"),
    ],
)
def test_a_cross_file_describes_the_board(name: str, machine: tuple[str, str], flag: str) -> None:
    triplet, family = machine
    text = meson.cross_file(
        load_board(name, CHECKOUT.boards),
        toolchain=PurePosixPath("/edgewright/toolchain.cmake"),
        compile_flags=[flag, "-DNAME='it''s'"],
        link_flags=["-static"],
        packages=[PurePosixPath("/cache/sdk"), PurePosixPath("/cache/edge")],
    )
    lines = text.splitlines()
    assert f"c = '{triplet}-gcc'" in lines
    assert f"cpu_family = '{family}'" in lines
    assert rf"cpp_args = ['{flag}', '-DNAME=\'it\'\'s\'']" in lines
    assert "c_link_args = ['-static']" in lines
    assert "pkg_config_libdir = ['/cache/sdk/lib/pkgconfig', '/cache/edge/lib/pkgconfig']" in lines
    assert "cmake_prefix_path = ['/cache/sdk', '/cache/edge']" in lines
