"""Sources by Debian package name, each pinned by SHA-256.

A recipe lists them in conandata.yml:

    suite: trixie
    sources:
      - package: zlib                     # apt's name of the source package
        file: zlib_1.3.1.orig.tar.gz      # the one file wanted of it
        sha256: ...
        into: src                         # folder below the source folder, top folder stripped
        strip: false                      # where the archive has no top folder
      - package: libsafeint-dev           # a .deb is unpacked as it is: usr/include/...
        file: libsafeint-dev_3.0.28a+dfsg-4_all.deb
        sha256: ...
        into: deps/safeint

edgewright fetches them before a build, which has no network, into the folder of the conf
`user.edgewright:sources`: `<sha256>/<file>`.
"""

import hashlib
import subprocess
from pathlib import Path

from conan import ConanFile
from conan.errors import ConanException
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, rmdir, unzip


class DebianSource(ConanFile):
    name = "debian-source"
    version = "1.0"
    package_type = "python-require"


class CMakeLibrary:
    """Base of the recipes of small static libraries: what differs is data.

    `cmake_options` are handed to the library's own CMake; `licence_file` is kept.
    """

    package_type = "static-library"
    settings = "os", "arch", "compiler", "build_type"
    cmake_options: dict = {}
    extra_cflags: tuple = ()
    licence_file = "LICENSE"

    def layout(self):
        cmake_layout(self, src_folder="src")

    def source(self):
        unpack_all(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables.update(self.cmake_options)
        flags = [
            "-ffunction-sections",
            "-fdata-sections",
            f"-ffile-prefix-map={self.source_folder}/={self.name}/",
            *self.extra_cflags,
        ]
        toolchain.extra_cflags += flags
        toolchain.generate()
        CMakeDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, self.licence_file, self.source_folder, f"{self.package_folder}/licenses")
        for folder in ("bin", "share", "lib/cmake", "lib/pkgconfig"):
            rmdir(self, f"{self.package_folder}/{folder}")


def unpack_all(recipe):
    """Unpack every source of the recipe's conandata.yml into its source folder."""
    for entry in recipe.conan_data["sources"]:
        archive = Path(_conf(recipe, "user.edgewright:sources")) / entry["sha256"] / entry["file"]
        _verify(archive, entry)
        target = Path(recipe.source_folder) / entry["into"]
        if entry["file"].endswith(".deb"):
            subprocess.run(["dpkg-deb", "--extract", archive, target], check=True)
        else:
            strip = entry.get("strip", True)
            unzip(recipe, str(archive), destination=str(target), strip_root=strip)


def _verify(path, entry):
    if not path.is_file():
        raise ConanException(f"{path}: not there; build through invoke build, which fetches it")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != entry["sha256"]:
        raise ConanException(
            f"{path}: not the pinned file\n"
            f"  expected sha256: {entry['sha256']}\n  found sha256:    {sha256}"
        )


def _conf(recipe, name):
    value = recipe.conf.get(name)
    if not value:
        raise ConanException(f"conf {name} is not set; build through invoke build")
    return value
