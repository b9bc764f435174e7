"""What each Arm core has.

Sources: the cores' technical reference manuals: MIDR for the part number, the lists of optional
units for the rest.
"""

from dataclasses import dataclass
from enum import StrEnum


class Fpu(StrEnum):
    """The `-mfpu` names with NEON that ONNX Runtime's MLAS can be built for."""

    NEON = "neon"
    NEON_VFPV4 = "neon-vfpv4"
    NEON_FP_ARMV8 = "neon-fp-armv8"


@dataclass(frozen=True, kw_only=True)
class Core:
    """One core as a 32-bit program sees it."""

    part: str  # "CPU part" of /proc/cpuinfo
    best_fpu: Fpu  # the most that it can have
    divides: bool = True  # by an instruction: SDIV, UDIV
    v8_2: bool = False  # more than ARMv8.0, which GCC would use unasked


def _armv8(part: str, *, v8_2: bool = False) -> Core:
    return Core(part=part, best_fpu=Fpu.NEON_FP_ARMV8, v8_2=v8_2)


# Named as GCC names them.
CORES = {
    "cortex-a5": Core(part="0xc05", best_fpu=Fpu.NEON_VFPV4, divides=False),
    "cortex-a7": Core(part="0xc07", best_fpu=Fpu.NEON_VFPV4),
    "cortex-a8": Core(part="0xc08", best_fpu=Fpu.NEON, divides=False),
    "cortex-a9": Core(part="0xc09", best_fpu=Fpu.NEON, divides=False),
    "cortex-a12": Core(part="0xc0d", best_fpu=Fpu.NEON_VFPV4),
    "cortex-a15": Core(part="0xc0f", best_fpu=Fpu.NEON_VFPV4),
    "cortex-a17": Core(part="0xc0e", best_fpu=Fpu.NEON_VFPV4),
    "cortex-a32": _armv8("0xd01"),
    "cortex-a35": _armv8("0xd04"),
    "cortex-a53": _armv8("0xd03"),
    "cortex-a55": _armv8("0xd05", v8_2=True),
    "cortex-a57": _armv8("0xd07"),
    "cortex-a72": _armv8("0xd08"),
    "cortex-a73": _armv8("0xd09"),
    "cortex-a75": _armv8("0xd0a", v8_2=True),
    "cortex-a76": _armv8("0xd0b", v8_2=True),
    "cortex-a77": _armv8("0xd0d", v8_2=True),
    "cortex-a78": _armv8("0xd41", v8_2=True),
}


def core_facts(name: str) -> Core | None:
    """What a core has, of two kinds ("cortex-a72.cortex-a53") the smaller one.

    None for a core that is not known here: then the profile is taken at its word.
    """
    return CORES.get(name.rpartition(".")[2])


ARM_LIMITED = "0x41"  # "CPU implementer" of the parts above; other makers have numbers of their own
# Pairs of cores that GCC can schedule for, the faster one first.
PAIRS = frozenset(
    {
        "cortex-a15.cortex-a7",
        "cortex-a17.cortex-a7",
        "cortex-a57.cortex-a53",
        "cortex-a72.cortex-a53",
        "cortex-a73.cortex-a35",
        "cortex-a73.cortex-a53",
        "cortex-a75.cortex-a55",
        "cortex-a76.cortex-a55",
    }
)


# Names that the builder's GCC 12 takes too; what these cores have, a profile itself must say.
UNLISTED = frozenset(
    {
        *("cortex-a34", "cortex-a65", "cortex-a65ae", "cortex-a76ae", "cortex-a78ae"),
        *("cortex-a78c", "cortex-a510", "cortex-a710", "cortex-x1", "cortex-x2"),
    }
)
KNOWN_CORES = frozenset({*CORES, *PAIRS, *UNLISTED})


# Cores that QEMU's user-mode emulators model, by the bits of their programs (7.2 has all of them).
QEMU_CORES = {
    32: frozenset({"cortex-a7", "cortex-a8", "cortex-a9", "cortex-a15"}),
    64: frozenset({"cortex-a35", "cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76"}),
}
ANY_CORE = "max"  # of QEMU: it has all instructions, so it proves nothing about a board's core


def qemu_core(name: str, bits: int) -> str:
    """QEMU's model of a core, of two kinds the smaller one; `max` where it has none."""
    core = name.rpartition(".")[2]
    return core if core in QEMU_CORES[bits] else ANY_CORE


def core_of_part(part: str) -> str | None:
    """GCC's name of the core with this "CPU part", or None."""
    return next((name for name, core in CORES.items() if core.part == part), None)
