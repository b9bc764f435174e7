"""Real parts: the builder image, the host build of edge-infer, emulated boards over SSH."""

import itertools
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgewright.base import process
from edgewright.base.errors import ExitCode
from edgewright.base.files import locked, unique_name
from edgewright.base.process import check
from edgewright.base.progress import Progress
from edgewright.base.workspace import Workspace
from edgewright.board.catalogue import load_board
from edgewright.board.profile import Arch, BoardProfile
from edgewright.build import container, packages, pipeline
from edgewright.build.container import DockerBuilder
from edgewright.build.packages import Package
from edgewright.build.pipeline import BuildReport, BuildRequest
from edgewright.cli.program import Edgewright
from edgewright.deploy.remote import Board, connect
from edgewright.deploy.target import Target
from edgewright.fleet.bench import servers
from edgewright.lab import board_keys, emulate
from edgewright.lab.emulate import EmulatedBoard, Instance
from edgewright.observe.count.counts import EMULATORS
from edgewright.release.manifest import Release
from tests.boards import make_release
from tests.browser import Browser, browser
from tests.checkout import ROOT, checkout
from tests.integration.checkers import (
    SANITIZERS,
    CheckedProgram,
    Checker,
    checked,
    compiler_flags,
    each_night,
    valgrind_image,
)
from tests.postgresql import database, opener, postgresql  # noqa: F401

REPO = checkout()
HOST_BUILD = REPO.root / "build" / "host"
SMALL_MB = 4  # size of the small board's /opt

BuildChecked = Callable[..., CheckedProgram]


class Silent(Progress):
    """Progress that remembers which stages began."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def start(self, stage: str) -> None:
        self.started.append(stage)


def request(
    workspace: Workspace,
    model: Path | None = None,
    *,
    board: str = "a53-som",
) -> BuildRequest:
    return BuildRequest(
        profile=load_board(board, workspace.boards),
        model=model or workspace.default_model,
        workspace=workspace,
        builder="docker",
        jobs=os.cpu_count() or 1,
    )


def run_as(
    cpu: str, release: Path, arch: Arch, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """A release's program, by the user-mode emulator, on a core as QEMU models it."""
    argv = [EMULATORS[arch], "-cpu", cpu, str(release / "bin" / "edge-infer"), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=1800)


def runs_on_its_core(release: Path, profile: BoardProfile) -> None:
    """Asserts that a release's program starts and passes its self-test on its board's core."""
    model = str(release / "model" / "model.ort")
    version = run_as(profile.qemu_cpu, release, profile.abi.arch, "--version")
    assert (version.returncode, version.stdout[:11]) == (0, "edge-infer "), version.stderr
    ended = run_as(profile.qemu_cpu, release, profile.abi.arch, "selftest", "--model", model)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert json.loads(ended.stdout)["passed"] is True


@pytest.fixture(scope="session")
def builder() -> DockerBuilder:
    """The builder image, built where it is missing."""
    return container.docker_builder(REPO, REPO.root / "build" / "builder.log")


@pytest.fixture(scope="session")
def host_build(builder: DockerBuilder) -> Path:
    """edge-infer and its unit tests for this machine, against Debian's full runtime."""
    return build_for_host(builder, HOST_BUILD)


def build_for_host(builder: DockerBuilder, folder: Path, *options: str) -> Path:
    """`options` are CMake's."""
    source, out = builder.path(REPO.resources.runtime_cpp), builder.path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    with locked(folder / "lock"):  # tests run in several processes
        builder.run(["cmake", "-G", "Ninja", "-S", str(source), "-B", str(out), *options], log)
        builder.run(["cmake", "--build", str(out)], log)
    return folder


@pytest.fixture(scope="session")
def build_checked(builder: DockerBuilder, host_build: Path) -> BuildChecked:
    """Makes `edge-infer`, or its unit tests, under a checker, in the folder of a test."""

    def build(checker: Checker, folder: Path, name: str = "edge-infer") -> CheckedProgram:
        out, image = host_build, builder.image
        if checker in SANITIZERS:
            flags = f"-DCMAKE_CXX_FLAGS={compiler_flags(checker)}"
            options = ("-DCMAKE_BUILD_TYPE=None", "-DEDGE_BUILD_TESTS=ON", flags)
            out = build_for_host(builder, HOST_BUILD.with_name(f"host-{checker}"), *options)
        elif checker is Checker.VALGRIND:
            image = valgrind_image(builder, REPO.root / "build" / "tests" / "valgrind")
        return checked(checker, out / name, image, folder)

    return build


