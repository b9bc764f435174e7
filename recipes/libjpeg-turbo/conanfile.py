from conan import ConanFile


class LibjpegTurbo(ConanFile):
    name = "libjpeg-turbo"
    version = "2.1.5"
    license = "IJG AND BSD-3-Clause AND Zlib"
    description = "JPEG decoder"
    python_requires = "debian-source/1.0"
    python_requires_extend = "debian-source.CMakeLibrary"
    licence_file = "LICENSE.md"
    cmake_options = {
        "ENABLE_SHARED": False,
        "REQUIRE_SIMD": True,
        "WITH_ARITH_ENC": False,
        "WITH_JPEG8": True,
        "WITH_TURBOJPEG": False,
    }

    def package_info(self):
        self.cpp_info.libs = ["jpeg"]
        self.cpp_info.set_property("pkg_config_name", "libjpeg")
