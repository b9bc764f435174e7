import json
import os
import tarfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from edgewright.base.errors import TargetError, UserError
from edgewright.base.files import locked
from edgewright.board.catalogue import load_board
from edgewright.board.profile import Arch
from edgewright.lab import board_image, emulate
from edgewright.lab.board_image import ImageSpec, compose, read_spec
from edgewright.lab.emulate import Instance, State
from tests.boards import EndedByNote, NotedError
from tests.checkout import checkout

BOARDS, DOCKER = checkout().boards, checkout().resources.docker
ARM_MAGIC = "7f454c4601010100000000000000000002002800"


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    profile = load_board("a53-som", BOARDS)
    folder = tmp_path / "a53-som" / "emulator"
    return Instance(profile=profile, folder=folder, docker=DOCKER)


def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A `docker` that does what `script` says and writes down how it was called."""
    folder = tmp_path / "path"
    folder.mkdir(exist_ok=True)
    calls = tmp_path / "calls"
    tool = folder / "docker"
    tool.write_text(f'#!/bin/sh\necho "$*" >> {calls}\n{script}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return calls


def test_cpuinfo_of_an_armv8_core_in_aarch32() -> None:
    text = emulate.cpuinfo(load_board("a53-som", BOARDS))
    assert text.count("processor\t: ") == 4
    assert "model name\t: ARMv8 Processor rev 4 (v8l)\n" in text
    assert " crc32\n" in text
    assert "CPU architecture: 8\n" in text
    assert "CPU part\t: 0xd03\n" in text


def test_cpuinfo_of_an_armv7_core_shows_no_armv8_features() -> None:
    text = emulate.cpuinfo(load_board("rpi2", BOARDS))
    assert "CPU architecture: 7\n" in text
    assert "CPU part\t: 0xc07\n" in text
    assert " neon " in text
    assert " vfpv4 " in text
    assert "crc32" not in text


def test_cpuinfo_of_a_64_bit_userland() -> None:
    text = emulate.cpuinfo(load_board("a53-som-arm64", BOARDS))
    assert "Features\t: fp asimd " in text


def test_keys_are_made_once_and_are_nobody_elses(instance: Instance) -> None:
    emulate._write_files(instance)
    key = instance.folder / "id_ed25519"
    first = key.read_bytes()
    emulate._write_files(instance)
    assert key.read_bytes() == first
    assert key.stat().st_mode & 0o077 == 0
    assert (instance.folder / "board" / "host_key").stat().st_mode & 0o077 == 0


# binfmt


def test_emulation_that_works_in_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = f"enabled\ninterpreter /x\nflags: PF\noffset 0\nmagic {ARM_MAGIC}\nmask ff\n"
    (tmp_path / "qemu-arm").write_text(entry)
    emulate.require_emulation(Arch.ARMHF, tmp_path)
    monkeypatch.setenv("EDGEWRIGHT_BINFMT_MISC", str(tmp_path))
    emulate.require_emulation(Arch.ARMHF)


@pytest.mark.parametrize(
    "entry",
    [
        f"disabled\nflags: PF\nmagic {ARM_MAGIC}\n",
        f"enabled\nflags: P\nmagic {ARM_MAGIC}\n",
        f"enabled\nflags: PF\nmagic {ARM_MAGIC.replace('2800', 'b700')}\n",
    ],
)
def test_emulation_that_does_not(tmp_path: Path, entry: str) -> None:
    (tmp_path / "qemu-arm").write_text(entry)
    (tmp_path / "register").write_text("")
    with pytest.raises(UserError) as missing:
        emulate.require_emulation(Arch.ARMHF, tmp_path)
    assert str(missing.value) == (
        "emulation of armhf: not registered with the kernel\n"
        f"  expected: an enabled entry with flag F in {tmp_path} for ELF machine 0x28\n"
        "  found: qemu-arm\n"
        "next: invoke setup --yes"
    )


def test_arm64_needs_no_emulation_on_arm64() -> None:
    assert emulate.runs_natively(Arch.ARM64, "aarch64")
    assert not emulate.runs_natively(Arch.ARMHF, "aarch64")


# Image


def test_tag_changes_with_everything_that_defines_the_image(tmp_path: Path) -> None:
    board = tmp_path / "board"
    rootfs = board / "rootfs" / "usr" / "sbin"
    rootfs.mkdir(parents=True)
    tags = set()
    for suite, package, applet, text in map(tuple, ["abcd", "xbcd", "axcd", "abxd", "abcx"]):
        (board / "suite").write_text(suite)
        (board / "packages").write_text(package)
        (board / "applets").write_text(applet)
        (rootfs / "board-init").write_text(text)
        tags |= {read_spec(arch, tmp_path).tag for arch in Arch}
    assert len(tags) == 10
    assert all(tag.startswith("edgewright-board:arm") for tag in tags)


def test_rootfs_is_the_base_without_packaging_and_with_ours_on_top(tmp_path: Path) -> None:
    base, out = tmp_path / "base.tar", tmp_path / "out.tar"
    with tarfile.open(base, "w") as tar:
        for name in ("./usr/bin/busybox", "./usr/share/doc/x", "./etc/hosts", "./etc/fstab"):
            tar.addfile(tarfile.TarInfo(name), BytesIO())
    files = (("etc/hosts", b"ours", 0o644), ("etc/shadow", b"*", 0o600))
    spec = ImageSpec(
        arch=Arch.ARMHF, suite="x", packages=(), applets=("ls", "busybox"), files=files
    )
    compose(base, out, spec)
    with tarfile.open(out) as tar:
        names = tar.getnames()
        hosts = tar.extractfile("etc/hosts")
        assert hosts is not None
        assert hosts.read() == b"ours"
        assert tar.getmember("etc/shadow").mode == 0o600
        assert tar.getmember("usr/bin/ls").linkname == "busybox"
        assert tar.getmember("bin").linkname == "usr/bin"
        assert tar.getmember("usr/bin/busybox").isreg()
    assert names.count("etc/hosts") == 1
    assert not {"usr/share/doc/x", "etc/fstab"} & {name.removeprefix("./") for name in names}


def test_further_packages_keep_their_data_and_are_an_image_of_their_own(tmp_path: Path) -> None:
    base, out = tmp_path / "base.tar", tmp_path / "out.tar"
    expected = ["usr/bin/tar", "usr/share/dbus-1/system.conf", "var/lib/dpkg/status"]
    with tarfile.open(base, "w") as tar:
        for name in (*expected, "usr/share/doc/rauc/copyright", "etc/fstab"):
            tar.addfile(tarfile.TarInfo(f"./{name}"), BytesIO())
    plain = ImageSpec(arch=Arch.ARMHF, suite="x", packages=("a",), applets=("tar", "ls"), files=())
    spec = replace(plain, further=("dpkg",))

    compose(base, out, spec)

    with tarfile.open(out) as tar:
        assert {name for name in tar.getnames() if name.count("/") > 1} == {*expected, "usr/bin/ls"}
        assert tar.getmember("usr/bin/tar").isreg()  # and no link to busybox
    assert spec.tag != plain.tag


def test_board_has_no_file_transfer_but_the_shell() -> None:
    spec = read_spec(Arch.ARMHF, DOCKER)
    assert {"sh", "sha256sum", "mv", "df"} <= set(spec.applets)
    assert not any("sftp" in name for name, _, _ in spec.files)
    assert not {"flock", "dpkg"} & set(spec.applets)


# Docker that is not as one would wish


def test_no_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_docker(tmp_path, monkeypatch, "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    with pytest.raises(UserError) as missing:
        emulate.require_daemon()
    assert str(missing.value) == (
        "docker: no daemon answers\n  Cannot connect to the Docker daemon\nnext: invoke setup --yes"
    )


def inspected(instance: Instance, *, running: bool) -> str:
    labels = {"edgewright.folder": str(instance.folder)}
    return json.dumps(
        [
            {
                "State": {"Running": running},
                "Config": {"Image": "i", "Labels": labels},
                "NetworkSettings": {"Ports": {"22/tcp": [{"HostPort": "40022"}]}},
            }
        ]
    )


@pytest.mark.parametrize(("running", "state"), [(True, State.RUNNING), (False, State.STOPPED)])
def test_status(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    instance: Instance,
    running: bool,
    state: State,
) -> None:
    fake_docker(tmp_path, monkeypatch, f"echo '{inspected(instance, running=running)}'")
    status = emulate.status(instance)
    assert status.state is state
    if status.board:
        assert str(status.board.target) == "root@127.0.0.1:40022"
        assert status.board.target.emulated
        assert status.board.ssh_command.endswith("-p 40022 root@127.0.0.1")


def test_a_wait_for_another_command_on_the_board_is_told(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulate, "require_daemon", lambda: None)
    monkeypatch.setattr(emulate, "require_emulation", lambda arch: None)
    monkeypatch.setattr(board_image, "ensure", lambda *_: "image")

    with (
        locked(instance.folder / "lock"),
        pytest.raises(NotedError, match="another command is at work on this board: waiting"),
    ):
        emulate.up(instance, EndedByNote())


def test_status_of_a_board_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: Instance
) -> None:
    fake_docker(tmp_path, monkeypatch, 'case "$1" in version) ;; *) exit 1 ;; esac')
    assert emulate.status(instance).state is State.ABSENT
    with pytest.raises(UserError) as down:
        emulate.running(instance)
    assert str(down.value) == (
        "emulated board 'a53-som': absent\nnext: invoke emulate.up --board=a53-som"
    )
    assert not emulate.down(instance)


def test_workspaces_with_one_board_have_a_container_each(instance: Instance) -> None:
    elsewhere = replace(instance, folder=instance.folder.parent / "elsewhere")

    assert instance.container.startswith("edgewright-a53-som-")
    assert elsewhere.container != instance.container
    assert replace(elsewhere, folder=instance.folder).container == instance.container


BROKEN = """
case "$1 $2" in
  "container inspect") [ -e {there} ] && echo '{json}' || exit 1 ;;
  "run --detach") touch {there} ;;
  "logs --tail") echo "no host key" >&2 ;;
  "rm --force") rm -f {there} ;;
