from conan import ConanFile
from conan.tools.files import replace_in_file

# Decoders that edge-infer never asks for: 45 KB of code on armhf.
UNUSED = (
    "DCT_FLOAT_SUPPORTED",
    "DCT_IFAST_SUPPORTED",
    "IDCT_SCALING_SUPPORTED",
    "QUANT_1PASS_SUPPORTED",
    "QUANT_2PASS_SUPPORTED",
    "UPSAMPLE_MERGING_SUPPORTED",
)


class LibjpegTurbo(ConanFile):
    name = "libjpeg-turbo"
    version = "2.1.5"
    license = "IJG AND BSD-3-Clause AND Zlib"
    description = "JPEG decoder"
    python_requires = "debian-source/1.0"
    python_requires_extend = "debian-source.CMakeLibrary"
    options = {"fPIC": [True, False]}
    default_options = {"fPIC": False}
    licence_file = "LICENSE.md"
    cmake_options = {
        "BUILD": "edgewright",  # in place of the day, which would make other bytes of it
        "ENABLE_SHARED": False,
        "REQUIRE_SIMD": True,
        "WITH_ARITH_DEC": False,
        "WITH_ARITH_ENC": False,
        "WITH_JPEG8": True,
        "WITH_TURBOJPEG": False,
    }

    def source(self):
        self.python_requires["debian-source"].module.unpack_all(self)
        for feature in UNUSED:
            header = f"{self.source_folder}/jmorecfg.h"
            replace_in_file(self, header, f"#define {feature} ", f"// not {feature} ")

    def package_info(self):
        self.cpp_info.libs = ["jpeg"]
        self.cpp_info.set_property("pkg_config_name", "libjpeg")
