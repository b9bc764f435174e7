"""ONNX Runtime for others' programs: a shared library and one object in an archive.

Both are linked from the objects of `onnxruntime-minimal`; nothing of it is compiled anew. Both
carry the C++ runtime that they were compiled with, and show nothing but ONNX Runtime's C API, so
that a program of another compiler, with another C++ runtime, links and runs. Of the C library they
need what the option `libc_floor` had: `stubs.py` has the shared library bind to that version, and
`compat.c` defines what the objects call and it lacked.
"""

import os
import sys
from io import StringIO
from pathlib import Path

from conan import ConanFile
from conan.tools.files import copy, save

# What other programs may call. ONNX Runtime's C++ API is a header over it.
EXPORTS = ("OrtGetApiBase", "OrtSessionOptionsAppendExecutionProvider_CPU")
LOADERS = {"armv7hf": "ld-linux-armhf.so.3", "armv8": "ld-linux-aarch64.so.1"}
# glibc 2.34 took threads and dlopen into libc.so.6; before, they were libraries of their own.
MERGED, ONCE_SEPARATE = "2.34", ("libpthread.so.0", "libdl.so.2")
COMPAT_FLAGS = "-std=c11 -Os -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections"
LINK_FLAGS = (
    "-shared",
    "-nodefaultlibs",
    "-Wl,--version-script=exports.map",
    "-Wl,--gc-sections",
    "-Wl,-Bsymbolic",
    "-Wl,--build-id=sha1",
    "-Wl,-z,defs,-z,relro,-z,now,-z,noexecstack",
    "-Wl,-O1",
)


