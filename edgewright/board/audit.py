"""Judge ELF facts against a board profile, and against a board that was probed.

What a file may be is data (the tables below); each `_judge_*` compares one aspect with it and
returns what is wrong, so that one audit tells everything at once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal

from edgewright.base.errors import EdgewrightError, UserError
from edgewright.base.schema import Document, Part
from edgewright.board.code import read_code
from edgewright.board.cores import Fpu
from edgewright.board.elf import ArmAttributes, ElfFacts, NeededVersion, read_elf
from edgewright.board.guards import BeyondFunction, beyond
from edgewright.board.profile import Arch, BoardProfile, Cpu, LibcFamily, Linkage
from edgewright.board.symbols import symbol_file

# The policy, as data.
MACHINE = {Arch.ARMHF: ("ARM", 32), Arch.ARM64: ("AARCH64", 64)}
LOADER = {Arch.ARMHF: "/lib/ld-linux-armhf.so.3", Arch.ARM64: "/lib/ld-linux-aarch64.so.1"}
MUSL_LOADER = {Arch.ARMHF: "/lib/ld-musl-armhf.so.1", Arch.ARM64: "/lib/ld-musl-aarch64.so.1"}
LOADERS = {LibcFamily.GLIBC: LOADER, LibcFamily.MUSL: MUSL_LOADER}
SHIPPED = frozenset({"libonnxruntime.so.1"})  # in the release, beside the program
# What a board with a C library has anyway, and what the release brings.
PROMISED_LIBRARIES = {
    LibcFamily.GLIBC: frozenset(
        {
            *SHIPPED,
            "libc.so.6",
            "libm.so.6",
            "libpthread.so.0",
            "libdl.so.2",
            "librt.so.1",
            *(PurePosixPath(loader).name for loader in LOADER.values()),
        }
    ),
    # musl is one library, which takes each name that begins with "libc." for its own.
    LibcFamily.MUSL: frozenset({*SHIPPED, "libc.so"}),
}
ORIGIN = "$ORIGIN"
LINKAGE_KEY = "runtime.linkage"  # of a board profile
HARD_FLOAT = frozenset({"VFP registers", "compatible with both"})
ARM_UP_TO_V7 = ("pre-v4", "v4", "v4T", "v5T", "v5TE", "v5TEJ", "v6", "v6KZ", "v6T2", "v6K", "v7")
CPU_ARCH = {7: frozenset(ARM_UP_TO_V7), 8: frozenset({*ARM_UP_TO_V7, "v8"})}
_VFP3 = frozenset({"none", "VFPv1", "VFPv2", "VFPv3", "VFPv3-D16"})
_VFP4 = _VFP3 | {"VFPv4", "VFPv4-D16"}
FP_ARCH = {
    Fpu.NEON: _VFP3,
    Fpu.NEON_VFPV4: _VFP4,
    Fpu.NEON_FP_ARMV8: _VFP4 | {"FP for ARMv8", "FPv5/FP-D16 for ARMv8"},
}
SIMD_ARCH = {
    Fpu.NEON: frozenset({"none", "NEONv1"}),
    Fpu.NEON_VFPV4: frozenset({"none", "NEONv1", "NEONv1 with Fused-MAC"}),
    Fpu.NEON_FP_ARMV8: frozenset({"none", "NEONv1", "NEONv1 with Fused-MAC", "NEON for ARMv8"}),
}
GLIBC_NAMED = {"GLIBC_ABI_DT_RELR": (2, 36)}
NEVER = (999,)  # GLIBC_PRIVATE and other names that no floor promises
MAX_SYMBOLS = 5
MAX_FUNCTIONS = 5

# What /proc/cpuinfo of a board shows, by a 32-bit kernel or a 64-bit one.
MACHINES_32 = frozenset({"armv7l", "armv8l"})
MACHINES_V8 = frozenset({"armv8l", "aarch64"})
FEATURES_NEON = frozenset({"neon", "asimd"})
FEATURES_VFPV4 = frozenset({"vfpv4", "asimd"})
FEATURES_DIVISION = frozenset({"idiva", "idivt", "asimd"})
FEATURES_V8 = frozenset({"asimd", "crc32", "aes", "pmull", "sha1", "sha2"})


class Finding(Part):
    """One thing that is wrong: the problem, what proves it, and the next command."""

    problem: str
    facts: tuple[str, ...] = ()
    next: str | None = None


class AuditedFile(Part):
    """One file with its facts and what is wrong with it."""

    path: str
    facts: ElfFacts
    findings: tuple[Finding, ...]
    beyond: tuple[BeyondFunction, ...] = ()


class Audit(Document):
    """`audit.json`: every ELF file of a build, judged against its board."""

    version: Literal[1] = 1
    board: str
    passed: bool
    files: tuple[AuditedFile, ...]


@dataclass(frozen=True, kw_only=True)
class TargetFacts:
    """What deploy found on a board. A fact that could not be had is None or an empty set."""

    machine: str  # uname -m
    userland_bits: int | None = None  # 32 or 64: the ELF class of the board's own /bin/sh
    loaders: frozenset[str] = frozenset()  # names in /lib, /lib64: ld-linux-armhf.so.3 …
    cpu_features: frozenset[str]  # "Features" of /proc/cpuinfo
    libc: tuple[int, int] | None = None  # glibc, major and minor; None without one
    free_bytes: int  # on the file system of the deploy root, for this user
    memory_kb: int  # MemTotal of /proc/meminfo
    applets: frozenset[str] = frozenset()  # commands that answer on the board


def audit_files(
    files: Mapping[str, Path],
    profile: BoardProfile,
    symbols: Path | None = None,
    *,
    linkages: Mapping[str, Linkage] = MappingProxyType({}),
    without_budget: Collection[str] = (),
    linkage_key: str = LINKAGE_KEY,
) -> Audit:
    """Read and judge files, named as in a release ("bin/edgectl").

    They are of the board's linkage, but for those that `linkages` has, which `linkage_key` of the
    settings decides on; and within the board's budget, but for those of `without_budget`.
    `symbols` is the folder of what was stripped, by build id; without it code is not judged.
    Raises UserError for a file that is not sound ELF, or whose symbols are not there.
    """
    audited = []
    for name, path in sorted(files.items()):
        facts = read_elf(path)
        # edgectl is static on every board: it must run before any library of a release is there.
        is_edgectl = PurePosixPath(name).name == "edgectl"
        linkage = Linkage.STATIC if is_edgectl else linkages.get(name)
        findings = judge(
            facts,
            profile,
            linkage=linkage,
            has_budget=name not in without_budget,
            linkage_key=linkage_key,
        )
        functions: tuple[BeyondFunction, ...] = ()
        if symbols and not judge_machine(facts, profile):
            functions = beyond(
                read_code(path, symbol_file(path, symbols, profile.name)), profile.cpu
            )
            findings += _judge_instructions(functions, profile)
        audited.append(
            AuditedFile(path=name, facts=facts, findings=tuple(findings), beyond=functions)
        )
    passed = not any(file.findings for file in audited)
    return Audit(board=profile.name, passed=passed, files=tuple(audited))


def require_passed(audit: Audit, folder: Path) -> None:
    """Raise UserError for the first file of `folder` that has findings."""
    for file in audit.files:
        require(file.findings, str(folder / file.path))


def require(
    findings: Sequence[Finding], subject: str, error: type[EdgewrightError] = UserError
) -> None:
    """Raise `error` in words if there are findings; all of them at once."""
    if not findings:
        return
    first = findings[0]
    if len(findings) == 1:
        raise error(subject, first.problem, facts=first.facts, next=first.next)
    lines = [line for f in findings for line in (f.problem, *(f"  {fact}" for fact in f.facts))]
    raise error(subject, f"{len(findings)} problems", facts=lines, next=first.next)


def judge(
    facts: ElfFacts,
    profile: BoardProfile,
    *,
    linkage: Linkage | None = None,
    has_budget: bool = True,
    linkage_key: str = LINKAGE_KEY,
) -> list[Finding]:
    """Everything in an executable or library that does not fit the board."""
    wrong_machine = judge_machine(facts, profile)
    if wrong_machine:
        return wrong_machine  # nothing else means anything then
    is_static = (linkage or profile.runtime.linkage) is Linkage.STATIC
    return [
        *(_judge_arm(facts, profile) if profile.abi.arch is Arch.ARMHF else []),
        *(
            _judge_static(facts, linkage_key)
            if is_static
            else _judge_shared(facts, profile, linkage_key)
        ),
        *_judge_finish(facts),
        *(_judge_size(facts, profile) if has_budget else []),
    ]


def judge_machine(facts: ElfFacts, profile: BoardProfile) -> list[Finding]:
    """Whether it is a program or library of the board's machine at all."""
    machine, bits = MACHINE[profile.abi.arch]
    if (facts.machine, facts.bits, facts.endian) == (machine, bits, "little"):
        if facts.type in ("EXEC", "DYN"):
            return []
        return [Finding(problem=f"is not linked: ELF type {facts.type}", next="invoke build")]
    return [
        Finding(
            problem=f"is not for board '{profile.name}'",
            facts=(
                f"expected: {machine}, {bits}-bit, little endian",
                f"found: {facts.machine}, {facts.bits}-bit, {facts.endian} endian",
            ),
            next=f"invoke build --board={profile.name}",
        )
    ]


