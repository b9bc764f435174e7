"""Run commands where the cross toolchains are: in the builder image, or on this host."""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, Protocol, get_args

from edgewright.base import digest, process
from edgewright.base.errors import UserError
from edgewright.base.files import locked, make_folder, unique_name
from edgewright.base.layout import Resources, user_cache
from edgewright.base.progress import LineSink
from edgewright.base.workspace import SharedStores, Workspace
from edgewright.build.supply import SUITE, Network, Supply, image_exists

# A board's toolchain file stands under the first mount, and its path is part of what packages are
# cached by: it is the same for every workspace of every user.
WORKSPACE_MOUNT = PurePosixPath("/edgewright")
CACHE_MOUNT = PurePosixPath("/cache")
CONTAINER = "edgewright-build"  # how the names of containers begin
CONTAINERS = "containers"  # folder of the cache: a locked file for each one that runs
RESOURCES_MOUNT = PurePosixPath("/resources")
LOCAL_TOOLS = (
    "conan",
    "cmake",
    "ninja",
    "ccache",
    "protoc",
    "patch",
    "arm-linux-gnueabihf-g++",
    "aarch64-linux-gnu-g++",
    "pkg-config",
    "apt-get",
)
# By which Conan logs in to a remote: handed on by name, so that no command line shows a password.
CONAN_LOGIN = ("CONAN_LOGIN_USERNAME", "CONAN_PASSWORD")
DEFAULT = "EDGEWRIGHT_BUILDER"  # what `auto` takes, in the image of edgewright say
BuilderChoice = Literal["auto", "docker", "local"]
_Mount = tuple[Path, PurePosixPath, Literal["rw", "ro"]]


def parse_choice(text: str, subject: str = "--builder") -> BuilderChoice:
    """Raises UserError for anything but auto, docker and local."""
    choices: tuple[BuilderChoice, ...] = get_args(BuilderChoice)
    for choice in choices:
        if text == choice:
            return choice
    raise UserError(
        f"{subject}={text}",
        "unknown builder",
        facts=[f"expected: {', '.join(choices)}"],
        next="invoke build --builder=auto",
    )


@dataclass(frozen=True, kw_only=True)
class ExternalToolchain:
    """A compiler that is not the builder's own: see `external_toolchain`."""

    root: Path  # its folder
    programs: Path  # folder, in the cache, of what stands for the builder's own compiler
    identity: str  # tells it from others, and from itself after an upgrade


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """All that code of somebody else's has of this host while it runs, paths as `Builder.path`'s.

    It has no network and no shared store either, whose address may hold a password.
    """

    writable: Path  # folder
    readable: tuple[Path, ...]


class Builder(Protocol):
    """A place with the cross toolchains, Conan and ccache."""

    @property
    def id(self) -> str:
        """Names the content of the place: outputs made under one id are comparable."""

    @property
    def cache(self) -> Path:
        """The folder of this host that holds its packages, sources and compiled objects."""

    @property
    def digest(self) -> str | None:
        """SHA-256 of the image; None for this host."""

    @property
    def toolchain(self) -> ExternalToolchain | None:
        """What it compiles with; None for its own compiler."""

    @property
    def shared(self) -> SharedStores:
        """Where other machines have left packages and objects."""

    @property
    def has_sandbox(self) -> bool:
        """Whether what runs in a sandbox is held to it; this host holds nothing to anything."""

    def path(self, host: Path) -> PurePosixPath:
        """The name in there of a host path: under workspace, cache or resources."""

    def run(
        self,
        argv: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        on_line: LineSink | None = None,
        network: bool = False,
        sandbox: Sandbox | None = None,
    ) -> None:
        """Run to the end, output to `log`; raises ChildFailed with its tail.

        What compiles has no network, but for a shared compiler cache; what asks a shared store has.
        With `sandbox`, it has that, the system to read, and /tmp.
        """


