"""A vendor's GCC, that of a Yocto SDK, or zig, in place of the builder's own.

Recipes call the compiler and its tools by the names that the builder's have,
`arm-linux-gnueabihf-gcc` say. For an external toolchain a folder of small programs with those
names comes first in PATH; each runs the external one. So no recipe knows of it, and the packages
lie under a builder id of their own.
"""

import hashlib
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from edgewright.base import digest, process
from edgewright.base.errors import UserError
from edgewright.base.files import cached_folder, write_file
from edgewright.board.profile import Arch, BoardProfile, Kernels, LibcFamily, Linkage
from edgewright.board.toolchain import Compiler, compiler_flags
from edgewright.build import zig
from edgewright.build.container import Builder, DockerBuilder, ExternalToolchain, LocalBuilder

OLDEST_FOR_NEON = 14  # our kernels load pairs of registers: AArch32's arm_neon.h has it from there
OLDEST_GCC = 9  # ONNX Runtime 1.21 is C++17, of which GCC 8 lacks parts
YOCTO = "environment-setup-"  # how the environment file of a Yocto SDK begins
MACHINE = {Arch.ARMHF: "arm", Arch.ARM64: "aarch64"}
BINUTILS = ("ar", "as", "ld", "nm", "objcopy", "objdump", "ranlib", "readelf", "strip")
# Their content tells toolchains apart; of all other files name and size do.
DECISIVE = ("cc1", "cc1plus", "collect2", "as", "ld", "libc.a", "libgcc.a", "libstdc++.a")
SYSTEM_FOLDERS = (
    *("/", "/bin", "/dev", "/etc", "/home", "/lib", "/opt", "/proc", "/root", "/run", "/sbin"),
    *("/sys", "/tmp", "/usr", "/usr/bin", "/usr/lib", "/usr/sbin", "/usr/share", "/usr/local"),
    *("/usr/local/bin", "/usr/local/lib", "/var"),
)
ENVIRONMENT_SECONDS = 30
# Asks the compiler through the programs that stand for it, as the build will, and links a trial.
PROBE = r"""
triplet=$1; out=$2; shift 2
gcc=$triplet-gcc
"$gcc" -dumpmachine > "$out/machine"
{ "$gcc" -dumpfullversion || "$gcc" -dumpversion; } > "$out/version" 2>/dev/null
"$gcc" -print-sysroot > "$out/sysroot"
"$gcc" -print-file-name=libc.so > "$out/libc"
"$gcc" -dM -E -x c /dev/null > "$out/defaults"
printf '#include <thread>\nint main() { std::thread([] {}).join(); try { throw 1; } catch (int) {} }
' > "$out/trial.cpp"
"$triplet-g++" "$@" -std=c++17 -dM -E "$out/trial.cpp" > "$out/macros" 2> "$out/problem" || exit 0
"$triplet-g++" "$@" -std=c++17 "$out/trial.cpp" -o "$out/trial" > "$out/problem" 2>&1 || exit 0
: > "$out/problem"
"""
EMPTY = "/var/empty"  # No library is searched for: the link line names each.
BIN = "bin"  # of a toolchain of the cache: what stands for the builder's programs
PROBE_BYTES = 1 << 20  # of a file that the probe writes


@dataclass(frozen=True, kw_only=True)
class Programs:
    """Where the programs of an external toolchain lie, on the host that builds."""

    root: Path  # the folder that the builder needs
    gcc: Path
    gxx: Path
    tools: Mapping[str, Path]  # of BINUTILS, those that it brings
    sysroot: Path | None = None  # None: the compiler's own