def _judge_arm(facts: ElfFacts, profile: BoardProfile) -> list[Finding]:
    rebuild = f"invoke build --board={profile.name}"
    if facts.arm is None:
        return [Finding(problem="has no ARM build attributes to judge by", next=rebuild)]
    problems = []
    if facts.arm.vfp_args not in HARD_FLOAT:
        problems.append(
            f"passes floats in {facts.arm.vfp_args}, board {profile.name!r} is hard-float"
        )
    for fits, used, available in _instructions(facts.arm, profile.cpu):
        if not fits:
            problems.append(f"is built for {used}, board {profile.name!r} has {available}")
    cpu = f"CPU name: {facts.arm.cpu_name}"
    return [Finding(problem=problem, facts=(cpu,), next=rebuild) for problem in problems]


def _instructions(arm: ArmAttributes, cpu: Cpu) -> list[tuple[bool, str, str]]:
    """Whether the board has what the file uses, what that is, and what the board has."""
    assert cpu.fpu is not None  # the profile of an armhf board has one
    return [
        (arm.cpu_arch in CPU_ARCH[cpu.arm_version], f"ARM {arm.cpu_arch}", cpu.core),
        (arm.fp_arch in FP_ARCH[cpu.fpu], arm.fp_arch, cpu.fpu),
        (arm.simd_arch in SIMD_ARCH[cpu.fpu], arm.simd_arch, cpu.fpu),
        (arm.division != "yes" or cpu.divides, "integer division", cpu.core),
    ]


