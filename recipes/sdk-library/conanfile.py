"""What the recipes of an SDK's libraries share: how they are linked for others' programs.

A shared library and one object in an archive. Both carry the C++ runtime that they were compiled
with, and show nothing but what `exports` names, so that a program of another compiler, with another
C++ runtime, links and runs. Of the C library they need what the option `libc_floor` had: `stubs.py`
has the shared library bind to that version, and `compat.c` defines what the objects call and it
lacked. zig compiles for that very version, and has stubs of its own.
"""

import os
from io import StringIO
from pathlib import Path

from conan import ConanFile
from conan.tools.files import copy, save
from stubs import assembly, parse_version, symbols_at, version_script

LOADERS = {"armv7hf": "ld-linux-armhf.so.3", "armv8": "ld-linux-aarch64.so.1"}
# glibc 2.34 took threads and dlopen into libc.so.6; before, they were libraries of their own.
MERGED, ONCE_SEPARATE = (2, 34), ("libpthread.so.0", "libdl.so.2")
THREAD_OBJECTS = (2, 18)  # before, glibc left their destructors to others: see compat.c
# The C++ runtime, by Conan's name of the compiler: GCC's, and zig's, which is Clang.
CXX_RUNTIMES = {
    "gcc": ("libstdc++.a", "libgcc.a", "libgcc_eh.a"),
    "clang": ("libc++.a", "libc++abi.a", "libunwind.a", "libcompiler_rt.a"),
}
COMPAT_FLAGS = "-std=c11 -Os -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections"
LINK_FLAGS = (
    "-shared",
    "-Wl,--version-script=exports.map",
    "-Wl,--gc-sections",
    "-Wl,-Bsymbolic",
    "-Wl,--build-id=sha1",
    "-Wl,-z,defs,-z,relro,-z,now,-z,noexecstack",
    "-Wl,-O1",
)


class SdkLibraryRequirement(ConanFile):
    name = "sdk-library"
    version = "1.0"
    package_type = "python-require"
    exports = "stubs.py", "compat.c"


