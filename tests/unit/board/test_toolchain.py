from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.board.catalogue import board_names, load_board
from edgewright.board.cores import Fpu
from edgewright.board.profile import LibcFamily
from edgewright.board.toolchain import compiler_flags, core_flags, render, shared_flags
from tests.checkout import checkout
from tests.conftest import CheckGolden

REPO = checkout()
GOLDEN = Path(__file__).parents[2] / "golden"
BOARDS = board_names(REPO.boards)


def toolchain_path(board: str) -> Path:
    """Where the toolchain file lies in the builder image."""
    return Path("/edgewright/build") / board / "toolchain.cmake"


@pytest.mark.parametrize("board", BOARDS)
def test_rendered_files_are_the_golden_ones(board: str, check_golden: CheckGolden) -> None:
    rendered = render(
        load_board(board, REPO.boards), REPO.resources.toolchains, toolchain_path(board)
    )

    check_golden(GOLDEN / board / "toolchain.cmake", rendered.cmake)
    check_golden(GOLDEN / board / "conan.profile", rendered.conan)


def test_every_golden_folder_has_a_board() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == BOARDS


def test_armhf_flags_name_core_fpu_float_abi_and_instruction_set() -> None:
    assert compiler_flags(load_board("rpi2", REPO.boards)) == [
        "-mfloat-abi=hard",
        "-mthumb",
        "-mcpu=cortex-a7",
        "-mfpu=neon-vfpv4",
    ]


def test_code_for_newer_cores_stays_within_armv8_0() -> None:
    assert compiler_flags(load_board("rpi5-armhf", REPO.boards)) == [
        "-mfloat-abi=hard",
        "-mthumb",
        "-mcpu=cortex-a53",
        "-mtune=cortex-a76",
        "-mfpu=neon-fp-armv8",
    ]


def test_arm64_flags_name_the_core_only() -> None:
    assert compiler_flags(load_board("imx8mm-evk", REPO.boards)) == [
        "-march=armv8-a",
        "-mtune=cortex-a53",
    ]


def test_shared_code_is_compiled_alike_for_boards_with_other_cores() -> None:
    a7, a53 = (load_board(name, REPO.boards) for name in ("rpi2", "a53-som"))

    assert core_flags(a7) != core_flags(a53)
    assert shared_flags(a7) == shared_flags(a53)
    assert shared_flags(load_board("a53-som-arm64", REPO.boards)) == ["-march=armv8-a"]


@pytest.mark.parametrize(
    ("core", "fpu", "shared"),
    [
        ("cortex-a53", Fpu.NEON_FP_ARMV8, ["-mcpu=cortex-a7", "-mfpu=neon-vfpv4"]),
        ("cortex-a53", Fpu.NEON, ["-mcpu=generic-armv7-a", "-mfpu=neon"]),
        ("cortex-a5", Fpu.NEON_VFPV4, ["-mcpu=generic-armv7-a", "-mfpu=neon"]),
        ("cortex-a9", Fpu.NEON, ["-mcpu=generic-armv7-a", "-mfpu=neon"]),
    ],
)
def test_shared_code_has_nothing_that_the_board_lacks(
    core: str, fpu: Fpu, shared: list[str]
) -> None:
    board = load_board("rpi2", REPO.boards)
    cpu = board.cpu.model_copy(update={"core": core, "fpu": fpu})
    profile = board.model_copy(update={"cpu": cpu})

    assert shared_flags(profile) == ["-mfloat-abi=hard", "-mthumb", *shared]


@pytest.mark.parametrize("board", BOARDS)
def test_flags_of_the_core_take_the_place_of_the_shared_ones(board: str) -> None:
    """GCC goes by the last -mcpu and -mfpu; with a -march beside it, not by an -mcpu."""
    profile = load_board(board, REPO.boards)
    own, shared = compiler_flags(profile), shared_flags(profile)

    assert last(shared + core_flags(profile)) == last(own)


def last(flags: list[str]) -> dict[str, str]:
    """Option → its value, the last one."""
    return {name: value for name, _, value in (flag.partition("=") for flag in flags)}


def templates_with(folder: Path, name: str, text: str) -> Path:
    for template in REPO.resources.toolchains.glob("*.j2"):
        (folder / template.name).write_text(template.read_text())
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{ board.colour }}", "has no attribute 'colour'"),
        ("{{ colour }}", "'colour' is undefined"),
        ("{% if %}", "Expected an expression"),
    ],
)
def test_a_broken_template_is_told_by_name(tmp_path: Path, text: str, problem: str) -> None:
    templates = templates_with(tmp_path, "toolchain.cmake.j2", text)

    with pytest.raises(UserError) as caught:
        render(load_board("rpi2", REPO.boards), templates, toolchain_path("rpi2"))

    first, *_, last = str(caught.value).splitlines()
    assert first.startswith("toolchains/toolchain.cmake.j2: ")
    assert problem in first
    assert last == "next: mend the template"


def test_a_board_template_overrides_a_block_of_the_common_one(tmp_path: Path) -> None:
    block = "{% block extra %}set(OWN {{ board.name }})\n{% endblock %}"
    text = '{% extends "toolchain.cmake.j2" %}' + block
    templates = templates_with(tmp_path, "boards/rpi2.cmake.j2", text)

    own = render(load_board("rpi2", REPO.boards), templates, toolchain_path("rpi2"))
    other = render(load_board("a53-som", REPO.boards), templates, toolchain_path("a53-som"))

    assert own.cmake.endswith("set(OWN rpi2)\n")
    assert "-mcpu=cortex-a7" in own.cmake
    assert "OWN" not in other.cmake


def test_a_board_with_musl_shares_the_static_programs_of_one_with_glibc() -> None:
    glibc = load_board("a53-som", REPO.boards)
    libc = glibc.libc.model_copy(update={"family": LibcFamily.MUSL, "floor": "1.2"})
    musl = glibc.model_copy(update={"libc": libc})

    texts = [
        render(board, REPO.resources.toolchains, toolchain_path("a53-som"))
        for board in (glibc, musl)
    ]

    assert texts[0] == texts[1]