@dataclass(frozen=True, kw_only=True)
class DockerBuilder:
    """The builder image, with workspace, cache and resources mounted at fixed paths."""

    image: str
    workspace: Path
    cache: Path
    resources: Path  # mounted read-only
    toolchain: ExternalToolchain | None = None
    shared: SharedStores = field(default_factory=SharedStores)
    has_sandbox: ClassVar[bool] = True

    @property
    def id(self) -> str:
        return self.image.replace("/", "-").replace(":", "-") + _suffix(self.toolchain)

    @property
    def digest(self) -> str | None:
        argv = ["docker", "image", "inspect", "--format", "{{.Id}}", self.image]
        return process.check(argv).stdout.strip().removeprefix("sha256:")

    def path(self, host: Path) -> PurePosixPath:
        # The innermost folder counts: a pipeline keeps its cache inside the workspace, and so may
        # the virtual environment be that brings the resources. A checkout is both of the latter.
        for root, mount, _ in sorted(self._mounts(), key=lambda m: len(m[0].parts), reverse=True):
            if host.is_relative_to(root):
                return mount / host.relative_to(root).as_posix()
        raise UserError(str(host), f"outside of {self.workspace} and {self.cache}")

    def run(
        self,
        argv: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        on_line: LineSink | None = None,
        network: bool = False,
        sandbox: Sandbox | None = None,
    ) -> None:
        name = unique_name(CONTAINER)
        # --init: Conan and ninja are no good first process, they do not reap what others leave.
        command = ["docker", "run", "--rm", "--init", "--name", name]
        # What is built is made of what was fetched before, by hash, and of nothing else.
        shared = SharedStores() if sandbox else self.shared
        command += ["--network", "host" if network or shared.ccache else "none"]
        if network:
            command += [f"--env={name}" for name in CONAN_LOGIN if name in os.environ]
        # What a build writes into the cache shall belong to who started it, and not to root.
        if os.getuid() != 0 and not daemon_is_rootless():
            command += ["--user", f"{os.getuid()}:{os.getgid()}"]
        for host, mount, access in self._sandboxed(sandbox) if sandbox else self._mounts():
            command += ["--volume", f"{host}:{mount}:{access}"]
        if sandbox:
            command += ["--read-only", "--tmpfs", "/tmp:exec"]
        for key, value in sorted({**self._env(shared), **(env or {})}.items()):
            command += ["--env", f"{key}={value}"]
        command += ["--workdir", str(WORKSPACE_MOUNT), self.image]
        if self.toolchain:
            first_in_path = 'PATH="$0:$PATH" exec "$@"'
            command += ["sh", "-c", first_in_path, str(self.path(self.toolchain.programs))]
        command += argv
        mark = self.cache / CONTAINERS / name
        with locked(mark):
            try:
                process.run_logged(command, log, on_line=on_line)
            except BaseException:
                # Ctrl-C ends the docker command alone: its container would go on compiling, or lie
                # there for good where it had not started yet.
                _remove(mark)
                raise
            mark.unlink(missing_ok=True)

    def _mounts(self) -> tuple[_Mount, ...]:
        # The programs of a Yocto SDK know the path that it was installed at: it keeps its own.
        root = self.toolchain.root if self.toolchain else None
        return (
            (self.workspace, WORKSPACE_MOUNT, "rw"),
            (self.cache, CACHE_MOUNT, "rw"),
            (self.resources, RESOURCES_MOUNT, "ro"),
            *(((root, PurePosixPath(root.as_posix()), "ro"),) if root else ()),
        )

    def _sandboxed(self, sandbox: Sandbox) -> tuple[_Mount, ...]:
        readable = sandbox.readable
        if self.toolchain:
            # Beside its programs lie the libraries that zig compiled for the board.
            readable += (self.toolchain.root, self.toolchain.programs.parent)
        return (
            *((path, self.path(path), "ro") for path in readable),
            (sandbox.writable, self.path(sandbox.writable), "rw"),
        )

    def _env(self, shared: SharedStores) -> dict[str, str]:
        return {"CONAN_HOME": str(CACHE_MOUNT / "conan" / self.id), **_shared_objects(shared)}


