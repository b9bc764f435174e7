"""Drive Conan in a builder: one package per step, each skipped where nothing changed.

A step's key is a hash of everything that goes in: the recipes, the rendered profile, the
builder and, for the runtime, the op config. What a step made is recorded under its key in the
user's cache, beside the Conan cache that holds the package.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal

from edgewright.base import digest
from edgewright.base.errors import UserError
from edgewright.base.files import make_folder, write_file
from edgewright.base.layout import Resources
from edgewright.base.progress import LineSink
from edgewright.base.runtime_version import RUNTIME_RECIPE, runtime_version
from edgewright.base.schema import Part, read_record
from edgewright.board.profile import Arch, BoardProfile, LibcFamily
from edgewright.build.container import CONAN_LOGIN, Builder
from edgewright.build.supply import Network, Supply
from edgewright.release.programs import DEFAULT_PROGRAM

USER_TOOLCHAIN = "tools.cmake.cmaketoolchain:user_toolchain="  # of Conan's profile: a path
CONFS_OF_IDS = '["user.edgewright:builder"]'  # what of Conan's conf makes another package
SHARED = "shared"  # Conan's name for the remote of edgewright.toml
_ADD_REMOTE = f'conan remote add --force {SHARED} "$1"; shift; '
# What recipes share.
SOURCES, PROGRAMS, SDK_LIBRARIES = "debian-source", "program", "sdk-library"
SHARED_RECIPES = (SOURCES, PROGRAMS, SDK_LIBRARIES)
# In the order in which they are built: libspng is linked with zlib.
LIBRARIES = ("zlib", "libjpeg-turbo", "libspng", "yyjson")
XNNPACK = "xnnpack"
CXX_LIBRARY = "libstdc++"
RUNTIME = RUNTIME_RECIPE
SDK = "onnxruntime-sdk"
LIBEDGE = "libedge"
PROGRAM = DEFAULT_PROGRAM.name
CxxLibrary = Literal["compiler", "debian"]
SDK_PACKAGES = (SDK, LIBEDGE)
OLDEST_MUSL = (1, 2)  # before, 32-bit boards had times of 32 bits
# Of the first Debian for 32-bit ARM with a floating-point unit; the first glibc for 64-bit ARM.
OLDEST_SDK_LIBC = {Arch.ARMHF: (2, 13), Arch.ARM64: (2, 17)}
EDGECTL = "edgectl"
EDGECTL_LIBRARIES = ("musl", "libsodium", "zstd")
EDGECTL_MODULES = {  # library of edgectl → its name for pkg-config, its name for the linker
    "libsodium": ("libsodium", "sodium"),
    "yyjson": ("yyjson", "yyjson"),
    "zstd": ("libzstd", "zstd"),
}
RECIPES = (
    *LIBRARIES,
    XNNPACK,
    CXX_LIBRARY,
    RUNTIME,
    SDK,
    LIBEDGE,
    PROGRAM,
    *EDGECTL_LIBRARIES,
    EDGECTL,
)


class Package(Part):
    """One Conan package in the user's cache."""

    name: str
    ref: str
    package_id: str
    folder: Path  # on the host
    seconds: float  # that building it took; 0 where Conan had it
    key: str


@dataclass(frozen=True, kw_only=True)
class PackageInputs:
    """What the packages of one board and model are built from."""

    resources: Resources
    builder: Builder
    conan_profile: Path
    toolchain: Path | None = None  # None: the compiler of the builder itself
    ops_config: Path | None = None  # None: no runtime is built
    linkage: str = "static"
    kernels: str = "stock"
    xnnpack_core: str | None = None  # None: ONNX Runtime without XNNPACK's provider
    cxx_library: CxxLibrary = "compiler"  # whose libstdc++.a goes in
    sources: Literal["needed", "all"] = "needed"  # of the runtime, to compile
    supply: Supply = field(default_factory=Network)
    jobs: int
    logs: Path


@dataclass(frozen=True, kw_only=True)
class Obtained:
    """A package, and whether it was there already."""

    package: Package
    cached: bool


