from conan import ConanFile
from conan.tools.files import copy


class Zstd(ConanFile):
    name = "zstd"
    version = "1.5.7"
    license = "BSD-3-Clause"
    description = "Decoder of Zstandard frames"
    python_requires = "debian-source/1.0"
    python_requires_extend = "debian-source.CMakeLibrary"
    exports_sources = "CMakeLists.txt"  # the library's own build has the encoder too

    def source(self):
        self.python_requires["debian-source"].module.unpack_all(self)
        copy(self, "CMakeLists.txt", self.export_sources_folder, self.source_folder)

    def package_info(self):
        self.cpp_info.libs = ["zstd"]
        self.cpp_info.set_property("pkg_config_name", "libzstd")
