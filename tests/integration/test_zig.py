"""zig in place of the builder's GCC: libraries for a board with musl, which Debian's musl loads.

ONNX Runtime is compiled anew for it, which takes minutes: these are tests of the night.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.base import debs
from edgewright.base.errors import UserError
from edgewright.base.layout import user_cache
from edgewright.board.elf import read_elf
from edgewright.board.profile import BoardProfile, Libc, LibcFamily, Toolchain
from edgewright.build import container
from edgewright.build.external_toolchain import with_external_toolchain
from edgewright.build.pipeline import BuildReport
from edgewright.build.sdk import SdkReport
from edgewright.build.supply import SUITE
from edgewright.build.wheel import build_wheel
from edgewright.build.zig import STANDARD_LIBRARY
from edgewright.release.sdk import load_sdk
from tests.conftest import CheckGolden
from tests.integration import test_sdk
from tests.integration.test_sdk import (
    LIBRARIES,
    PROFILE,
    REPO,
    Case,
    answers_as_edge_infer,
    answers_of_edge_infer,
    each_library,
)

pytestmark = [pytest.mark.docker, pytest.mark.nightly]
case = test_sdk.case
MUSL = Libc(family=LibcFamily.MUSL, floor="1.2")
ZIG = "0.17.1"
TARGET = ["-target", "arm-linux-musleabihf", "-mcpu=cortex_a53", "-O2"]


@pytest.fixture(scope="module")
def zig() -> Path:
    """The folder of zig, kept for the next night."""
    folder = user_cache() / f"zig-{ZIG}"
    if not (folder / "ziglang" / "zig").is_file():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
        subprocess.run([*pip, f"ziglang=={ZIG}"], check=True)
    return folder / "ziglang"


def board(zig: Path, libc: Libc) -> BoardProfile:
    return PROFILE.model_copy(
        update={
            "name": f"zig-{libc.family}-{libc.floor}".replace(".", "-"),
            "toolchain": Toolchain(external=str(zig)),
            "libc": libc,
        }
    )


@pytest.fixture(scope="module")
def sdk(zig: Path) -> SdkReport:
    return test_sdk.build(profile=board(zig, MUSL))


@pytest.fixture(scope="module")
def musl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a board with Debian's musl."""
    root = tmp_path_factory.mktemp("musl")
    debs.unpack("musl", "armhf", SUITE, root, root / "debs.log")
    if not (root / "lib").exists():
        shutil.copytree(root / "usr" / "lib", root / "lib", symlinks=True)
    return root


@each_library
def test_a_library_needs_musl_alone_and_shows_what_it_does_for_glibc(
    sdk: SdkReport, check_golden: CheckGolden, library: str
) -> None:
    path = sdk.folder / LIBRARIES[library][0]
    shown, _ = test_sdk.symbols_of(path, ".dynsym")

    assert read_elf(path).needed == ("libc.so",)
    assert not read_elf(path).versions
    check_golden(test_sdk.exports(library), "".join(f"{name}\n" for name in sorted(shown)))


def test_programs_answer_on_musl_as_the_host_does(
    built: BuildReport, sdk: SdkReport, zig: Path, musl: Path, case: Case, tmp_path: Path
) -> None:
    """By the shared libraries, which the board's loader loads; and by the archives, without it."""
    pictures = answers_of_edge_infer(built)
    lib = sdk.folder / "lib"
    flags = [*TARGET, f"-I{sdk.folder / 'include'}", f"-I{sdk.folder / 'include' / 'onnxruntime'}"]
    shared = ["-dynamic", f"-L{lib}", "-ledge", "-lonnxruntime"]
    static = ["-static", "-std=c++17", *(str(lib / f"lib{name}.a") for name in LIBRARIES)]
    for command, source, linked in test_sdk.examples(shared, static):
        program = tmp_path / source / Path(source).stem
        program.parent.mkdir()
        examples = sdk.folder / "examples"
        argv = [str(zig / "zig"), command, *flags, str(examples / source), *linked]
        subprocess.run([*argv, "-o", str(program)], check=True)
        assert read_elf(program).interpreter == (
            "/lib/ld-musl-armhf.so.1" if linked is shared else None
        )
        if source.startswith("run"):
            case.is_answered_by(program, musl, sdk)
        else:
            answers_as_edge_infer(program, musl, case.model, sdk, pictures)


def test_pip_takes_the_wheel_for_a_board_with_musl(
    sdk: SdkReport, zig: Path, tmp_path: Path
) -> None:
    code = REPO.resources.runtime_py

    wheel = build_wheel(load_sdk(sdk.folder), board(zig, MUSL), code, tmp_path)

    assert wheel.platform == "musllinux_1_2_armv7l"
    site = tmp_path / "site"
    test_sdk.pip_install(site, "--no-index", f"--platform={wheel.platform}", str(wheel.wheel))
    assert (site / "edgewright_runtime" / "libonnxruntime.so.1").is_file()


def test_half_a_zig_is_refused_before_anything_is_built(zig: Path, tmp_path: Path) -> None:
    half = tmp_path / "zig"
    (half / STANDARD_LIBRARY).mkdir(parents=True)
    shutil.copy2(zig / "zig", half / "zig")
    builder = container.choose("docker", REPO, tmp_path / "log")

    with pytest.raises(UserError, match="cannot link a program for this board") as refused:
        with_external_toolchain(builder, board(half, MUSL), tmp_path / "log")

    assert "unable to find zig installation directory" in str(refused.value)
