"""Full-system boards: QEMU runs the whole machine, kernel and disk included.

Unlike the board in a container (`emulate`), this one has a page cache to lose, memory that is
its own, and four cores. Its power can be cut: the QEMU process is killed.

Up to the point where the kernel looks for its disk every boot is the same. The machine's state
there is saved once in the user's cache, and every boot goes on from it: seconds instead of
half a minute. The disk, and everything read from it, is met anew each time.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import IO

from edgewright.base import process
from edgewright.base.errors import TargetError, UserError
from edgewright.base.files import copy_file, locked, make_folder, write_file
from edgewright.base.layout import user_cache
from edgewright.base.ports import reserved_port
from edgewright.base.progress import Progress
from edgewright.board.profile import BoardProfile
from edgewright.deploy.target import Target
from edgewright.lab import board_image
from edgewright.lab import machine_image as lab_image
from edgewright.lab.board_keys import banner, pin, ssh_command, target_of

QEMU = "qemu-system-aarch64"
SETUP = "invoke setup --lab --yes"
CORES = ("cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76")  # that QEMU's 'virt' machine has
# panic=-1 reboots at once, which -no-reboot makes the end of QEMU: a broken board does not hang.
KERNEL_ARGUMENTS = "console=ttyAMA0 quiet loglevel=4 panic=-1"
AT_DISK = b"waits for its disk"
SAVE_SECONDS = 300.0
BUSY_SECONDS = 60.0  # a board at work, or one that still boots, may leave its SSH server waiting
READY_SECONDS = 600.0  # a machine that is busy with other things gives an emulator little
TAIL_BYTES = 2000
NVME = (
    *("-blockdev", "driver=null-co,node-name=nvme,size=16777216"),
    *("-device", "nvme,serial=lab,drive=nvme"),
)


class Power(StrEnum):
    """Whether a board's QEMU process runs; a board without a disk is absent."""

    ON = "on"
    OFF = "off"
    ABSENT = "absent"


@dataclass(frozen=True, kw_only=True)
class Lab:
    """The machine that stands in for a board, and the folder of its keys and disk."""

    profile: BoardProfile
    folder: Path  # build/<board>/lab
    docker: Path  # of the resources: board/ and lab/ there define disk and kernel
    disk_mb: int = 256  # beside what is on it from the beginning
    packages: tuple[str, ...] = ()  # Debian's, and those that they need, on a disk that is made
    cores: int | None = None  # None: as many as the board has
    # An empty NVMe device, whose temperature the kernel reads as that of a real one. QEMU saves no
    # state of it, so such a board boots from the beginning.
    has_nvme: bool = False

    @property
    def disk(self) -> Path:
        return self.folder / "disk.img"

    @property
    def package_list(self) -> Path:
        """Names of the packages that the disk was made with, one a line."""
        return self.folder / "packages"

    @property
    def writes(self) -> Path:
        """Log of the board's writes since it was switched on."""
        return self.folder / "writes.log"

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    @property
    def log(self) -> Path:
        return self.folder / "lab.log"


@dataclass(frozen=True, kw_only=True)
class LabBoard:
    """A full-system board that is on."""

    name: str
    pid: int
    port: int
    folder: Path

    @property
    def target(self) -> Target:
        return target_of(self.folder, self.port, shares_memory=False)

    @property
    def ssh_command(self) -> str:
        return ssh_command(self.target)


def up(lab: Lab, progress: Progress | None = None, *, log_writes: bool = False) -> LabBoard:
    """Switch the board on unless it is; return when its SSH server answers.

    One that is on and does not answer within a minute is switched off and on. A board that was
    switched off comes back with its disk. `log_writes` keeps a log of what it writes, for
    `writelog`. Raises UserError for a missing tool or a board that has no stand-in, TargetError
    for one that does not come up.
    """
    progress = progress or Progress()
    require_tools(lab.profile)
    note = partial(progress.note, "another command is at work on this board: waiting for it")
    with locked(lab.folder / "lock", on_busy=note):
        _require_packages(lab)
        on = _running(lab)
        if on and _answers(on):
            return on
        _kill(on)
        machine = _machine(lab, progress)
        progress.start(f"boot full-system board '{lab.profile.name}'")
        return _boot(lab, machine, log_writes=log_writes)


def _answers(on: LabBoard) -> bool:
    """Whether the SSH server of a board that is on answers: its power is cut else."""
    deadline = time.monotonic() + BUSY_SECONDS
    while not banner("127.0.0.1", on.port):
        if not _is_qemu(on.pid, on.folder) or time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _require_packages(lab: Lab) -> None:
    """Raises UserError for packages that a disk from before lacks: it stays as it is."""
    if not lab.disk.is_file():
        return
    listed = _listed_packages(lab)
    if absent := [package for package in lab.packages if package not in listed]:
        board = lab.profile.name
        raise UserError(
            f"full-system board '{board}'",
            f"its disk was made without {', '.join(absent)}",
            next=f"invoke lab.down --board={board}, which removes the disk, then the same again",
        )


