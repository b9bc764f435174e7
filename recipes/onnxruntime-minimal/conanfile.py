"""ONNX Runtime for exactly the operators and types of one model.

No exceptions, no RTTI, ORT-format models only. The operators come from an op config
(`required_operators_and_types.config`); its hash is the option `ops_sha256`, so packages for
different operators never mix and models with the same operators share one. The option `kernels`
chooses ONNX Runtime's own kernels alone, or with those of kernels/, for ARM with NEON. With
`sources=all` everything is compiled, as ONNX Runtime does; with `needed`, what a linker takes. With
`xnnpack` the execution provider for XNNPACK is built in: it takes nodes when a model is loaded, so
the build is ONNX Runtime's "extended" minimal one.
"""

import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from conan import ConanFile
from conan.errors import ConanException
from conan.tools.build import build_jobs
from conan.tools.cmake import CMakeToolchain
from conan.tools.env import Environment
from conan.tools.files import copy, save

# CMake reads these as part of ONNX Runtime's own project, in this order.
PROJECT_INCLUDES = ("tune", "symbols", "precompile", "prune")

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

# Half of the sources' files and bytes: each build would copy them, and none would read them.
UNREAD = (
    "deps/mp11/usr/include/boost/[!m]*/",  # mp11 stays
    "deps/onnx/onnx/backend/test/",
    "onnxruntime/onnxruntime/contrib_ops/cuda/",
)

INTERFACE_LIBRARY = """\
add_library({name} INTERFACE)
target_include_directories({name} SYSTEM INTERFACE ${{CMAKE_CURRENT_SOURCE_DIR}}/{include})
add_library({alias} ALIAS {name})
"""


class MissingSymbolError(ConanException):
    """The linker found no object that defines a symbol."""


