"""Emulated boards: busybox and dropbear of the board's architecture, run by qemu-user.

One container for each board, reached by real SSH on 127.0.0.1. The image is made from the
Debian archive that this machine's apt uses; its tag is a hash of what defines it.
"""

import hashlib
import json
import os
import platform
import time
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from edgewright.base import digest, process
from edgewright.base.errors import TargetError, UserError
from edgewright.base.files import locked, make_folder, update_file
from edgewright.base.progress import Progress
from edgewright.board.cores import Fpu
from edgewright.board.profile import Arch, BoardProfile
from edgewright.deploy.target import Target
from edgewright.lab import board_image
from edgewright.lab.board_keys import (
    authorized_keys,
    banner,
    host_key,
    pin,
    ssh_command,
    target_of,
)

BINFMT = Path("/proc/sys/fs/binfmt_misc")
SETUP = "invoke setup --yes"
ELF_MACHINE = {Arch.ARMHF: 0x28, Arch.ARM64: 0xB7}
READY_SECONDS = 60.0
LABEL = "edgewright"


class State(StrEnum):
    """The state of a board's container in Docker."""

    RUNNING = "running"
    STOPPED = "stopped"
    ABSENT = "absent"


@dataclass(frozen=True, kw_only=True)
class EmulatedBoard:
    """A board that runs in a container of this machine."""

    name: str
    container: str
    image: str
    port: int
    folder: Path

    @property
    def target(self) -> Target:
        return target_of(self.folder, self.port, shares_memory=True)

    @property
    def ssh_command(self) -> str:
        """The command line with which a person logs in on the board."""
        return ssh_command(self.target)


@dataclass(frozen=True, kw_only=True)
class BoardStatus:
    """State of one emulated board; `board` is None unless it runs."""

    name: str
    state: State
    board: EmulatedBoard | None = None


@dataclass(frozen=True, kw_only=True)
class Instance:
    """The container that stands in for a board, and the folder of its keys."""

    profile: BoardProfile
    folder: Path  # build/<board>/emulator
    docker: Path  # of the resources: board/ there defines the image
    storage_mb: int | None = None  # size of /opt; None: as large as the host allows

    @property
    def container(self) -> str:
        """The board's name, and a hash of the folder: workspaces with one board do not meet."""
        return f"edgewright-{self.profile.name}-{digest.text_sha256(str(self.folder))[:8]}"


def up(instance: Instance, progress: Progress | None = None) -> EmulatedBoard:
    """Start the board unless it runs; return when its SSH server answers.

    A board that stopped is started again with what was installed on it. An interrupt leaves
    no container that was not there before.
    Raises UserError for a missing tool, TargetError for a board that does not come up.
    """
    progress = progress or Progress()
    require_daemon()
    require_emulation(instance.profile.abi.arch)
    spec = board_image.read_spec(instance.profile.abi.arch, instance.docker)
    image = board_image.ensure(spec, log_of(instance), progress)
    progress.start(f"start emulated board '{instance.profile.name}'")
    note = partial(progress.note, "another command is at work on this board: waiting for it")
    with locked(instance.folder / "lock", on_busy=note):
        _write_files(instance)
        reusable = _reusable(instance, image)
        try:
            _start(instance, image, reusable)
            return _ready(instance)
        except BaseException:  # Ctrl-C too: a half-started board must not stay
            if reusable is None:
                _remove(instance.container)
            raise


def down(instance: Instance) -> bool:
    """Remove the board and all that was installed on it, except its keys. False if absent."""
    require_daemon()
    with locked(instance.folder / "lock"):
        if _inspect(instance.container) is None:
            return False
        _remove(instance.container)
        return True


def status(instance: Instance) -> BoardStatus:
    """State of the board. Raises UserError if no daemon answers."""
    require_daemon()
    name = instance.profile.name
    container = _inspect(instance.container)
    if container is None:
        return BoardStatus(name=name, state=State.ABSENT)
    if not container["State"]["Running"]:
        return BoardStatus(name=name, state=State.STOPPED)
    return BoardStatus(name=name, state=State.RUNNING, board=_board(instance, container))