def _listed_packages(lab: Lab) -> tuple[str, ...]:
    """Those that the disk was made with."""
    return tuple(lab.package_list.read_text().split()) if lab.package_list.is_file() else ()


def insert_disk(lab: Lab, progress: Progress) -> Path:
    """Make the board's disk unless it exists; return the root file system of such boards."""
    plain = board_image.read_spec(lab.profile.abi.arch, lab.docker)
    has_disk = lab.disk.is_file()
    packages = _listed_packages(lab) if has_disk else lab.packages
    spec = replace(plain, further=tuple(sorted(set(packages))))
    rootfs = board_image.rootfs(spec, lab.log, progress)
    if not has_disk:
        make_folder(lab.folder)
        lab.package_list.write_text("".join(f"{package}\n" for package in lab.packages))
        megabytes = lab.disk_mb + (rootfs.stat().st_size >> 20)
        lab_image.make_disk(lab.disk, rootfs, lab.folder, megabytes, lab.log)
    return rootfs


def cut(lab: Lab) -> None:
    """Cut the board's power: everything that was not on its disk is lost."""
    _kill(_running(lab))


def down(lab: Lab) -> bool:
    """Remove the board and all that was installed on it, except its keys. False if absent."""
    with locked(lab.folder / "lock"):
        existed = power(lab) is not Power.ABSENT
        cut(lab)
        for path in (lab.disk, lab.package_list, lab.writes, lab.console, _pid_file(lab)):
            path.unlink(missing_ok=True)
        return existed


def power(lab: Lab) -> Power:
    if _running(lab):
        return Power.ON
    return Power.OFF if lab.disk.is_file() else Power.ABSENT


def running(lab: Lab) -> LabBoard:
    """The board, if it is on. Raises UserError if it is not."""
    on = _running(lab)
    if on is None:
        _require_core(lab.profile)
        board = lab.profile.name
        raise UserError(
            f"full-system board '{board}'", str(power(lab)), next=f"invoke lab.up --board={board}"
        )
    return on


def require_tools(profile: BoardProfile) -> None:
    """Raises UserError for a board that has no stand-in, or tools that are not installed."""
    _require_core(profile)
    for tool in (QEMU, "mke2fs", "mmdebstrap"):
        if process.which(tool) is None:
            raise UserError(tool, "program not found", next=SETUP)


def _require_core(profile: BoardProfile) -> None:
    if profile.cpu.core not in CORES:
        raise UserError(
            f"board '{profile.name}'",
            "no full-system stand-in",
            facts=[f"expected: a core of {', '.join(CORES)}", f"found: {profile.cpu.core}"],
            next=f"invoke emulate.up --board={profile.name}",
        )


# The machine


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A QEMU command without disk, network and console, and the file of its saved state."""

    argv: tuple[str, ...]
    state: Path


def _machine(lab: Lab, progress: Progress) -> Machine:
    """The machine below the board's own disk; parts that the cache lacks are made."""
    spec = lab_image.read_spec(lab.docker)
    kernel = lab_image.kernel(spec, lab.log, progress)
    archive = lab_image.initrd(kernel, spec, insert_disk(lab, progress))
    initrd = user_cache() / "lab" / f"initrd-{hashlib.sha256(archive).hexdigest()[:12]}"
    if not initrd.is_file():
        write_file(initrd, archive)
    cores = lab.cores or lab.profile.cpu.cores
    argv = machine_argv(lab.profile, cores, kernel.image, initrd)
    # Another version of QEMU would not read the state.
    version = process.check([QEMU, "--version"]).stdout
    key = hashlib.sha256(repr((version, *argv)).encode()).hexdigest()[:12]
    machine = Machine(argv=argv, state=initrd.with_name(f"state-{key}"))
    if not machine.state.is_file():
        progress.start("boot this kernel for the first time")
        _save_state(lab, machine)
    return machine


def machine_argv(profile: BoardProfile, cores: int, kernel: Path, initrd: Path) -> tuple[str, ...]:
    """The part of the command that the saved state depends on.

    Neither port nor disk is part of it, so that all boards of a kind share one saved state.
    """
    argv = [QEMU, "-M", "virt,gic-version=3", "-accel", "tcg,thread=multi"]
    argv += ["-cpu", profile.cpu.core, "-smp", str(cores)]
    argv += ["-m", str(profile.memory.total_mb), "-kernel", str(kernel), "-initrd", str(initrd)]
    argv += ["-append", KERNEL_ARGUMENTS, "-display", "none", "-no-reboot"]
    argv += ["-device", "virtio-blk-device,drive=disk", "-device", "virtio-net-device,netdev=net"]
    return (*argv, "-device", "virtio-rng-device")


