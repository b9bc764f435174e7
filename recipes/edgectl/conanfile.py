"""The on-board helper, its debug symbols split off and named by build id."""

import os

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy
from conan.tools.gnu import PkgConfigDeps


class Edgectl(ConanFile):
    name = "edgectl"
    version = "0.1.0"
    license = "MIT"
    description = "Verify, store, switch and roll back releases on a board"
    python_requires = "program/1.0"
    package_type = "application"
    settings = "os", "arch", "compiler", "build_type"
    requires = ("libsodium/1.0.18", "musl/1.2.5", "yyjson/0.10.0", "zstd/1.5.7")

    def export_sources(self):
        program = os.path.join(self.recipe_folder, "..", "..", "runtime_cpp")
        for pattern in ("edgectl/*", "common/*"):
            copy(
                self,
                pattern,
                program,
                self.export_sources_folder,
                excludes=["edgectl/tests/*", "edgectl/fuzz/*"],
            )

    def layout(self):
        cmake_layout(self, src_folder="edgectl")

    def package_id(self):
        # Linked statically: a change of a library or of its recipe is one of the program.
        self.info.requires.full_mode()

    def generate(self):
        program = self.python_requires["program"].module
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables.update(
            EDGECTL_LIBC=self.dependencies["musl"].package_folder,
            EDGECTL_VERSION=self.version,
        )
        toolchain.extra_cxxflags += [
            "-g",
            *program.source_names(self),
            *program.library_names(self),
        ]
        toolchain.generate()
        PkgConfigDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build(target="edgectl")

    def package(self):
        program = os.path.join(self.package_folder, "bin", "edgectl")
        copy(self, "edgectl", self.build_folder, os.path.dirname(program))
        self.python_requires["program"].module.split_symbols(self, program)
