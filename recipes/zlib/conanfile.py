from conan import ConanFile
from conan.tools.files import copy, replace_in_file, rm, save

# What takes place of the loops over single bytes: file, code, code in its place.
IN_ARM = (
    (
        "adler32.c",
        "    /* do length NMAX blocks",
        "#if defined(__ARM_NEON)\n    adler_steps(&adler, &sum2, &buf, &len);\n#endif\n\n"
        "    /* do length NMAX blocks",
    ),
    (
        "crc32.c",
        "    /* Pre-condition the CRC */\n    crc = (~crc) & 0xffffffff;\n\n#ifdef W\n",
        "#if defined(__arm__) && defined(__ARM_FEATURE_CRC32)\n"
        "    return crc_by_instructions(crc, buf, len);\n#endif\n\n"
        "    /* Pre-condition the CRC */\n    crc = (~crc) & 0xffffffff;\n\n#ifdef W\n",
    ),
)


class Zlib(ConanFile):
    name = "zlib"
    version = "1.3.1"
    license = "Zlib"
    description = "Inflate, for PNG; CRC-32, for models"
    python_requires = "debian-source/1.0"
    python_requires_extend = "debian-source.CMakeLibrary"
    options = {"fPIC": [True, False]}
    default_options = {"fPIC": False}
    cmake_options = {
        "ZLIB_BUILD_EXAMPLES": False,
        "SKIP_INSTALL_FILES": True,
        # Every load takes the CRC-32 of the whole model. Made for size, and with the five braids
        # that suit x86 and spill a 32-bit ARM's registers, that was 6.5 instructions a byte.
        "CMAKE_C_FLAGS_MINSIZEREL": "-O2 -DNDEBUG",
    }
    extra_cflags = ("-DZ_TESTN=1",)
    exports_sources = "arm.h"

    def source(self):
        self.python_requires["debian-source"].module.unpack_all(self)
        # CMake names this Windows file, which Debian's archive leaves out, on every system.
        save(self, f"{self.source_folder}/win32/zlib1.rc", "")
        copy(self, "arm.h", self.export_sources_folder, self.source_folder)
        include = '#include "zutil.h"'
        for name, code, replacement in IN_ARM:
            path = f"{self.source_folder}/{name}"
            replace_in_file(self, path, include, f'{include}\n#include "arm.h"')
            replace_in_file(self, path, code, replacement)

    def package(self):
        self.python_requires["debian-source"].module.CMakeLibrary.package(self)
        rm(self, "libz.so*", f"{self.package_folder}/lib")

    def package_info(self):
        self.cpp_info.libs = ["z"]
        self.cpp_info.set_property("cmake_file_name", "ZLIB")
        self.cpp_info.set_property("cmake_target_name", "ZLIB::ZLIB")