def _judge_static(facts: ElfFacts, linkage_key: str) -> list[Finding]:
    dependencies = [f"library: {name}" for name in facts.needed]
    if facts.interpreter:
        dependencies.append(f"loader: {facts.interpreter}")
    if not dependencies:
        return []
    fix = f'link it with -static, or set {linkage_key} = "shared"'
    return [Finding(problem="is not static", facts=tuple(dependencies), next=fix)]


def _judge_shared(facts: ElfFacts, profile: BoardProfile, linkage_key: str) -> list[Finding]:
    return [
        *_judge_libraries(facts, profile),
        *_judge_search_path(facts),
        *_judge_loader(facts, profile),
        *_judge_floor(facts, profile, linkage_key),
        *_judge_cxx(facts),
    ]


def _judge_libraries(facts: ElfFacts, profile: BoardProfile) -> list[Finding]:
    promised = PROMISED_LIBRARIES[profile.libc.family]
    unpromised = [name for name in facts.needed if name not in promised]
    if not unpromised:
        return []
    return [
        Finding(
            problem="needs libraries that a board is not asked to have",
            facts=tuple(f"library: {name}" for name in unpromised),
            next="link them statically",
        )
    ]


def _judge_search_path(facts: ElfFacts) -> list[Finding]:
    expected = ORIGIN if SHIPPED & set(facts.needed) else None
    # ONNX Runtime links its library with a RUNPATH that the library itself does not need.
    is_harmless = expected is None and facts.runpath == ORIGIN
    # RPATH comes before LD_LIBRARY_PATH and reaches into the libraries' own search: never.
    if facts.rpath is None and (facts.runpath == expected or is_harmless):
        return []
    lines = (
        f"expected: RUNPATH {expected or 'absent'}, RPATH absent",
        f"found: RUNPATH {facts.runpath or 'absent'}, RPATH {facts.rpath or 'absent'}",
    )
    fix = "link with -Wl,--enable-new-dtags and the RUNPATH above"
    return [Finding(problem="looks for its libraries in the wrong place", facts=lines, next=fix)]


