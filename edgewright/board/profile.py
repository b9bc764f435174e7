"""What a board profile says, and what does not fit together in it."""

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from edgewright.base.errors import near_miss
from edgewright.base.schema import Part, abridged
from edgewright.board.cores import KNOWN_CORES, Fpu, core_facts, qemu_core
from edgewright.board.refused import core_refusal

NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
CORE = r"^cortex-[ax][0-9]+[a-z]*(\.cortex-[ax][0-9]+[a-z]*)?$"
COMPATIBLE = r"^[a-z0-9-]+,[a-z0-9.-]+$"
Compatible = Annotated[str, Field(pattern=COMPATIBLE)]


class Arch(StrEnum):
    ARMHF = "armhf"
    ARM64 = "arm64"


class Linkage(StrEnum):
    STATIC = "static"
    SHARED = "shared"


class Kernels(StrEnum):
    STOCK = "stock"
    NEON = "neon"


class LibcFamily(StrEnum):
    GLIBC = "glibc"
    MUSL = "musl"


class Provider(StrEnum):
    """An execution provider of ONNX Runtime."""

    XNNPACK = "xnnpack"
    CPU = "cpu"


TRIPLET = {Arch.ARMHF: "arm-linux-gnueabihf", Arch.ARM64: "aarch64-linux-gnu"}
ARMHF_ONLY = {"fpu", "float_abi", "instruction_set"}


class Section(Part, strict=True):
    """A table of a profile: `cores = "4"` is a mistake, not a number."""


class Cpu(Section):
    """The processor, in GCC's words."""

    core: Annotated[str, Field(pattern=CORE, description="-mcpu; arm64: -mtune")]
    cores: Annotated[int, Field(ge=1, le=64, description="number of cores")]
    clock_mhz: Annotated[
        int | None, Field(ge=100, le=5000, description="highest clock, for estimates of time")
    ] = None
    fpu: Annotated[Fpu | None, Field(strict=False, description="-mfpu; armhf only")] = None
    float_abi: Annotated[Literal["hard"], Field(description="-mfloat-abi; armhf only")] = "hard"
    instruction_set: Annotated[
        Literal["thumb", "arm"], Field(description="code of our own targets; armhf only")
    ] = "thumb"

    @field_validator("core", mode="before")
    @classmethod
    def _can_run(cls, core: object) -> object:
        refusal = core_refusal(core) if isinstance(core, str) else None
        if refusal:
            raise ValueError(f"'{core}': {refusal}")
        if isinstance(core, str) and core not in KNOWN_CORES:
            raise ValueError(
                f"'{core}': not a core that the compiler knows{near_miss(core, KNOWN_CORES)}; "
                f"known: {', '.join(sorted(KNOWN_CORES))}"
            )
        return core

    @field_validator("fpu", mode="before")
    @classmethod
    def _has_neon(cls, fpu: object) -> object:
        if isinstance(fpu, str) and "neon" not in fpu:
            raise ValueError(
                f"'{fpu}' has no NEON, which ONNX Runtime's MLAS kernels need; "
                f"expected one of {', '.join(Fpu)}"
            )
        return fpu

    @field_validator("float_abi", mode="before")
    @classmethod
    def _is_hard(cls, float_abi: object) -> object:
        if float_abi in ("soft", "softfp"):
            raise ValueError(
                f"'{float_abi}' passes floats in integer registers, but "
                "ONNX Runtime's MLAS and Debian's armhf libraries need 'hard'"
            )
        return float_abi

    @property
    def arm_version(self) -> Literal[7, 8]:
        """The ARM architecture that a 32-bit program may use; an unknown core's by its FPU."""
        core = core_facts(self.core)
        return 8 if (core.best_fpu if core else self.fpu) is Fpu.NEON_FP_ARMV8 else 7

    @property
    def divides(self) -> bool:
        """Whether a 32-bit program may divide integers by an instruction."""
        core = core_facts(self.core)
        return core is None or core.divides


class Abi(Section):
    """The userland that the board runs."""

    arch: Annotated[Arch, Field(strict=False, description="instruction set and userland")]
    triplet: Annotated[
        Literal["arm-linux-gnueabihf", "aarch64-linux-gnu"],
        Field(description="prefix of the cross compiler"),
    ]


