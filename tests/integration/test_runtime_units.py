"""The C++ unit tests, built and run where the builder image has their libraries."""

from pathlib import Path

import pytest

from edgewright.build.container import DockerBuilder

pytestmark = pytest.mark.docker


def test_edge_unit_tests_pass(builder: DockerBuilder, host_build: Path) -> None:
    log = host_build / "ctest.log"

    builder.run(["ctest", "--test-dir", str(builder.path(host_build)), "--output-on-failure"], log)

    assert "100% tests passed" in log.read_text()
