"""XNNPACK with its thread pool, for ONNX Runtime's execution provider of that name."""

from pathlib import Path

from conan import ConanFile
from conan.tools.files import copy, load, replace_in_file, rmdir, save


class Xnnpack(ConanFile):
    name = "xnnpack"
    version = "20241108"
    license = "BSD-3-Clause"
    description = "Kernels of neural networks for floats and bytes"
    options = {"core": ["ANY"]}  # as in the board profile: kernels are chosen for it
    python_requires = "debian-source/1.0"
    python_requires_extend = "debian-source.CMakeLibrary"
    exports = "cpuinfo/*"
    no_copy_source = True
    extra_cflags = ("-Wno-incompatible-pointer-types",)  # GCC 14 refuses what XNNPACK mixes
    cmake_options = {
        "CMAKE_POSITION_INDEPENDENT_CODE": True,
        "PTHREADPOOL_ALLOW_DEPRECATED_API": False,
        "XNNPACK_BUILD_ALL_MICROKERNELS": False,
        "XNNPACK_BUILD_BENCHMARKS": False,
        "XNNPACK_BUILD_TESTS": False,
        "XNNPACK_ENABLE_ARM_BF16": False,
        "XNNPACK_ENABLE_ARM_DOTPROD": False,
        "XNNPACK_ENABLE_ARM_FP16_SCALAR": False,
        "XNNPACK_ENABLE_ARM_FP16_VECTOR": False,
        "XNNPACK_ENABLE_ARM_I8MM": False,
        "XNNPACK_ENABLE_ARM_SME": False,
        "XNNPACK_ENABLE_ARM_SME2": False,
        "XNNPACK_ENABLE_KLEIDIAI": False,
        "XNNPACK_LIBRARY_TYPE": "static",
        "PTHREADPOOL_LIBRARY_TYPE": "static",
    }

    def source(self):
        self.python_requires["debian-source"].module.unpack_all(self)
        for folder in ("bench", "test"):
            rmdir(self, f"{self.source_folder}/{folder}")
        # Assembly for ARMv7 and ARMv8 would be marked as ARMv8.2, and so the program that holds it.
        lists = f"{self.source_folder}/CMakeLists.txt"
        marked = "${ALL_AARCH32_ASM_MICROKERNEL_SRCS} APPEND_STRING PROPERTY COMPILE_FLAGS"
        replace_in_file(
            self, lists, f'{marked} " -march=armv8.2-a+dotprod+fp16 ', f'{marked} " -march=armv8-a '
        )
        names = f"{self.source_folder}/cmake/gen/aarch32_microkernels.cmake"
        lines = [line for line in load(self, names).splitlines() if "neondot" not in line]
        save(self, names, "\n".join(lines) + "\n")
        # Threads that wait for work sleep at once: to spin is heat, for nothing between images.
        spin = "#define PTHREADPOOL_SPIN_WAIT_ITERATIONS"
        header = f"{self.source_folder}/deps/pthreadpool/src/threadpool-common.h"
        replace_in_file(self, header, f"{spin} 1000000", f"{spin} 0")

    def generate(self):
        deps = Path(self.source_folder) / "deps"
        cpuinfo = Path(self.recipe_folder) / "cpuinfo"
        self.cmake_options = {
            **self.cmake_options,
            "CPUINFO_SOURCE_DIR": cpuinfo.as_posix(),
            "FXDIV_SOURCE_DIR": (deps / "fxdiv").as_posix(),
            "PTHREADPOOL_SOURCE_DIR": (deps / "pthreadpool").as_posix(),
        }
        self.extra_cflags = (*self.extra_cflags, f"-DEDGEWRIGHT_UARCH={self._uarch(cpuinfo)}")
        self.python_requires["debian-source"].module.CMakeLibrary.generate(self)

    def _uarch(self, cpuinfo):
        """cpuinfo's name of the core; of two kinds the first, which is the stronger one."""
        core = str(self.options.core).split(".")[0].replace("-", "_")
        name = f"cpuinfo_uarch_{core}"
        cores = (cpuinfo / "include/cpuinfo.h").read_text()
        return name if f"{name}," in cores else "cpuinfo_uarch_unknown"

    def package(self):
        self.python_requires["debian-source"].module.CMakeLibrary.package(self)
        lib = f"{self.package_folder}/lib"
        copy(self, "libpthreadpool.a", self.build_folder, lib, keep_path=False)

    def package_info(self):
        self.cpp_info.libs = ["XNNPACK", "microkernels-prod", "pthreadpool"]
        self.cpp_info.system_libs = ["m", "pthread"]
