"""Fetch other runtimes by their package names, and the small driver that runs a network in them."""

import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgewright.base import apt, digest, process
from edgewright.base.errors import UserError
from edgewright.base.files import cached_folder, replacing
from edgewright.base.layout import user_cache
from edgewright.base.workspace import Workspace
from edgewright.board.elf import read_elf
from edgewright.board.profile import TRIPLET, Arch
from edgewright.build import container

SUITE = "trixie"
PACKAGES = ("libonnxruntime-dev",)  # the runtime, its header and all that it needs
PYTHON_SUITE = "bookworm"  # whose Python is the newest that ncnn's and our wheels are made for
PYTHON_PACKAGES = ("python3-minimal", "libpython3.11-stdlib", "libstdc++6")
SHERPA = "sherpa-onnx-core==1.13.8"  # carries a full ONNX Runtime 1.28, for armv7 too
ONNXRUNTIME = "onnxruntime==1.32.0"  # its own wheel, of which there is none for armv7
NCNN = "ncnn==1.0.20261020"
# What any program has on any board: neither a runtime's nor a dependency's size.
LIBC = ("ld-linux", "libc.so", "libm.so", "libdl.so", "librt.so", "libpthread.so")
CPUINFO = """\
processor\t: 0
model name\t: ARMv8 Processor rev 4 (v8l)
Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae crc32
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd03
CPU revision\t: 4

"""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Where the runtimes of one width come from, and how they are called."""

    debian: str  # Debian's name of the architecture
    libraries: Path  # in a file system of Debian's
    wheels: tuple[str, ...]  # platform tags
    getppid: int  # the number of the system call by which the script for ncnn marks an inference


PLATFORMS = {
    Arch.ARMHF: Platform(
        debian="armhf",
        libraries=Path("usr/lib/arm-linux-gnueabihf"),
        wheels=("manylinux_2_31_armv7l", "manylinux_2_35_armv7l"),
        getppid=64,
    ),
    Arch.ARM64: Platform(
        debian="arm64",
        libraries=Path("usr/lib/aarch64-linux-gnu"),
        wheels=("manylinux2014_aarch64", "manylinux_2_28_aarch64"),
        getppid=173,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A runtime in a file, and the file system that it runs in."""

    name: str
    arch: Arch
    library: Path
    sysroot: Path
    provider: str = "CPU"  # of ONNX Runtime; the CPU's runs what another one cannot

    @property
    def bytes(self) -> int:
        """Of the library, its symbols stripped."""
        return stripped_size(self.library)

    @property
    def dependency_bytes(self) -> int:
        """Of the shared libraries that it needs, libc apart."""
        folder = self.sysroot / PLATFORMS[self.arch].libraries
        return sum(path.stat().st_size for path in dependencies(self.library, folder))


def debian(arch: Arch, log: Path) -> Peer:
    """Debian's libonnxruntime."""
    sysroot = sysroot_of_peers(arch, log)
    libraries = sorted((sysroot / PLATFORMS[arch].libraries).glob("libonnxruntime.so.*.*"))
    return Peer(name="debian", arch=arch, library=libraries[-1], sysroot=sysroot)


def sherpa(arch: Arch, log: Path) -> Peer:
    """The full ONNX Runtime in a wheel of another project."""
    library = _unpacked_wheel(SHERPA, "3.11", arch, log) / "sherpa_onnx/lib/libonnxruntime.so"
    return Peer(name="sherpa", arch=arch, library=library, sysroot=sysroot_of_peers(arch, log))


def onnxruntime(arch: Arch, log: Path) -> Peer:
    """The full ONNX Runtime in its own wheel. Raises UserError for 32-bit ARM, which has none."""
    if arch is Arch.ARMHF:
        raise UserError(
            "--vs=onnxruntime",
            f"has no wheel for {arch}",
            next="--vs=sherpa, whose wheel for armv7 carries its library",
        )
    folder = _unpacked_wheel(ONNXRUNTIME, "3.12", arch, log) / "onnxruntime" / "capi"
    library = next(folder.glob("libonnxruntime.so.*"))
    return Peer(name="onnxruntime", arch=arch, library=library, sysroot=sysroot_of_peers(arch, log))


def xnnpack(arch: Arch, log: Path) -> Peer:
    """Debian's libonnxruntime, which has the provider for XNNPACK, with that before the CPU's."""
    return replace(debian(arch, log), name="xnnpack", provider="XNNPACK")


def ncnn(arch: Arch, log: Path) -> Peer:
    """ncnn's Python module, and a file system with that Python."""
    library = next((_unpacked_wheel(NCNN, "3.11", arch, log) / "ncnn").glob("ncnn.*.so"))
    python = sysroot(PYTHON_SUITE, PYTHON_PACKAGES, arch, log)
    return Peer(name="ncnn", arch=arch, library=library, sysroot=python)


def ncnn_argv(peer: Peer, script: Path, param: Path) -> list[str]:
    """The emulator's arguments up to the network; weights, input, shape and runs go after it."""
    module, root = peer.library.parent, peer.sysroot
    argv = ["-L", str(root), "-E", f"LD_LIBRARY_PATH={module.parent / 'ncnn.libs'}"]
    argv += ["-E", "PYTHONHOME=/usr", str(root / "usr" / "bin" / "python3.11"), "-S"]
    return [*argv, str(script), str(module), str(param)]