def _judge_loader(facts: ElfFacts, profile: BoardProfile) -> list[Finding]:
    expected = LOADERS[profile.libc.family][profile.abi.arch]
    is_library = facts.soname is not None  # a library may name a loader, but need not
    if facts.interpreter == expected or (is_library and facts.interpreter is None):
        return []
    lines = (f"expected: {expected}", f"found: {facts.interpreter or 'none'}")
    fix = f"invoke build --board={profile.name}"
    return [Finding(problem="has the wrong loader", facts=lines, next=fix)]


def _judge_floor(facts: ElfFacts, profile: BoardProfile, linkage_key: str) -> list[Finding]:
    place = f"board '{profile.name}' has {profile.libc.family} {profile.libc.floor}"
    if profile.libc.family is LibcFamily.MUSL:  # whose symbols have no versions
        return _judge_glibc(facts, (0, 0), place, f'set {linkage_key} = "static"')
    fix = f'set {linkage_key} = "static", or raise libc.floor if every such board has more'
    return _judge_glibc(facts, profile.libc.version, place, fix)


def _judge_glibc(facts: ElfFacts, floor: tuple[int, ...], place: str, fix: str) -> list[Finding]:
    versions = [version for version in facts.versions if version.version.startswith("GLIBC_")]
    newer = sorted((v for v in versions if _glibc_number(v) > floor), key=_glibc_number)
    if not newer:
        return []
    highest = newer[-1]
    lines = tuple(line for version in reversed(newer) for line in _symbol_lines(version))
    return [Finding(problem=f"needs {highest.version}, {place}", facts=lines, next=fix)]


def _glibc_number(version: NeededVersion) -> tuple[int, ...]:
    return version.number or GLIBC_NAMED.get(version.version, NEVER)


def _symbol_lines(version: NeededVersion) -> list[str]:
    first = [f"symbol: {name}@{version.version}" for name in version.symbols[:MAX_SYMBOLS]]
    more = len(version.symbols) - len(first)
    return [*first, f"… and {more} more @{version.version}"] if more else first


def _judge_cxx(facts: ElfFacts) -> list[Finding]:
    # libstdc++ and libgcc differ from board to board, and no profile states their versions.
    compilers = [
        version
        for version in facts.versions
        if not version.version.startswith("GLIBC_") and version.library not in SHIPPED
    ]
    if not compilers:
        return []
    highest = max(compilers, key=lambda version: version.number)
    return [
        Finding(
            problem=f"needs {highest.version} from {highest.library}, which is not on the board",
            facts=tuple(line for version in compilers for line in _symbol_lines(version)),
            next="link with -static-libstdc++ -static-libgcc",
        )
    ]


def _judge_finish(facts: ElfFacts) -> list[Finding]:
    findings = []
    if facts.build_id is None:
        fix = "link with -Wl,--build-id"
        findings.append(Finding(problem="has no build id to find its symbols by", next=fix))
    if not facts.stripped:
        kinds = ((facts.symbol_table, ".symtab"), (facts.debug_info, ".debug_*"))
        lines = tuple(f"section: {name}" for is_present, name in kinds if is_present)
        findings.append(Finding(problem="is not stripped", facts=lines, next="strip it"))
    if facts.executable_stack:
        fix = "link with -Wl,-z,noexecstack"
        findings.append(Finding(problem="asks for an executable stack", next=fix))
    return findings


def _judge_instructions(
    functions: Sequence[BeyondFunction], profile: BoardProfile
) -> list[Finding]:
    cpu = f"board '{profile.name}' has {profile.cpu.core}"
    unguarded = [function for function in functions if function.guard is None]
    around = [function for function in functions if function.guard and function.before_main]
    problems = (
        (unguarded, f"takes instructions that its CPU may lack, and nothing asks first; {cpu}"),
        (around, f"goes around the guard of such instructions before main; {cpu}"),
    )
    fix = "compile them for the board's core, or say in edgewright/board/guards.py who asks the CPU"
    return [
        Finding(problem=problem, facts=tuple(_function_lines(functions)), next=fix)
        for functions, problem in problems
        if functions
    ]


def _function_lines(functions: Sequence[BeyondFunction]) -> list[str]:
    # What runs before main comes first: without it the program does not even start.
    ordered = sorted(functions, key=lambda function: not function.before_main)
    lines = []
    for function in ordered[:MAX_FUNCTIONS]:
        lines.append(
            f"function: {function.name}, {', '.join(function.features)}: {function.instruction}"
        )
        if function.before_main:
            lines.append(f"  before main: {' -> '.join(function.before_main)}")
    others = len(ordered) - MAX_FUNCTIONS
    return [*lines, f"… and {others} more in audit.json"] if others > 0 else lines


