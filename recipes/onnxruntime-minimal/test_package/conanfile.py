"""Links the package statically and runs the program on the emulated processor."""

import os

from conan import ConanFile
from conan.tools.cmake import CMake, cmake_layout


class TestOnnxRuntimeMinimal(ConanFile):
    settings = "os", "arch", "compiler", "build_type"
    generators = "CMakeToolchain", "PkgConfigDeps"

    def requirements(self):
        self.requires(self.tested_reference_str)

    def layout(self):
        cmake_layout(self)

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def test(self):
        # The kernel hands foreign programs to qemu-user: see invoke setup.
        self.run(os.path.join(self.build_folder, "test_package"))
