from pathlib import Path
from typing import Any

import pytest

from edgewright.base.errors import TargetError, UserError
from edgewright.board.audit import (
    Audit,
    Finding,
    TargetFacts,
    audit_files,
    judge,
    judge_target,
    require,
    require_passed,
)
from edgewright.board.elf import ElfFacts, NeededVersion, read_elf
from edgewright.board.profile import BoardProfile, LibcFamily, Linkage

ELF = Path(__file__).parents[2] / "data" / "elf"
STATIC, SHARED = Linkage.STATIC, Linkage.SHARED


def board(
    core: str = "cortex-a7",
    fpu: str | None = "neon-vfpv4",
    linkage: Linkage = STATIC,
    floor: str = "2.31",
    binary_bytes: int = 1_700_000,
) -> BoardProfile:
    arm64 = fpu is None
    triplet = "aarch64-linux-gnu" if arm64 else "arm-linux-gnueabihf"
    return BoardProfile.model_validate(
        {
            "name": "rpi2",
            "description": "a board",
            "compatible": "test,board",
            "cpu": {"core": core, "cores": 4} | ({} if arm64 else {"fpu": fpu}),
            "abi": {"arch": "arm64" if arm64 else "armhf", "triplet": triplet},
            "libc": {"floor": floor},
            "memory": {"total_mb": 1024},
            "runtime": {"linkage": linkage},
            "budgets": {
                "binary_bytes": binary_bytes,
                "model_bytes": 1,
                "peak_rss_mb": 1,
                "latency_ms": 1,
            },
        }
    )


def problems(name: str, profile: BoardProfile) -> list[str]:
    return [finding.problem for finding in judge(read_elf(ELF / name), profile)]


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("good-v7", board()),
        ("arm-code", board()),
        ("good-v7", board("cortex-a53", "neon-fp-armv8")),
        ("good-v8", board("cortex-a53", "neon-fp-armv8")),
        ("good-arm64", board("cortex-a53", None)),
        ("client", board(linkage=SHARED, floor="2.34")),
        ("glibc", board(linkage=SHARED, floor="2.34")),
        ("libonnxruntime.so.1", board(linkage=SHARED)),
    ],
)
def test_what_fits_the_board_passes(name: str, profile: BoardProfile) -> None:
    assert problems(name, profile) == []


@pytest.mark.parametrize(
    ("name", "profile", "expected"),
    [
        ("x86-64", board(), ["is not for board 'rpi2'"]),
        ("good-arm64", board(), ["is not for board 'rpi2'"]),
        ("good-v7", board("cortex-a53", None), ["is not for board 'rpi2'"]),
        ("object", board(), ["is not linked: ELF type REL"]),
        ("softfp", board(), ["passes floats in core registers, board 'rpi2' is hard-float"]),
        (
            "good-v8",
            board(),
            [
                "is built for ARM v8, board 'rpi2' has cortex-a7",
                "is built for FP for ARMv8, board 'rpi2' has neon-vfpv4",
                "is built for NEON for ARMv8, board 'rpi2' has neon-vfpv4",
            ],
        ),
        (
            "v7-fp-v8",
            board("cortex-a53", "neon-vfpv4"),
            [
                "is built for FP for ARMv8, board 'rpi2' has neon-vfpv4",
                "is built for NEON for ARMv8, board 'rpi2' has neon-vfpv4",
            ],
        ),
        (
            "good-v7",
            board("cortex-a9", "neon"),
            [
                "is built for VFPv4, board 'rpi2' has neon",
                "is built for NEONv1 with Fused-MAC, board 'rpi2' has neon",
                "is built for integer division, board 'rpi2' has cortex-a9",
            ],
        ),
        ("glibc", board(), ["is not static"]),
        ("glibc", board(linkage=SHARED), ["needs GLIBC_2.34, board 'rpi2' has glibc 2.31"]),
        (
            "libstdcxx",
            board(linkage=SHARED, floor="2.34"),
            [
                "needs libraries that a board is not asked to have",
                "needs GLIBCXX_3.4.21 from libstdc++.so.6, which is not on the board",
            ],
        ),
        (
            "client-rpath",
            board(linkage=SHARED, floor="2.34"),
            ["looks for its libraries in the wrong place"],
        ),
        ("good-v7", board(linkage=SHARED), ["has the wrong loader"]),
        ("no-build-id", board(), ["has no build id to find its symbols by"]),
        ("unstripped", board(), ["is not stripped"]),
        ("exec-stack", board(), ["asks for an executable stack"]),
        (
            "good-v7",
            board(binary_bytes=607),
            ["is 608 bytes, budget of board 'rpi2' is 607"],
        ),
    ],
)
def test_what_does_not_fit_is_found(name: str, profile: BoardProfile, expected: list[str]) -> None:
    assert problems(name, profile) == expected


