"""A C library for small static programs; edgectl is linked with it."""

from pathlib import Path

from conan import ConanFile
from conan.tools.build import build_jobs
from conan.tools.files import chdir, copy, mkdir
from conan.tools.layout import basic_layout


class Musl(ConanFile):
    name = "musl"
    version = "1.2.5"
    license = "MIT"
    description = "C library"
    python_requires = "debian-source/1.0"
    package_type = "static-library"
    settings = "os", "arch", "compiler", "build_type"

    def layout(self):
        basic_layout(self, src_folder="src")

    def source(self):
        self.python_requires["debian-source"].module.unpack_all(self)

    def build(self):
        compiler = self._tool("gcc")
        flags = " ".join(self._target_flags())
        configure = [
            f"{self.source_folder}/configure",
            f"--prefix={self.package_folder}",
            f"--target={self._triplet()}",
            "--disable-shared",
            "--disable-gcc-wrapper",
            f'CC="{compiler}"',
            f'AR="{self._tool("ar")}"',
            f'RANLIB="{self._tool("ranlib")}"',
            f'CFLAGS="-Os -ffunction-sections -fdata-sections {flags}"',
        ]
        mkdir(self, self.build_folder)
        with chdir(self, self.build_folder):
            self.run(" ".join(configure))
            self.run(f"make -j{build_jobs(self)}")

    def _triplet(self):
        return self.conf.get("tools.gnu:host_triplet", default="")

    def _tool(self, name):
        return f"{self._triplet()}-{name}" if self._triplet() else name

    def _target_flags(self):
        """The CPU's flags, which stand in the board's CMake toolchain file."""
        for toolchain in self.conf.get("tools.cmake.cmaketoolchain:user_toolchain", default=[]):
            for line in Path(toolchain).read_text().splitlines():
                if line.startswith("set(CMAKE_C_FLAGS_INIT "):
                    yield line.split('"')[1]

    def package(self):
        with chdir(self, self.build_folder):
            self.run("make install")
        copy(self, "COPYRIGHT", self.source_folder, f"{self.package_folder}/licenses")

    def package_info(self):
        self.cpp_info.libs = []
        self.cpp_info.includedirs = []  # for whoever asks for a libc, not for everybody
        self.cpp_info.libdirs = []