def _save_state(lab: Lab, machine: Machine) -> None:
    """Boot as far as to the disk, and save the machine's memory and registers."""
    saved = lab.folder / ".state"
    lab.console.unlink(missing_ok=True)
    argv = [*machine.argv, "-serial", f"file:{lab.console.name}", "-monitor", "stdio"]
    with reserved_port() as port, lab.log.open("ab") as log:
        argv += _devices(lab, port)
        qemu = _start(lab, argv, log)
        try:
            deadline = time.monotonic() + SAVE_SECONDS
            while not (lab.console.is_file() and AT_DISK in lab.console.read_bytes()):
                if qemu.poll() is not None or time.monotonic() > deadline:
                    raise _not_up(lab, "the kernel did not get as far as to its disk")
                time.sleep(0.1)
            qemu.communicate(f'migrate "exec:cat > {saved.name}"\nquit\n'.encode(), SAVE_SECONDS)
        finally:
            qemu.kill()
            qemu.wait()
    copy_file(saved, machine.state)
    saved.unlink()


def _start(lab: Lab, argv: Sequence[str], out: IO[bytes]) -> "subprocess.Popen[bytes]":
    """QEMU works in the board's folder, so that no name on its command line needs quoting."""
    return subprocess.Popen(
        argv,
        cwd=lab.folder,
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C in the terminal is for this program, not for the board
    )


# Power


def _boot(lab: Lab, machine: Machine, *, log_writes: bool) -> LabBoard:
    """Resume from the saved state, where that can be. An interrupt leaves the board off."""
    link = lab.folder / "state"
    link.unlink(missing_ok=True)
    link.symlink_to(machine.state)
    if log_writes:
        lab.writes.write_bytes(b"")
    argv = [*machine.argv, "-serial", "stdio", "-monitor", "none"]
    argv += NVME if lab.has_nvme else ["-incoming", f"exec:cat {link.name}"]
    with reserved_port() as port:
        argv += _devices(lab, port, log_writes=log_writes)
        with lab.console.open("wb") as console:
            qemu = _start(lab, argv, console)
        try:
            _pid_file(lab).write_text(f"{qemu.pid} {port}\n")
            return _ready(lab, qemu, port)
        except BaseException:
            qemu.kill()
            qemu.wait()
            raise


def _devices(lab: Lab, port: int, *, log_writes: bool = False) -> list[str]:
    """The files behind disk and network, which the saved state does not depend on."""
    disk = f"driver=raw,node-name=data,file.driver=file,file.filename={lab.disk.name}"
    argv = ["-blockdev", disk if log_writes else disk.replace("=data", "=disk")]
    if log_writes:
        log = f"log.driver=file,log.filename={lab.writes.name}"
        argv += ["-blockdev", f"driver=blklogwrites,node-name=disk,file=data,{log}"]
    # restrict: the board answers on its port, and reaches nothing by itself.
    forward = f"hostfwd=tcp:127.0.0.1:{port}-:22"
    return [*argv, "-netdev", f"user,id=net,restrict=on,{forward}"]


def _ready(lab: Lab, qemu: "subprocess.Popen[bytes]", port: int) -> LabBoard:
    """Press Enter until the kernel goes on to its disk; return when dropbear sends its banner."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if qemu.poll() is not None:
            raise _not_up(lab, f"QEMU ended with exit code {qemu.returncode}")
        # The initrd waits for a line on the serial console; one that comes too early is lost.
        assert qemu.stdin
        with contextlib.suppress(BrokenPipeError):
            qemu.stdin.write(b"\n")
            qemu.stdin.flush()
        if banner("127.0.0.1", port):
            pin(lab.folder, port)
            return LabBoard(name=lab.profile.name, pid=qemu.pid, port=port, folder=lab.folder)
        time.sleep(0.2)
    raise _not_up(lab, f"no SSH banner after {READY_SECONDS:g} s")


def _not_up(lab: Lab, problem: str) -> TargetError:
    output = lab.console.read_bytes()[-TAIL_BYTES:] if lab.console.is_file() else b""
    lines = output.decode(errors="replace").splitlines()[-process.TAIL_LINES :]
    board = lab.profile.name
    return TargetError(
        f"full-system board '{board}'",
        problem,
        facts=[*(f"| {line}" for line in lines), f"console: {lab.console}", f"log: {lab.log}"],
        next=f"invoke lab.down --board={board}, then invoke lab.up --board={board}",
    )


def _pid_file(lab: Lab) -> Path:
    return lab.folder / "qemu.pid"


def _running(lab: Lab) -> LabBoard | None:
    """The process that the pid file names, if it is a QEMU that works in this folder.

    After a reboot of this machine the id may be another program's, which must not be killed.
    """
    try:
        pid, port = map(int, _pid_file(lab).read_text().split())
    except (OSError, ValueError):
        return None
    if not _is_qemu(pid, lab.folder):
        return None
    return LabBoard(name=lab.profile.name, pid=pid, port=port, folder=lab.folder)


def _is_qemu(pid: int, folder: Path) -> bool:
    """Whether a process is a QEMU that works in this folder."""
    try:
        in_this_folder = Path(f"/proc/{pid}/cwd").readlink() == folder.resolve()
        return in_this_folder and QEMU.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _kill(on: LabBoard | None) -> None:
    """Kill by SIGKILL, so that QEMU cannot write anything back; return when it is gone."""
    if on is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(on.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(on.pid, 0)  # where it is our own child, else it stays as a zombie
    while Path(f"/proc/{on.pid}/cwd").exists():
        time.sleep(0.02)