def test_the_symbol_at_fault_is_named() -> None:
    findings = judge(read_elf(ELF / "glibc"), board(linkage=SHARED))

    with pytest.raises(UserError) as caught:
        require(findings, "build/rpi2/bin/edge-infer")

    assert str(caught.value).splitlines() == [
        "build/rpi2/bin/edge-infer: needs GLIBC_2.34, board 'rpi2' has glibc 2.31",
        "  symbol: __libc_start_main@GLIBC_2.34",
        "  symbol: pthread_create@GLIBC_2.34",
        'next: set runtime.linkage = "static", or raise libc.floor if every such board has more',
    ]


def with_versions(*versions: tuple[str, int]) -> ElfFacts:
    """The facts of `glibc`, needing other versions, each by so many symbols."""
    needed = tuple(
        NeededVersion(library="libc.so.6", version=version, symbols=tuple(map(str, range(count))))
        for version, count in versions
    )
    return read_elf(ELF / "glibc").model_copy(update={"versions": needed})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"needed": ("libc.so",), "interpreter": "/lib/ld-musl-armhf.so.1"}, None),
        (
            {"needed": ("libc.so.6",), "interpreter": "/lib/ld-musl-armhf.so.1"},
            "needs libraries that a board is not asked to have",
        ),
        (
            {"needed": ("libc.so",), "interpreter": "/lib/ld-linux-armhf.so.3"},
            "has the wrong loader",
        ),
    ],
)
def test_a_shared_file_for_musl_takes_musl_alone(
    changes: dict[str, object], problem: str | None
) -> None:
    profile = board(linkage=SHARED)
    libc = profile.libc.model_copy(update={"family": LibcFamily.MUSL, "floor": "1.2"})
    facts = read_elf(ELF / "glibc").model_copy(update={"versions": (), **changes})

    findings = judge(facts, profile.model_copy(update={"libc": libc}))

    assert [finding.problem for finding in findings] == ([problem] if problem else [])


def test_long_lists_of_symbols_are_cut() -> None:
    [finding] = judge(with_versions(("GLIBC_2.32", 8)), board(linkage=SHARED))

    assert finding.facts[:5] == tuple(f"symbol: {n}@GLIBC_2.32" for n in range(5))
    assert finding.facts[5:] == ("… and 3 more @GLIBC_2.32",)


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ("GLIBC_2.4", None),
        ("GLIBC_2.31", None),
        ("GLIBC_2.31.1", "needs GLIBC_2.31.1, board 'rpi2' has glibc 2.31"),
        ("GLIBC_2.100", "needs GLIBC_2.100, board 'rpi2' has glibc 2.31"),
        ("GLIBC_ABI_DT_RELR", "needs GLIBC_ABI_DT_RELR, board 'rpi2' has glibc 2.31"),
        ("GLIBC_PRIVATE", "needs GLIBC_PRIVATE, board 'rpi2' has glibc 2.31"),
    ],
)
def test_versions_are_compared_as_numbers(version: str, problem: str | None) -> None:
    findings = judge(with_versions((version, 1)), board(linkage=SHARED))

    assert [finding.problem for finding in findings] == ([problem] if problem else [])


