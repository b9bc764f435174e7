"""Facts about a host in, commands out."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgewright import host
from edgewright.base import process
from edgewright.base.errors import UserError
from edgewright.build import container
from edgewright.host import Finding, Need

ABSENT = "edgewright-no-such-package"


def need(name: str = "tool", **changes: object) -> Need:
    values: dict[str, object] = {
        "name": name,
        "why": "because",
        "problem": lambda: None,
        "packages": (ABSENT,),
    }
    return Need(**{**values, **changes})  # type: ignore[arg-type]


def lines(*findings: Finding) -> list[str]:
    return [str(action) for action in host.plan(findings)]


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda uid: monkeypatch.setattr(os, "getuid", lambda: uid)


def test_a_ready_host_needs_no_commands() -> None:
    assert lines(Finding(need=need(), problem=None)) == []


def test_packages_are_installed_once_and_as_root(as_user: Callable[[int], None]) -> None:
    as_user(0)
    missing = [Finding(need=need(name), problem="absent") for name in ("one", "two")]

    assert lines(*missing) == [
        "apt-get update",
        "env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install --yes "
        "--no-install-recommends " + ABSENT,
    ]


def test_an_ordinary_user_goes_through_sudo(as_user: Callable[[int], None]) -> None:
    as_user(1000)

    assert all(line.startswith("sudo ") for line in lines(Finding(need=need(), problem="absent")))


def test_installed_packages_are_not_installed_again() -> None:
    satisfied = need(packages=("dpkg",), commands=(("true",),))

    assert [
        line.removeprefix("sudo ") for line in lines(Finding(need=satisfied, problem="off"))
    ] == ["true"]


def test_a_daemon_goes_to_the_background_where_no_service_manager_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, as_user: Callable[[int], None]
) -> None:
    as_user(0)
    down = Finding(need=need(packages=(), daemon=("dockerd",)), problem="down")

    monkeypatch.setattr(host, "SYSTEMD", tmp_path / "absent")
    assert lines(down) == ["dockerd &"]
    monkeypatch.setattr(host, "SYSTEMD", tmp_path)
    assert lines(down) == ["systemctl enable --now docker"]


def test_a_command_that_breaks_is_told_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "setup.log"
    action = host.Action(argv=("sh", "-c", "echo no space; exit 100"))

    with pytest.raises(UserError) as fault:
        host.apply([action], log, lambda _: None)

    assert "exit code 100" in str(fault.value)
    assert "| no space" in str(fault.value)
    assert f"log: {log}" in str(fault.value)


def test_what_a_setup_could_not_supply_is_told() -> None:
    with pytest.raises(UserError, match=r"(?s)this machine: still lacks .*tool: socket is closed"):
        host.require_ready([Finding(need=need(), problem="socket is closed")])


def test_docker_that_this_user_may_not_use_is_neither_installed_nor_started() -> None:
    docker = Finding(need=need("docker", daemon=("dockerd",)), problem=container.NOT_ALLOWED)

    assert lines(docker) == []
    with pytest.raises(UserError, match="usermod --append --groups docker"):
        host.require_ready([docker])


def test_system_tools_are_found_without_their_folder_in_the_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert process.which("chroot") in ("/usr/sbin/chroot", "/sbin/chroot")
