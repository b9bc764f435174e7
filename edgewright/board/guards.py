"""Which functions hold what a board's CPU may lack, and what is known to ask the CPU first."""

from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgewright.base.schema import Part
from edgewright.board.code import Code, Feature
from edgewright.board.cores import Fpu
from edgewright.board.profile import Cpu


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A known run-time guard.

    A function that asks `inside` may be called by anybody; others are only called through a pointer
    that their guard chose, so that a direct branch to one before main would go around it.
    """

    functions: tuple[str, ...]  # patterns of linked names
    features: frozenset[Feature]
    reason: str
    inside: bool = False


_SCALABLE = frozenset({Feature.SVE, Feature.SME, Feature.UNKNOWN})
_COPROCESSOR = frozenset({Feature.UNKNOWN})

GUARDS = (
    Guard(
        functions=("__aarch64_cas*", "__aarch64_swp*", "__aarch64_ld*"),
        features=frozenset({Feature.LSE}),
        reason="libgcc's outline atomics read __aarch64_have_lse_atomics first",
        inside=True,
    ),
    Guard(
        functions=(
            *("MlasGemmU8X8KernelUdot", "MlasGemmS8S8KernelSDot", "MlasSymQgemmS8KernelSdot*"),
            *("MlasConvSymU8KernelDot*", "MlasConvSymS8KernelDot*"),
            "_ZN15sqnbitgemm_neon25SQ4BitGemmKernel_CompInt8E*",
        ),
        features=frozenset({Feature.DOTPROD}),
        reason="MLAS puts them into its table of kernels where HWCAP shows ASIMDDP",
    ),
    Guard(
        functions=("_ZN10edgewright*7DotTile*",),
        features=frozenset({Feature.DOTPROD}),
        reason="our kernels choose the tile where HWCAP shows ASIMDDP",
    ),
    Guard(
        functions=("MlasGemmU8X8KernelUmmla*", "MlasGemmS8S8KernelSmmla*"),
        features=frozenset({Feature.I8MM}),
        reason="MLAS puts them into its table of kernels where HWCAP2 shows I8MM",
    ),
    Guard(
        functions=("__mem*_a64fx", "__mem*_sve", "__mem*_sve_zva64", "__mem*_mops"),
        features=frozenset({Feature.SVE, Feature.MOPS}),
        reason="glibc's indirect functions choose them by the CPU's features",
    ),
    Guard(
        functions=(
            *("_int_realloc", "_int_memalign", "_mid_memalign*", "__libc_malloc", "__libc_realloc"),
            *("__free", "__calloc", "__malloc_usable_size", "__libc_mtag_*"),
        ),
        features=frozenset({Feature.MTE}),
        reason="glibc tags memory only where HWCAP2 shows MTE and a tunable asks for it",
        inside=True,
    ),
    Guard(
        functions=(*("execute_stack_op*", "uw_update_context*", "_Unwind_GetGR"),),
        features=frozenset({Feature.SVE}),
        reason="libgcc's unwinder reads the length of vectors only for frames that saved one",
        inside=True,
    ),
    Guard(
        functions=("__arm_za_disable", "__arm_tpidr2_save"),
        features=_SCALABLE,
        reason="libgcc asks HWCAP2 for SME first",
        inside=True,
    ),
    Guard(
        functions=("__libc_arm_za_disable",),
        features=_SCALABLE,
        reason="glibc asks HWCAP2 for SME first",
        inside=True,
    ),
    Guard(
        functions=("__gnu_Unwind_*_WMMX*",),
        features=_COPROCESSOR,
        reason="libgcc's unwinder calls them only for frames that saved iWMMXt registers",
        inside=True,
    ),
    Guard(
        functions=("__sigsetjmp", "__longjmp"),
        features=_COPROCESSOR,
        reason="glibc asks HWCAP for iWMMXt first",
        inside=True,
    ),
)


def guard_of(function: str, feature: Feature) -> Guard | None:
    """The guard of a function, by its linked name, for one feature."""
    return next(
        (
            guard
            for guard in GUARDS
            if feature in guard.features
            and any(fnmatchcase(function, pattern) for pattern in guard.functions)
        ),
        None,
    )


class BeyondFunction(Part):
    """A function that holds instructions which the board's CPU may lack."""

    name: str  # as linked
    features: tuple[Feature, ...]
    instruction: str  # the first of them, with its address
    guard: str | None  # what asks the CPU before it runs
    before_main: tuple[str, ...] = ()  # from what runs before main down to it, around the guard


_VFPV4 = frozenset({Feature.VFPV4, Feature.FP16_CONVERSION})
_OF_FPU = {
    Fpu.NEON: frozenset[Feature](),
    Fpu.NEON_VFPV4: _VFPV4,
    Fpu.NEON_FP_ARMV8: _VFPV4 | {Feature.ARMV8, Feature.CRC},
}


def features_of(cpu: Cpu) -> frozenset[Feature]:
    """What code for a CPU may take unasked: of 64-bit cores ARMv8.0-A, which all are built for.

    Cryptography is an option of every core, which the Raspberry Pi 3 and 4 do without.
    """
    if cpu.fpu is None:
        return frozenset()
    return _OF_FPU[cpu.fpu] | ({Feature.DIVISION} if cpu.divides else frozenset())


def beyond(code: Code, cpu: Cpu) -> tuple[BeyondFunction, ...]:
    """Every function with an instruction that code for this CPU may not take unasked."""
    callers = _before_main(code)
    functions = []
    for function in code.functions:
        features = tuple(sorted(set(function.features) - features_of(cpu)))
        if not features:
            continue
        guards = [guard_of(function.name, feature) for feature in features]
        guarding = [guard for guard in guards if guard]
        is_guarded = len(guarding) == len(guards)
        around = function.address in callers and not (
            is_guarded and all(g.inside for g in guarding)
        )
        functions.append(
            BeyondFunction(
                name=function.name,
                features=features,
                instruction=function.features[features[0]],
                guard="; ".join(dict.fromkeys(g.reason for g in guarding)) if is_guarded else None,
                before_main=_chain(code, callers, function.address) if around else (),
            )
        )
    return tuple(functions)


def _before_main(code: Code) -> dict[int, int | None]:
    """What direct branches reach before main → by whom; None for where it begins."""
    callers: dict[int, int | None] = dict.fromkeys(code.roots)
    waiting = deque(code.roots)
    while waiting:
        caller = waiting.popleft()
        for called in sorted(code.branches.get(caller, ())):
            if called not in callers:
                callers[called] = caller
                waiting.append(called)
    return callers


def _chain(code: Code, callers: dict[int, int | None], address: int) -> tuple[str, ...]:
    chain, at = [], address
    while (caller := callers[at]) is not None:
        chain.append(code.names[at])
        at = caller
    return (f"{code.roots[at]} {code.names[at]}", *reversed(chain))
