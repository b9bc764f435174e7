"""Full-system boards, as far as that goes without switching one on."""

import itertools
import lzma
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.base import debs, process
from edgewright.base.errors import TargetError, UserError
from edgewright.base.files import locked
from edgewright.board.catalogue import load_board
from edgewright.lab import board_image
from edgewright.lab import machine as lab
from edgewright.lab import machine_image as lab_image
from edgewright.lab.machine import Lab, Power
from tests.boards import EndedByNote, NotedError, Watched
from tests.checkout import checkout

BOARDS, DOCKER = checkout().boards, checkout().resources.docker


@pytest.fixture
def som(tmp_path: Path) -> Lab:
    return Lab(profile=load_board("a53-som", BOARDS), folder=tmp_path, docker=DOCKER)


def test_a_core_that_qemu_cannot_be_is_refused() -> None:
    with pytest.raises(UserError) as refused:
        lab.require_tools(load_board("rpi2", BOARDS))
    assert str(refused.value) == (
        "board 'rpi2': no full-system stand-in\n"
        "  expected: a core of cortex-a53, cortex-a57, cortex-a72, cortex-a76\n"
        "  found: cortex-a7\n"
        "next: invoke emulate.up --board=rpi2"
    )


def test_a_board_without_a_stand_in_is_not_advised_to_switch_one_on(som: Lab) -> None:
    with pytest.raises(UserError, match=r"next: invoke emulate\.up --board=rpi2"):
        lab.running(replace(som, profile=load_board("rpi2", BOARDS)))


def test_missing_qemu_is_told_with_the_command_that_installs_it(
    som: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(som.folder))
    with pytest.raises(UserError) as missing:
        lab.up(som)
    assert str(missing.value) == (
        "qemu-system-aarch64: program not found\nnext: invoke setup --lab --yes"
    )


def test_packages_come_on_a_new_disk_alone(som: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "require_tools", lambda profile: None)
    som.disk.write_bytes(b"")
    som.package_list.write_text("rauc\n")

    with pytest.raises(UserError) as refused:
        lab.up(replace(som, packages=("dpkg", "rauc", "swupdate")))

    assert str(refused.value) == (
        "full-system board 'a53-som': its disk was made without dpkg, swupdate\n"
        "next: invoke lab.down --board=a53-som, which removes the disk, then the same again"
    )


def test_the_machine_is_the_profile_s(som: Lab) -> None:
    argv = lab.machine_argv(som.profile, 4, Path("vmlinuz"), Path("initrd"))
    pairs = dict(itertools.pairwise(argv))
    assert (pairs["-cpu"], pairs["-smp"], pairs["-m"]) == ("cortex-a53", "4", "2048")


def test_a_wait_for_another_command_on_the_board_is_told(
    som: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "require_tools", lambda profile: None)

    with locked(som.folder / "lock"), pytest.raises(NotedError, match="another command is at work"):
        lab.up(som, EndedByNote())


def test_a_board_that_was_never_on(som: Lab) -> None:
    assert lab.power(som) is Power.ABSENT
    assert not lab.down(som)
    with pytest.raises(UserError) as absent:
        lab.running(som)
    assert str(absent.value) == (
        "full-system board 'a53-som': absent\nnext: invoke lab.up --board=a53-som"
    )


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process that is no QEMU of ours."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield child.pid
    child.kill()
    child.wait()


def test_a_process_that_got_the_number_of_a_former_qemu_is_left_alone(
    som: Lab, stranger: int
) -> None:
    (som.folder / "qemu.pid").write_text(f"{stranger} 40022\n")
    som.disk.touch()
    assert lab.power(som) is Power.OFF
    assert lab.down(som)
    os.kill(stranger, 0)


QEMU_THAT_ENDS = "#!/bin/sh\necho 'no such machine'\nexit 1\n"


SLOW_SERVER = """
import socket, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
started = time.monotonic()
while True:
    link, _ = listener.accept()
    time.sleep(max(0, 3 - (time.monotonic() - started)))
    try:
        link.sendall(b"SSH-2.0-slow\\r\\n")
    except OSError:
        pass
"""


