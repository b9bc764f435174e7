"""A second, empty worker takes what the first one built: real servers, small libraries."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.base.files import wait_for
from edgewright.base.ports import reserved_port
from edgewright.base.progress import Stages
from edgewright.base.workspace import SharedStores
from edgewright.build import container, packages, pipeline
from edgewright.build.container import DockerBuilder
from edgewright.build.packages import PackageInputs
from edgewright.build.supply import image_exists
from tests.checkout import checkout
from tests.integration.conftest import Silent
from tests.registry import running_registry

pytestmark = [pytest.mark.docker, pytest.mark.nightly]

USER = "worker"
LIBRARIES = ("zlib", "libspng", "yyjson")
CONAN_SERVER = "conan_server==2.33.0"
CONFIG = """\
[server]
jwt_secret: of this test
jwt_expire_minutes: 120
ssl_enabled: False
port: {port}
public_port:
host_name: 127.0.0.1
authorize_timeout: 1800
disk_storage_path: {folder}/data
disk_authorize_timeout: 1800
updown_secret: of this test
[write_permissions]
*/*@*/*: {user}
[read_permissions]
*/*@*/*: *
[users]
{user}: a password
"""


@contextmanager
def running(argv: list[str], port: int, log: Path, env: dict[str, str]) -> Iterator[None]:
    """A server, once it takes connections."""

    def listens() -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return True
        return False

    with log.open("wb") as output:
        server = subprocess.Popen(argv, stdout=output, stderr=output, env={**os.environ, **env})
    try:
        assert wait_for(listens, seconds=60), log.read_text()
        yield
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def conan_remote(tmp_path: Path) -> Iterator[str]:
    """Conan's own server; it brings a Conan of its own, so it has a folder of its own."""
    folder = tmp_path / "conan-server"
    folder.mkdir()
    target = ["--quiet", f"--target={folder / 'python'}"]
    subprocess.run([sys.executable, "-m", "pip", "install", *target, CONAN_SERVER], check=True)
    env = {"PYTHONPATH": str(folder / "python"), "CONAN_SERVER_HOME": str(folder)}
    argv = [sys.executable, str(folder / "python/bin/conan_server")]
    with reserved_port() as port:
        (folder / "server.conf").write_text(CONFIG.format(port=port, folder=folder, user=USER))
        with running(argv, port, folder / "log", env):
            yield f"http://127.0.0.1:{port}"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    with reserved_port() as port:
        argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        with running([*argv, "--dir", str(tmp_path)], port, tmp_path / "redis.log", {}):
            yield f"redis://127.0.0.1:{port}"


def worker(builder: DockerBuilder, cache: Path, shared: SharedStores) -> PackageInputs:
    """A machine with an empty cache, which builds for itself."""
    for folder in ("ccache", "sources"):
        (cache / folder).mkdir(parents=True)
    resources = checkout().resources
    return PackageInputs(
        resources=resources,
        builder=replace(builder, cache=cache, shared=shared),
        conan_profile=resources.toolchains / "build.profile",
        jobs=os.cpu_count() or 1,
        logs=checkout().root / "build" / "tests" / cache.name,
    )


def build_libraries(inputs: PackageInputs) -> dict[str, str]:
    """Where each package came from; libspng is linked with zlib."""
    stages = Stages(Silent())
    steps = [packages.library(name, inputs.resources.recipes) for name in LIBRARIES]
    pipeline.build_packages(inputs, steps, stages)
    return {report.name: report.origin for report in stages.reports}


def objects(inputs: PackageInputs, log: Path) -> tuple[int, int]:
    """How many objects were compiled there, and how many taken from the shared storage."""
    log.unlink(missing_ok=True)
    inputs.builder.run(["ccache", "--print-stats"], log)
    lines = [line.split("\t") for line in log.read_text().splitlines() if "\t" in line]
    counts = {name: int(number) for name, number in lines}
    return counts["cache_miss"], counts["remote_storage_hit"]


def test_a_second_worker_compiles_nothing(
    builder: DockerBuilder,
    conan_remote: str,
    redis: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONAN_LOGIN_USERNAME", USER)
    monkeypatch.setenv("CONAN_PASSWORD", "a password")
    both = SharedStores(conan=conan_remote, ccache=redis)
    first = worker(builder, tmp_path / "first", both)
    second = worker(builder, tmp_path / "second", SharedStores(conan=conan_remote))

    origins = [build_libraries(inputs) for inputs in (first, second)]

    assert [{*origin.values()} for origin in origins] == [{"built"}, {"cache"}]
    compiled, _ = objects(first, tmp_path / "log")
    assert compiled > 10
    assert objects(second, tmp_path / "log") == (0, 0)


def test_a_store_that_does_not_answer_ends_no_build(
    builder: DockerBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONAN_LOGIN_USERNAME", USER)
    monkeypatch.setenv("CONAN_PASSWORD", "a password")
    with reserved_port() as port:
        nobody = f"127.0.0.1:{port}"
        shared = SharedStores(conan=f"http://{nobody}", ccache=f"redis://{nobody}")
        inputs = worker(builder, tmp_path / "cache", shared)
        step = packages.library("yyjson", inputs.resources.recipes)
        stages = Stages(Silent())

        pipeline.build_packages(inputs, [step], stages)

    assert [report.origin for report in stages.reports] == ["built"]
    log = (inputs.logs / "yyjson.log").read_text()
    assert "the shared remote does not have it" in log
    assert "it is not left in the shared remote" in log


def test_a_builder_image_is_pulled_in_place_of_built(tmp_path: Path) -> None:
    """The first worker pushes what it has; the second one builds nothing."""
    workspace, log = checkout(), tmp_path / "log"
    with running_registry(tmp_path / "registry") as port:
        stores = SharedStores(builder=f"127.0.0.1:{port}/edgewright/builder")
        image = container.image_tag(workspace.resources)
        other = f"edgewright/builder:{tmp_path.name.replace('_', '-')}"
        subprocess.run(["docker", "tag", image, other], check=True)
        try:
            container._push(other, stores, log, None)
            subprocess.run(["docker", "image", "rm", other], check=True)

            assert container._pulled(other, stores, log, None)
            assert image_exists(other)
            assert not container._pulled("edgewright/builder:unknown", stores, log, None)
        finally:
            stored = container._stored_name(other, str(stores.builder))
            subprocess.run(["docker", "image", "rm", other, stored], check=False)
