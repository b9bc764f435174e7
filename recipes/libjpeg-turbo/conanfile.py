import re
from pathlib import Path

from conan import ConanFile
from conan.errors import ConanException
from conan.tools.files import replace_in_file

# Decoders that edge-infer never asks for: 45 KB of code on armhf.
UNUSED = (
    "DCT_FLOAT_SUPPORTED",
    "DCT_IFAST_SUPPORTED",
    "QUANT_1PASS_SUPPORTED",
    "QUANT_2PASS_SUPPORTED",
    "UPSAMPLE_MERGING_SUPPORTED",
)
# Pictures are reduced to a half, a quarter or an eighth: blocks of 4, 2 and 1, and of colours that
# were halved before, of twice these. Sizes between and above are 20 KB of code that nobody calls.
UNUSED_BLOCKS = r"    case (?:3|5|6|7|9|1[0-6]):\n(?:.*\n)*?      break;\n"
UNUSED_BLOCK_COUNT = 12


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
        manager = Path(self.source_folder, "jddctmgr.c")
        text, count = re.subn(UNUSED_BLOCKS, "", manager.read_text())
        if count != UNUSED_BLOCK_COUNT:
            raise ConanException(f"jddctmgr.c has {count} sizes of blocks to leave out")
        manager.write_text(text)

    def package_info(self):
        self.cpp_info.libs = ["jpeg"]
        self.cpp_info.set_property("pkg_config_name", "libjpeg")