def test_a_board_that_is_busy_keeps_its_power(som: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its SSH server takes longer than one look at it waits."""
    monkeypatch.setattr(lab, "require_tools", lambda profile: None)
    argv = [sys.executable, "-c", SLOW_SERVER, lab.QEMU]
    with subprocess.Popen(argv, cwd=som.folder, stdout=subprocess.PIPE, text=True) as qemu:
        assert qemu.stdout is not None
        (som.folder / "qemu.pid").write_text(f"{qemu.pid} {qemu.stdout.readline()}")
        try:
            assert lab.up(som).pid == qemu.pid
            assert qemu.poll() is None
        finally:
            qemu.kill()


def test_what_a_board_waits_for_is_told_stage_by_stage(
    som: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = lab_image.read_spec(DOCKER)
    monkeypatch.setattr(lab, "require_tools", lambda profile: None)
    answer = process.Result(argv=(), returncode=0, stdout="QEMU 10", stderr="")
    monkeypatch.setattr(process, "check", lambda argv: answer)
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(som.folder / "cache"))
    monkeypatch.setattr(debs, "unpack", lambda *_: None)
    monkeypatch.setattr(lab_image, "_take_kernel", lambda *_: None)
    monkeypatch.setattr(lab_image, "initrd", lambda *_: b"initrd")
    monkeypatch.setattr(lab_image, "make_disk", lambda *_: None)
    monkeypatch.setattr(process, "run_logged", lambda *_, **__: None)
    monkeypatch.setattr(board_image, "compose", lambda base, out, spec: out.write_bytes(b""))
    monkeypatch.setattr(lab, "_save_state", lambda *_: None)
    monkeypatch.setattr(lab, "_boot", lambda *_, **__: None)
    progress = Watched()

    lab.up(som, progress)

    assert progress.stages == [
        f"download {spec.package}",
        "make the root file system of the board",
        "boot this kernel for the first time",
        "boot full-system board 'a53-som'",
    ]


def test_a_qemu_that_ends_is_told_with_its_last_words(
    som: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = som.folder / lab.QEMU
    tool.write_text(QEMU_THAT_ENDS)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{som.folder}:{os.environ['PATH']}")
    machine = lab.Machine(argv=(lab.QEMU,), state=som.folder / "saved")
    with pytest.raises(TargetError) as failed:
        lab._boot(som, machine, log_writes=False)
    assert str(failed.value).startswith("full-system board 'a53-som': QEMU ended with exit code 1")
    assert "  | no such machine" in str(failed.value)
    assert "next: invoke lab.down --board=a53-som, then" in str(failed.value)
    assert lab.power(som) is not Power.ON


# What it starts from


def module(folder: Path, name: str, needs: str) -> tuple[str, Path]:
    path = folder / f"{name}.ko.xz"
    path.write_bytes(lzma.compress(b"\x7fELF\0license=GPL\0depends=" + needs.encode() + b"\0x"))
    return lab_image.module_name(path), path


def test_modules_are_loaded_after_those_they_need(tmp_path: Path) -> None:
    modules = dict(
        [
            module(tmp_path, "ext4", "jbd2,crc16"),
            module(tmp_path, "jbd2", "crc16"),
            module(tmp_path, "crc16", ""),
            module(tmp_path, "virtio-blk", ""),
        ]
    )
    assert lab_image.load_order(["virtio_blk", "ext4"], modules) == [
        "virtio_blk",
        "crc16",
        "jbd2",
        "ext4",
    ]
    with pytest.raises(UserError) as unknown:
        lab_image.load_order(["ext5"], modules)
    assert str(unknown.value) == "kernel module 'ext5': not in the kernel's package"


def test_initrd_is_an_archive_that_cpio_reads(tmp_path: Path) -> None:
    archive = lab_image.cpio(["bin"], {"bin/tool": b"12345", "init": b"#!"})
    names, at = [], 0
    while at < len(archive):
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        size, length = fields[6], fields[11]
        start = at + 110
        names.append((archive[start : start + length - 1].decode(), oct(fields[1]), size))
        assert archive[at : at + 6] == b"070701"
        at = start + length + (-(110 + length) % 4)
        at += size + (-size % 4)
    assert names == [
        ("bin", "0o40755", 0),
        ("dev/console", "0o20600", 0),
        ("bin/tool", "0o100755", 5),
        ("init", "0o100755", 2),
        ("TRAILER!!!", "0o0", 0),
    ]


def test_the_kernel_s_folder_changes_with_what_is_taken_from_its_package() -> None:
    spec = lab_image.read_spec(DOCKER)
    assert spec.package == "linux-image-arm64"
    assert {"ext4", "virtio_blk"} <= {*spec.early, *spec.late}
    other = lab_image.LabSpec(**{**vars(spec), "early": ()})
    assert other.kernel_digest != spec.kernel_digest