@dataclass(frozen=True, kw_only=True)
class CompilerFacts:
    """What an external compiler says of itself."""

    machine: str  # its triplet
    version: str
    sysroot: str
    libc: str  # path of libc.so, or the bare name where it has none
    float_abi: str  # that it compiles for without being asked: hard, soft or that of arm64
    libstdcxx: int | None  # major version of its C++ library; None: not GCC's
    glibc: str | None
    problem: str  # what compiler or linker say of the trial program; empty: it links
    clang: str | None = None  # major version; None: it is a GCC

    @property
    def compiler(self) -> Compiler:
        """What toolchain files say of it."""
        if self.clang:
            return Compiler(name="clang", version=self.clang, libraries=self.sysroot)
        return Compiler(version=self.version.partition(".")[0], libraries=self.libraries)

    @property
    def libraries(self) -> str:
        """Where CMake looks for the board's libraries: the sysroot, or the folder above libc's."""
        if self.sysroot and self.sysroot != "/":
            return os.path.normpath(self.sysroot)
        return str(Path(os.path.normpath(self.libc)).parents[1])


def with_external_toolchain(builder: Builder, profile: BoardProfile, log: Path) -> Builder:
    """The builder, with the toolchain that the profile names, which is checked.

    Raises UserError for one that is missing, incomplete, too old, or for other boards.
    """
    external = profile.toolchain.external
    if external is None:
        return builder
    if program := zig.program_in(Path(external)):
        return _with_zig(builder, program.resolve(), profile, log)
    programs = locate(Path(external), profile)
    flags = [*compiler_flags(profile)]
    flags += ["-static"] if profile.runtime.linkage is Linkage.STATIC else []
    identity = _identity(programs)

    def probe(folder: Path, probing: Builder) -> None:
        # Programs are written first: the probe runs the compiler as the build does.
        _write_programs(folder / BIN, programs, profile.abi.triplet, identity)
        argv = ["sh", "-ec", PROBE, "_", profile.abi.triplet, str(builder.path(folder))]
        probing.run([*argv, *flags], log)

    return _probed(builder, programs.root, identity, flags, profile, probe)


def _with_zig(builder: Builder, program: Path, profile: BoardProfile, log: Path) -> Builder:
    """`program` is no link: the folder that it leads to is what the builder needs."""
    root = program.parent
    _require_tried(root, profile)
    target = zig.TARGETS[profile.abi.arch]
    flags = compiler_flags(profile)
    content = _identity(Programs(root=root, gcc=program, gxx=program, tools={}))
    compiler = digest.text_sha256(content, zig.WRAPPER, target, zig.core(profile))
    links = digest.text_sha256(zig.PROBE, zig.LINKER.read_text())

    def probe(folder: Path, probing: Builder) -> None:
        zig.write_programs(folder / BIN, program, profile, compiler)
        inside = str(builder.path(folder / zig.FOLDER))
        arguments = [profile.abi.triplet, str(program), inside, target, zig.core(profile)]
        arguments.append(" ".join(zig.LIBRARIES))
        probing.run(["sh", "-ec", zig.PROBE, "_", *arguments, *flags], log)

    return _probed(builder, root, digest.text_sha256(compiler, links), flags, profile, probe)


def _require_tried(root: Path, profile: BoardProfile) -> None:
    """Refuse half a zig, and boards that nothing was built for by zig."""
    without = f"take toolchain.external out of board_profiles/{profile.name}.toml"
    if profile.abi.arch not in zig.TARGETS:
        raise _unusable(
            profile,
            f"was not tried for {profile.abi.arch}",
            f"expected: zig for arch '{Arch.ARMHF}'",
            next=without,
        )
    if profile.libc.family is not LibcFamily.MUSL:
        raise _unusable(
            profile,
            f"was not tried for {profile.libc.family}",
            "expected: zig for libc.family 'musl'",
            next=f"{without}: the builder's GCC serves glibc from 2.13",
        )
    if zig.is_core_unknown(profile):
        raise _unusable(
            profile,
            f"does not know the core {profile.cpu.core}",
            next="name an older core, which yours has all instructions of, in cpu.core of "
            f"board_profiles/{profile.name}.toml",
        )
    if not (root / zig.STANDARD_LIBRARY).is_dir():
        raise _unusable(
            profile,
            "is not the whole of zig",
            f"expected: {root / zig.STANDARD_LIBRARY}, beside the program",
            next="pip install --target=FOLDER ziglang, and write toolchain.external = "
            f"'FOLDER/ziglang' into board_profiles/{profile.name}.toml",
        )


