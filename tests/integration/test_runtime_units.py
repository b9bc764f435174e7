"""The C++ unit tests, built and run where the builder image has what they need."""

import re
import signal
import subprocess
from pathlib import Path

import pytest

from edgewright.board.profile import Arch
from edgewright.build import packages
from edgewright.build.container import DockerBuilder
from edgewright.build.packages import Package
from edgewright.observe.count.counts import EMULATORS
from tests.checkout import checkout
from tests.integration.test_kernels import ARM32, ARM64, FLAGS, Width

pytestmark = pytest.mark.docker
CHECKOUT = checkout()
COMPILE_RESIZE = f"""
mkdir -p "$1/include" && cp -r /usr/include/doctest "$1/include"
$3 {FLAGS} $4 -O2 -static -I"$1/include" -I"$2/include" -I"$2" "$2/tests/main.cpp" \\
  "$2/tests/test_resize.cpp" "$2/src/resize.cpp" -o "$1/test_resize"
"""


# What the program defines in place of the libraries', and what those have.
LIST_SYMBOLS = """
$2-g++ -std=c++17 -Wall -Wextra -Werror -Os -c "$1/cli/no_locales.cpp" -o "$3/no_locales.o"
$2-nm --defined-only --format=posix "$3/no_locales.o" > "$3/own"
for library in libstdc++.a libc.a; do
  $2-nm --defined-only --format=posix "$($2-g++ -print-file-name=$library)"
done > "$3/libraries" 2> /dev/null
"""

# Programs that ask for more memory than any board has, linked as edge-infer is for arm64.
LINK_HUNGRY = """
cat > "$2/thrower.cpp" <<'END'
#include <string>
int main(int argc, char**) { return std::string(~size_t{} - argc, ' ').size() == 0; }
END
cat > "$2/asker.cpp" <<'END'
#include <cstddef>
#include <new>
int main(int argc, char**) {
  const std::size_t size = std::size_t{1} << (59 + argc);
  void* volatile one = operator new(size, std::nothrow);
  void* volatile many = new (std::nothrow) char[size];
  void* volatile small = new (std::nothrow) char[argc];
  return one == nullptr && many == nullptr && small != nullptr ? 0 : 1;
}
END
for name in thrower asker; do
  aarch64-linux-gnu-g++ -std=c++17 -Os -fno-exceptions -static \\
    "-Wl,-T,$1/cmake/no_unwinding.ld" "$2/$name.cpp" "$1/cli/nothrow_new.cpp" \\
    "$1/common/terminate.cpp" -o "$2/$name"
done
aarch64-linux-gnu-readelf --wide --sections "$2/thrower" > "$2/sections"
"""


def run_ctest(builder: DockerBuilder, folder: Path) -> str:
    """Run the tests of a CMake build; what ctest prints."""
    log = folder / "ctest.log"
    builder.run(["ctest", "--test-dir", str(builder.path(folder)), "--output-on-failure"], log)
    return log.read_text()


def test_edge_unit_tests_pass(builder: DockerBuilder, host_build: Path) -> None:
    assert "100% tests passed" in run_ctest(builder, host_build)


def test_libedge_unit_tests_pass_under_sanitizers(builder: DockerBuilder) -> None:
    """Its core is compiled with exceptions, as nowhere else."""
    out = CHECKOUT.root / "build" / "host-libedge"
    source, build = builder.path(CHECKOUT.resources.runtime_cpp), builder.path(out)
    options = [
        "-DEDGE_LIBRARY=ON",
        "-DCMAKE_BUILD_TYPE=Debug",
        "-DCMAKE_CXX_FLAGS=-fsanitize=address,undefined -fno-sanitize-recover=all",
    ]
    configure = ["cmake", "-G", "Ninja", "-S", str(source), "-B", str(build), *options]
    builder.run(configure, out / "build.log")
    builder.run(["cmake", "--build", str(build)], out / "build.log")

    assert "100% tests passed" in run_ctest(builder, out)


