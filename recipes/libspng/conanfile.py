from conan import ConanFile
from conan.tools.files import replace_in_file

ARM64_ALONE = "#elif defined(__aarch64__) || defined(_M_ARM64) /* || defined(__ARM_NEON) */"


class Libspng(ConanFile):
    name = "libspng"
    version = "0.7.4"
    license = "BSD-2-Clause"
    description = "PNG decoder"
    python_requires = "debian-source/1.0"
    python_requires_extend = "debian-source.CMakeLibrary"
    requires = "zlib/1.3.1"
    options = {"fPIC": [True, False]}
    default_options = {"fPIC": False}
    cmake_options = {
        "BUILD_EXAMPLES": False,
        "SPNG_SHARED": False,
        # Made for size its filters take a third more instructions, for no byte of the program.
        "CMAKE_C_FLAGS_MINSIZEREL": "-O2 -DNDEBUG",
    }

    def source(self):
        self.python_requires["debian-source"].module.unpack_all(self)
        # Its filters by NEON are libpng's, which run on 32-bit ARM as well.
        code = f"{self.source_folder}/spng/spng.c"
        replace_in_file(self, code, ARM64_ALONE, "#elif defined(__ARM_NEON)")

    def package_info(self):
        self.cpp_info.libs = ["spng_static"]
        self.cpp_info.defines = ["SPNG_STATIC"]
        self.cpp_info.system_libs = ["m"]
        self.cpp_info.set_property("pkg_config_name", "spng")