@dataclass(frozen=True, kw_only=True)
class PackageStep:
    """One `conan create`."""

    name: str
    sources: tuple[Path, ...]
    needs: tuple[str, ...] = ()  # names of earlier steps, whose packages it is built from
    options: Mapping[str, str] = field(default_factory=dict)


def steps(inputs: PackageInputs, *, default_program: bool = True) -> list[PackageStep]:
    """The packages of a release in build order."""
    recipes = inputs.resources.recipes
    return [
        *(library(name, recipes) for name in LIBRARIES),
        *_runtime_steps(inputs),
        *(_program_steps(inputs) if default_program else []),
        *edgectl_steps(inputs.resources),
    ]


def _program_steps(inputs: PackageInputs) -> list[PackageStep]:
    recipes, program = inputs.resources.recipes, inputs.resources.runtime_cpp
    cxx_library = (CXX_LIBRARY,) if inputs.cxx_library == "debian" else ()
    edge_infer = PackageStep(
        name=PROGRAM,
        sources=(
            recipes / PROGRAM,
            recipes / PROGRAMS,
            program / "CMakeLists.txt",
            *(program / part for part in ("cli", "cmake", "common", "include", "src")),
        ),
        needs=(*LIBRARIES, *_provider(inputs), RUNTIME, *cxx_library),
        options={
            **_runtime_options(inputs),
            f"{PROGRAM}/*:linkage": inputs.linkage,
            f"{PROGRAM}/*:cxx_library": inputs.cxx_library,
        },
    )
    return [*(library(name, recipes) for name in cxx_library), edge_infer]


def sdk_steps(inputs: PackageInputs, libc_floor: str) -> list[PackageStep]:
    """The packages of an SDK in build order; its libraries need no newer glibc than that."""
    return [*_runtime_steps(inputs), *library_steps(inputs, libc_floor)]


def library_steps(inputs: PackageInputs, libc_floor: str) -> list[PackageStep]:
    """Those of an SDK that come after the runtime."""
    recipes = inputs.resources.recipes
    shared = (recipes / PROGRAMS, recipes / SDK_LIBRARIES)
    sdk = PackageStep(
        name=SDK,
        sources=(recipes / SDK, *shared),
        needs=(*_provider(inputs), RUNTIME),
        options={**_runtime_options(inputs), f"{SDK}/*:libc_floor": libc_floor},
    )
    return [sdk, *_libedge_steps(inputs, libc_floor, shared)]


def require_sdk_libc(profile: BoardProfile, next: str) -> None:
    """Raises UserError for a board with an older C library than an SDK needs, or with musl and no
    compiler for that."""
    libc = profile.libc
    if libc.family is LibcFamily.MUSL and profile.toolchain.external is None:
        raise UserError(
            f"board '{profile.name}'",
            "has musl, for which the builder's own GCC makes static programs alone",
            facts=["expected: toolchain.external names zig, which brings musl", "found: none"],
            next="pip install --target=FOLDER ziglang, and write toolchain.external = "
            f"'FOLDER/ziglang' into board_profiles/{profile.name}.toml; or {next}",
        )
    number = OLDEST_MUSL if libc.family is LibcFamily.MUSL else OLDEST_SDK_LIBC[profile.abi.arch]
    if libc.version < number:
        oldest = ".".join(map(str, number))
        raise UserError(
            f"board '{profile.name}'",
            f"has {libc.family} {libc.floor}, an SDK needs {oldest} or newer",
            next=next,
        )


def _libedge_steps(
    inputs: PackageInputs, libc_floor: str, shared: tuple[Path, ...]
) -> list[PackageStep]:
    """Its libraries once more, for a shared library; no model goes into any of it."""
    recipes, program = inputs.resources.recipes, inputs.resources.runtime_cpp
    options = {f"{name}/*:fPIC": "True" for name in LIBRARIES}
    libedge = PackageStep(
        name=LIBEDGE,
        sources=(
            recipes / LIBEDGE,
            *shared,
            program / "CMakeLists.txt",
            *(program / part for part in ("cmake", "common", "include", "library", "src")),
        ),
        needs=LIBRARIES,
        options={**options, f"{LIBEDGE}/*:libc_floor": libc_floor},
    )
    return [*(replace(library(name, recipes), options=options) for name in LIBRARIES), libedge]