def _probed(
    builder: Builder,
    root: Path,
    identity: str,
    flags: Sequence[str],
    profile: BoardProfile,
    probe: Callable[[Path, Builder], None],
) -> Builder:
    """The builder with a toolchain, which is asked once what it is: `probe` fills its folder."""
    _require_mountable(builder, root, profile)

    def with_toolchain(folder: Path) -> Builder:
        toolchain = ExternalToolchain(root=root, programs=folder / BIN, identity=identity)
        return _with_place(builder, toolchain)

    key = digest.text_sha256(builder.id, identity, str(root), *flags)[:32]
    cached = builder.cache / "toolchains" / key
    if not cached.is_dir():
        with cached_folder(cached) as folder:
            probe(folder, with_toolchain(folder))
            _require_usable(_read_facts(folder), profile)
    # Boards with the same flags share a toolchain, and may still ask for more of it.
    _require_usable(_read_facts(cached), profile)
    return with_toolchain(cached)


def with_own_compiler(builder: Builder) -> Builder:
    """The builder without an external toolchain."""
    return _with_place(builder, None)


def _with_place(builder: Builder, toolchain: ExternalToolchain | None) -> Builder:
    if toolchain is None and builder.toolchain is None:
        return builder
    if not isinstance(builder, DockerBuilder | LocalBuilder):
        raise TypeError(f"{builder} has no place for a toolchain")
    return replace(builder, toolchain=toolchain)


def locate(external: Path, profile: BoardProfile) -> Programs:
    """The programs of a toolchain's folder, compiler, or environment file. Raises UserError."""
    if external.name.startswith(YOCTO) and external.is_file():
        return _of_yocto(external, profile)
    if external.is_file():
        name = external.name.replace("-g++", "-gcc")
        return _of_compiler(external.with_name(name), profile)
    compilers = [*_compilers(external / "bin", profile.abi.arch)]
    if len({compiler.resolve() for compiler in compilers}) != 1:
        raise _unusable(
            profile,
            "names several compilers" if compilers else "has no GCC for this board, and no zig",
            f"expected: one {external}/bin/{MACHINE[profile.abi.arch]}-…-gcc, or {external}/zig",
            f"found: {', '.join(compiler.name for compiler in compilers) or 'none'}",
            next="name the compiler itself, or a Yocto SDK's environment-setup file, in "
            f"toolchain.external of board_profiles/{profile.name}.toml",
        )
    # Buildroot has a short name for each of its programs beside the full one.
    return _of_compiler(max(compilers, key=lambda path: len(path.name)), profile)


def _compilers(folder: Path, arch: Arch) -> Iterator[Path]:
    for path in sorted(folder.glob(f"{MACHINE[arch]}*-gcc*")) if folder.is_dir() else ():
        suffix = path.name.rpartition("-gcc")[2].removeprefix("-")
        if path.is_file() and all(part.isdecimal() for part in suffix.split(".") if suffix):
            yield path


def _of_compiler(gcc: Path, profile: BoardProfile) -> Programs:
    prefix, _, suffix = gcc.name.rpartition("gcc")
    gxx = gcc.with_name(f"{prefix}g++{suffix}")
    for program in (gcc, gxx):
        if not program.is_file():
            raise _unusable(profile, "lacks a program", f"expected: {program}")
    tools = {name: gcc.with_name(f"{prefix}{name}") for name in BINUTILS}
    return Programs(
        root=gcc.parent.parent,
        gcc=gcc,
        gxx=gxx,
        tools={name: path for name, path in tools.items() if path.is_file()},
    )


def _of_yocto(environment: Path, profile: BoardProfile) -> Programs:
    """What the environment file of a Yocto SDK sets, asked of a shell that reads it."""
    script = '. "$0" >/dev/null; printf "%s\\0" "$PATH" "$CC" "$CXX" "$SDKTARGETSYSROOT"'
    clean = {"PATH": os.defpath, "HOME": "/"}
    argv = ["env", "-i", *(f"{k}={v}" for k, v in clean.items()), "sh", "-c", script]
    answer = process.capture([*argv, str(environment)], timeout=ENVIRONMENT_SECONDS)
    values = answer.stdout.split("\0")
    compilers = [shlex.split(value)[:1] for value in values[1:3]]
    if answer.returncode != 0 or len(values) != 5 or [] in compilers:
        raise _unusable(
            profile,
            "is not the environment file of a Yocto SDK",
            f"expected: {environment} sets CC, CXX and SDKTARGETSYSROOT",
            f"found: exit code {answer.returncode}, CC='{values[1] if len(values) > 1 else ''}'",
        )
    gcc = _in_path(compilers[0][0], values[0], profile)
    programs = _of_compiler(gcc, profile)
    return replace(programs, root=environment.parent, sysroot=Path(values[3]))


