"""ONNX Runtime for exactly the operators and types of one model.

No exceptions, no RTTI, ORT-format models only. The operators come from an op config
(`required_operators_and_types.config`); its hash is the option `ops_sha256`, so packages for
different operators never mix and models with the same operators share one.
"""

import hashlib
import os
import re
from pathlib import Path

from conan import ConanFile
from conan.errors import ConanException
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, replace_in_file, save

# Options of ONNX Runtime's own CMakeLists.txt; each is checked against those it declares.
ORT_OPTIONS = {
    "onnxruntime_BUILD_SHARED_LIB": True,
    "onnxruntime_BUILD_UNIT_TESTS": False,
    "onnxruntime_CROSS_COMPILING": True,
    "onnxruntime_DISABLE_EXCEPTIONS": True,
    "onnxruntime_DISABLE_FLOAT8_TYPES": True,
    "onnxruntime_DISABLE_ML_OPS": True,
    "onnxruntime_DISABLE_OPTIONAL_TYPE": True,
    "onnxruntime_DISABLE_RTTI": True,
    "onnxruntime_DISABLE_SPARSE_TENSORS": True,
    "onnxruntime_ENABLE_CPUINFO": False,
    "onnxruntime_ENABLE_CPU_FP16_OPS": False,
    "onnxruntime_MINIMAL_BUILD": True,
    "onnxruntime_REDUCED_OPS_BUILD": True,
    "onnxruntime_BUILD_OPSCHEMA_LIB": False,
}

# FetchContent name → folder below deps/.
DEPENDENCIES = {
    "ABSEIL_CPP": "abseil_cpp",
    "DATE": "date",
    "EIGEN": "eigen",
    "FLATBUFFERS": "flatbuffers",
    "GSL": "gsl",
    "MP11": "mp11",
    "NLOHMANN_JSON": "nlohmann_json",
    "ONNX": "onnx",
    "PROTOBUF": "protobuf",
    "RE2": "re2",
    "UTF8_RANGE": "utf8_range",
}

INTERFACE_LIBRARY = """\
add_library({name} INTERFACE)
target_include_directories({name} SYSTEM INTERFACE ${{CMAKE_CURRENT_SOURCE_DIR}}/{include})
add_library({alias} ALIAS {name})
"""

# Eigen 3.4.0 has the NaN-propagating functors but not yet the array methods that name them.
EIGEN_NAN_METHODS = """
#define EDGEWRIGHT_NAN_METHOD(METHOD, FUNCTOR)                                                  \\
  template <int NaNPropagation, typename OtherDerived>                                          \\
  EIGEN_DEVICE_FUNC EIGEN_STRONG_INLINE const CwiseBinaryOp<                                    \\
      internal::FUNCTOR<Scalar, typename OtherDerived::Scalar, NaNPropagation>, const Derived,  \\
      const OtherDerived>(METHOD)(const ArrayBase<OtherDerived>& other) const {                 \\
    return {derived(), other.derived()};                                                        \\
  }                                                                                             \\
  template <int NaNPropagation>                                                                 \\
  EIGEN_DEVICE_FUNC EIGEN_STRONG_INLINE const CwiseBinaryOp<                                    \\
      internal::FUNCTOR<Scalar, Scalar, NaNPropagation>, const Derived,                         \\
      const CwiseNullaryOp<internal::scalar_constant_op<Scalar>, PlainObject>>(METHOD)(         \\
      const Scalar& other) const {                                                              \\
    return {derived(), Derived::PlainObject::Constant(rows(), cols(), other)};                  \\
  }
EDGEWRIGHT_NAN_METHOD(min, scalar_min_op)
EDGEWRIGHT_NAN_METHOD(max, scalar_max_op)
#undef EDGEWRIGHT_NAN_METHOD
"""