def running(instance: Instance) -> EmulatedBoard:
    """The running board. Raises UserError if it does not run."""
    current = status(instance)
    if current.board is None:
        board = instance.profile.name
        raise UserError(
            f"emulated board '{board}'",
            str(current.state),
            next=f"invoke emulate.up --board={board}",
        )
    return current.board


def log_of(instance: Instance) -> Path:
    """The log of making the image."""
    return instance.folder.parent / "logs" / "emulator.log"


# What the host must have


def require_daemon() -> None:
    """Raises UserError unless a Docker daemon answers."""
    answer = process.capture(["docker", "version", "--format", "{{.Server.Version}}"], timeout=30)
    if answer.returncode != 0:
        reason = (answer.stderr.strip() or answer.stdout.strip()).splitlines()[-1:]
        raise UserError("docker", "no daemon answers", facts=reason, next=SETUP)


def require_emulation(arch: Arch, binfmt: Path | None = None) -> None:
    """Raises UserError unless this kernel runs programs of `arch`, in containers too.

    `EDGEWRIGHT_BINFMT_MISC` is where a container sees the kernel's list: Docker hides the usual
    place, and mounts nothing over it.
    """
    binfmt = binfmt or Path(os.environ.get("EDGEWRIGHT_BINFMT_MISC") or BINFMT)
    entries = [p for p in sorted(binfmt.glob("*")) if p.name not in ("register", "status")]
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in entries)
    if runs_natively(arch) or any(_runs(text, arch) for text in texts):
        return
    of_qemu = [path.name for path in entries if path.name.startswith("qemu-")]
    raise UserError(
        f"emulation of {arch}",
        "not registered with the kernel",
        facts=[
            f"expected: an enabled entry with flag F in {binfmt} for ELF machine "
            f"{ELF_MACHINE[arch]:#x}",
            f"found: {', '.join(of_qemu) or 'none'}",
        ],
        next=SETUP,
    )


def runs_natively(arch: Arch, machine: str = platform.machine()) -> bool:
    return arch is Arch.ARM64 and machine == "aarch64"


def _runs(entry: str, arch: Arch) -> bool:
    """Whether an entry of binfmt_misc runs programs of `arch` in containers too.

    Its `magic` is the start of an ELF header; bytes 18 and 19 are the machine. Flag F opens the
    emulator at registration: inside a container its path does not exist.
    """
    lines = entry.splitlines()
    fields = dict(line.split(" ", 1) for line in lines if " " in line)
    magic = bytes.fromhex(fields.get("magic", ""))
    machine = int.from_bytes(magic[18:20], "little")
    return "enabled" in lines and "F" in fields.get("flags:", "") and machine == ELF_MACHINE[arch]


# Keys and files that the container sees


def _write_files(instance: Instance) -> None:
    # Equal files keep their inode: a running container has them mounted.
    folder = instance.folder
    make_folder(folder / "board")
    update_file(folder / "board" / "authorized_keys", authorized_keys(folder), mode=0o644)
    update_file(folder / "board" / "host_key", host_key(folder), mode=0o600)
    update_file(folder / "cpuinfo", cpuinfo(instance.profile), mode=0o644)


FEATURES = {
    Fpu.NEON: "half thumb fastmult vfp edsp neon vfpv3 tls",
    Fpu.NEON_VFPV4: "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae",
    Fpu.NEON_FP_ARMV8: (
        "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm "
        "aes pmull sha1 sha2 crc32"
    ),
}
FEATURES_ARM64 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"


def cpuinfo(profile: BoardProfile) -> str:
    """`/proc/cpuinfo` as the board's kernel would write it."""
    armv8 = profile.cpu.fpu in (None, Fpu.NEON_FP_ARMV8)
    features = FEATURES[profile.cpu.fpu] if profile.cpu.fpu else FEATURES_ARM64
    kind = "ARMv8 Processor rev 4 (v8l)" if armv8 else "ARMv7 Processor rev 5 (v7l)"
    core = [
        f"model name\t: {kind}",
        "BogoMIPS\t: 38.40",
        f"Features\t: {features}",
        "CPU implementer\t: 0x41",
        f"CPU architecture: {8 if armv8 else 7}",
        "CPU variant\t: 0x0",
        f"CPU part\t: {profile.cpuinfo_part}",
        f"CPU revision\t: {4 if armv8 else 5}",
    ]
    blocks = ["\n".join([f"processor\t: {n}", *core]) for n in range(profile.cpu.cores)]
    return "\n\n".join(blocks) + "\n\n"