class OnnxRuntimeMinimal(ConanFile):
    name = "onnxruntime-minimal"
    license = "MIT"
    description = "ONNX Runtime reduced to the operators of one model"
    package_type = "static-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {
        "ops_sha256": ["ANY"],
        "kernels": ["stock", "neon"],
        "sources": ["needed", "all"],
        "xnnpack": [True, False],
    }
    default_options = {"kernels": "stock", "sources": "needed", "xnnpack": False}
    python_requires = "debian-source/1.0"
    exports = ("*.cmake", "compiler_output.py", "prune.py", "links*.txt", "patches/*") + tuple(
        f"kernels/{folder}/*" for folder in ("src", "operators", "hooks")
    )
    no_copy_source = True

    def set_version(self):
        self.version = self.conan_data["version"]

    def requirements(self):
        if self.options.xnnpack:
            self.requires("xnnpack/20241108")

    def layout(self):
        self.folders.source = "src"
        self.folders.build = "build"
        self.folders.generators = "build/generators"

    def source(self):
        self.python_requires["debian-source"].module.unpack_all(self)
        for pattern in UNREAD:
            for folder in Path(self.source_folder).glob(pattern):
                shutil.rmtree(folder)
        self._add_cmake_to_header_libraries()
        self._patch("always", Path(self.source_folder))

    def _add_cmake_to_header_libraries(self):
        deps = Path(self.source_folder) / "deps"
        for name, alias, include in (
            ("eigen", "Eigen3::Eigen", "usr/include/eigen3"),
            ("mp11", "Boost::mp11", "usr/include"),
        ):
            text = INTERFACE_LIBRARY.format(name=name, alias=alias, include=include)
            save(self, str(deps / name / "CMakeLists.txt"), text)
        save(self, str(deps / "utf8_range" / "CMakeLists.txt"), "# protobuf 3.21 has its own\n")

    def _patch(self, condition, root):
        """Apply the patches that the builds of a condition get, in the order of their names.

        A hunk may have moved in its file, which GNU patch follows and Conan's own patch does not;
        every line of it must be there. `edgewright outdated` asks the same of other versions.
        """
        for patches in self.conan_data["patches"][condition]:
            tree = root / patches["to"]
            for path in sorted((Path(self.recipe_folder) / patches["folder"]).glob("*.patch")):
                self.run(
                    "patch --strip=0 --fuzz=0 --force --no-backup-if-mismatch "
                    f'-d "{tree}" -i "{path}"'
                )

    def generate(self):
        self._check_options()
        toolchain = CMakeToolchain(self)
        flags = [f"-ffile-prefix-map={self._workshop}/="]
        toolchain.extra_cflags += flags
        toolchain.extra_cxxflags += flags
        # The shared library carries its own C++ runtime: the board need not have one.
        toolchain.extra_sharedlinkflags += ["-static-libstdc++", "-static-libgcc", "-Wl,-z,defs"]
        toolchain.generate()
        ccache = Environment()
        # Depend mode spares a miss the preprocessor; the rest lets precompiled headers hit.
        ccache.define("CCACHE_DEPEND", "1")
        ccache.define("CCACHE_SLOPPINESS", "pch_defines,time_macros")
        ccache.vars(self).save_script("ccache")

    def _check_options(self):
        """CMake ignores an unknown -D silently; here it is an error."""
        lists = Path(self.source_folder) / "onnxruntime" / self.conan_data["files"]["options"]
        declared = re.findall(r"option\s*\(\s*(onnxruntime_\w+)", lists.read_text())
        used = {*self.conan_data["options"], *self.conan_data["xnnpack_options"]}
        unknown = sorted(used - set(declared))
        if unknown:
            raise ConanException(
                f"onnxruntime {self.version}: unknown CMake options: {', '.join(unknown)}"
            )

    @property
    def _workshop(self):
        """Where sources and objects lie during a build: one path for every build.

        Conan's own folders are named anew each time, which would end up in the binary and
        keep ccache from finding anything.
        """
        return Path(tempfile.gettempdir()) / f"edgewright-{os.getuid()}" / self.name

    def build(self):
        sys.path.insert(0, self.recipe_folder)  # modules of this recipe are imported from there
        shutil.rmtree(self._workshop, ignore_errors=True)
        shutil.copytree(self.source_folder, self._workshop / "src", symlinks=True)
        if self.settings.arch == "armv8":
            # Not in source(): 32-bit boards keep their sources, and with them ccache its objects.
            self._patch("arm64", self._workshop / "src")
        if self.options.kernels == "neon":
            self._add_kernels()
        if self.options.xnnpack:
            self._add_xnnpack()
        self._reduce_operators()
        if self.options.sources == "needed":
            self._compile_needed()
        else:
            self._compile([])
        self._collect()
        shutil.rmtree(self._workshop)

    def _compile_needed(self):
        """Compile what `links.txt` says a linker takes; all of it where a symbol is missing then.

        Nothing else that goes wrong can come of a source left out, or mend itself by more of them.
        """
        try:
            self._compile(self._unused_sources())
        except MissingSymbolError as missing:
            self.output.warning(f"{missing}: links.txt leaves too much out, compiling everything")
            self._compile([])

    def _compile(self, unused):
        """Compile and link all but the unused sources.

        Raises MissingSymbolError if the linker misses a symbol; ConanException, with the words of
        what failed, for everything else.
        """
        self._unused_list.write_text("".join(f"{self._workshop / name}\n" for name in unused))
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        self.run(f"cmake {' '.join(self._cmake_arguments())}")
        self._run_ninja()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cores = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.output.info(f"compiled in {time.monotonic() - start:.0f} s, {cores:.0f} core-seconds")

    def _run_ninja(self):
        from compiler_output import errors, missing_symbols

        log = self._workshop / "compile.log"
        command = f'cmake --build "{self._objects}" --target onnxruntime -j {build_jobs(self)}'
        # tee shows the output as it comes, and keeps it: it tells why a build failed.
        with subprocess.Popen(["tee", log], stdin=subprocess.PIPE, stdout=sys.stderr) as tee:
            code = self.run(command, stdout=tee.stdin, stderr=tee.stdin, ignore_errors=True)
        if code != 0:
            output = log.read_text(errors="replace")
            if symbols := missing_symbols(output):
                raise MissingSymbolError(f"no object defines {', '.join(symbols[:3])}")
            raise ConanException(f"ninja ended with exit code {code}\n{errors(output)}")

    def _unused_sources(self):
        from prune import layout_operators, operator_names, read_links, unused_sources

        provider = "xnnpack" if self.options.xnnpack else "stock"
        lists = Path(self.recipe_folder) / self.conan_data["links"][provider]
        links = read_links(lists.read_text())
        operators = operator_names(Path(self._ops_config()).read_text())
        if self.options.xnnpack:
            header = self._sources / self.conan_data["files"]["layout_operators"]
            operators |= layout_operators(header.read_text())
        unused = unused_sources(self._workshop, links, operators)
        self.output.info(f"{len(unused)} sources are not needed for these operators")
        return unused

    def _add_kernels(self):
        """Put our kernels beside MLAS's and the operators', and hook them in: kernels/README.md."""
        kernels = Path(self.recipe_folder) / "kernels"
        mlas = self._sources / "onnxruntime/core/mlas/lib/edgewright"
        operators = self._sources / "onnxruntime/contrib_ops/cpu/quantization/edgewright"
        shutil.copytree(kernels / "src", mlas)
        shutil.copytree(kernels / "operators", operators)
        # The planner asks for it, also where a network has no operator that does: a linker has
        # passed the operators' archive by then.
        framework = self._sources / "onnxruntime/core/framework"
        (operators / "fused_nodes.cc").rename(framework / "fused_nodes.cc")
        self._patch("neon", self._workshop / "src")

    def _add_xnnpack(self):
        """Mend the provider, and put the libraries, at one path for every build, where
        `xnnpack.cmake` finds them."""
        self._patch("xnnpack", self._workshop / "src")
        package = self.dependencies["xnnpack"].package_folder
        shutil.copytree(package, self._workshop / "xnnpack")
        external = self._sources / "cmake" / "external" / "xnnpack.cmake"
        shutil.copyfile(Path(self.recipe_folder) / "xnnpack.cmake", external)

    @property
    def _objects(self):
        return self._workshop / "build"

    @property
    def _unused_list(self):
        return self._workshop / "unused.txt"

    @property
    def _sources(self):
        return self._workshop / "src" / "onnxruntime"

    def _cmake_arguments(self):
        deps = self._workshop / "src" / "deps"
        variables = {
            "CMAKE_BUILD_TYPE": self.settings.build_type,
            "CMAKE_TOOLCHAIN_FILE": Path(self.generators_folder) / "conan_toolchain.cmake",
            "CMAKE_EXPORT_COMPILE_COMMANDS": "ON",
            "CMAKE_PROJECT_onnxruntime_INCLUDE": ";".join(
                f"{self.recipe_folder}/{name}.cmake" for name in PROJECT_INCLUDES
            ),
            "EDGEWRIGHT_SHARED_OBJECTS": "ON",
            "EDGEWRIGHT_UNUSED_SOURCES": self._unused_list,
            "EDGEWRIGHT_XNNPACK": self._workshop / "xnnpack",
            "FETCHCONTENT_FULLY_DISCONNECTED": "ON",
            "FETCHCONTENT_TRY_FIND_PACKAGE_MODE": "NEVER",
            "FLATBUFFERS_BUILD_FLATC": "OFF",
            "ONNX_CUSTOM_PROTOC_EXECUTABLE": self._protoc(),
            "safeint_SOURCE_DIR": deps / "safeint/usr/include/safeint",
        }
        for name, folder in DEPENDENCIES.items():
            variables[f"FETCHCONTENT_SOURCE_DIR_{name}"] = deps / folder
        xnnpack = dict.fromkeys(self.conan_data["xnnpack_options"], bool(self.options.xnnpack))
        for name, value in {**self.conan_data["options"], **xnnpack}.items():
            variables[name] = "ON" if value else "OFF"
        definitions = [f'"-D{name}={value}"' for name, value in variables.items()]
        return [
            "-G",
            "Ninja",
            "-S",
            f"{self._sources}/cmake",
            "-B",
            f"{self._objects}",
        ] + definitions

    def _protoc(self):
        protoc = shutil.which("protoc")
        if protoc is None:
            raise ConanException("protoc 3.21.12 is not on PATH")
        return protoc

    def _reduce_operators(self):
        """Generate the reduced kernel registrations, as ONNX Runtime's build.py does."""
        script = self._sources / self.conan_data["files"]["reduction"]
        extended = " --is_extended_minimal_build_or_higher" if self.options.xnnpack else ""
        self.run(
            f'python3 "{script}" --cmake_build_dir "{self._objects}" '
            f'--enable_type_reduction{extended} "{self._ops_config()}"'
        )

    def _collect(self):
        """Bring the libraries from the workshop to Conan's build folder."""
        copy(self, "libonnxruntime.so*", str(self._objects), self.build_folder)
        self._merge_archives(os.path.join(self.build_folder, "libonnxruntime.a"))
        if self.options.sources == "all":
            save(self, os.path.join(self.build_folder, "links.txt"), self._links())

    def _links(self):
        """What `links.txt` says, by the objects of this build."""
        from prune import links_of, read_symbols

        commands = json.loads((self._objects / "compile_commands.json").read_text())
        sources = {
            step["output"]: Path(step["file"]).relative_to(self._workshop).as_posix()
            for step in commands
            if step["output"].endswith(".o")  # a precompiled header is none
        }
        objects = [name for name in sources if (self._objects / name).is_file()]
        triplet = self.conf.get("tools.gnu:host_triplet")
        nm = [f"{triplet}-nm", "--print-file-name", "--format=posix", *objects]
        listing = subprocess.run(nm, cwd=self._objects, check=True, capture_output=True, text=True)
        symbols = read_symbols(objects, listing.stdout.splitlines())
        return links_of(self._workshop, {sources[name]: s for name, s in symbols.items()}).text()

    def _ops_config(self):
        config = self.conf.get("user.edgewright:ops_config")
        if not config:
            raise ConanException("conf user.edgewright:ops_config names no op config")
        sha256 = hashlib.sha256(Path(config).read_bytes()).hexdigest()
        if sha256 != str(self.options.ops_sha256):
            raise ConanException(
                f"{config}: not the op config of this package\n"
                f"  expected sha256: {self.options.ops_sha256}\n  found sha256:    {sha256}"
            )
        return config

    def package(self):
        source = os.path.join(self.source_folder, "onnxruntime")
        api = os.path.join(source, "include/onnxruntime/core/session")
        copy(self, "onnxruntime_*.h", api, os.path.join(self.package_folder, "include"))
        lib = os.path.join(self.package_folder, "lib")
        copy(self, "libonnxruntime.*", self.build_folder, lib)
        for notice in ("LICENSE", "ThirdPartyNotices.txt"):
            copy(self, notice, source, os.path.join(self.package_folder, "licenses"))
        res = os.path.join(self.package_folder, "res")
        save(self, os.path.join(res, "ops.config"), Path(self._ops_config()).read_text())
        copy(self, "links.txt", self.build_folder, res)

    def _merge_archives(self, merged):
        """One archive of all that the shared library is linked from; members may be circular."""
        parts = sorted(self._objects.rglob("*.a"))
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
