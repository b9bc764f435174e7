"""What this machine needs before boards can be built for and emulated, and how it gets it."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.base import process
from edgewright.base.errors import UserError
from edgewright.base.files import make_folder
from edgewright.base.layout import user_cache
from edgewright.board.profile import Arch
from edgewright.build import container
from edgewright.deploy import openssh
from edgewright.lab import emulate
from edgewright.lab import machine as lab
from edgewright.lab.proof import fuzz

BINFMT_MISC = Path("/proc/sys/fs/binfmt_misc")
SYSTEMD = Path("/run/systemd/system")
POSTGRESQL = Path("/usr/lib/postgresql")
DAEMON_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Need:
    """One thing the host must have."""

    name: str
    why: str
    problem: Callable[[], str | None]  # None: it is there
    packages: tuple[str, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()  # after the packages are installed
    daemon: tuple[str, ...] = ()  # a server to start where no service manager does


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A need, and what was found of it."""

    need: Need
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class Action:
    """One command of a setup; a daemon goes on in the background."""

    argv: tuple[str, ...]
    background: bool = False

    def __str__(self) -> str:
        return process.quote(self.argv) + (" &" if self.background else "")


def _missing_program(program: str) -> Callable[[], str | None]:
    def problem() -> str | None:
        return None if process.which(program) else f"{program} is not installed"

    return problem


def _no_emulation(arch: Arch) -> Callable[[], str | None]:
    def problem() -> str | None:
        try:
            emulate.require_emulation(arch)
        except UserError as absent:
            return absent.problem
        return None

    return problem


def _no_postgresql() -> str | None:
    """Debian keeps its programs out of the search path."""
    return None if any(POSTGRESQL.glob("*/bin/initdb")) else "initdb is not installed"


NEEDS = (
    Need(
        name="git",
        why="releases name their commit",
        problem=_missing_program("git"),
        packages=("git",),
    ),
    Need(
        name="minisign",
        why="tests hold our signatures against the stock tool",
        problem=_missing_program("minisign"),
        packages=("minisign",),
    ),
    Need(
        name="mmdebstrap",
        why="base images without an image registry",
        problem=_missing_program("mmdebstrap"),
        packages=("mmdebstrap", "debian-archive-keyring", "uidmap"),
    ),
    Need(
        name="armhf emulation",
        why="boards and package tests run on this machine",
        problem=_no_emulation(Arch.ARMHF),
        packages=("qemu-user-static", "binfmt-support"),
        commands=(("update-binfmts", "--enable", "qemu-arm"),),
    ),
    Need(
        name="arm64 emulation",
        why="boards and package tests run on this machine",
        problem=_no_emulation(Arch.ARM64),
        packages=("qemu-user-static", "binfmt-support"),
        commands=(("update-binfmts", "--enable", "qemu-aarch64"),),
    ),
    Need(
        name="qemu-arm",
        why="instructions are counted by a plugin, which the static emulators cannot load",
        problem=_missing_program("qemu-arm"),
        packages=("qemu-user",),
    ),
    Need(
        name="cc",
        why="compiles that plugin",
        problem=_missing_program("cc"),
        packages=("gcc", "libc6-dev"),
    ),
    Need(
        name="strace",
        why="proofs kill edgectl at every system call",
        problem=_missing_program("strace"),
        packages=("strace",),
    ),
    Need(
        name="clang with libFuzzer",
        why="proofs feed edgectl's parsers with hostile input",
        problem=fuzz.problem,
        packages=("clang", "libclang-rt-dev", "pkg-config"),
    ),
    Need(
        name="ssh",
        why="sends what is large several times as fast",
        problem=_missing_program(openssh.PROGRAM),
        packages=("openssh-client",),
    ),
    Need(
        name="docker",
        why="the cross toolchains and the emulated boards run in it",
        problem=container.docker_problem,
        packages=("docker.io",),
        daemon=("dockerd",),
    ),
)

# Only for boards that run as a whole in QEMU: `invoke lab.up`.
LAB_NEEDS = (
    Need(
        name="full-system QEMU",
        why="boards with a kernel, a disk and a power switch",
        problem=_missing_program(lab.QEMU),
        packages=("qemu-system-arm",),
    ),
    Need(
        name="mke2fs",
        why="their disks",
        problem=_missing_program("mke2fs"),
        packages=("e2fsprogs",),
    ),
)


# Program → its Debian package: what `release.export` calls, and what takes what it made.
EXPORT_TOOLS = {
    "cpio": "cpio",
    "dbus-run-session": "dbus-daemon",
    "faketime": "faketime",
    "lintian": "lintian",
    "mender-artifact": "mender-artifact",
    "mksquashfs": "squashfs-tools",
    "openssl": "openssl",
    "ostree": "ostree",
    "rauc": "rauc",
    "swupdate": "swupdate",
    "umoci": "umoci",
}


def _no_export_tool() -> str | None:
    missing = [program for program in EXPORT_TOOLS if not process.which(program)]
    return f"not installed: {', '.join(missing)}" if missing else None


# A machine that has just started upgrades itself unattended, and holds dpkg's lock meanwhile.
WAIT_FOR_DPKG = ("-o", "DPkg::Lock::Timeout=600")