def _in_path(name: str, path: str, profile: BoardProfile) -> Path:
    for folder in path.split(os.pathsep):
        if (program := Path(folder) / name).is_file():
            return program
    raise _unusable(profile, "lacks a program", f"expected: {name} in {path}")


def _require_mountable(builder: Builder, root: Path, profile: BoardProfile) -> None:
    """Refuse a folder that would hide the builder's own system, in whose place it is mounted."""
    if isinstance(builder, DockerBuilder) and str(root.resolve()) in SYSTEM_FOLDERS:
        raise _unusable(
            profile,
            f"lies in {root}, which cannot be mounted into the builder's image",
            next="move the toolchain to a folder of its own, or invoke build --builder=local",
        )


def _identity(programs: Programs) -> str:
    """A hash of the names and sizes of all its files, and of the content of those that decide.

    Raises UserError where it cannot be read.
    """
    content = hashlib.sha256()
    for folder, folders, files in os.walk(programs.root):
        folders[:] = sorted({*folders} - {"__pycache__"})  # whose sizes tell where it lies
        for name in sorted(files):
            path = Path(folder, name)
            status = path.lstat()
            inside = path.relative_to(programs.root)
            content.update(f"{inside} {status.st_size} {status.st_mode}\n".encode())
            if path in (programs.gcc, programs.gxx) or name in DECISIVE:
                content.update(digest.file_sha256(path).encode() if path.is_file() else b"absent")
    return digest.text_sha256(content.hexdigest(), str(programs.sysroot))


def _write_programs(folder: Path, programs: Programs, triplet: str, identity: str) -> None:
    sysroot = [f"--sysroot={programs.sysroot}"] if programs.sysroot else []
    commands = {name: [path] for name, path in programs.tools.items()}
    commands |= {"gcc": [programs.gcc, *map(Path, sysroot)]}
    commands |= {"g++": [programs.gxx, *map(Path, sysroot)]}
    for name, command in commands.items():
        # ccache tells compilers apart by the content of the program that it is given.
        text = (
            f'#!/bin/sh\n# {identity}\nexec {process.quote([str(word) for word in command])} "$@"\n'
        )
        write_file(folder / f"{triplet}-{name}", text, mode=0o755)


def compiler_facts(toolchain: ExternalToolchain) -> CompilerFacts:
    """What its compiler said when it was probed."""
    return _read_facts(toolchain.programs.parent)


def _read_facts(folder: Path) -> CompilerFacts:
    if (folder / zig.FOLDER).is_dir():
        return _zig_facts(folder / zig.FOLDER)
    text = partial(_text_in, folder)
    macros, defaults = _macros(text("macros")), text("defaults")
    release = macros.get("_GLIBCXX_RELEASE", "")
    glibc = (macros.get("__GLIBC__"), macros.get("__GLIBC_MINOR__"))
    return CompilerFacts(
        machine=text("machine"),
        version="" if "__clang__" in defaults else text("version"),
        sysroot=text("sysroot"),
        libc=text("libc"),
        float_abi="hard" if "__ARM_PCS_VFP" in defaults or "__aarch64__" in defaults else "soft",
        libstdcxx=int(release) if release.isdecimal() else None,
        glibc=".".join(part for part in glibc if part) if all(glibc) else None,
        problem=text("problem"),
    )