def test_edgectl_unit_tests_pass(builder: DockerBuilder, native: dict[str, Package]) -> None:
    out = CHECKOUT.root / "build" / "host-edgectl"
    packages.write_pkg_config(out, native, builder.path)
    source, build = (
        builder.path(CHECKOUT.resources.runtime_cpp / packages.EDGECTL),
        builder.path(out),
    )
    configure = ["cmake", "-G", "Ninja", "-S", str(source), "-B", str(build)]
    env = {"PKG_CONFIG_PATH": str(build)}
    builder.run([*configure, "-DEDGECTL_BUILD_TESTS=ON"], out / "build.log", env=env)
    builder.run(["cmake", "--build", str(build)], out / "build.log", env=env)

    assert "100% tests passed" in run_ctest(builder, out)


@pytest.mark.parametrize("width", [ARM32, ARM64], ids=["armhf", "arm64"])
def test_vectors_resize_as_plain_code_does(builder: DockerBuilder, width: Width) -> None:
    """NEON is in no build for this machine: boards' processors run the same unit tests."""
    out = CHECKOUT.root / "build" / "tests" / f"resize-{width.compiler}"
    out.mkdir(parents=True, exist_ok=True)
    places = [str(builder.path(path)) for path in (out, CHECKOUT.resources.runtime_cpp)]
    compiler = [width.compiler, f"{width.flags} {width.any_core}"]
    builder.run(["sh", "-ec", COMPILE_RESIZE, "_", *places, *compiler], out / "build.log")

    emulator = EMULATORS[Arch.ARM64 if width is ARM64 else Arch.ARMHF]
    ran = subprocess.run(
        [emulator, str(out / "test_resize")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("triplet", ["arm-linux-gnueabihf", "aarch64-linux-gnu"])
def test_the_libraries_have_what_is_defined_in_their_place(
    builder: DockerBuilder, triplet: str
) -> None:
    """Under another name the library's own, and all that it needs, would be linked again."""
    out = CHECKOUT.root / "build" / "tests" / f"locales-{triplet}"
    out.mkdir(parents=True, exist_ok=True)
    places = [str(builder.path(path)) for path in (CHECKOUT.resources.runtime_cpp, out)]
    argv = ["sh", "-ec", LIST_SYMBOLS, "_", places[0], triplet, places[1]]
    builder.run(argv, out / "symbols.log")

    own, libraries = (symbols(out / name) for name in ("own", "libraries"))

    replaced = {name for name in own if name.startswith("_")}
    assert len(replaced) == 31  # docs/performance.md
    assert replaced - libraries == set()


@pytest.fixture(scope="module")
def hungry(builder: DockerBuilder) -> Path:
    """A folder with `thrower` and `asker`."""
    out = CHECKOUT.root / "build" / "tests" / "no-unwinding"
    out.mkdir(parents=True, exist_ok=True)
    places = [str(builder.path(path)) for path in (CHECKOUT.resources.runtime_cpp, out)]
    builder.run(["sh", "-ec", LINK_HUNGRY, "_", *places], out / "link.log")
    return out


def test_what_is_thrown_without_rows_of_unwinding_ends_the_program(hungry: Path) -> None:
    """By SIGABRT, which the crash guard explains, and not somewhere in the unwinder."""
    ran = subprocess.run([EMULATORS[Arch.ARM64], str(hungry / "thrower")], check=False)

    sections = (hungry / "sections").read_text()
    rows = re.search(r" \.eh_frame +PROGBITS +\w+ +\w+ +(\w+)", sections)
    assert rows
    assert int(rows[1], 16) < 10_000  # those of libgcc, which looks itself up
    assert ".gcc_except_table" not in sections
    assert ran.returncode == -signal.SIGABRT


def test_nothrow_new_without_rows_of_unwinding_answers_null(hungry: Path) -> None:
    """Programs go on where memory is short: one image is refused, not the service ended."""
    ran = subprocess.run([EMULATORS[Arch.ARM64], str(hungry / "asker")], check=False)

    assert ran.returncode == 0


def symbols(listing: Path) -> set[str]:
    """Names in what `nm --format=posix` prints."""
    return {line.split()[0] for line in listing.read_text().splitlines() if " " in line}
