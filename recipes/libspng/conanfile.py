from conan import ConanFile


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
    cmake_options = {"BUILD_EXAMPLES": False, "SPNG_SHARED": False}

    def package_info(self):
        self.cpp_info.libs = ["spng_static"]
        self.cpp_info.defines = ["SPNG_STATIC"]
        self.cpp_info.system_libs = ["m"]
        self.cpp_info.set_property("pkg_config_name", "spng")