@dataclass(frozen=True, kw_only=True)
class LocalBuilder:
    """This host, where it has all of `LOCAL_TOOLS`."""

    workspace: Path
    cache: Path
    toolchain: ExternalToolchain | None = None
    shared: SharedStores = field(default_factory=SharedStores)
    has_sandbox: ClassVar[bool] = False

    @property
    def id(self) -> str:
        compilers = ("arm-linux-gnueabihf-g++", "aarch64-linux-gnu-g++")
        versions = [process.check([compiler, "--version"]).stdout for compiler in compilers]
        return f"local-{digest.text_sha256(*versions)[:12]}{_suffix(self.toolchain)}"

    @property
    def digest(self) -> str | None:
        return None

    def path(self, host: Path) -> PurePosixPath:
        return PurePosixPath(host.as_posix())

    def run(
        self,
        argv: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        on_line: LineSink | None = None,
        network: bool = False,
        sandbox: Sandbox | None = None,
    ) -> None:
        missing = missing_tools()
        if missing:
            raise _no_local_tools(missing)
        process.run_logged(
            argv, log, cwd=self.workspace, env={**self._env(), **(env or {})}, on_line=on_line
        )

    def _env(self) -> dict[str, str]:
        first_in_path = [str(self.toolchain.programs)] if self.toolchain else []
        return {
            "PATH": os.pathsep.join([*first_in_path, _path_with_venv()]),
            "CONAN_HOME": str(self.cache / "conan" / self.id),
            "CCACHE_DIR": str(self.cache / "ccache"),
            # An object is found again after an upgrade that left the compiler as it was, and from
            # another folder: recipes build at paths that do not last.
            "CCACHE_COMPILERCHECK": "content",
            "CCACHE_NOHASHDIR": "1",
            "CMAKE_C_COMPILER_LAUNCHER": "ccache",
            "CMAKE_CXX_COMPILER_LAUNCHER": "ccache",
            # CMake 4 refuses projects that name an older minimum, as libjpeg-turbo does.
            "CMAKE_POLICY_VERSION_MINIMUM": "3.5",
            **_shared_objects(self.shared),
        }


def _suffix(toolchain: ExternalToolchain | None) -> str:
    return f"-{toolchain.identity[:12]}" if toolchain else ""


def _shared_objects(shared: SharedStores) -> dict[str, str]:
    """What makes ccache look in a shared store, and leave there what it compiled."""
    return {"CCACHE_REMOTE_STORAGE": shared.ccache} if shared.ccache else {}


def missing_tools() -> list[str]:
    """The programs of `LOCAL_TOOLS` that this host lacks."""
    return [tool for tool in LOCAL_TOOLS if not shutil.which(tool, path=_path_with_venv())]