ORT_PEERS: dict[str, Callable[[Arch, Path], Peer]] = {
    "debian": debian,
    "sherpa": sherpa,
    "onnxruntime": onnxruntime,
    "xnnpack": xnnpack,
}
NAMES = (*ORT_PEERS, "ncnn")


def parse_peers(text: str, boards: Sequence[str] = ()) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Peers and boards from a list with commas. Raises UserError for one that is neither."""
    names = parse_names(text, (*NAMES, *boards), "peer or board")
    return (
        tuple(name for name in names if name in NAMES),
        tuple(name for name in names if name not in NAMES),
    )


def parse_names(text: str, choices: Sequence[str], noun: str) -> tuple[str, ...]:
    """Names from `--vs`, a list with commas. Raises UserError for one that is no choice."""
    names = tuple(filter(None, text.split(",")))
    for name in names:
        if name not in choices:
            raise UserError(
                f"--vs={name}",
                f"no such {noun}",
                facts=[f"expected: {', '.join(choices)}"],
                next=f"the same command with --vs={choices[0]}",
            )
    return names


def sysroot_of_peers(arch: Arch, log: Path) -> Path:
    """A folder with Debian's runtime and what it needs."""
    return sysroot(SUITE, PACKAGES, arch, log)


def sysroot(suite: str, packages: Sequence[str], arch: Arch, log: Path) -> Path:
    """A folder with some packages and what they need, unpacked but not installed."""
    names = packages if arch is Arch.ARMHF else (*packages, arch)
    folder = user_cache() / "bench" / f"sysroot-{suite}-{digest.text_sha256(*names)[:12]}"
    if not folder.is_dir():
        with cached_folder(folder) as scratch:
            argv = ["mmdebstrap", "--variant=extract"]
            argv += [f"--architectures={PLATFORMS[arch].debian}"]
            argv += [f"--include={','.join(packages)}", suite, str(scratch)]
            process.run_logged([*argv, apt.source_line(suite)], log)
            if not (scratch / "lib").exists():  # some packages bring it, others do not
                (scratch / "lib").symlink_to("usr/lib")
            # QEMU opens a file of the sysroot in place of the host's.
            (scratch / "proc").mkdir(exist_ok=True)
            (scratch / "proc" / "cpuinfo").write_text(CPUINFO)
    return folder


def driver(workspace: Workspace, arch: Arch, log: Path) -> Path:
    """The program that runs a model in a peer, cross-compiled if it is not in the cache."""
    source = workspace.resources.peer_programs / "ort_peer.c"
    name = f"ort_peer-{arch}-{digest.file_sha256(source)[:16]}"
    program = user_cache() / "bench" / name
    if not program.is_file():
        sysroot = sysroot_of_peers(arch, log)
        builder = container.choose("auto", workspace, log)
        argv = [f"{TRIPLET[arch]}-gcc", "-O2", "-std=c11", "-Wall", "-Wextra", "-Werror"]
        argv += ["-no-pie", f"-I{builder.path(sysroot)}/usr/include/onnxruntime"]
        with replacing(program) as aside:
            builder.run([*argv, str(builder.path(source)), "-o", str(builder.path(aside))], log)
    return program


def dependencies(library: Path, folder: Path) -> tuple[Path, ...]:
    """The shared libraries that one needs, and those need, in a folder; libc left out."""
    paths: dict[str, Path] = {}
    waiting = list(_shared_libraries(library))
    while waiting:
        name = waiting.pop()
        path = (folder / name).resolve()
        if name not in paths and path.is_file():
            paths[name] = path
            waiting += _shared_libraries(path)
    return tuple(paths[name] for name in sorted(paths))


def _shared_libraries(path: Path) -> Iterable[str]:
    return (name for name in read_elf(path).needed if not name.startswith(LIBC))


def stripped_size(library: Path) -> int:
    """Bytes of an ELF file without what only a debugger reads."""
    facts = read_elf(library)
    debug = (".debug_", ".symtab", ".strtab")
    return facts.bytes - sum(s.bytes for s in facts.sections if s.name.startswith(debug))


def _unpacked_wheel(wheel: str, python: str, arch: Arch, log: Path) -> Path:
    """A folder with the files of a wheel."""
    of_arch = wheel if arch is Arch.ARMHF else f"{wheel}-{arch}"
    unpacked = user_cache() / "bench" / of_arch
    if not unpacked.is_dir():
        with (
            cached_folder(unpacked) as folder,
            tempfile.TemporaryDirectory(prefix="edgewright-") as scratch,
        ):
            argv = [sys.executable, "-m", "pip", "download", "--no-deps"]
            argv += ["--only-binary=:all:", "--python-version", python]
            tags = PLATFORMS[arch].wheels
            argv += [word for tag in tags for word in ("--platform", tag)]
            process.run_logged([*argv, "--dest", scratch, wheel], log)
            with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as archive:
                archive.extractall(folder)
    return unpacked
