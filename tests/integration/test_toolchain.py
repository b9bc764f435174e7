"""What the rendered toolchain compiles has the facts that the profile asks for."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgewright.board.audit import judge
from edgewright.board.catalogue import board_names, load_profile
from edgewright.board.cores import Fpu
from edgewright.board.elf import ElfFacts, read_elf
from edgewright.board.profile import Arch, BoardProfile, Linkage
from edgewright.board.toolchain import compiler_flags, render
from edgewright.build.container import Builder
from tests.checkout import checkout

pytestmark = pytest.mark.docker

REPO = checkout()
PROBE = Path(__file__).parent.parent / "data" / "probe"
PROFILES = [
    *(REPO.boards / f"{name}.toml" for name in board_names(REPO.boards)),
    Path(__file__).parent.parent / "profiles" / "cortex-a9-arm.toml",
]
EMULATORS = {Arch.ARMHF: "qemu-arm", Arch.ARM64: "qemu-aarch64"}
FP_ARCH = {
    Fpu.NEON: ("VFPv3", "NEONv1"),
    Fpu.NEON_VFPV4: ("VFPv4", "NEONv1 with Fused-MAC"),
    Fpu.NEON_FP_ARMV8: ("FP for ARMv8", "NEON for ARMv8"),
}


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The probe programs of one board."""

    profile: BoardProfile
    bare: Path
    program: Path


@pytest.fixture(scope="module", params=PROFILES, ids=lambda path: path.stem)
def probe(request: pytest.FixtureRequest, builder: Builder) -> Probe:
    profile = load_profile(request.param)
    out = REPO.build(profile.name).root / "probe"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    toolchain = out / "toolchain.cmake"
    rendered = render(profile, REPO.resources.toolchains, Path(builder.path(toolchain)))
    toolchain.write_text(rendered.cmake)
    folder, log = str(builder.path(out)), out / "probe.log"
    configure = ["cmake", "-G", "Ninja", "-S", str(builder.path(PROBE)), "-B", folder]
    file = f"-DCMAKE_TOOLCHAIN_FILE={builder.path(toolchain)}"
    builder.run([*configure, file, "-DCMAKE_BUILD_TYPE=MinSizeRel"], log)
    builder.run(["cmake", "--build", folder], log)
    return Probe(profile=profile, bare=out / "bare", program=out / "program")


def test_machine_and_class_are_the_profiles(probe: Probe) -> None:
    facts = read_elf(probe.bare)

    wanted = ("ARM", 32) if probe.profile.abi.arch is Arch.ARMHF else ("AARCH64", 64)
    assert (facts.machine, facts.bits, facts.endian) == (*wanted, "little")


def test_arm_attributes_are_the_profiles(probe: Probe) -> None:
    arm = read_elf(probe.bare).arm
    if probe.profile.abi.arch is Arch.ARM64:
        assert arm is None
        return

    version, fpu = probe.profile.cpu.arm_version, probe.profile.cpu.fpu
    assert arm is not None
    assert fpu is not None
    assert arm.vfp_args == "VFP registers"
    assert (arm.fp_arch, arm.simd_arch) == FP_ARCH[fpu]
    assert (arm.cpu_name, arm.cpu_arch) == (f"{version}-A", f"v{version}")


def test_code_is_thumb_or_arm_as_the_profile_says(probe: Probe) -> None:
    thumb = probe.profile.abi.arch is Arch.ARMHF and probe.profile.cpu.instruction_set == "thumb"

    assert starts_in_thumb(read_elf(probe.bare)) == thumb


def starts_in_thumb(facts: ElfFacts) -> bool:
    return facts.entry % 2 == 1


def test_the_compiler_was_given_the_profiles_flags(probe: Probe) -> None:
    """GCC records its command line in the debug info."""
    debug_info = probe.bare.read_bytes()

    for flag in compiler_flags(probe.profile):
        assert flag.encode() in debug_info


def test_a_whole_static_program_passes_the_audit(probe: Probe) -> None:
    assert judge(read_elf(probe.program), probe.profile, linkage=Linkage.STATIC) == []


def test_a_whole_static_program_runs_on_the_core_that_stands_in_for_the_boards(
    probe: Probe,
) -> None:
    """Where QEMU models the core; `max` runs anything. It computes with floats and has no model."""
    emulator = EMULATORS[probe.profile.abi.arch]
    argv = [emulator, "-cpu", probe.profile.qemu_cpu, str(probe.program)]

    assert subprocess.run(argv, capture_output=True, check=False).stdout == b"4\n"
