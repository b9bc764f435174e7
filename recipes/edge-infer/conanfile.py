"""The inference program for one board, its debug symbols split off and named by build id."""

import os
import shutil
from pathlib import Path

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy
from conan.tools.gnu import PkgConfigDeps


class EdgeInfer(ConanFile):
    name = "edge-infer"
    version = "0.1.0"
    license = "MIT"
    description = "Image in, class out; self-test; bench"
    python_requires = "program/1.0"
    package_type = "application"
    settings = "os", "arch", "compiler", "build_type"
    options = {"linkage": ["static", "shared"], "cxx_library": ["compiler", "debian"]}
    default_options = {"linkage": "static", "cxx_library": "compiler"}
    requires = (
        "onnxruntime-minimal/[*]",  # its own version, which conan.lock pins
        "libjpeg-turbo/2.1.5",
        "libspng/0.7.4",
        "yyjson/0.10.0",
        "zlib/1.3.1",
    )

    def requirements(self):
        if self.options.cxx_library == "debian":
            self.requires("libstdc++/14.2.0")

    def export_sources(self):
        program = os.path.join(self.recipe_folder, "..", "..", "runtime_cpp")
        for part in ("CMakeLists.txt", "cli/*", "cmake/*", "common/*", "include/*", "src/*"):
            copy(self, part, program, self.export_sources_folder)

    def layout(self):
        cmake_layout(self)

    def package_id(self):
        # Linked statically: a change of a library or of its recipe is one of the program.
        self.info.requires.full_mode()

    def generate(self):
        program = self.python_requires["program"].module
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables.update(
            EDGE_BUILD_TESTS=False,
            EDGE_LINKAGE=str(self.options.linkage),
            EDGE_OPERATORS_FILE=self._operators(),
            EDGE_VERSION=self.version,
            EDGE_XNNPACK=bool(self.dependencies["onnxruntime-minimal"].options.xnnpack),
        )
        toolchain.extra_cxxflags += [
            "-g",
            *program.source_names(self),
            *program.library_names(self),
        ]
        if self.options.cxx_library == "debian":
            library = self.dependencies["libstdc++"].package_folder
            toolchain.extra_exelinkflags.append(f"-L{library}/lib")
        toolchain.generate()
        PkgConfigDeps(self).generate()

    def _operators(self):
        runtime = self.dependencies["onnxruntime-minimal"]
        return Path(runtime.package_folder, "res", "ops.config").as_posix()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build(target="edge-infer")

    def package(self):
        program = os.path.join(self.package_folder, "bin", "edge-infer")
        copy(self, "edge-infer", self.build_folder, os.path.dirname(program))
        split_symbols = self.python_requires["program"].module.split_symbols
        split_symbols(self, program)
        if self.options.linkage == "shared":
            split_symbols(self, self._package_runtime())

    def _package_runtime(self):
        runtime = self.dependencies["onnxruntime-minimal"].package_folder
        library = os.path.join(self.package_folder, "bin", "libonnxruntime.so.1")
        shutil.copyfile(os.path.join(runtime, "lib", "libonnxruntime.so.1"), library)
        return library