def _runtime_steps(inputs: PackageInputs) -> list[PackageStep]:
    recipes, provider = inputs.resources.recipes, _provider(inputs)
    runtime = library(RUNTIME, recipes)
    return [
        *(replace(library(name, recipes), options=_xnnpack_options(inputs)) for name in provider),
        replace(runtime, needs=provider, options=_runtime_options(inputs)),
    ]


def _provider(inputs: PackageInputs) -> tuple[str, ...]:
    return (XNNPACK,) if inputs.xnnpack_core else ()


def _runtime_options(inputs: PackageInputs) -> dict[str, str]:
    return {
        f"{RUNTIME}/*:ops_sha256": digest.file_sha256(inputs.ops_config)
        if inputs.ops_config
        else "",
        f"{RUNTIME}/*:kernels": inputs.kernels,
        f"{RUNTIME}/*:sources": inputs.sources,
        **_xnnpack_options(inputs),
    }


def _xnnpack_options(inputs: PackageInputs) -> dict[str, str]:
    if not inputs.xnnpack_core:
        return {}
    return {f"{XNNPACK}/*:core": inputs.xnnpack_core, f"{RUNTIME}/*:xnnpack": "True"}


def edgectl_steps(resources: Resources) -> list[PackageStep]:
    """Those of edgectl, but for yyjson, which edge-infer needs too."""
    recipes, program = resources.recipes, resources.runtime_cpp
    return [
        *(library(name, recipes) for name in EDGECTL_LIBRARIES),
        PackageStep(
            name=EDGECTL,
            sources=(
                recipes / EDGECTL,
                recipes / PROGRAMS,
                *sorted(path for path in (program / EDGECTL).glob("*.*") if path.is_file()),
                *(program / part for part in (f"{EDGECTL}/cmake", "common")),
            ),
            needs=("yyjson", *EDGECTL_LIBRARIES),
        ),
    ]


def library(name: str, recipes: Path) -> PackageStep:
    """A library, or the runtime without its options."""
    return PackageStep(
        name=name,
        sources=(recipes / name, recipes / SOURCES),
        needs=("zlib",) if name == "libspng" else (),
    )


def obtain(
    step: PackageStep,
    inputs: PackageInputs,
    earlier: Mapping[str, Package],
    on_line: LineSink | None = None,
) -> Obtained:
    """The package of one step, from the cache or built now; `earlier` has what it needs, by name.

    Raises ChildFailed, with the end of Conan's output, if it cannot be built.
    """
    if package := recorded(step, inputs, earlier):
        return Obtained(package=package, cached=True)
    key = _key(step, inputs, earlier)
    start = time.monotonic()
    result, log = inputs.logs / f"{step.name}.json", inputs.logs / f"{step.name}.log"
    log.unlink(missing_ok=True)
    if inputs.builder.shared.conan:
        _fetch_shared(step, inputs, log, on_line)
    _conan_create(step, inputs, result, log, on_line)
    is_new, package = _read_result(step, inputs, result, key, time.monotonic() - start)
    if is_new and inputs.builder.shared.conan:
        _share(package, inputs, log, on_line)
    # Several users may have one cache, each under a path of his own.
    inside = package.folder.relative_to(inputs.builder.cache)
    record = package.model_copy(update={"folder": inside})
    write_file(_record(step, inputs, key), record.model_dump_json(indent=2) + "\n")
    return Obtained(package=package, cached=not is_new)


def recorded(
    step: PackageStep, inputs: PackageInputs, earlier: Mapping[str, Package]
) -> Package | None:
    """The package of one step if it was built before. Only records are read: no lock is needed."""
    record = read_record(Package, _record(step, inputs, _key(step, inputs, earlier)))
    if record is None:
        return None
    package = record.model_copy(update={"folder": inputs.builder.cache / record.folder})
    return package if package.folder.is_dir() else None  # somebody may have emptied Conan's cache


