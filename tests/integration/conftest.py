"""Real parts for the integration tests: the builder image and the host build of edge-infer."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewright import container, process
from edgewright.container import DockerBuilder
from edgewright.layout import RepoLayout

REPO = RepoLayout()
HOST_BUILD = REPO.root / "build" / "host"


@pytest.fixture(scope="session")
def builder() -> DockerBuilder:
    """The builder image, built where it is missing."""
    return container.docker_builder(REPO, REPO.root / "build" / "builder.log")


@pytest.fixture(scope="session")
def host_build(builder: DockerBuilder) -> Path:
    """edge-infer and its unit tests for this machine, against Debian's full runtime."""
    source, out = builder.path(REPO.runtime_cpp), builder.path(HOST_BUILD)
    log = HOST_BUILD / "build.log"
    builder.run(["cmake", "-G", "Ninja", "-S", str(source), "-B", str(out)], log)
    builder.run(["cmake", "--build", str(out)], log)
    return HOST_BUILD


@pytest.fixture(scope="session")
def host_edge_infer(
    builder: DockerBuilder, host_build: Path
) -> Iterator[Callable[[list[str]], subprocess.CompletedProcess[bytes]]]:
    """Runs the host build of edge-infer; the checkout has the same path inside."""
    name = f"edgewright-host-{os.getpid()}"
    mount = f"{REPO.root}:{REPO.root}"
    process.check(
        ["docker", "run", "--detach", "--rm", "--init", "--name", name, "--volume", mount]
        + ["--workdir", str(REPO.root), builder.image, "sleep", "infinity"]
    )

    def run(args: list[str]) -> subprocess.CompletedProcess[bytes]:
        command = ["docker", "exec", name, str(host_build / "edge-infer"), *args]
        return subprocess.run(command, capture_output=True, check=False)

    yield run
    process.check(["docker", "kill", name])