@pytest.fixture(params=[Checker.NONE, *each_night(*SANITIZERS)])
def program(
    request: pytest.FixtureRequest,
    build_checked: BuildChecked,
    tmp_path: Path,
) -> Iterator[CheckedProgram]:
    """edge-infer as it is and, each night, under sanitizers, which have nothing to say of it."""
    folder = tmp_path / "checker"
    folder.mkdir()
    program = build_checked(request.param, folder)
    yield program
    assert program.findings() == ""


def accepts(path: str) -> bool:
    """Whether a service listens on this socket."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        return True
    return False


def heat(folder: Path, celsius: int) -> Path:
    """A tree of Linux's files; returns what stands for `/`."""
    zone = folder / "tree" / "sys" / "class" / "thermal" / "thermal_zone0"
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "temp").write_text(f"{celsius}000\n")
    return folder / "tree"


def end_containers(names: Iterable[str]) -> None:
    """As a service is ended: a checker tells what is lost when the program ends by itself."""
    for name in names:
        subprocess.run(["docker", "stop", "--time", "30", name], capture_output=True, check=False)
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as tab:
        yield tab


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder inside the checkout, which is what the builder image sees."""
    parent = REPO.root / "build" / "tests"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def native(builder: DockerBuilder) -> dict[str, Package]:
    """edgectl and its libraries for this machine."""
    return pipeline.native_edgectl(REPO, builder, jobs=os.cpu_count() or 1)


@pytest.fixture(scope="session")
def host_edgectl(native: dict[str, Package]) -> Path:
    """edgectl for this machine: static, of the sources that boards get."""
    return native[packages.EDGECTL].folder / "bin" / "edgectl"


def wait_until(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def image_of(build: list[str], tag: str) -> Iterator[str]:
    """The image that a command makes, by its tag, until the end of the block."""
    try:
        subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=1800)
        yield tag
    finally:
        subprocess.run(["docker", "image", "rm", tag], check=False, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def own_image() -> Iterator[str]:
    """The image of edgewright itself, of the commit that is checked out."""
    tag = unique_name("edgewright-of-test")
    with image_of([sys.executable, str(ROOT / "docker/edgewright/build.py"), tag], tag) as image:
        yield image


@contextmanager
def alone() -> Iterator[None]:
    """No other test builds a53-som in this checkout meanwhile: they run in several processes."""
    with locked(REPO.root / "build" / "tests" / "lock"):
        yield


@pytest.fixture(scope="session")
def built(builder: DockerBuilder) -> BuildReport:
    """The demo model built for a53-som, in this checkout."""
    with alone():
        return pipeline.build(request(REPO), Silent())


@contextmanager
def new_user(home: Path, *, cache: Path) -> Iterator[pytest.MonkeyPatch]:
    """A user with an empty home but for a key to log in with, and with keys of his own."""
    (home / ".ssh").mkdir(mode=0o700)
    board_keys.key(home / ".ssh" / board_keys.USER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("EDGEWRIGHT_CONFIG", str(home / "config"))
        patch.setenv("EDGEWRIGHT_CACHE", str(cache))
        patch.delenv("SSH_AUTH_SOCK", raising=False)
        yield patch


def run_edgewright(*argv: str) -> int:
    """The exit code of a command, in this process."""
    try:
        Edgewright().run(["edgewright", *argv], exit=True)
    except SystemExit as ended:
        return int(ended.code or 0)
    return ExitCode.OK


@pytest.fixture
def own_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with keys of his own."""
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))


@pytest.fixture(scope="session")
def host_edge_infer(
    builder: DockerBuilder, host_build: Path
) -> Iterator[Callable[[list[str]], subprocess.CompletedProcess[bytes]]]:
    """Runs the host build of edge-infer; the checkout has the same path inside."""
    name = unique_name("edgewright-host")
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


def instance_of(board: str, folder: Path, *, storage_mb: int | None = None) -> Instance:
    """An instance beside the ones that the user runs: its folder is another."""
    profile = load_board(board, REPO.boards)
    docker = REPO.resources.docker
    return Instance(profile=profile, folder=folder / board, docker=docker, storage_mb=storage_mb)


@pytest.fixture(scope="session")
def emulator_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulator")


def run_board(instance: Instance) -> Iterator[EmulatedBoard]:
    try:
        yield emulate.up(instance)
    finally:
        emulate.down(instance)


@pytest.fixture(scope="session")
def emulated(emulator_folder: Path) -> Iterator[EmulatedBoard]:
    """An armhf board that runs for the whole session; tests use a deploy root each."""
    yield from run_board(instance_of("a53-som", emulator_folder))


@pytest.fixture
def small_board(tmp_path: Path) -> Iterator[EmulatedBoard]:
    """A board with very little storage."""
    yield from run_board(instance_of("a53-som", tmp_path / "small", storage_mb=SMALL_MB))


