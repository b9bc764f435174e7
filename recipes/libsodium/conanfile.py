from conan import ConanFile
from conan.tools.files import copy


class Libsodium(ConanFile):
    name = "libsodium"
    version = "1.0.18"
    license = "ISC"
    description = "Ed25519 verification, BLAKE2b, SHA-256"
    python_requires = "debian-source/1.0"
    python_requires_extend = "debian-source.CMakeLibrary"
    exports_sources = "CMakeLists.txt"  # the library's own build is autotools, for all of it

    def source(self):
        self.python_requires["debian-source"].module.unpack_all(self)
        copy(self, "CMakeLists.txt", self.export_sources_folder, self.source_folder)

    def package_info(self):
        self.cpp_info.libs = ["sodium"]
        self.cpp_info.defines = ["SODIUM_STATIC"]
        self.cpp_info.set_property("pkg_config_name", "libsodium")
