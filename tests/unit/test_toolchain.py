from pathlib import Path

import pytest

from edgewright.errors import UserError
from edgewright.layout import RepoLayout
from edgewright.profile import board_names, load_board
from edgewright.toolchain import compiler_flags, render
from tests.conftest import CheckGolden

REPO = RepoLayout()
GOLDEN = Path(__file__).parent.parent / "golden"
BOARDS = board_names(REPO.boards)


def toolchain_path(board: str) -> Path:
    """Where the toolchain file lies in the builder image."""
    return Path("/edgewright/build") / board / "toolchain.cmake"


@pytest.mark.parametrize("board", BOARDS)
def test_rendered_files_are_the_golden_ones(board: str, check_golden: CheckGolden) -> None:
    rendered = render(load_board(board, REPO.boards), REPO.toolchains, toolchain_path(board))

    check_golden(GOLDEN / board / "toolchain.cmake", rendered.cmake)
    check_golden(GOLDEN / board / "conan.profile", rendered.conan)


def test_every_golden_folder_has_a_board() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == BOARDS


def test_armhf_flags_name_core_fpu_float_abi_and_instruction_set() -> None:
    assert compiler_flags(load_board("rpi2", REPO.boards)) == [
        "-mcpu=cortex-a7",
        "-mfpu=neon-vfpv4",
        "-mfloat-abi=hard",
        "-mthumb",
    ]


def test_arm64_flags_name_the_core_only() -> None:
    assert compiler_flags(load_board("imx8mm-evk", REPO.boards)) == [
        "-march=armv8-a",
        "-mtune=cortex-a53",
    ]


def templates_with(folder: Path, name: str, text: str) -> Path:
    for template in REPO.toolchains.glob("*.j2"):
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
