"""What the runtime's recipe does with CMake, on a project of a few lines."""

import shutil

import pytest

from edgewright import packages
from edgewright.container import DockerBuilder
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
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    place, listed = builder.path(folder), folder / "unused.txt"
    listed.write_text("".join(f"{place}/{name}\n" for name in UNUSED))
    hook = builder.path(REPO.recipes / packages.RUNTIME / "prune.cmake")
    log = folder / "build.log"

    builder.run(
        ["cmake", "-G", "Ninja", "-S", str(place), "-B", f"{place}/out"]
        + [f"-DCMAKE_PROJECT_onnxruntime_INCLUDE={hook}"]
        + [f"-DEDGEWRIGHT_UNUSED_SOURCES={place}/unused.txt"],
        log,
    )
    builder.run(["cmake", "--build", f"{place}/out"], log)

    assert (folder / "out" / "program").is_file()