def test_a_named_version_fits_where_the_glibc_that_brought_it_is() -> None:
    facts = with_versions(("GLIBC_ABI_DT_RELR", 1))

    assert judge(facts, board(linkage=SHARED, floor="2.36")) == []


def test_a_file_without_arm_attributes_is_refused() -> None:
    facts = read_elf(ELF / "good-v7").model_copy(update={"arm": None})

    assert [f.problem for f in judge(facts, board())] == ["has no ARM build attributes to judge by"]


@pytest.mark.parametrize("arch", ["v8-M.mainline", "v7E-M", "v9", "unknown (99)"])
def test_a_cpu_that_the_policy_does_not_name_is_refused(arch: str) -> None:
    facts = read_elf(ELF / "good-v8")
    assert facts.arm is not None
    foreign = facts.model_copy(update={"arm": facts.arm.model_copy(update={"cpu_arch": arch})})

    [finding] = judge(foreign, board("cortex-a53", "neon-fp-armv8"))

    assert finding.problem == f"is built for ARM {arch}, board 'rpi2' has cortex-a53"


def test_several_findings_are_told_at_once_with_the_first_command() -> None:
    findings = [
        Finding(problem="is not stripped", facts=("section: .symtab",), next="strip it"),
        Finding(problem="asks for an executable stack", next="link again"),
    ]

    with pytest.raises(UserError) as caught:
        require(findings, "edge-infer")

    assert str(caught.value).splitlines() == [
        "edge-infer: 2 problems",
        "  is not stripped",
        "    section: .symtab",
        "  asks for an executable stack",
        "next: strip it",
    ]


def test_the_caller_says_whose_fault_it_is() -> None:
    with pytest.raises(TargetError, match=r"pi@10\.0\.0\.7: needs NEON"):
        require([Finding(problem="needs NEON")], "pi@10.0.0.7", TargetError)


def test_an_audit_of_a_build_names_every_file_and_survives_json() -> None:
    audit = audit_files({"bin/edge-infer": ELF / "good-v7", "bin/x": ELF / "softfp"}, board())

    assert [(file.path, bool(file.findings)) for file in audit.files] == [
        ("bin/edge-infer", False),
        ("bin/x", True),
    ]
    assert not audit.passed
    assert Audit.model_validate_json(audit.to_json()) == audit


def test_a_failed_audit_stops_with_the_file_at_fault(tmp_path: Path) -> None:
    audit = audit_files({"bin/edge-infer": ELF / "softfp"}, board())

    with pytest.raises(UserError) as caught:
        require_passed(audit, tmp_path)

    assert str(caught.value).startswith(f"{tmp_path}/bin/edge-infer: passes floats in core")


def test_a_clean_audit_passes() -> None:
    audit = audit_files({"bin/edge-infer": ELF / "good-v7"}, board())

    assert audit.passed
    require_passed(audit, Path("build/rpi2"))


def test_edgectl_is_static_even_where_the_runtime_is_shared() -> None:
    shared = board(linkage=SHARED, floor="2.34")

    assert audit_files({"bin/edgectl": ELF / "good-v7"}, shared).passed
    assert not audit_files({"bin/edgectl": ELF / "client"}, shared).passed


V7 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"
V8_32 = V7 + " aes pmull sha1 sha2 crc32"
V8_64 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
ARMHF = "ld-linux-armhf.so.3"


