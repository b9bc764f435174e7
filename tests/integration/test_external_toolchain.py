"""A release built by a GCC that is not the builder's own.

Debian's other GCC versions lie in a folder of their own here, as a vendor's would. A build takes
minutes each: these are tests of the night.
"""

from pathlib import Path

import pytest

from edgewright.base import debs
from edgewright.base.errors import UserError
from edgewright.board.elf import read_elf
from edgewright.board.profile import Kernels, Toolchain
from edgewright.build import pipeline
from edgewright.build.supply import SUITE
from edgewright.release import evidence, latest
from tests.checkout import checkout
from tests.integration.conftest import Silent, request, runs_on_its_core

pytestmark = [pytest.mark.docker, pytest.mark.nightly]


def unpacked(version: str, triplet: str, arch: str, into: Path) -> Path:
    """One of Debian's cross compilers with its libraries; `usr` is what it calls its prefix."""
    names = (
        *(f"{part}-{version}-{triplet}" for part in ("gcc", "g++", "cpp")),
        *(f"{part}-{version}-dev-{arch}-cross" for part in ("libgcc", "libstdc++")),
        *(f"{part}-{arch}-cross" for part in ("libc6-dev", "libc6", "linux-libc-dev")),
        *(f"{part}-{arch}-cross" for part in ("libgcc-s1", "libstdc++6")),
        f"binutils-{triplet}",
    )
    debs.unpack_all(names, "amd64", SUITE, into, into.with_suffix(".log"))
    return into / "usr"


def with_toolchain(external: Path) -> pipeline.BuildRequest:
    build_request = request(checkout(), board="a53-som")
    profile = build_request.profile.model_copy(
        update={
            "name": "vendors-gcc",
            "toolchain": Toolchain(external=str(external)),
            "runtime": build_request.profile.runtime.model_copy(update={"kernels": Kernels.STOCK}),
        }
    )
    return pipeline.BuildRequest(
        profile=profile,
        model=build_request.model,
        workspace=build_request.workspace,
        builder="docker",
        jobs=build_request.jobs,
    )


@pytest.mark.parametrize("version", ["12", "13"])
def test_a_release_by_another_gcc_passes_its_self_test_and_names_it(
    version: str, tmp_path: Path
) -> None:
    build_request = with_toolchain(
        unpacked(version, "arm-linux-gnueabihf", "armhf", tmp_path / "gcc")
    )

    built = pipeline.build(build_request, Silent())

    runs_on_its_core(built.folder, build_request.profile)
    assert not read_elf(built.folder / "bin" / "edge-infer").needed
    bill = evidence.beside(latest.release_of(build_request.out)).sbom.read_text()
    assert '"arm-linux-gnueabihf-gcc"' in bill
    assert f'"{version}.' in bill


def test_a_compiler_for_soft_floats_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    build_request = with_toolchain(unpacked("14", "arm-linux-gnueabi", "armel", tmp_path / "gcc"))

    with pytest.raises(UserError, match="default float ABI: soft; the board needs hard"):
        pipeline.build(build_request, Silent())
