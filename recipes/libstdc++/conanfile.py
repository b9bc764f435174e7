"""The C++ library for arm64 as Debian builds it there.

Its cross package for arm64 is compiled without optimisation: twice as large, and a session load
took 32 M instructions more. Same source, same version as the builder's cross compiler.
"""

import os

from conan import ConanFile
from conan.tools.files import copy


class CxxLibrary(ConanFile):
    name = "libstdc++"
    version = "14.2.0"
    license = "GPL-3.0-or-later WITH GCC-exception-3.1"
    description = "GNU Standard C++ Library, static"
    python_requires = "debian-source/1.0"
    package_type = "static-library"
    settings = "os", "arch"

    def layout(self):
        self.folders.source = "src"

    def source(self):
        self.python_requires["debian-source"].module.unpack_all(self)

    def package(self):
        library = os.path.join(self.source_folder, "usr", "lib", "gcc", "aarch64-linux-gnu", "14")
        copy(self, "libstdc++.a", library, os.path.join(self.package_folder, "lib"))

    def package_info(self):
        self.cpp_info.includedirs = []  # headers are the compiler's own
