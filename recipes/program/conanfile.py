"""What the recipes of programs share: debug symbols split off and named by build id.

A build id is a hash of the symbols too, so no path of the machine that builds may be in them.
"""

import os
from io import StringIO

from conan import ConanFile
from conan.tools.env import Environment

GENERATED = "generated"  # folder of a build, of sources that CMake writes


class Program(ConanFile):
    name = "program"
    version = "1.0"
    package_type = "python-require"


def source_names(recipe):
    """Compiler options that name sources as the repository does; the build's folder is `build/`.

    A change of any source gives the build another folder in Conan's cache. ccache finds what was
    compiled in the former one: it hands on paths relative to that of the build, and does not count
    what these options map. Where it gives up, it hands on the paths as they are: either way the
    names are the same, or one source had two objects.
    """
    root = os.path.commonpath([recipe.source_folder, recipe.build_folder])
    ccache = Environment()
    ccache.define("CCACHE_BASEDIR", root)
    ccache.vars(recipe).save_script("ccache")
    names = {
        root: "runtime_cpp",
        recipe.build_folder: "build",
        os.path.relpath(root, recipe.build_folder): "runtime_cpp",
        GENERATED: f"build/{GENERATED}",
    }
    return [f"-ffile-prefix-map={folder}/={name}/" for folder, name in names.items()]


def library_names(recipe):
    """Compiler options that put a library's name in place of its folder in Conan's cache."""
    libraries = recipe.dependencies.host.values()
    return [f"-ffile-prefix-map={lib.package_folder}/={lib.ref.name}/" for lib in libraries]


def split_symbols(recipe, binary):
    """Strip `binary`; keep what was stripped as <build id>.debug, where gdb looks for it."""
    triplet = recipe.conf.get("tools.gnu:host_triplet", default="")
    tool = f"{triplet}-" if triplet else ""
    build_id = _build_id(recipe, binary, tool)
    folder = os.path.join(recipe.package_folder, "symbols", ".build-id", build_id[:2])
    os.makedirs(folder, exist_ok=True)
    debug = os.path.join(folder, f"{build_id[2:]}.debug")
    recipe.run(f'{tool}objcopy --only-keep-debug "{binary}" "{debug}"')
    recipe.run(f'{tool}strip --strip-all "{binary}"')


def _build_id(recipe, binary, tool):
    notes = StringIO()
    recipe.run(f'{tool}readelf --notes "{binary}"', stdout=notes)
    return notes.getvalue().split("Build ID:")[1].split()[0]