class Libc(Section):
    """The C library on the board; what is linked dynamically may not need a newer one."""

    family: Annotated[LibcFamily, Field(strict=False, description="`musl` on Alpine, say")] = (
        LibcFamily.GLIBC
    )
    floor: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+$", description="oldest version met")]

    @model_validator(mode="after")
    def _is_a_version_of_it(self) -> "Libc":
        # Bases have glibc's, which is far above any of musl.
        if self.family is LibcFamily.MUSL and self.version >= (2,):
            raise ValueError(f"floor: expected a version of musl, as '1.2', found '{self.floor}'")
        return self

    @property
    def version(self) -> tuple[int, ...]:
        """The floor as numbers."""
        return tuple(int(part) for part in self.floor.split("."))


class Toolchain(Section):
    """The compiler that programs for the board are built with."""

    external: Annotated[
        str | None,
        Field(
            pattern=r"^/[^\x00-\x1f:]+$",
            description="a vendor's GCC, or zig, in place of the builder's own: its folder, its "
            "compiler, or a Yocto SDK's environment-setup file",
        ),
    ] = None


class Memory(Section):
    """The board's main memory."""

    total_mb: Annotated[int, Field(ge=64, description="RAM, MiB")]


class Runtime(Section):
    """How ONNX Runtime and `edge-infer` are built and run."""

    linkage: Annotated[
        Linkage, Field(strict=False, description="of ONNX Runtime and libc into edge-infer")
    ] = Linkage.STATIC
    kernels: Annotated[
        Kernels,
        Field(strict=False, description="ONNX Runtime's alone, or with ours for INT8 on NEON"),
    ] = Kernels.STOCK
    execution_providers: Annotated[
        tuple[Annotated[Provider, Field(strict=False)], ...],
        Field(strict=False, description="ONNX Runtime's, in order: each takes what it can"),
    ] = (Provider.CPU,)
    threads: Annotated[int, Field(ge=1, le=64, description="intra-op threads")] = 1

    @field_validator("execution_providers")
    @classmethod
    def _ends_with_cpu(cls, providers: tuple[Provider, ...]) -> tuple[Provider, ...]:
        if providers in ((Provider.CPU,), (Provider.XNNPACK, Provider.CPU)):
            return providers
        names = ", ".join(f'"{name}"' for name in providers)
        raise ValueError(f'expected ["cpu"] or ["xnnpack", "cpu"], found [{names}]')

    @property
    def xnnpack(self) -> bool:
        return Provider.XNNPACK in self.execution_providers


class Budgets(Section):
    """What a release may cost. Sizes are judged at build time, the rest by the smoke test."""

    binary_bytes: Annotated[int, Field(gt=0, description="edge-infer, stripped, bytes")]
    model_bytes: Annotated[int, Field(gt=0, description="model.ort, bytes")]
    peak_rss_mb: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="peak resident set, MiB")
    ]
    latency_ms: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="median of one inference, ms")
    ]


class Thermal(Section):
    """What inference is held to on a board that gets hot: see docs/service.md."""

    limit_c: Annotated[
        int | None,
        Field(ge=40, le=110, description="°C that the hottest zone stays below; none: no governor"),
    ] = None


class Deploy(Section):
    """Where releases go on the board."""

    root: Annotated[
        str,
        Field(
            pattern=r"^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$",
            description="edgewright's folder on the board",
        ),
    ] = "/opt/edgewright"
    reserve_mb: Annotated[int, Field(ge=0, description="space a deploy leaves free, MiB")] = 16


class Emulation(Section):
    """How the board is stood in for when there is no hardware."""

    cpu: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9,=._-]+$",
            description="QEMU_CPU of the user-mode emulator; by default QEMU's model of cpu.core, "
            "`max` where it has none",
        ),
    ] = None
    cpuinfo_part: Annotated[
        str | None,
        Field(
            pattern=r"^0x[0-9a-f]{3}$",
            description="'CPU part' in /proc/cpuinfo; by default that of cpu.core",
        ),
    ] = None


BoardPath = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$")]


