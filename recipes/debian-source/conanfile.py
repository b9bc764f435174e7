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

Files are kept in the folder of the conf `user.edgewright:sources`, named by their hash, so
that a second build needs no network. The archive is that of the conf
`user.edgewright:debian_archive`, one line in the format of sources.list.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import urllib.parse
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
        fetch_all(self)

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


def fetch_all(recipe):
    """Unpack every source of the recipe's conandata.yml into its source folder."""
    data = recipe.conan_data
    for entry in data["sources"]:
        archive = _fetch(recipe, data["suite"], entry)
        target = Path(recipe.source_folder) / entry["into"]
        if entry["file"].endswith(".deb"):
            subprocess.run(["dpkg-deb", "--extract", archive, target], check=True)
        else:
            strip = entry.get("strip", True)
            unzip(recipe, str(archive), destination=str(target), strip_root=strip)


def _fetch(recipe, suite, entry):
    """The file of an entry in the user's cache, downloaded where it is not there yet."""
    store = Path(_conf(recipe, "user.edgewright:sources"))
    archive = store / entry["sha256"] / entry["file"]
    if not archive.is_file():
        recipe.output.info(f"fetching {entry['file']} through apt")
        _download(recipe, suite, entry, store, archive)
    _verify(archive, entry)
    return archive


def _download(recipe, suite, entry, store, archive):
    """Download aside, verify, then rename: a broken download never counts as cached."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    apt = _private_apt(recipe, suite, store)
    with tempfile.TemporaryDirectory(dir=store) as scratch:
        if entry["file"].endswith(".deb"):
            command = ["apt-get", *apt, "download", entry["package"]]
        else:
            command = ["apt-get", *apt, "source", "--download-only", "--tar-only"]
            command.append(entry["package"])
        answer = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
        # apt escapes what it names a file by, as the ~ of a version.
        files = {urllib.parse.unquote(p.name): p for p in Path(scratch).iterdir()}
        if entry["file"] not in files:
            raise ConanException(
                f"{entry['package']}: the archive did not deliver {entry['file']}\n"
                f"  found: {', '.join(sorted(files)) or 'nothing'}\n{answer.stdout}{answer.stderr}"
            )
        _verify(files[entry["file"]], entry)
        os.replace(files[entry["file"]], archive)


def _private_apt(recipe, suite, store):
    """Options for an apt with lists of its own, which needs no root; lists are read once."""
    home = store / f"apt-{suite}"
    for folder in ("lists/partial", "cache/archives/partial", "empty"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    archive = _conf(recipe, "user.edgewright:debian_archive").format(suite=suite)
    sources = f"{archive}\n{archive.replace('deb ', 'deb-src ', 1)}\n"
    options = []
    for key, value in {
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Dir::Cache": home / "cache",
        "Dir::Etc::sourcelist": home / "sources.list",
        "Dir::Etc::sourceparts": home / "empty",
        "Dir::State": home,
        "Dir::State::lists": home / "lists",
    }.items():
        options += ["-o", f"{key}={value}"]
    current = home / "sources.list"
    if not current.is_file() or current.read_text() != sources:
        current.write_text(sources)
        shutil.rmtree(home / "lists")
        (home / "lists/partial").mkdir(parents=True)
        try:
            subprocess.run(["apt-get", *options, "update"], check=True)
        except BaseException:
            current.unlink()
            raise
    return options


def _verify(path, entry):
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