class SdkLibrary:
    """Base of the recipes: which objects go in, and which symbols others see, is theirs.

    `library` is the name after "lib"; `tree/` beside a recipe is what the SDK has as it stands
    there.
    """

    settings = "os", "arch", "compiler", "build_type"
    options = {"libc_floor": ["ANY"]}
    library: str

    def package_id(self):
        # Linked from objects of others: a change of them or of their recipes is one of this.
        self.info.requires.full_mode()

    @property
    def _library_file(self):
        return f"lib{self.library}.so.{self.library_version}"

    @property
    def _floor(self):
        return parse_version(str(self.options.libc_floor))

    @property
    def _is_zig(self):
        return self.settings.compiler == "clang"

    @property
    def _linker_flags(self):
        """For a shared library with the objects inside, ours or one that others make."""
        return ["-Wl,-z,nodelete"] if self._floor < THREAD_OBJECTS else []

    @property
    def _tool(self):
        return f"{self.conf.get('tools.gnu:host_triplet')}-"

    def _answer(self, command):
        text = StringIO()
        self.run(command, stdout=text, quiet=True)
        return text.getvalue().strip()

    def _gcc_file(self, name):
        return self._answer(f"{self._tool}gcc -print-file-name={name}")

    def link_libraries(self, exports, archives, also=()):
        """Link both from archives, which may need each other; `also` goes in for their sake."""
        names = [*archives, *map(self._gcc_file, CXX_RUNTIMES[str(self.settings.compiler)])]
        group = f"-Wl,--start-group {' '.join(map(str, names))} -Wl,--end-group"
        objects = f"{self._first_object()} {group}"
        roots = [f"-Wl,-u,{name}" for name in (*exports, *also)]
        self._link_shared(exports, roots, objects)
        self._link_archive(exports, roots, objects)

    def _first_object(self):
        """What the floor lacks, and `__dso_handle`."""
        if self._is_zig:
            return self._gcc_file("crtbegin.o")
        compat = Path(self.python_requires["sdk-library"].path, "compat.c")
        flags = f"{COMPAT_FLAGS} -Wall -Wextra -Werror -DGLIBC_FLOOR={self._floor[1]}"
        self.run(f'{self._tool}gcc {flags} -c "{compat}" -o compat.o')
        return "compat.o"

    def _link_shared(self, exports, roots, objects):
        save(self, "exports.map", f"{{ global: {'; '.join(exports)}; local: *; }};\n")
        major = self.library_version.split(".")[0]
        flags = [*LINK_FLAGS, f"-Wl,-soname,lib{self.library}.so.{major}", *roots]
        if self.settings.arch == "armv7hf":
            # Pages are 4 KiB there; the linker's default of 64 KiB pads the file by as much.
            flags.append("-Wl,-z,max-page-size=4096")
        flags += self._linker_flags
        # zig's stubs of the C library are among its default libraries.
        inputs = objects if self._is_zig else f"{objects} -nodefaultlibs {self._c_library()}"
        self.run(f"{self._tool}gcc {' '.join(flags)} -o {self._library_file} {inputs}")

    def _c_library(self):
        """The C library at the floor, for the linker: stubs, and what glibc links statically."""
        floor = str(self.options.libc_floor)
        names = ["libm.so.6", "libc.so.6", LOADERS[str(self.settings.arch)]]
        for name in names:
            listing = self._answer(f"{self._tool}readelf --wide --dyn-syms {self._gcc_file(name)}")
            symbols = symbols_at(listing, floor)
            save(self, f"stubs/{name}.map", version_script(symbols))
            self._make_stub(name, assembly(symbols), f"-Wl,--version-script=stubs/{name}.map")
        stubs = [*(f"stubs/{name}" for name in names), self._gcc_file("libc_nonshared.a")]
        if self._floor < MERGED:
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

    def _link_archive(self, exports, roots, objects):
        """One object with all of it, whose symbols are local but for the exports.

        Without groups: a program's own instance of a template would displace ours, and with it
        the symbols that have become local. Without unique symbols, which objcopy leaves global.
        Sections of one name stay apart: binutils 2.44 joins their exception tables wrongly, and
        crashes on the outcome when a program is linked.
        """
        flags = ["-r -nostdlib -Wl,--gc-sections,--force-group-allocation"]
        flags += ["'-Wl,--unique=.text.*'", "'-Wl,--unique=.ARM.exidx*'", *roots]
        self.run(f"{self._tool}gcc {' '.join(flags)} -o merged.o {objects}")
        symbols = self._answer(f"{self._tool}nm merged.o").splitlines()
        unique = [line.split()[-1] for line in symbols if line.split()[-2] == "u"]
        if unique:  # of an empty list objcopy makes an error
            save(self, "unique.txt", "".join(f"{name}\n" for name in unique))
            self.run(f"{self._tool}objcopy --weaken-symbols=unique.txt merged.o")
        # Which library an object belongs to is the final link's to say: see compat.c.
        shown = (*exports, "__dso_handle")
        global_symbols = " ".join(f"--keep-global-symbol={name}" for name in shown)
        self.run(f"{self._tool}objcopy {global_symbols} merged.o {self.library}.o")
        # Undefined symbols stay behind from sections that are gone: a linker would look for them.
        self.run(f"{self._tool}strip --strip-unneeded {self.library}.o")
        self.run(f"{self._tool}ar rcsD lib{self.library}.a {self.library}.o")

    def package_library(self):
        """Both libraries, the tree, and the shared library's symbols."""
        tree = Path(self.source_folder, "tree")
        for path in filter(Path.is_file, sorted(tree.rglob("*"))):
            text = path.read_text().replace("@VERSION@", self.library_version)
            text = text.replace("@LINK_FLAGS@", " ".join(self._linker_flags))
            save(self, os.path.join(self.package_folder, path.relative_to(tree)), text)
        lib = os.path.join(self.package_folder, "lib")
        for name in (self._library_file, f"lib{self.library}.a"):
            copy(self, name, self.build_folder, lib)
        split_symbols = self.python_requires["program"].module.split_symbols
        split_symbols(self, os.path.join(lib, self._library_file))