def _path_with_venv() -> str:
    """PATH behind the folder where pip puts conan, cmake and ninja, active or not."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


NOT_ALLOWED = "its daemon runs, but this user is not in the group docker"


def docker_problem() -> str | None:
    """Why Docker cannot be used here, or None."""
    if not shutil.which("docker"):
        return "the docker command is not installed"
    answer = process.capture(["docker", "version", "--format", "{{.Server.Version}}"], timeout=30)
    if answer.returncode == 0:
        return None
    reason = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
    return NOT_ALLOWED if "permission denied" in reason[-1] else reason[-1]


def choose(
    choice: BuilderChoice,
    workspace: Workspace,
    log: Path,
    on_line: LineSink | None = None,
    *,
    cache: Path | None = None,
    supply: Supply | None = None,
) -> Builder:
    """The builder asked for; `auto` takes Docker if a daemon answers, else this host.

    `EDGEWRIGHT_BUILDER` may say which of them. The builder image is built first where it is
    missing. `cache` is a folder to use in place of the user's, `supply` what the image is made from
    in place of the network. Raises UserError with every fix if there is no builder.
    """
    if choice == "auto":
        choice = parse_choice(os.environ.get(DEFAULT) or "auto", DEFAULT)
    problem = None if choice == "local" else docker_problem()
    if choice != "local" and problem is None:
        return docker_builder(workspace, log, on_line, cache=cache, supply=supply)
    missing = [] if choice == "docker" else missing_tools()
    if choice == "docker" or (choice == "auto" and missing):
        facts = [f"docker: {problem}"]
        facts += [f"this host lacks: {', '.join(missing)}"] if missing else []
        raise UserError(
            "builder",
            "no place to build in",
            facts=facts,
            next="invoke setup --yes (installs and starts Docker), or install the tools listed "
            "and use --builder=local",
        )
    if missing:
        raise _no_local_tools(missing)
    return LocalBuilder(
        workspace=workspace.root, cache=_ready_cache(cache), shared=workspace.settings.shared
    )


def docker_builder(
    workspace: Workspace,
    log: Path,
    on_line: LineSink | None = None,
    *,
    cache: Path | None = None,
    supply: Supply | None = None,
) -> DockerBuilder:
    """The builder image, taken from the shared store or built where it is missing."""
    _end_orphans(cache or user_cache())
    image, shared = image_tag(workspace.resources), workspace.settings.shared
    if not image_exists(image) and not _pulled(image, shared, log, on_line):
        build_image(image, workspace.resources, log, on_line, supply=supply or Network())
        _push(image, shared, log, on_line)
    return DockerBuilder(
        image=image,
        workspace=workspace.root,
        cache=_ready_cache(cache),
        resources=workspace.resources.root,
        shared=shared,
    )


def _end_orphans(cache: Path) -> None:
    """Remove the containers whose process was killed: the locks of their files went with it.

    They would go on writing into the workspace and into Conan's cache, whose locks went likewise.
    """

    def leave() -> None:
        raise BlockingIOError

    for mark in (cache / CONTAINERS).glob(f"{CONTAINER}-*"):
        with suppress(BlockingIOError), locked(mark, on_busy=leave):
            _remove(mark)


def _remove(mark: Path) -> None:
    """Remove a container, then its mark; the next build tries again where the daemon refuses."""
    answer = process.capture(["docker", "rm", "--force", mark.name])
    # Older daemons call it an error that there is none.
    if answer.returncode == 0 or "no such container" in answer.stderr.lower():
        mark.unlink(missing_ok=True)


def _pulled(image: str, shared: SharedStores, log: Path, on_line: LineSink | None) -> bool:
    """Whether the shared store had the image; one that does not answer costs time alone."""
    if not shared.builder:
        return False
    stored = _stored_name(image, shared.builder)
    try:
        process.run_logged(["docker", "pull", stored], log, on_line=on_line)
    except process.ChildFailed:
        return False
    process.run_logged(["docker", "tag", stored, image], log)
    return True


def _push(image: str, shared: SharedStores, log: Path, on_line: LineSink | None) -> None:
    """Leave the image in the shared store, if this user may write there."""
    if not shared.builder:
        return
    stored = _stored_name(image, shared.builder)
    process.run_logged(["docker", "tag", image, stored], log)
    with suppress(process.ChildFailed):  # it is in the log, and the build has its image
        process.run_logged(["docker", "push", stored], log, on_line=on_line)


def _stored_name(image: str, repository: str) -> str:
    return f"{repository}:{image.rpartition(':')[2]}"


def image_tag(resources: Resources) -> str:
    """`edgewright/builder:<hash of what defines it>`."""
    content = digest.tree_sha256(resources.docker / "builder")
    return f"edgewright/builder:{digest.text_sha256(SUITE, content)[:12]}"


def build_image(
    image: str,
    resources: Resources,
    log: Path,
    on_line: LineSink | None = None,
    *,
    supply: Supply,
) -> None:
    """Build the builder image, without a network, from what is fetched for it before.

    Raises ChildFailed with the tail of the failing step.
    """
    make_folder(user_cache())
    with tempfile.TemporaryDirectory(prefix="edgewright-image-") as scratch:
        context = Path(scratch) / "builder"
        shutil.copytree(resources.docker / "builder", context)
        base = supply.builder(image, context, log, on_line)
        process.run_logged(
            ["docker", "build", "--force-rm", "--network", "none", "--build-arg", f"BASE={base}"]
            + ["--tag", image, str(context)],
            log,
            on_line=on_line,
            next=f"read {log}, mend docker/builder/, then repeat the command",
        )


def _ready_cache(cache: Path | None) -> Path:
    """The cache, with the folders that Docker would otherwise make as root's."""
    cache = cache or user_cache()
    for folder in ("ccache", "sources"):
        make_folder(cache / folder)
    return cache


def daemon_is_rootless() -> bool:
    """Whether the daemon, Docker's or Podman's, runs as this user.

    Root in its containers is then this user on the host, and `--user` would be somebody who may
    not write to the mounted folders. Docker tells it among its security options, Podman 4.3 does
    not; the data of both lie in a folder of the user.
    """
    answer = process.capture(["docker", "info", "--format", "{{.DockerRootDir}}"], timeout=30)
    try:
        return Path(answer.stdout.strip()).stat().st_uid == os.getuid()
    except OSError:
        return False


def _no_local_tools(missing: list[str]) -> UserError:
    return UserError(
        "builder 'local'",
        "this host lacks tools",
        facts=[", ".join(missing)],
        next="install them, or use --builder=docker",
    )