def _record(step: PackageStep, inputs: PackageInputs, key: str) -> Path:
    # Conan has a cache of its own, but takes seconds a package to say that nothing changed. The
    # record lies beside that cache, so that one goes with the other.
    conan = inputs.builder.cache / "conan" / inputs.builder.id
    return conan / "edgewright" / f"{step.name}-{key[:16]}.json"


def _key(step: PackageStep, inputs: PackageInputs, earlier: Mapping[str, Package]) -> str:
    """A hash of all that decides on the package: a key that is known stands for the same bytes."""
    return digest.text_sha256(
        step.name,
        inputs.builder.id,
        digest.tree_sha256(*step.sources),
        _shared_part(inputs.conan_profile),
        _shared_part(inputs.toolchain) if inputs.toolchain else "",
        (inputs.resources.toolchains / "build.profile").read_text(),
        json.dumps(dict(step.options), sort_keys=True),
        CONFS_OF_IDS,
        *(earlier[name].key for name in step.needs),  # and so all that those were built from
    )


def _shared_part(rendered: Path) -> str:
    """A board's file without its name and its place, so that boards alike have one key.

    Conan's package id goes by the same: it has the toolchain's content and not its path.
    """
    lines = rendered.read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith(("#", USER_TOOLCHAIN)))


# Exporting is cheap, and makes the recipes as they are now known to this Conan cache. All of it is
# one shell's, since starting a container takes longer than an export.
_EXPORT = 'while [ "$1" != -- ]; do conan export "$1"; shift; done; shift; '


def _conan_create(
    step: PackageStep, inputs: PackageInputs, result: Path, log: Path, on_line: LineSink | None
) -> None:
    inside = inputs.builder.path
    # Without a remote, no package comes from elsewhere than these recipes.
    argv = ["create", str(inside(inputs.resources.recipes / step.name)), "--build=missing"]
    argv += ["--no-remote", *_graph_argv(step, inputs)]
    script = f'result=$1; shift; {_EXPORT}conan "$@" --format=json --out-file="$result"'
    command = ["sh", "-ec", script, "_", str(inside(result)), *_exported(step, inputs), "--", *argv]
    inputs.builder.run(command, log, on_line=on_line)


def _fetch_shared(
    step: PackageStep, inputs: PackageInputs, log: Path, on_line: LineSink | None
) -> None:
    """The package from the shared remote, where that has it: of this recipe, with these options.

    What it lacks is built, and so is all where it does not answer.
    """
    recipe = inputs.resources.recipes / step.name
    argv = ["install", f"--requires={step.name}/{_version(recipe)}", "--build=never"]
    # It would write scripts into the folder that it runs in.
    argv += [f"--remote={SHARED}", "--envs-generation=false", *_graph_argv(step, inputs)]
    script = f'{_EXPORT}{_ADD_REMOTE}conan "$@" || echo "the shared remote does not have it"'
    exported = [*_exported(step, inputs), str(inputs.builder.path(recipe))]
    command = ["sh", "-ec", script, "_", *exported, "--", str(inputs.builder.shared.conan), *argv]
    inputs.builder.run(command, log, on_line=on_line, network=True)


def _share(package: Package, inputs: PackageInputs, log: Path, on_line: LineSink | None) -> None:
    """Leave a package in the shared remote, where this user may write."""
    if not os.environ.get(CONAN_LOGIN[0]):
        return
    argv = ["upload", f"{package.ref}:{package.package_id}", f"--remote={SHARED}", "--confirm"]
    script = f'{_ADD_REMOTE}conan "$@" || echo "it is not left in the shared remote"'
    command = ["sh", "-ec", script, "_", str(inputs.builder.shared.conan), *argv]
    inputs.builder.run(command, log, on_line=on_line, network=True)


def _exported(step: PackageStep, inputs: PackageInputs) -> list[str]:
    recipes = inputs.resources.recipes
    return [str(inputs.builder.path(recipes / name)) for name in (*SHARED_RECIPES, *step.needs)]


