"""Code that a board's CPU may lack: what holds it, who asks first, what runs before main."""

import shutil
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.board.audit import audit_files, require_passed
from edgewright.board.code import Feature, read_code
from edgewright.board.elf import read_elf
from edgewright.board.guards import BeyondFunction, beyond, guard_of
from edgewright.board.profile import BoardProfile
from tests.unit.board.test_audit import ELF, board

A53_64 = board("cortex-a53", None)
A53_32 = board("cortex-a53", "neon-fp-armv8")


def beyond_in(name: str, profile: BoardProfile) -> dict[str, BeyondFunction]:
    functions = beyond(read_code(ELF / name, ELF / name), profile.cpu)
    return {function.name: function for function in functions}


@pytest.mark.parametrize(
    ("function", "feature"),
    [
        ("of_fp16", Feature.FP16),
        ("of_dotprod", Feature.DOTPROD),
        ("of_i8mm", Feature.I8MM),
        ("of_bf16", Feature.BF16),
        ("of_sve", Feature.SVE),
        ("of_crc", Feature.CRC),
        ("of_crypto", Feature.CRYPTO),
        ("__aarch64_cas4_acq", Feature.LSE),
        ("__memcpy_sve", Feature.SVE),
        ("__memset_sve_zva64", Feature.SVE),
    ],
)
def test_each_feature_beyond_armv8_0_is_seen(function: str, feature: Feature) -> None:
    assert beyond_in("beyond-arm64", A53_64)[function].features == (feature,)


def test_conversions_of_fp16_are_armv8_0_and_constants_are_no_code() -> None:
    functions = beyond_in("beyond-arm64", A53_64)

    # The constant behind it would be a udot.
    assert functions["__memset_sve_zva64"].features == (Feature.SVE,)
    assert "plain" not in functions


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (A53_32, {"of_crypto"}),
        (board("cortex-a7", "neon-vfpv4"), {"of_armv8", "of_acquire", "of_crc", "of_crypto"}),
        (
            board("cortex-a9", "neon"),
            {
                *("of_armv8", "of_acquire", "of_crc", "of_crypto"),
                *("of_vfpv4", "of_division", "of_conversion"),
            },
        ),
    ],
    ids=["cortex-a53", "cortex-a7", "cortex-a9"],
)
def test_a_32_bit_core_is_judged_by_its_fpu_and_its_divider(
    profile: BoardProfile, expected: set[str]
) -> None:
    assert set(beyond_in("beyond-v8", profile)) == expected


def test_a_guard_is_known_by_function_and_feature() -> None:
    functions = beyond_in("beyond-arm64", A53_64)

    assert functions["__memset_sve_zva64"].guard == (
        "glibc's indirect functions choose them by the CPU's features"
    )
    assert functions["of_sve"].guard is None
    assert guard_of("__memcpy_sve", Feature.FP16) is None


def test_our_kernels_hold_sdot_in_the_functions_of_one_tile() -> None:
    product = "_ZN10edgewright12_GLOBAL__N_114multiply_tilesINS_{}EEEvRKNS_4RowsEm.constprop.0"

    assert guard_of(product.format("7DotTile"), Feature.DOTPROD)
    assert guard_of(product.format("8NeonTile"), Feature.DOTPROD) is None


def test_what_runs_before_main_is_followed_through_direct_branches() -> None:
    functions = beyond_in("beyond-arm64", A53_64)

    assert functions["of_fp16"].before_main == (
        "static initialiser initialiser",
        "between",
        "of_fp16",
    )
    assert functions["__memcpy_sve"].before_main == ("static initialiser second", "__memcpy_sve")
    assert functions["of_dotprod"].before_main == ()
    # It asks the CPU itself, so that anybody may call it.
    assert functions["__aarch64_cas4_acq"].before_main == ()


def test_the_audit_refuses_what_is_not_guarded_and_what_goes_around_a_guard() -> None:
    audit = audit_files({"bin/edge-infer": ELF / "beyond-arm64"}, A53_64, ELF / "symbols")
    problems = [finding.problem for finding in audit.files[0].findings]

    assert not audit.passed
    assert len(audit.files[0].beyond) == 10
    assert "goes around the guard of such instructions before main; " in problems[-1]
    with pytest.raises(UserError) as refused:
        require_passed(audit, Path("build/x"))
    assert (
        "takes instructions that its CPU may lack, and nothing asks first; "
        "board 'rpi2' has cortex-a53\n"
        "    function: of_fp16, fp16: 0x400150: fmov v23.4h, #0.50000000\n"
        "      before main: static initialiser initialiser -> between -> of_fp16\n"
    ) in str(refused.value)
    assert "… and 2 more in audit.json\n" in str(refused.value)


def test_a_stripped_program_without_its_symbols_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        audit_files({"bin/edge-infer": ELF / "good-arm64"}, A53_64, tmp_path)

    assert str(refused.value).startswith(f"{ELF / 'good-arm64'}: its symbols are not here\n")
    assert str(refused.value).endswith("next: invoke build --board=rpi2")


def test_symbols_without_a_function_are_refused(tmp_path: Path) -> None:
    """What a linker's -s leaves: the file that was split off is there, and names nothing."""
    build_id = read_elf(ELF / "good-arm64").build_id or ""
    debug = tmp_path / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"
    debug.parent.mkdir(parents=True)
    shutil.copyfile(ELF / "good-arm64", debug)

    with pytest.raises(UserError) as refused:
        audit_files({"bin/edge-infer": ELF / "good-arm64"}, A53_64, tmp_path)

    assert "names no function, so what its instructions need cannot be judged" in str(refused.value)
