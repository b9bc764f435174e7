"""Board profile → CMake toolchain file and Conan profile, as text. Pure."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from edgewright.base.errors import UserError
from edgewright.board.cores import Fpu, core_facts
from edgewright.board.profile import Arch, BoardProfile

V8_0_CORE = "cortex-a53"
_CONAN_ARCH = {Arch.ARMHF: "armv7hf", Arch.ARM64: "armv8"}


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """The two rendered texts."""

    cmake: str
    conan: str


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """What stands behind the names that recipes call."""

    name: Literal["gcc", "clang"] = "gcc"
    version: str = "14"  # major
    libraries: str | None = None  # folder; None: the builder's own for the board


OWN_COMPILER = Compiler()  # the builder's


def compiler_flags(profile: BoardProfile) -> list[str]:
    """The GCC flags that select the board's float ABI and instruction set.

    On arm64 the baseline is -march: ONNX Runtime compiles single files for newer cores and
    picks them at run time, and an -mcpu would contradict the -march of those.
    """
    return [*_abi_flags(profile), *core_flags(profile)]


def shared_flags(profile: BoardProfile) -> list[str]:
    """Those for code that boards with other cores can have too.

    A Cortex-A7 has what 32-bit cores with division and VFPv4 have in common, and any ARMv7-A
    what the others have. `core_flags` may follow: they take the place of what is said of a core.
    """
    if profile.abi.arch is Arch.ARM64:
        return _abi_flags(profile)
    as_a7 = profile.cpu.divides and profile.cpu.fpu is not Fpu.NEON
    core, fpu = ("cortex-a7", Fpu.NEON_VFPV4) if as_a7 else ("generic-armv7-a", Fpu.NEON)
    return [*_abi_flags(profile), f"-mcpu={core}", f"-mfpu={fpu}"]


def core_flags(profile: BoardProfile) -> list[str]:
    """Those that only boards with the same core share.

    Nothing goes beyond ARMv8.0, in 32 bits as in 64: whether a board has ARMv8.1's NEON cannot be
    told from the features that Linux shows a 32-bit program, so no deploy could refuse it.
    """
    core = profile.cpu.core
    if profile.abi.arch is Arch.ARM64:
        return [f"-mtune={core}"]
    facts = core_facts(core)
    chosen = [f"-mcpu={V8_0_CORE}", f"-mtune={core}"] if facts and facts.v8_2 else [f"-mcpu={core}"]
    return [*chosen, f"-mfpu={profile.cpu.fpu}"]


def _abi_flags(profile: BoardProfile) -> list[str]:
    if profile.abi.arch is Arch.ARM64:
        return ["-march=armv8-a"]
    return [f"-mfloat-abi={profile.cpu.float_abi}", f"-m{profile.cpu.instruction_set}"]


def render(
    profile: BoardProfile,
    templates: Path,
    toolchain_path: Path,
    compiler: Compiler = OWN_COMPILER,
) -> Toolchain:
    """Render both files; `toolchain_path` is where Conan will find the CMake one.

    Raises UserError if a template is broken or uses an unknown variable.
    """
    environment = Environment(
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,  # a misspelt variable is an error, not an empty text
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,
    )
    values = {
        "board": profile,
        "machine": profile.machine,
        "flags": compiler_flags(profile),
        "shared_flags": shared_flags(profile),
        "core_flags": core_flags(profile),
        "conan_arch": _CONAN_ARCH[profile.abi.arch],
        "compiler": compiler,
        "libraries": compiler.libraries or f"/usr/{profile.abi.triplet}",
        "toolchain_path": toolchain_path.as_posix(),
    }
    of_board = f"boards/{profile.name}.cmake.j2"
    template = of_board if (templates / of_board).is_file() else "toolchain.cmake.j2"
    cmake = _render(environment, template, values)
    values["toolchain_sha256"] = code_sha256(cmake)
    return Toolchain(cmake=cmake, conan=_render(environment, "conan.profile.j2", values))


def code_sha256(cmake: str) -> str:
    """Hash of a CMake text without its comments: boards with equal toolchains share packages."""
    lines = [line for line in cmake.splitlines() if line and not line.startswith("#")]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _render(environment: Environment, name: str, values: dict[str, object]) -> str:
    try:
        return environment.get_template(name).render(values)
    except TemplateError as broken:
        raise UserError(f"toolchains/{name}", f"{broken}", next="mend the template") from broken
