"""libedge: what edge-infer does around the network, for others' programs, by a C API.

It is compiled with exceptions: a lack of memory ends a call, not the caller's program. Libraries
for JPEG, PNG and JSON are inside; of ONNX Runtime there is nothing in it.
"""

import os
import re
from pathlib import Path

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy
from conan.tools.gnu import PkgConfigDeps

HEADERS = ("edge.h", "edge.hpp")
EXPORT = re.compile(r"\b(edge_\w+)\(")
# In place of libstdc++'s own (common/terminate.cpp), which the linker would otherwise find first.
TERMINATE = "_ZN9__gnu_cxx27__verbose_terminate_handlerEv"


class Libedge(ConanFile):
    name = "libedge"
    version = "0.1.0"
    license = "MIT"
    description = "Cards, images and tasks as a library that any compiler's program links"
    python_requires = "program/1.0", "sdk-library/1.0"
    python_requires_extend = "sdk-library.SdkLibrary"
    # Each with the option fPIC.
    requires = "libjpeg-turbo/2.1.5", "libspng/0.7.4", "yyjson/0.10.0", "zlib/1.3.1"
    exports_sources = "tree/*"
    library = "edge"

    @property
    def library_version(self):
        return self.version

    def export_sources(self):
        program = os.path.join(self.recipe_folder, "..", "..", "runtime_cpp")
        parts = ("CMakeLists.txt", "cmake/*", "common/*", "include/*", "library/*", "src/*")
        for part in parts:
            copy(self, part, program, self.export_sources_folder)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        program = self.python_requires["program"].module
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables.update(EDGE_BUILD_TESTS=False, EDGE_LIBRARY=True)
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
        cmake.build(target="edge_api")
        packages = [package.package_folder for package in self.dependencies.host.values()]
        folders = [self.build_folder, *packages]
        archives = [path for folder in folders for path in sorted(Path(folder).rglob("*.a"))]
        header = Path(self.source_folder, "include", "edge", "edge.h").read_text()
        declared = (line for line in header.splitlines() if line.startswith("EDGE_"))
        exports = [EXPORT.search(line)[1] for line in declared]
        self.link_libraries(exports, archives, also=(TERMINATE,))

    def package(self):
        """Its part of an SDK's folders."""
        self.package_library()
        include = os.path.join(self.package_folder, "include", "edge")
        for header in HEADERS:
            copy(self, header, os.path.join(self.source_folder, "include", "edge"), include)