@pytest.fixture
def own_instance(tmp_path: Path) -> Iterator[Instance]:
    """A board that a test may treat badly; `emulate.up` brings it back."""
    instance = instance_of("a53-som", tmp_path / "own")
    for _ in run_board(instance):
        yield instance


@pytest.fixture
def own_board(own_instance: Instance) -> EmulatedBoard:
    return emulate.running(own_instance)


@pytest.fixture
def board(emulated: EmulatedBoard) -> Iterator[Board]:
    with connect(emulated.target) as connected:
        yield connected


_numbers = itertools.count(1)


@pytest.fixture
def root() -> str:
    """A deploy root that no other test uses."""
    return f"/opt/edgewright-{next(_numbers)}"


@pytest.fixture
def make(tmp_path: Path, root: str, built: BuildReport, own_keys: None) -> Callable[..., Release]:
    """Releases for the deploy root of this test; `megabytes` of model that do not compress."""

    def make(name: str = "one", *, megabytes: int = 0, **changes: object) -> Release:
        model = name.encode() + os.urandom(megabytes * 1024 * 1024)
        helper = built.folder / "bin" / "edgectl"
        options = {"root": root, "compatible": "edgewright,a53-som", "edgectl": helper} | changes
        return make_release(tmp_path / name, model=model, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def on_board(emulated: EmulatedBoard) -> Callable[..., str]:
    """What a shell on the board says, without SSH."""
    return lambda script: shell(emulated, script)


# The server that listens is a child of init; it has a child for each session.
SESSIONS = """
for p in $(pidof dropbear); do [ "$(cut -d ' ' -f 4 /proc/$p/stat)" = 1 ] || echo $p; done
"""


def kill_sessions(emulated: EmulatedBoard) -> None:
    shell(emulated, f"kill -9 $({SESSIONS})")


def shell(emulated: EmulatedBoard, script: str) -> str:
    argv = ["docker", "exec", emulated.container, "sh", "-c", script]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


# A board whose processor is not emulated, behind a line that can be cut

RATE = "100mbit"
ADDRESS = "198.51.100.2"  # of a range that is kept for documentation
TOOLS = ("ip", "tc", "unshare", "ssh")


@pytest.fixture(scope="module")
def line() -> Iterator[str]:
    """The name of a network namespace at the other end of a line."""
    if os.getuid() != 0 or any(shutil.which(tool) is None for tool in TOOLS):
        pytest.skip("needs root, iproute2 and an SSH client")
    name, near_end, far_end = (f"ew{part}{secrets.token_hex(4)}" for part in ("ns", "a", "b"))
    shape = f"root tbf rate {RATE} burst 16kb latency 100ms"
    inside = f"ip netns exec {name}"
    try:
        for command in (
            f"ip netns add {name}",
            f"ip link add {near_end} type veth peer name {far_end} netns {name}",
            f"ip addr add 198.51.100.1/30 dev {near_end}",
            f"ip link set {near_end} up",
            f"tc qdisc add dev {near_end} {shape}",
            f"{inside} ip addr add {ADDRESS}/30 dev {far_end}",
            f"{inside} ip link set {far_end} up",
            f"{inside} tc qdisc add dev {far_end} {shape}",
        ):
            check(command.split())
        yield name
    finally:
        subprocess.run(["ip", "link", "delete", near_end], check=False)
        subprocess.run(["ip", "netns", "delete", name], check=False)


@pytest.fixture(scope="session")
def ssh_servers() -> Path:
    """Debian's SSH servers for this machine, unpacked once for all tests."""
    return servers.programs(REPO.root / "build" / "tests" / f"ssh-servers-{servers.SUITE}")


@dataclass(frozen=True, kw_only=True)
class NativeBoard:
    """This machine in a network namespace, with dropbear; /opt and /root are its own."""

    target: Target
    server: int  # process


@pytest.fixture(scope="module")
def native_board(
    line: str, ssh_servers: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NativeBoard]:
    folder = tmp_path_factory.mktemp("native")
    key = board_keys.key(folder / board_keys.HOST)
    login = board_keys.public(board_keys.key(folder / board_keys.USER))
    servers.make_folders(folder, login, key)
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(f"{ADDRESS} {board_keys.public(key)}\n")
    inside = ["ip", "netns", "exec", line, "unshare", "-m", "sh", "-c", servers.BOARD, "_"]
    server = subprocess.Popen([*inside, str(folder), str(ssh_servers), "dropbear", "22", ""])
    try:
        wait_until(lambda: board_keys.banner(ADDRESS, 22), seconds=30)
        identity = folder / board_keys.USER
        target = Target(address=ADDRESS, user="root", identity=identity, known_hosts=known_hosts)
        yield NativeBoard(target=target, server=server.pid)
    finally:
        server.kill()
        server.wait()