# The container


def _run_argv(instance: Instance, image: str) -> list[str]:
    folder, profile = instance.folder, instance.profile
    argv = ["docker", "run", "--detach", "--name", instance.container]
    # Docker chooses a free port; only this machine can reach it.
    argv += ["--hostname", profile.name, "--publish", "127.0.0.1::22"]
    # As little memory and the same instructions as the board has.
    argv += ["--memory", f"{profile.memory.total_mb}m"]
    argv += ["--env", f"QEMU_CPU={profile.qemu_cpu}"]
    argv += ["--volume", f"{folder / 'board'}:/run/board:ro"]
    argv += ["--volume", f"{folder / 'cpuinfo'}:/proc/cpuinfo:ro"]
    argv += ["--label", f"{LABEL}.folder={folder}"]  # for who wonders what the container is
    if instance.storage_mb is not None:
        argv += ["--tmpfs", f"/opt:rw,exec,size={instance.storage_mb}m"]
    return [*argv, image]


def _config(instance: Instance, image: str) -> str:
    """Hash of everything that a container was started with."""
    settings = [_run_argv(instance, image), cpuinfo(instance.profile)]
    keys = [(instance.folder / "board" / name).read_bytes().hex() for name in BOARD_FILES]
    return hashlib.sha256(json.dumps([settings, keys]).encode()).hexdigest()


BOARD_FILES = ("authorized_keys", "host_key")


def _reusable(instance: Instance, image: str) -> dict[str, Any] | None:
    """The board's container, if a new one would be equal; a container that differs is removed."""
    container = _inspect(instance.container)
    if container is None:
        return None
    if _labels(container).get(f"{LABEL}.config") == _config(instance, image):
        return container
    _remove(instance.container)
    return None


def _start(instance: Instance, image: str, reusable: dict[str, Any] | None) -> None:
    if reusable is None:
        argv = _run_argv(instance, image)
        label = f"{LABEL}.config={_config(instance, image)}"
        process.check([*argv[:-1], "--label", label, image], timeout=120)
    elif not reusable["State"]["Running"]:
        process.check(["docker", "start", instance.container], timeout=120)


def _ready(instance: Instance) -> EmulatedBoard:
    """Wait until dropbear sends its banner, then pin its key under the port that Docker chose.

    A published port accepts connections before dropbear listens, so only the banner counts.
    """
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        container = _inspect(instance.container)
        if container is None or not container["State"]["Running"]:
            raise _not_up(instance, "stopped before its SSH server answered")
        board = _board(instance, container)
        if banner("127.0.0.1", board.port):
            pin(instance.folder, board.port)
            return board
        time.sleep(0.2)
    raise _not_up(instance, f"no SSH banner after {READY_SECONDS:g} s")


def _not_up(instance: Instance, problem: str) -> TargetError:
    logs = process.capture(["docker", "logs", "--tail", "20", instance.container])
    board = instance.profile.name
    return TargetError(
        f"emulated board '{board}'",
        problem,
        facts=[f"| {line}" for line in (logs.stdout + logs.stderr).splitlines()],
        next=f"invoke emulate.down --board={board}, then invoke emulate.up --board={board}",
    )


def _board(instance: Instance, container: dict[str, Any]) -> EmulatedBoard:
    published = container["NetworkSettings"]["Ports"].get("22/tcp") or [{"HostPort": "0"}]
    return EmulatedBoard(
        name=instance.profile.name,
        container=instance.container,
        image=container["Config"]["Image"],
        port=int(published[0]["HostPort"]),
        folder=instance.folder,
    )


def _inspect(container: str) -> dict[str, Any] | None:
    answer = process.capture(["docker", "container", "inspect", container], timeout=60)
    if answer.returncode != 0:
        return None
    first: dict[str, Any] = json.loads(answer.stdout)[0]
    return first


def _labels(container: dict[str, Any]) -> dict[str, str]:
    labels: dict[str, str] = container["Config"].get("Labels") or {}
    return labels


def _remove(container: str) -> None:
    process.capture(["docker", "rm", "--force", "--volumes", container], timeout=120)