esac
"""


def test_board_that_stops_at_once_is_told_with_its_log_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: Instance
) -> None:
    folder = tmp_path / "there"
    script = BROKEN.format(there=folder, json=inspected(instance, running=False))
    calls = fake_docker(tmp_path, monkeypatch, script)
    monkeypatch.setattr(emulate, "require_emulation", lambda arch: None)
    monkeypatch.setattr(board_image, "ensure", lambda *args, **options: "image")
    with pytest.raises(TargetError) as failed:
        emulate.up(instance)
    assert str(failed.value) == (
        "emulated board 'a53-som': stopped before its SSH server answered\n"
        "  | no host key\n"
        "next: invoke emulate.down --board=a53-som, then invoke emulate.up --board=a53-som"
    )
    assert not folder.exists()
    expected = f"run --detach --name {instance.container} --hostname a53-som"
    assert expected in calls.read_text()


def test_interrupt_while_waiting_leaves_no_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: Instance
) -> None:
    folder = tmp_path / "there"
    script = BROKEN.format(there=folder, json=inspected(instance, running=True))
    fake_docker(tmp_path, monkeypatch, script)
    monkeypatch.setattr(emulate, "require_emulation", lambda arch: None)
    monkeypatch.setattr(board_image, "ensure", lambda *args, **options: "image")

    def interrupted(address: str, port: int) -> bool:
        assert folder.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(emulate, "banner", interrupted)
    with pytest.raises(KeyboardInterrupt):
        emulate.up(instance)
    assert not folder.exists()
