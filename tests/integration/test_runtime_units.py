"""The C++ unit tests, built and run where the builder image has what they need."""

from pathlib import Path

import pytest

from edgewright.build import packages
from edgewright.build.container import DockerBuilder
from edgewright.build.packages import Package
from tests.checkout import checkout

pytestmark = pytest.mark.docker
CHECKOUT = checkout()


def run_ctest(builder: DockerBuilder, folder: Path) -> str:
    """Run the tests of a CMake build; what ctest prints."""
    log = folder / "ctest.log"
    builder.run(["ctest", "--test-dir", str(builder.path(folder)), "--output-on-failure"], log)
    return log.read_text()


def test_edge_unit_tests_pass(builder: DockerBuilder, host_build: Path) -> None:
    assert "100% tests passed" in run_ctest(builder, host_build)


def test_libedge_unit_tests_pass_under_sanitizers(builder: DockerBuilder) -> None:
    """Its core is compiled with exceptions, as nowhere else."""
    out = CHECKOUT.root / "build" / "host-libedge"
    source, build = builder.path(CHECKOUT.resources.runtime_cpp), builder.path(out)
    options = [
        "-DEDGE_LIBRARY=ON",
        "-DCMAKE_BUILD_TYPE=Debug",
        "-DCMAKE_CXX_FLAGS=-fsanitize=address,undefined -fno-sanitize-recover=all",
    ]
    configure = ["cmake", "-G", "Ninja", "-S", str(source), "-B", str(build), *options]
    builder.run(configure, out / "build.log")
    builder.run(["cmake", "--build", str(build)], out / "build.log")

    assert "100% tests passed" in run_ctest(builder, out)


def test_edgectl_unit_tests_pass(builder: DockerBuilder, native: dict[str, Package]) -> None:
    out = CHECKOUT.root / "build" / "host-edgectl"
    packages.write_pkg_config(out, native, builder.path)
    source, build = (
        builder.path(CHECKOUT.resources.runtime_cpp / packages.EDGECTL),
        builder.path(out),
    )
    configure = ["cmake", "-G", "Ninja", "-S", str(source), "-B", str(build)]
    env = {"PKG_CONFIG_PATH": str(build)}
    builder.run([*configure, "-DEDGECTL_BUILD_TESTS=ON"], out / "build.log", env=env)
    builder.run(["cmake", "--build", str(build)], out / "build.log", env=env)

    assert "100% tests passed" in run_ctest(builder, out)