class OnnxRuntimeMinimal(ConanFile):
    name = "onnxruntime-minimal"
    version = "1.21.0"
    license = "MIT"
    description = "ONNX Runtime reduced to the operators of one model"
    package_type = "static-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"ops_sha256": ["ANY"]}
    python_requires = "debian-source/1.0"

    def layout(self):
        cmake_layout(self)

    def source(self):
        self.python_requires["debian-source"].module.fetch_all(self)
        self._add_cmake_to_header_libraries()
        self._edit_sources()

    def _add_cmake_to_header_libraries(self):
        deps = Path(self.source_folder) / "deps"
        for name, alias, include in (
            ("eigen", "Eigen3::Eigen", "usr/include/eigen3"),
            ("mp11", "Boost::mp11", "usr/include"),
        ):
            text = INTERFACE_LIBRARY.format(name=name, alias=alias, include=include)
            save(self, str(deps / name / "CMakeLists.txt"), text)
        save(self, str(deps / "utf8_range" / "CMakeLists.txt"), "# protobuf 3.21 has its own\n")

    def _edit_sources(self):
        cmake = Path(self.source_folder) / "onnxruntime" / "cmake"
        # MLAS overrides the board's FPU with plain `neon`, which GCC 14 cannot compile Eigen
        # for and which turns rounding into libm calls. The toolchain file names the FPU.
        for language in ("ASM", "CXX"):
            replace_in_file(
                self,
                str(cmake / "onnxruntime_mlas.cmake"),
                f'set(CMAKE_{language}_FLAGS "${{CMAKE_{language}_FLAGS}} -mfpu=neon")',
                "",
            )
        # The build info is compiled in: keep this machine's paths and git state out of it.
        replace_in_file(
            self,
            str(cmake / "CMakeLists.txt"),
            'string(APPEND ORT_BUILD_INFO ", cmake cxx flags: ${CMAKE_CXX_FLAGS}")',
            'string(APPEND ORT_BUILD_INFO ", edgewright")',
        )
        replace_in_file(
            self,
            str(cmake / "CMakeLists.txt"),
            'set(ORT_BUILD_INFO "ORT Build Info: ")\nfind_package(Git)',
            'set(ORT_BUILD_INFO "ORT Build Info: ")',
        )
        plugin = "deps/eigen/usr/include/eigen3/Eigen/src/plugins/ArrayCwiseBinaryOps.h"
        with open(os.path.join(self.source_folder, plugin), "a") as header:
            header.write(EIGEN_NAN_METHODS)

    def generate(self):
        self._check_options()
        toolchain = CMakeToolchain(self)
        variables = toolchain.cache_variables
        variables.update(ORT_OPTIONS)
        for name, folder in DEPENDENCIES.items():
            variables[f"FETCHCONTENT_SOURCE_DIR_{name}"] = self._dep(folder)
        variables["FETCHCONTENT_FULLY_DISCONNECTED"] = True
        variables["FETCHCONTENT_TRY_FIND_PACKAGE_MODE"] = "NEVER"
        variables["FLATBUFFERS_BUILD_FLATC"] = False
        variables["ONNX_CUSTOM_PROTOC_EXECUTABLE"] = self._protoc()
        variables["safeint_SOURCE_DIR"] = self._dep("safeint/usr/include/safeint")
        toolchain.extra_cflags += self._path_flags()
        toolchain.extra_cxxflags += self._path_flags()
        # The shared library carries its own C++ runtime: the board need not have one.
        toolchain.extra_sharedlinkflags += ["-static-libstdc++", "-static-libgcc"]
        toolchain.generate()

    def _path_flags(self):
        """Folders of the Conan cache, which differ at each build, stay out of the binary."""
        return [
            f"-ffile-prefix-map={self.source_folder}/=",
            f"-ffile-prefix-map={self.build_folder}/=build/",
        ]

    def _dep(self, folder):
        return (Path(self.source_folder) / "deps" / folder).as_posix()

    def _protoc(self):
        from shutil import which

        protoc = which("protoc")
        if protoc is None:
            raise ConanException("protoc 3.21.12 is not on PATH")
        return protoc

    def _check_options(self):
        declared = set()
        for file in (Path(self.source_folder) / "onnxruntime/cmake").glob("CMakeLists.txt"):
            found = re.findall(r"option\s*\(\s*(onnxruntime_\w+)", file.read_text())
            declared.update(found)
        unknown = sorted(set(ORT_OPTIONS) - declared)
        if unknown:
            raise ConanException(
                f"onnxruntime {self.version}: unknown CMake options: {', '.join(unknown)}"
            )

    def build(self):
        self._reduce_operators()
        cmake = CMake(self)
        cmake.configure(build_script_folder="onnxruntime/cmake")
        cmake.build(target="onnxruntime")

    def _reduce_operators(self):
        """Generate the reduced kernel registrations, as ONNX Runtime's build.py does."""
        config = self._ops_config()
        script = Path(self.source_folder) / "onnxruntime/tools/ci_build/reduce_op_kernels.py"
        self.run(
            f'python3 "{script}" --cmake_build_dir "{self.build_folder}" '
            f'--enable_type_reduction "{config}"'
        )

    def _ops_config(self):
        config = self.conf.get("user.edgewright:ops_config")
        if not config:
            raise ConanException("conf user.edgewright:ops_config names no op config")
        found = hashlib.sha256(Path(config).read_bytes()).hexdigest()
        if found != str(self.options.ops_sha256):
            raise ConanException(
                f"{config}: not the op config of this package\n"
                f"  expected sha256: {self.options.ops_sha256}\n  found sha256:    {found}"
            )
        return config

    def package(self):
        source = Path(self.source_folder) / "onnxruntime"
        include = os.path.join(self.package_folder, "include")
        api = source / "include/onnxruntime/core/session"
        copy(self, "onnxruntime_*.h", str(api), include)
        lib = os.path.join(self.package_folder, "lib")
        copy(self, "libonnxruntime.so*", self.build_folder, lib)
        copy(self, "LICENSE", str(source), os.path.join(self.package_folder, "licenses"))
        copy(self, "ThirdPartyNotices.txt", str(source), f"{self.package_folder}/licenses")
        res = os.path.join(self.package_folder, "res")
        os.makedirs(res)
        Path(res, "ops.config").write_bytes(Path(self._ops_config()).read_bytes())
        self._merge_archives(os.path.join(lib, "libonnxruntime.a"))

    def _merge_archives(self, merged):
        """One archive of all that the shared library is linked from; members may be circular."""
        parts = sorted(Path(self.build_folder).rglob("*.a"))
        script = [f"create {merged}", *(f"addlib {part}" for part in parts), "save", "end"]
        save(self, os.path.join(self.build_folder, "merge.mri"), "\n".join(script) + "\n")
        triplet = self.conf.get("tools.gnu:host_triplet")
        self.run(f"{triplet}-ar -M < merge.mri", cwd=self.build_folder)
        self.run(f"{triplet}-ranlib -D {merged}")

    def package_info(self):
        self.cpp_info.libs = ["onnxruntime"]
        self.cpp_info.system_libs = ["dl", "m", "pthread"]
        self.cpp_info.resdirs = ["res"]
        self.cpp_info.set_property("pkg_config_name", "libonnxruntime")