def _zig_facts(folder: Path) -> CompilerFacts:
    text = partial(_text_in, folder)
    return CompilerFacts(
        machine=text("target"),
        version=text("version").partition("\n")[0],
        sysroot=EMPTY,
        libc="",
        float_abi="hard",
        libstdcxx=None,
        glibc=None,
        problem=text("problem"),
        clang=_macros(text("defaults")).get("__clang_major__", "0"),
    )


def _text_in(folder: Path, name: str) -> str:
    path = folder / name
    raw = path.read_bytes()[:PROBE_BYTES] if path.is_file() else b""
    return raw.decode(errors="replace").strip()


def _macros(definitions: str) -> dict[str, str]:
    words = (line.split(maxsplit=2) for line in definitions.splitlines())
    return {parts[1]: parts[2] for parts in words if len(parts) == 3}


def _require_usable(facts: CompilerFacts, profile: BoardProfile) -> None:
    if facts.clang:
        _require_zig(facts, profile)
    else:
        _require_gcc(facts, profile)
    if facts.problem:
        soft = facts.float_abi == "soft"
        raise _unusable(
            profile,
            "cannot link a program for this board",
            f"default float ABI: {facts.float_abi}; the board needs hard" if soft else "",
            f"flags: {' '.join(compiler_flags(profile))}",
            *facts.problem.splitlines()[-5:],
            next=f"use a toolchain for hard floats, as {profile.abi.triplet}" if soft else None,
        )


def _require_zig(facts: CompilerFacts, profile: BoardProfile) -> None:
    numbers = [int(part) for part in facts.version.split(".")[:2] if part.isdecimal()]
    if tuple(numbers) < zig.OLDEST:
        oldest = ".".join(map(str, zig.OLDEST))
        raise _unusable(
            profile,
            "is too old" if numbers else "does not run",
            f"expected: zig {oldest} or newer",
            f"found: {facts.version or 'no answer'}",
            next="pip install --target=FOLDER ziglang brings a newer one, in FOLDER/ziglang",
        )


def _require_gcc(facts: CompilerFacts, profile: BoardProfile) -> None:
    machine = MACHINE[profile.abi.arch]
    if profile.libc.family is LibcFamily.MUSL:
        raise _unusable(
            profile,
            "is no compiler for the board's C library",
            "expected: zig, which brings musl",
            f"found: a GCC for {facts.machine}",
            next="name zig, or take toolchain.external out: the builder's own GCC makes static "
            "programs, which need no C library of the board",
        )
    if not facts.machine.startswith(machine) or "linux-gnu" not in _gnu(facts.machine):
        raise _unusable(
            profile,
            "compiles for another system",
            f"expected: {machine}-…-linux-gnu…, with glibc",
            f"found: {facts.machine}",
        )
    major = facts.version.partition(".")[0]
    if not major.isdecimal() or int(major) < OLDEST_GCC:
        raise _unusable(
            profile,
            "is too old" if major.isdecimal() else "is no GCC",
            f"expected: GCC {OLDEST_GCC} or newer",
            f"found: {facts.version or 'Clang'}",
            next="use a newer one, or zig, or link programs of your own against the SDK's C API, "
            "which serves any compiler: invoke sdk",
        )
    neon32 = profile.abi.arch is Arch.ARMHF and profile.runtime.kernels is Kernels.NEON
    if neon32 and int(major) < OLDEST_FOR_NEON:
        raise _unusable(
            profile,
            "is too old for our kernels",
            f"expected: GCC {OLDEST_FOR_NEON} or newer, or runtime.kernels = 'stock'",
            f"found: {facts.version}, runtime.kernels = 'neon'",
            next=f"write runtime.kernels = 'stock' into board_profiles/{profile.name}.toml",
        )


def _gnu(machine: str) -> str:
    """A Yocto SDK's triplet ends in linux-gnueabi, or in plain linux on arm64."""
    return f"{machine}-gnu" if machine.endswith("-linux") else machine


def _unusable(
    profile: BoardProfile, problem: str, *facts: str, next: str | None = None
) -> UserError:
    return UserError(
        f"board '{profile.name}': toolchain {profile.toolchain.external}",
        problem,
        facts=[fact for fact in facts if fact],
        next=next or f"mend toolchain.external in board_profiles/{profile.name}.toml",
    )
