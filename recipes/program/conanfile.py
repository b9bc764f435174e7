"""What the recipes of programs share: debug symbols split off and named by build id.

A build id is a hash of the symbols too, so no path of the machine that builds may be in them.
"""

import os
from io import StringIO

from conan import ConanFile


class Program(ConanFile):
    name = "program"
    version = "1.0"
    package_type = "python-require"


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