# With the names that udev makes, such as /dev/v4l/by-id/usb-046d:0825; no part of it is `..`.
Device = Annotated[str, Field(pattern=r"^/dev(/[A-Za-z0-9_:+-][A-Za-z0-9._:+-]*)+$")]


class ServiceCommand(StrEnum):
    """The command of the default program that the service is."""

    WATCH = "watch"
    SERVE = "serve"


class Manager(StrEnum):
    """What starts programs on a board, and starts them again."""

    NONE = "none"
    INITTAB = "inittab"
    RUNIT = "runit"
    SYSTEMD = "systemd"


class Service(Section):
    """How the release runs as a service: see docs/service.md."""

    manager: Annotated[
        Manager, Field(strict=False, description="what starts it; `none`: it is not a service")
    ] = Manager.NONE
    command: Annotated[
        ServiceCommand,
        Field(
            strict=False,
            description="`watch` takes images from a folder, `serve` over a socket",
        ),
    ] = ServiceCommand.WATCH
    input: Annotated[BoardPath, Field(description="folder that images are moved into")] = (
        "/var/spool/edgewright/in"
    )
    output: Annotated[BoardPath, Field(description="folder that results appear in")] = (
        "/var/spool/edgewright/out"
    )
    user: Annotated[
        str,
        Field(
            pattern=r"^[a-z_][a-z0-9_-]{0,30}$",
            description="user of the board that it is; made where it is missing",
        ),
    ] = "edgewright"
    keep: Annotated[
        int, Field(ge=1, le=1_000_000, description="results before images have to wait")
    ] = 1000
    unsure_images: Annotated[
        int,
        Field(ge=0, le=10_000, description="least certain images to keep for labelling; 0: none"),
    ] = 0
    unsure_mb: Annotated[int, Field(ge=1, le=1024, description="of all of these at most, MiB")] = 64
    restart_s: Annotated[int, Field(ge=1, le=3600, description="pause before a restart, s")] = 5
    watchdog_s: Annotated[
        int, Field(ge=15, le=3600, description="without a heartbeat: killed and restarted, s")
    ] = 60
    memory_mb: Annotated[int, Field(ge=16, description="limit by cgroup, MiB")] = 128
    nice: Annotated[int, Field(ge=-20, le=19, description="scheduling priority")] = 0
    devices: Annotated[
        tuple[Device, ...],
        Field(
            strict=False,
            description="of /dev, that systemd lets a program of yours open, such as /dev/video0",
        ),
    ] = ()
    cpus: Annotated[
        tuple[Annotated[int, Field(ge=0, le=63)], ...],
        Field(strict=False, description="cores it may run on; empty: all"),
    ] = ()
    log_kb: Annotated[int, Field(ge=16, le=65536, description="its log never grows above, KiB")] = (
        256
    )