# Only for the tests of a checkout: no user's machine gets a database server from us.
TEST_NEEDS = (
    Need(
        name="PostgreSQL",
        why="tests hold the ledger of rollouts against a server of their own",
        problem=_no_postgresql,
        packages=("postgresql",),
    ),
    Need(
        name="Chromium",
        why="tests look at the page of rollouts as people do",
        problem=_missing_program("chromium"),
        packages=("chromium",),
    ),
    Need(
        name="docker-registry",
        why="tests publish releases in a real registry",
        problem=_missing_program("docker-registry"),
        packages=("docker-registry",),
    ),
    Need(
        name="docker-compose",
        why="tests run the services of docker/fleet",
        problem=_missing_program("docker-compose"),
        packages=("docker-compose",),
    ),
    Need(
        name="diffoscope",
        why="tests have a difference of two builds explained",
        problem=_missing_program("diffoscope"),
        packages=("diffoscope-minimal",),
    ),
    Need(
        name="gdb-multiarch",
        why="tests stop a board's program in its preprocessing",
        problem=_missing_program("gdb-multiarch"),
        packages=("gdb-multiarch",),
    ),
    Need(
        name="redis-server",
        why="tests share compiled objects by a real one",
        problem=_missing_program("redis-server"),
        packages=("redis-server",),
    ),
    Need(
        name="tools of other updaters",
        why="tests export releases by the real ones, and have them read",
        problem=_no_export_tool,
        packages=tuple(EXPORT_TOOLS.values()),
    ),
)


def inspect(needs: Sequence[Need] = NEEDS) -> list[Finding]:
    """Look at every need; changes nothing."""
    return [Finding(need=need, problem=need.problem()) for need in needs]


def plan(findings: Sequence[Finding]) -> list[Action]:
    """The commands that supply what is missing, in order; none if nothing is."""
    missing = [
        finding.need for finding in findings if finding.problem not in (None, container.NOT_ALLOWED)
    ]
    return [
        *_install(sorted({package for need in missing for package in need.packages})),
        *_mount(missing),
        *(Action(argv=_as_root(command)) for need in missing for command in need.commands),
        *(_start(need) for need in missing if need.daemon),
    ]


def _install(packages: Sequence[str]) -> list[Action]:
    missing = [package for package in packages if not _installed(package)]
    if not missing:
        return []
    install = ("apt-get", *WAIT_FOR_DPKG, "install", "--yes", "--no-install-recommends", *missing)
    return [
        Action(argv=_as_root(("apt-get", "update"))),
        Action(argv=_as_root(("env", "DEBIAN_FRONTEND=noninteractive", *install))),
    ]


def _installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    return process.capture(query).stdout == "installed"


def _mount(missing: Sequence[Need]) -> list[Action]:
    needs_formats = any("binfmt-support" in need.packages for need in missing)
    if not needs_formats or (BINFMT_MISC / "status").exists():
        return []
    return [Action(argv=_as_root(("mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT_MISC))))]


def _start(need: Need) -> Action:
    if SYSTEMD.is_dir():
        return Action(argv=_as_root(("systemctl", "enable", "--now", "docker")))
    return Action(argv=_as_root(need.daemon), background=True)


def _as_root(argv: Sequence[str]) -> tuple[str, ...]:
    return tuple(argv) if os.getuid() == 0 else ("sudo", *argv)


def apply(actions: Sequence[Action], log: Path, on_action: Callable[[Action], None]) -> None:
    """Carry out a plan. Raises ChildFailed with the tail of the command that broke."""
    for action in actions:
        on_action(action)
        if action.background:
            _run_daemon(action.argv)
        else:
            process.run_logged(action.argv, log, next=f"read {log}, then repeat invoke setup")


def _run_daemon(argv: Sequence[str]) -> None:
    """Start a server that outlives us, and wait until Docker answers."""
    log = user_cache() / f"{Path(argv[-1]).name}.log"
    make_folder(log.parent)
    with log.open("ab") as sink:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + DAEMON_SECONDS
    while (problem := container.docker_problem()) is not None:
        if child.poll() is not None or time.monotonic() > deadline:
            raise _no_daemon(argv, child.poll(), problem, log)
        time.sleep(0.2)


def _no_daemon(argv: Sequence[str], code: int | None, problem: str, log: Path) -> UserError:
    ending = f"exit code {code}" if code is not None else f"no answer in {DAEMON_SECONDS} s"
    tail = log.read_text(errors="replace").splitlines()[-process.TAIL_LINES :]
    return UserError(
        process.quote(argv),
        ending,
        facts=[f"docker: {problem}", *(f"| {line}" for line in tail), f"log: {log}"],
    )


def require_ready(findings: Sequence[Finding]) -> None:
    """Raise UserError naming what is still missing after a setup."""
    missing = [f"{finding.need.name}: {finding.problem}" for finding in findings if finding.problem]
    if missing:
        raise UserError(
            "this machine",
            "still lacks what a build needs",
            facts=missing,
            next="supply it by hand; for Docker: sudo usermod --append --groups docker $USER, "
            "then log in again",
        )