class OnnxRuntimeSdk(ConanFile):
    name = "onnxruntime-sdk"
    version = "0.1.0"
    license = "MIT"
    description = "ONNX Runtime as a library that any compiler's program links"
    python_requires = "program/1.0"
    settings = "os", "arch", "compiler", "build_type"
    options = {"libc_floor": ["ANY"]}
    requires = "onnxruntime-minimal/[*]"  # its own version, which conan.lock pins
    exports = "stubs.py"
    exports_sources = ("compat.c", "tree/*")  # tree: what the SDK has as it stands there

    def package_id(self):
        # Linked from its objects: a change of that library or of its recipe is one of this.
        self.info.requires.full_mode()

    def build(self):
        compat = Path(self.source_folder, "compat.c")
        self.run(f'{self._tool}gcc {COMPAT_FLAGS} -Wall -Wextra -Werror -c "{compat}" -o compat.o')
        self._link_shared()
        self._link_archive()

    @property
    def _tool(self):
        return f"{self.conf.get('tools.gnu:host_triplet')}-"

    @property
    def _runtime(self):
        return self.dependencies["onnxruntime-minimal"]

    @property
    def _library(self):
        """The file's name: the soname, and the rest of ONNX Runtime's version."""
        return f"libonnxruntime.so.{self._runtime.ref.version}"

    def _answer(self, command):
        text = StringIO()
        self.run(command, stdout=text, quiet=True)
        return text.getvalue().strip()

    def _gcc_file(self, name):
        return self._answer(f"{self._tool}gcc -print-file-name={name}")

    @property
    def _objects(self):
        """What both libraries are linked from; archives need each other."""
        packages = [package.package_folder for package in self.dependencies.host.values()]
        archives = [str(path) for folder in packages for path in sorted(Path(folder).rglob("*.a"))]
        archives += map(self._gcc_file, ("libstdc++.a", "libgcc.a", "libgcc_eh.a"))
        return f"compat.o -Wl,--start-group {' '.join(archives)} -Wl,--end-group"

    def _link_shared(self):
        save(self, "exports.map", f"{{ global: {'; '.join(EXPORTS)}; local: *; }};\n")
        flags = [*LINK_FLAGS, "-Wl,-soname,libonnxruntime.so.1"]
        flags += [f"-Wl,-u,{name}" for name in EXPORTS]
        if self.settings.arch == "armv7hf":
            # Pages are 4 KiB there; the linker's default of 64 KiB pads the file by as much.
            flags.append("-Wl,-z,max-page-size=4096")
        inputs = f"{self._objects} {self._c_library()}"
        self.run(f"{self._tool}gcc {' '.join(flags)} -o {self._library} {inputs}")

    def _c_library(self):
        """The C library at the floor, for the linker: stubs, and what glibc links statically."""
        sys.path.insert(0, self.recipe_folder)  # modules of this recipe are imported from there
        from stubs import assembly, parse_version, symbols_at, version_script

        floor = str(self.options.libc_floor)
        names = ["libm.so.6", "libc.so.6", LOADERS[str(self.settings.arch)]]
        for name in names:
            listing = self._answer(f"{self._tool}readelf --wide --dyn-syms {self._gcc_file(name)}")
            symbols = symbols_at(listing, floor)
            save(self, f"stubs/{name}.map", version_script(symbols))
            self._make_stub(name, assembly(symbols), f"-Wl,--version-script=stubs/{name}.map")
        stubs = [*(f"stubs/{name}" for name in names), self._gcc_file("libc_nonshared.a")]
        if parse_version(floor) < parse_version(MERGED):
            # No symbol binds to them by a stub without symbols: at run time they are searched.
            for name in ONCE_SEPARATE:
                self._make_stub(name, "")
            stubs += ["-Wl,--no-as-needed", *(f"stubs/{name}" for name in ONCE_SEPARATE)]
        return " ".join(["-Wl,--as-needed", *stubs])

    def _make_stub(self, name, source, flags=""):
        save(self, f"stubs/{name}.s", source)
        self.run(
            f"{self._tool}gcc -shared -nostdlib {flags} -Wl,-soname,{name} "
            f"-o stubs/{name} stubs/{name}.s"
        )

    def _link_archive(self):
        """One object with all of it, whose symbols are local but for the exports.

        Without groups: a program's own instance of a template would displace ours, and with it
        the symbols that have become local. Without unique symbols, which objcopy leaves global.
        Sections of one name stay apart: binutils 2.44 joins their exception tables wrongly, and
        crashes on the outcome when a program is linked.
        """
        flags = ["-r -nostdlib -Wl,--gc-sections,--force-group-allocation"]
        flags += ["'-Wl,--unique=.text.*'", "'-Wl,--unique=.ARM.exidx*'"]
        flags += [f"-Wl,-u,{name}" for name in EXPORTS]
        self.run(f"{self._tool}gcc {' '.join(flags)} -o merged.o {self._objects}")
        symbols = self._answer(f"{self._tool}nm merged.o").splitlines()
        unique = [line.split()[-1] for line in symbols if line.split()[-2] == "u"]
        save(self, "unique.txt", "".join(f"{name}\n" for name in unique))
        self.run(f"{self._tool}objcopy --weaken-symbols=unique.txt merged.o")
        kept = " ".join(f"--keep-global-symbol={name}" for name in EXPORTS)
        self.run(f"{self._tool}objcopy {kept} merged.o onnxruntime.o")
        # Undefined symbols stay behind from sections that are gone: a linker would look for them.
        self.run(f"{self._tool}strip --strip-unneeded onnxruntime.o")
        self.run(f"{self._tool}ar rcsD libonnxruntime.a onnxruntime.o")

    def package(self):
        """The folders of an SDK, and the library's symbols."""
        tree = Path(self.source_folder, "tree")
        for path in filter(Path.is_file, sorted(tree.rglob("*"))):
            text = path.read_text().replace("@VERSION@", str(self._runtime.ref.version))
            save(self, os.path.join(self.package_folder, path.relative_to(tree)), text)
        lib = os.path.join(self.package_folder, "lib")
        copy(self, self._library, self.build_folder, lib)
        copy(self, "libonnxruntime.a", self.build_folder, lib)
        self.python_requires["program"].module.split_symbols(self, os.path.join(lib, self._library))
        runtime = self._runtime.package_folder
        for part, folder in (("include", "include/onnxruntime"), ("licenses", "licenses")):
            target = os.path.join(self.package_folder, folder)
            copy(self, "*", os.path.join(runtime, part), target)
        copy(self, "ops.config", os.path.join(runtime, "res"), self.package_folder)