class BoardProfile(Section):
    """One kind of board."""

    name: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="the file's name; may be left out")
    ]
    description: Annotated[str, Field(description="one line for people")]
    compatible: Annotated[
        str, Field(pattern=COMPATIBLE, description="vendor,board: a release's pass")
    ]
    aliases: Annotated[
        tuple[Compatible, ...],
        Field(
            strict=False,  # TOML has a list
            description="other names, as device trees have them; a base's `compatible` is one too",
        ),
    ] = ()
    former_names: Annotated[
        tuple[Compatible, ...],
        Field(
            strict=False,
            description="what `compatible` was before: boards and releases of that name go on",
        ),
    ] = ()
    cpu: Cpu
    abi: Abi
    libc: Libc
    toolchain: Toolchain = Toolchain()
    memory: Memory
    runtime: Runtime = Runtime()
    budgets: Budgets
    thermal: Thermal = Thermal()
    deploy: Deploy = Deploy()
    service: Service = Service()
    emulation: Emulation = Emulation()

    @field_validator("description")
    @classmethod
    def _single_line(cls, description: str) -> str:
        if not description or not description.isprintable():
            raise ValueError(f"expected one line of text, found {abridged(description)}")
        return description

    @model_validator(mode="after")
    def _consistent(self) -> "BoardProfile":
        problems = cross_problems(self.cpu, self.abi, self.libc, self.runtime, self.service)
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Of this kind of board, the present one first: releases may have any of them."""
        return (self.compatible, *self.former_names)

    @property
    def machine(self) -> str:
        """`uname -m` of a board of this kind in its own userland."""
        return "armv7l" if self.abi.arch is Arch.ARMHF else "aarch64"

    @property
    def bits(self) -> Literal[32, 64]:
        """How wide the pointers of its programs are."""
        return 32 if self.abi.arch is Arch.ARMHF else 64

    @property
    def qemu_cpu(self) -> str:
        """QEMU_CPU of the user-mode emulator."""
        return self.emulation.cpu or qemu_core(self.cpu.core, self.bits)

    @property
    def cpuinfo_part(self) -> str:
        """The "CPU part" that a stand-in for the board shows; zero for a core not known here."""
        core = core_facts(self.cpu.core)
        return self.emulation.cpuinfo_part or (core.part if core else "0x000")


def cross_problems(
    cpu: Cpu | None,
    abi: Abi | None,
    libc: Libc | None,
    runtime: Runtime | None,
    service: Service | None,
) -> list[str]:
    """What does not fit together; a section that is not valid by itself is None."""
    return [
        *_processor_problems(cpu, abi),
        *_libc_problems(libc, runtime),
        *_running_problems(cpu, abi, runtime, service),
    ]


def _processor_problems(cpu: Cpu | None, abi: Abi | None) -> Iterator[str]:
    if abi and abi.triplet != TRIPLET[abi.arch]:
        yield (
            f"abi.triplet: expected '{TRIPLET[abi.arch]}' for arch '{abi.arch}', "
            f"found '{abi.triplet}'"
        )
    if cpu and abi and abi.arch is Arch.ARMHF and cpu.fpu is None:
        yield "cpu.fpu: missing; arch 'armhf' needs one"
    if cpu and abi and abi.arch is Arch.ARM64:
        for key in sorted(ARMHF_ONLY & cpu.model_fields_set):
            yield f"cpu.{key}: not for arch 'arm64', where it is always the same"
    core, order = core_facts(cpu.core) if cpu else None, list(Fpu)
    # Code for more than the core has would end with an illegal instruction.
    if cpu and cpu.fpu and core and order.index(cpu.fpu) > order.index(core.best_fpu):
        yield (
            f"cpu.fpu: expected at most '{core.best_fpu}', which {cpu.core} has, found '{cpu.fpu}'"
        )


def _libc_problems(libc: Libc | None, runtime: Runtime | None) -> Iterator[str]:
    shared = runtime is not None and runtime.linkage is Linkage.SHARED
    if libc and libc.family is LibcFamily.MUSL and shared:
        yield (
            "runtime.linkage: expected 'static' on a board with musl, for which no compiler here "
            "links, found 'shared'"
        )


def _running_problems(
    cpu: Cpu | None, abi: Abi | None, runtime: Runtime | None, service: Service | None
) -> Iterator[str]:
    if cpu and runtime and runtime.threads > cpu.cores:
        yield f"runtime.threads: expected at most cpu.cores = {cpu.cores}, found {runtime.threads}"
    beyond = [str(core) for core in service.cpus if core >= cpu.cores] if cpu and service else []
    if cpu and beyond:
        yield f"service.cpus: expected 0 to {cpu.cores - 1}, found {', '.join(beyond)}"
    # XNNPACK chooses its kernels at run time, so a program holds those for ARMv8 on any core.
    v8_in_32_bits = abi and abi.arch is Arch.ARMHF and cpu and cpu.fpu is Fpu.NEON_FP_ARMV8
    if cpu and abi and runtime and runtime.xnnpack and not v8_in_32_bits:
        fpu = f" and fpu '{cpu.fpu}'" if cpu.fpu else ""
        yield (
            "runtime.execution_providers: 'xnnpack' brings code for ARMv8 in 32 bits: expected "
            f"arch 'armhf' and fpu 'neon-fp-armv8', found arch '{abi.arch}'{fpu}"
        )


def schema_json() -> str:
    """The JSON schema of a profile file after `extends`, as text with a final newline."""
    return json.dumps(BoardProfile.model_json_schema(), indent=2, sort_keys=True) + "\n"