def _judge_size(facts: ElfFacts, profile: BoardProfile) -> list[Finding]:
    budget = profile.budgets.binary_bytes
    if facts.bytes <= budget:
        return []
    largest = sorted(facts.sections, key=lambda section: -section.bytes)[:3]
    return [
        Finding(
            problem=f"is {facts.bytes:,} bytes, budget of board '{profile.name}' is {budget:,}",
            facts=tuple(f"section: {section.name}, {section.bytes:,} bytes" for section in largest),
            next="reduce the model's operators, or raise budgets.binary_bytes",
        )
    ]


def judge_target(facts: ElfFacts, target: TargetFacts) -> list[Finding]:
    """Everything in a file that the probed board cannot run."""
    wrong_machine = _target_machine(facts, target)
    if wrong_machine:
        return wrong_machine
    return [
        *_target_cpu(facts, target),
        *_target_loader(facts, target),
        *_target_libc(facts, target),
    ]


def _target_machine(facts: ElfFacts, target: TargetFacts) -> list[Finding]:
    # A 64-bit kernel may lack 32-bit support: believe it only where 32-bit programs live.
    armhf_loader = PurePosixPath(LOADER[Arch.ARMHF]).name
    lives_32 = target.userland_bits == 32 or armhf_loader in target.loaders
    runs_armhf = target.machine in MACHINES_32 or (target.machine == "aarch64" and lives_32)
    if facts.machine == "ARM" and facts.bits == 32 and runs_armhf:
        return []
    if facts.machine == "AARCH64" and facts.bits == 64 and target.machine == "aarch64":
        return []
    if facts.machine == "X86_64" and target.machine == "x86_64":  # servers of `bench.fleet`
        return []
    userland = f", {target.userland_bits}-bit userland" if target.userland_bits else ""
    lines = (f"file: {facts.machine}, {facts.bits}-bit", f"board: {target.machine}{userland}")
    return [Finding(problem="is not for this board's machine", facts=lines, next="invoke boards")]


def _target_cpu(facts: ElfFacts, target: TargetFacts) -> list[Finding]:
    if facts.arm is None:
        return []
    arm, features = facts.arm, target.cpu_features
    v8 = "v8" in arm.cpu_arch or "ARMv8" in arm.fp_arch or "ARMv8" in arm.simd_arch
    divides = arm.division == "yes"
    is_v8 = target.machine in MACHINES_V8 or bool(features & FEATURES_V8)
    # Is it missing; the feature; what of it the file was built for.
    requirements = [
        (arm.simd_arch != "none" and not features & FEATURES_NEON, "NEON", arm.simd_arch),
        ("VFPv4" in arm.fp_arch and not features & FEATURES_VFPV4, "VFPv4", arm.fp_arch),
        (divides and not features & FEATURES_DIVISION, "integer division", "SDIV and UDIV"),
        (v8 and not is_v8, "ARMv8", f"ARM {arm.cpu_arch}, {arm.fp_arch}, {arm.simd_arch}"),
    ]
    shown = " ".join(sorted(features)) or "none"
    return [
        Finding(
            problem=f"needs {feature}, which the board's CPU does not show",
            facts=(f"file: {used}", f"board: {target.machine}, features {shown}"),
            next="build for the board's own profile: invoke boards",
        )
        for is_missing, feature, used in requirements
        if is_missing
    ]


def _target_loader(facts: ElfFacts, target: TargetFacts) -> list[Finding]:
    if facts.interpreter is None or PurePosixPath(facts.interpreter).name in target.loaders:
        return []
    lines = (
        f"expected: {facts.interpreter}",
        f"found: {', '.join(sorted(target.loaders)) or 'no loader'}",
    )
    fix = 'set runtime.linkage = "static"'
    return [Finding(problem="needs a loader that the board lacks", facts=lines, next=fix)]


def _target_libc(facts: ElfFacts, target: TargetFacts) -> list[Finding]:
    fix = 'set runtime.linkage = "static"'
    if target.libc is None:
        return _judge_glibc(facts, (0, 0), "the board has no glibc", fix)
    place = f"the board has glibc {target.libc[0]}.{target.libc[1]}"
    return _judge_glibc(facts, target.libc, place, fix)