def target(machine: str = "armv7l", features: str = V7, **facts: Any) -> TargetFacts:
    defaults: dict[str, Any] = {"free_bytes": 1 << 30, "memory_kb": 1 << 20}
    return TargetFacts(
        machine=machine, cpu_features=frozenset(features.split()), **(defaults | facts)
    )


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("good-v7", target()),
        ("good-v7", target("armv8l", V8_32)),
        ("good-v8", target("armv7l", V8_32)),
        ("good-v8", target("armv8l", V8_32)),
        ("good-v8", target("aarch64", V8_64, userland_bits=32)),
        ("good-v8", target("aarch64", V8_64, userland_bits=64, loaders=frozenset({ARMHF}))),
        ("good-arm64", target("aarch64", V8_64, userland_bits=64)),
        ("good-arm64", target("aarch64", V8_64, userland_bits=32)),
        ("client", target(libc=(2, 34), loaders=frozenset({ARMHF}))),
        ("client", target(libc=(2, 41), loaders=frozenset({ARMHF}))),
    ],
)
def test_what_the_probed_board_can_run_passes(name: str, facts: TargetFacts) -> None:
    assert judge_target(read_elf(ELF / name), facts) == []


@pytest.mark.parametrize(
    ("name", "facts", "expected"),
    [
        ("good-v7", target("x86_64", "sse2"), ["is not for this board's machine"]),
        ("good-v7", target("armv6l", "vfp"), ["is not for this board's machine"]),
        ("x86-64", target(), ["is not for this board's machine"]),
        ("good-arm64", target(), ["is not for this board's machine"]),
        (
            "good-v7",
            target("aarch64", V8_64, userland_bits=64),
            ["is not for this board's machine"],
        ),
        (
            "good-v7",
            target(features="vfp vfpv3"),
            [
                "needs NEON, which the board's CPU does not show",
                "needs VFPv4, which the board's CPU does not show",
                "needs integer division, which the board's CPU does not show",
            ],
        ),
        (
            "good-v7",
            target(features="neon vfpv3 idivt"),
            ["needs VFPv4, which the board's CPU does not show"],
        ),
        (
            "good-v7",
            target(features="neon vfpv4"),
            ["needs integer division, which the board's CPU does not show"],
        ),
        ("good-v8", target(), ["needs ARMv8, which the board's CPU does not show"]),
        (
            "client",
            target(libc=(2, 31), loaders=frozenset({ARMHF})),
            ["needs GLIBC_2.34, the board has glibc 2.31"],
        ),
        (
            "client",
            target(),
            [
                "needs a loader that the board lacks",
                "needs GLIBC_2.34, the board has no glibc",
            ],
        ),
    ],
)
def test_what_the_probed_board_cannot_run_is_found(
    name: str, facts: TargetFacts, expected: list[str]
) -> None:
    assert [finding.problem for finding in judge_target(read_elf(ELF / name), facts)] == expected


def test_a_finding_on_the_board_shows_both_sides() -> None:
    [finding] = judge_target(read_elf(ELF / "good-v8"), target(features="neon vfpv4"))

    assert finding.facts == (
        "file: ARM v8, FP for ARMv8, NEON for ARMv8",
        "board: armv7l, features neon vfpv4",
    )


def test_the_budget_counts_for_all_but_those_that_have_none() -> None:
    profile = board(linkage=SHARED, floor="2.34")
    small = profile.model_copy(
        update={"budgets": profile.budgets.model_copy(update={"binary_bytes": 1})}
    )
    files = {"lib/x.so": ELF / "glibc"}

    def problems(**options: Any) -> list[str]:
        audited = audit_files(files, small, linkages={"lib/x.so": SHARED}, **options)
        return [finding.problem for finding in audited.files[0].findings]

    assert any("budget" in problem for problem in problems())
    assert not any("budget" in problem for problem in problems(without_budget=files))


def test_a_finding_names_the_setting_that_decides_on_a_programs_linkage() -> None:
    findings = judge(
        read_elf(ELF / "glibc"), board(linkage=SHARED), linkage_key="programs.probe.linkage"
    )
    assert findings[0].next is not None
    assert findings[0].next.startswith('set programs.probe.linkage = "static", or raise')