def _graph_argv(step: PackageStep, inputs: PackageInputs) -> list[str]:
    """What decides on the package; by the lock file nothing is in another version than tried."""
    inside = inputs.builder.path
    argv = [f"--lockfile={inside(inputs.resources.lockfile)}"]
    argv += [f"--profile:host={inside(inputs.conan_profile)}"]
    argv += [f"--profile:build={inside(inputs.resources.toolchains / 'build.profile')}"]
    confs = {
        "user.edgewright:sources": inside(inputs.builder.cache / "sources"),
        # In a shared remote, packages of two builders lie side by side.
        "user.edgewright:builder": inputs.builder.id,
        "tools.info.package_id:confs+": CONFS_OF_IDS,
        "tools.build:jobs": inputs.jobs,
        # Keep what test packages build out of the recipes, which may lie in a wheel's folder.
        "tools.cmake.cmake_layout:test_folder": "$TMP",
        "tools.cmake.cmaketoolchain:user_presets": "",
    }
    if inputs.ops_config:
        confs["user.edgewright:ops_config"] = inside(inputs.ops_config)
    for name, value in confs.items():
        argv += ["--conf", f"{name}={value}"]
    for name, value in step.options.items():
        argv += ["--options:host", f"{name}={value}"]
    return argv


def _read_result(
    step: PackageStep, inputs: PackageInputs, result: Path, key: str, seconds: float
) -> tuple[bool, Package]:
    """Whether Conan built the package now, and the package.

    `seconds` are those of the whole `conan create`, which are the package's own where it was built:
    what it needs was there, as an earlier step.
    """
    # Conan names the folder as the builder sees it.
    cache = inputs.builder.cache
    mount = inputs.builder.path(cache)
    nodes = json.loads(result.read_text())["graph"]["nodes"].values()
    node = next(n for n in nodes if n["name"] == step.name and n["context"] == "host")
    folder = PurePosixPath(node["package_folder"])
    if not folder.is_relative_to(mount):
        raise UserError(str(folder), f"Conan put a package outside of {mount}")
    is_new = node["binary"] == "Build"
    package = Package(
        name=step.name,
        ref=node["ref"],
        package_id=node["package_id"],
        folder=cache / folder.relative_to(mount),
        seconds=seconds if is_new else 0.0,
        key=key,
    )
    return is_new, package


def write_pkg_config(
    out: Path,
    libraries: Mapping[str, Package],
    path: Callable[[Path], PurePath] = Path,
) -> None:
    """Describe the libraries of edgectl for pkg-config, for a build of its sources without Conan.

    `path` gives the name that a folder of this host has where the build runs.
    """
    make_folder(out)
    for name, (module, library) in EDGECTL_MODULES.items():
        folder = path(libraries[name].folder)
        (out / f"{module}.pc").write_text(
            f"Name: {library}\nDescription: {library}\nVersion: 0\n"
            f"Libs: -L{folder}/lib -l{library}\nCflags: -I{folder}/include\n"
        )


def write_lock(resources: Resources, builder: Builder, log: Path) -> None:
    """Write `recipes/conan.lock`: the one version of every recipe that a build may use."""
    refs = sorted(f"{name}/{_version(resources.recipes / name)}" for name in RECIPES)
    shared = [f"{name}/{_version(resources.recipes / name)}" for name in SHARED_RECIPES]
    argv = ["conan", "lock", "add", *(f"--requires={ref}" for ref in refs)]
    argv += [f"--python-requires={ref}" for ref in shared]
    argv += [f"--lockfile-out={builder.path(resources.lockfile)}"]
    resources.lockfile.unlink(missing_ok=True)
    builder.run(argv, log)


def _version(recipe: Path) -> str:
    if recipe.name == RUNTIME:
        return runtime_version().version
    for line in (recipe / "conanfile.py").read_text().splitlines():
        words = line.split("=")
        if words[0].strip() == "version":
            return words[1].strip().strip('"')
    raise UserError(str(recipe), "has no version line")
