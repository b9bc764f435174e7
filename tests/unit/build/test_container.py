"""Choosing a builder, and the names of things inside it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.base.process import ChildFailed
from edgewright.base.workspace import SharedStores
from edgewright.build import container
from edgewright.build.container import DockerBuilder, Sandbox
from tests.checkout import checkout, workspace_at

CHECKOUT = checkout()


@pytest.fixture
def no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")


@pytest.fixture
def no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "missing_tools", lambda: ["ccache", "ninja"])


@pytest.mark.usefixtures("no_docker", "no_tools")
def test_auto_without_any_builder_tells_both_fixes(tmp_path: Path) -> None:
    with pytest.raises(UserError) as fault:
        container.choose("auto", CHECKOUT, tmp_path / "log")

    message = str(fault.value)
    assert message.startswith("builder: no place to build in\n  docker: ")
    assert "this host lacks: ccache, ninja" in message
    assert "invoke setup --yes" in message
    assert "--builder=local" in message


@pytest.mark.usefixtures("no_docker")
def test_auto_falls_back_to_a_host_with_the_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "missing_tools", list)
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "user"))

    chosen = container.choose("auto", CHECKOUT, tmp_path / "log")

    assert isinstance(chosen, container.LocalBuilder)
    assert chosen.cache == tmp_path / "user"


def test_what_auto_takes_is_chosen_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "docker_problem", lambda: None)
    monkeypatch.setattr(container, "missing_tools", list)
    monkeypatch.setenv("EDGEWRIGHT_BUILDER", "local")

    chosen = container.choose("auto", CHECKOUT, tmp_path / "log", cache=tmp_path)
    assert isinstance(chosen, container.LocalBuilder)
    monkeypatch.setenv("EDGEWRIGHT_BUILDER", "podman")
    with pytest.raises(UserError, match="EDGEWRIGHT_BUILDER=podman: unknown builder"):
        container.choose("auto", CHECKOUT, tmp_path / "log")


@pytest.mark.usefixtures("no_docker")
def test_a_builder_takes_another_cache_than_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "missing_tools", list)
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "user"))

    chosen = container.choose("auto", CHECKOUT, tmp_path / "log", cache=tmp_path / "cold")

    assert chosen.cache == tmp_path / "cold"
    assert not (tmp_path / "user").exists()


@pytest.mark.usefixtures("no_tools")
def test_a_local_builder_names_what_the_host_lacks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="builder 'local': this host lacks tools\n  ccache, ninja"):
        container.choose("local", CHECKOUT, tmp_path / "log")


def test_an_unknown_builder_is_refused() -> None:
    with pytest.raises(UserError, match="--builder=podman: unknown builder"):
        container.parse_choice("podman")


def test_paths_have_fixed_names_in_the_image(tmp_path: Path) -> None:
    workspace = tmp_path / "repo"
    builder = DockerBuilder(
        image="a/b:c",
        workspace=workspace,
        cache=workspace / "cache",
        resources=workspace / ".venv" / "edgewright" / "resources",
    )

    assert str(builder.path(workspace / "build" / "rpi2")) == "/edgewright/build/rpi2"
    assert str(builder.path(workspace / "cache" / "sources")) == "/cache/sources"
    assert str(builder.path(builder.resources / "recipes")) == "/resources/recipes"
    with pytest.raises(UserError, match="outside of"):
        builder.path(tmp_path / "elsewhere")
    # A checkout is both, and `lock` writes into it.
    checkout = replace(builder, resources=workspace)
    assert str(checkout.path(workspace / "recipes")) == "/edgewright/recipes"


def test_the_image_is_named_by_what_defines_it(tmp_path: Path) -> None:
    folder = tmp_path / "docker" / "builder"
    folder.mkdir(parents=True)
    resources = workspace_at(tmp_path).resources
    (folder / "packages.txt").write_text("cmake\n")
    tag = container.image_tag(resources)

    assert container.image_tag(resources) == tag
    (folder / "packages.txt").write_text("cmake\nccache\n")
    assert container.image_tag(resources) != tag


def fake_docker(folder: Path, root_dir: Path) -> None:
    """A docker command whose daemon keeps its data in `root_dir`, and that notes how it is run."""
    program = folder / "docker"
    program.write_text(
        f'#!/bin/sh\ncase $1 in info) echo {root_dir} ;; run) echo "$@" > {folder}/run ;; esac\n'
    )
    program.chmod(0o755)


@pytest.mark.parametrize("rootless", [True, False])
def test_a_rootless_daemon_is_not_told_a_user(
    rootless: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its root is the user already; another user may not write to the mounted folders."""
    user, data = os.getuid() or 1000, tmp_path / "data"
    data.mkdir()
    if os.getuid() == 0:
        os.chown(data, user, -1)
    fake_docker(tmp_path, data if rootless else Path("/"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("os.getuid", lambda: user)
    builder = DockerBuilder(image="i", workspace=tmp_path, cache=tmp_path, resources=tmp_path)

    builder.run(["true"], tmp_path / "log")

    assert ("--user" in (tmp_path / "run").read_text()) is not rootless


@pytest.mark.parametrize(
    ("answer", "is_gone"),
    [
        ("exit 0", True),
        ("echo 'Error: No such container: x' >&2; exit 1", True),
        ("echo 'Cannot connect to the Docker daemon' >&2; exit 1", False),
    ],
)
def test_a_container_that_could_not_be_removed_is_remembered(
    answer: str, is_gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\ncase $1 in run) exit 1 ;; rm) {answer} ;; esac\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    builder = DockerBuilder(image="i", workspace=tmp_path, cache=tmp_path, resources=tmp_path)

    with pytest.raises(ChildFailed):
        builder.run(["false"], tmp_path / "log")

    assert len([*(tmp_path / container.CONTAINERS).iterdir()]) == (0 if is_gone else 1)


@pytest.mark.parametrize(
    ("shared", "asks", "network"),
    [
        (SharedStores(), False, "none"),
        (SharedStores(conan="http://192.0.2.1:9300"), False, "none"),
        (SharedStores(conan="http://192.0.2.1:9300"), True, "host"),
        (SharedStores(ccache="redis://192.0.2.1"), False, "host"),
    ],
)
def test_what_compiles_has_a_network_for_a_shared_compiler_cache_alone(
    shared: SharedStores,
    asks: bool,
    network: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_docker(tmp_path, Path("/"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("CONAN_PASSWORD", "secret")
    monkeypatch.delenv("CONAN_LOGIN_USERNAME", raising=False)
    builder = DockerBuilder(
        image="i", workspace=tmp_path, cache=tmp_path, resources=tmp_path, shared=shared
    )

    builder.run(["true"], tmp_path / "log", network=asks)

    command = (tmp_path / "run").read_text()
    assert f"--network {network} " in command
    assert ("--env=CONAN_PASSWORD" in command) is asks
    assert "secret" not in command
    assert ("CCACHE_REMOTE_STORAGE=redis://192.0.2.1" in command) is bool(shared.ccache)


def test_a_sandbox_has_its_folders_and_no_network_or_shared_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_docker(tmp_path, Path("/"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    workspace, cache = tmp_path / "workspace", tmp_path / "cache"
    builder = DockerBuilder(
        image="i",
        workspace=workspace,
        cache=cache,
        resources=tmp_path / "resources",
        shared=SharedStores(ccache="redis://name:password@192.0.2.1"),
    )
    sandbox = Sandbox(writable=workspace / "build" / "one", readable=(workspace / "src",))

    builder.run(["true"], tmp_path / "log", sandbox=sandbox)

    words = (tmp_path / "run").read_text().split()
    volumes = [words[place + 1] for place, word in enumerate(words) if word == "--volume"]
    assert volumes == [
        f"{workspace}/src:/edgewright/src:ro",
        f"{workspace}/build/one:/edgewright/build/one:rw",
    ]
    assert "--network none --" in " ".join(words)
    assert "password" not in " ".join(words)
