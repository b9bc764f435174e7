"""What the runtime's recipe does with CMake, on a project of a few lines."""

import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pytest

from edgewright.board.catalogue import load_board
from edgewright.board.profile import BoardProfile
from edgewright.board.toolchain import core_flags, render
from edgewright.build import packages
from edgewright.build.container import DockerBuilder
from tests.integration.conftest import REPO

pytestmark = pytest.mark.docker

PROJECT = """\
cmake_minimum_required(VERSION 3.25)
project(onnxruntime LANGUAGES CXX)
add_subdirectory(inner)
add_library(outer STATIC used.cpp ${CMAKE_CURRENT_SOURCE_DIR}/unused.cpp)
add_executable(program main.cpp)
target_link_libraries(program PRIVATE outer inner)
"""
FILES = {
    "CMakeLists.txt": PROJECT,
    "main.cpp": "int used();\nint main() { return used(); }\n",
    "used.cpp": "int used() { return 0; }\n",
    "unused.cpp": "#error compiled all the same\n",
    "inner/CMakeLists.txt": "add_library(inner STATIC inner.cpp)\n",
    "inner/inner.cpp": "#error compiled all the same\n",
}
UNUSED = ("unused.cpp", "inner/inner.cpp")


def test_a_build_without_its_unused_sources_still_links(builder: DockerBuilder) -> None:
    folder = REPO.root / "build" / "tests" / "pruned"
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, FILES)
    place, listed = builder.path(folder), folder / "unused.txt"
    listed.write_text("".join(f"{place}/{name}\n" for name in UNUSED))
    log = folder / "build.log"

    builder.run(
        ["cmake", "-G", "Ninja", "-S", str(place), "-B", f"{place}/out"]
        + [f"-DCMAKE_PROJECT_onnxruntime_INCLUDE={hook(builder, 'prune')}"]
        + [f"-DEDGEWRIGHT_UNUSED_SOURCES={place}/unused.txt"],
        log,
    )
    builder.run(["cmake", "--build", f"{place}/out"], log)

    assert (folder / "out" / "program").is_file()


TUNED_PROJECT = """\
cmake_minimum_required(VERSION 3.25)
project(onnxruntime LANGUAGES CXX)
add_library(onnxruntime_mlas STATIC kernel.cpp)
add_library(onnxruntime_providers STATIC cpu/quantization/operator.cpp cpu/cold_operator.cpp)
add_library(onnxruntime_graph STATIC cold.cpp)
"""
TUNED = ("kernel.cpp", "cpu/quantization/operator.cpp")
SHARED = ("cold.cpp", "cpu/cold_operator.cpp")


@pytest.mark.parametrize("board", ["a53-som", "a53-som-arm64"])
def test_boards_share_each_object_but_the_tuned_ones(builder: DockerBuilder, board: str) -> None:
    """ccache finds an object by the words of its command."""
    profile = load_board(board, REPO.boards)
    cpu = profile.cpu.model_copy(update={"core": "cortex-a72"})
    other = profile.model_copy(update={"cpu": cpu})

    first, two = commands(builder, profile), commands(builder, other)

    for name in map(file_name, SHARED):
        assert first[name] == two[name]
    for name in map(file_name, TUNED):
        assert set(core_flags(profile)) <= set(first[name])
        assert set(core_flags(other)) <= set(two[name])


def file_name(path: str) -> str:
    return path.rpartition("/")[2]


def commands(builder: DockerBuilder, profile: BoardProfile) -> dict[str, list[str]]:
    """Source → the words of its command, as the recipe's CMake has it for a board."""
    folder = REPO.root / "build" / "tests" / "tuned"
    shutil.rmtree(folder, ignore_errors=True)
    toolchain = render(profile, REPO.resources.toolchains, folder / "toolchain.cmake").cmake
    write(folder, {"CMakeLists.txt": TUNED_PROJECT, "toolchain.cmake": toolchain})
    write(folder, dict.fromkeys((*TUNED, *SHARED), ""))
    place = builder.path(folder)
    builder.run(
        ["cmake", "-G", "Ninja", "-S", str(place), "-B", f"{place}/out"]
        + [f"-DCMAKE_TOOLCHAIN_FILE={place}/toolchain.cmake", "-DEDGEWRIGHT_SHARED_OBJECTS=ON"]
        + [f"-DCMAKE_PROJECT_onnxruntime_INCLUDE={hook(builder, 'tune')}"]
        + ["-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"],
        folder / "build.log",
    )
    steps = json.loads((folder / "out" / "compile_commands.json").read_text())
    return {file_name(step["file"]): shlex.split(step["command"]) for step in steps}


def hook(builder: DockerBuilder, name: str) -> PurePosixPath:
    """A file that the recipe has CMake include."""
    return builder.path(REPO.resources.recipes / packages.RUNTIME / f"{name}.cmake")


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
