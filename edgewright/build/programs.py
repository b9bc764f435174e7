"""The user's own programs of a release: built as `edge-infer` is, and held to the same audit.

Each is a project of CMake, Meson or make in the workspace. It gets the board's toolchain and the
packages of an SDK, sees no more of this machine than those and its sources, and can write into a
folder of its own alone; what it installs there goes into the release.
"""

import os
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from edgewright.base import digest
from edgewright.base.errors import UserError
from edgewright.base.files import (
    make_folder,
    open_inside,
    remove_tree,
    update_file,
    write_file,
)
from edgewright.base.layout import BoardBuild
from edgewright.base.process import ChildFailed
from edgewright.base.progress import Stages
from edgewright.base.workspace import SETTINGS, OwnProgram, Workspace
from edgewright.board import audit
from edgewright.board.elf import read_elf
from edgewright.board.profile import BoardProfile, Linkage
from edgewright.board.toolchain import compiler_flags
from edgewright.build import meson, packages
from edgewright.build.container import Builder, Sandbox
from edgewright.build.packages import Package
from edgewright.build.supply import Supply
from edgewright.release.manifest import GOLDEN_BYTES
from edgewright.release.programs import DEFAULT_PROGRAM, SERVICE_FILE, SHARE, ReleasedProgram

PREFIX = PurePath("/release")  # where a program installs itself, below DESTDIR
MOST_PATHS = 5
READ_ONLY = "Read-only file system"
# Of files in bin/, up to `.so`: the bill of materials knows edgewright's own by them.
RESERVED = (
    DEFAULT_PROGRAM.name,
    packages.EDGECTL,
    packages.LIBEDGE,
    "libonnxruntime",
    PurePath(SERVICE_FILE).name,
)
# A Makefile builds where its sources are; the sources themselves cannot be written.
SCRIPTS = {
    "CMakeLists.txt": r"""
cmake -G Ninja -S "$source" -B "$build" -DCMAKE_TOOLCHAIN_FILE="$toolchain" \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$packages" -DCMAKE_INSTALL_PREFIX="$prefix"
cmake --build "$build" --parallel "$jobs"
DESTDIR="$stage" cmake --install "$build"
""",
    meson.PROJECT: meson.BUILD,
    "Makefile": r"""
cp -R "$source/." "$build"
make -C "$build" -j"$jobs"
make -C "$build" install DESTDIR="$stage" PREFIX="$prefix"
""",
}
SPLIT_SYMBOLS = r"""
tool=$1 symbols=$2
shift 2
while [ $# -gt 0 ]; do
    folder=$symbols/.build-id/$(echo "$2" | cut -c 1-2)
    mkdir -p "$folder"
    "$tool"objcopy --only-keep-debug "$1" "$folder/$(echo "$2" | cut -c 3-).debug"
    "$tool"strip --strip-all "$1"
    shift 2
done
"""


@dataclass(frozen=True, kw_only=True)
class ProgramInputs:
    """What the programs of a board are built with."""

    profile: BoardProfile
    workspace: Workspace
    builder: Builder
    packages: Mapping[str, Package]  # those of an SDK
    supply: Supply
    jobs: int

    @property
    def out(self) -> BoardBuild:
        return self.workspace.build(self.profile.name)


@dataclass(frozen=True, kw_only=True)
class BuiltPrograms:
    """What the user's programs bring into a release."""

    programs: tuple[ReleasedProgram, ...] = ()
    binaries: Mapping[str, Path] = field(default_factory=dict)  # path in the release → file
    files: Mapping[str, Path] = field(default_factory=dict)  # the same of all that is not in bin/
    linkages: Mapping[str, Linkage] = field(default_factory=dict)  # of the binaries
    sources: Mapping[str, Path] = field(default_factory=dict)  # likewise: the folders
    symbols: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Project:
    """One program, in the workspace and in the folder that it is built in."""

    name: str
    settings: OwnProgram
    inputs: ProgramInputs

    @property
    def subject(self) -> str:
        return f"program '{self.name}'"

    @property
    def source(self) -> Path:
        return self.inputs.workspace.root / self.settings.source

    @property
    def folder(self) -> Path:
        return self.inputs.out.programs / self.name

    @property
    def stage(self) -> Path:
        return self.folder / "stage"

    @property
    def installed(self) -> Path:
        return self.stage / PREFIX.relative_to("/")

    @property
    def symbols(self) -> Path:
        return self.folder / "symbols"

    @property
    def log(self) -> Path:
        return self.inputs.out.logs / f"program-{self.name}.log"

    @property
    def golden(self) -> Path | None:
        golden = self.settings.golden
        return self.inputs.workspace.root / golden if golden else None

    @property
    def binaries(self) -> dict[str, Path]:
        files = (path for path in sorted((self.installed / "bin").iterdir()) if path.is_file())
        return {f"bin/{path.name}": path for path in files}

    @property
    def again(self) -> str:
        return f"mend {self.source}, then invoke build --board={self.inputs.profile.name}"


def build_programs(inputs: ProgramInputs, stages: Stages) -> BuiltPrograms:
    """Build every program of the workspace, each a stage; what is current is taken as it is.

    Raises UserError for one that does not build, does not fit the board, brings what a release
    cannot take, or writes outside of its folder.
    """
    binaries: dict[str, Path] = {}
    files: dict[str, Path] = {}
    linkages: dict[str, Linkage] = {}
    sources: dict[str, Path] = {}
    projects = [
        _Project(name=name, settings=settings, inputs=inputs)
        for name, settings in sorted(inputs.workspace.settings.programs.items())
    ]
    for project in projects:
        with stages.stage(project.name) as stage:
            stage.cached = _build(project, stages)
        if twice := binaries.keys() & project.binaries.keys():
            raise UserError(
                project.subject,
                f"installs {min(twice)}, which another program has",
                next=project.again,
            )
        binaries |= project.binaries
        linkages |= dict.fromkeys(project.binaries, Linkage(project.settings.linkage))
        sources |= dict.fromkeys(project.binaries, project.source)
        files |= _files(project)
    files |= _service_file(inputs)
    return BuiltPrograms(
        programs=tuple(
            ReleasedProgram(name=project.name, selftest=project.settings.selftest)
            for project in projects
        ),
        binaries=binaries,
        files=files,
        linkages=linkages,
        sources=sources,
        symbols=tuple(project.symbols for project in projects),
    )


def _build(project: _Project, stages: Stages) -> bool:
    """Build a program unless it is there and current; whether it was."""
    script = _require_project(project)
    key, stamp = _key(project), project.folder / "key"  # written last
    # Without a sandbox it may have read anything, which no key tells.
    if project.inputs.builder.has_sandbox and stamp.is_file() and stamp.read_text() == key:
        return True
    remove_tree(project.folder)
    project.log.unlink(missing_ok=True)
    for folder in (project.folder / "build", project.stage):
        make_folder(folder)
    _run_build(project, script, stages)
    _require_inside(project)
    remove_tree(project.symbols)  # whatever the build left there
    make_folder(project.symbols)
    _split_symbols(project, stages)
    _require_fit(project)
    write_file(stamp, key)
    return False


def _require_project(project: _Project) -> str:
    """The script that builds it. Raises UserError for what is no project."""
    if _is_reserved(project.name):
        raise UserError(
            project.subject,
            "is a name of edgewright's own",
            facts=[f"reserved: {', '.join(RESERVED)}"],
            next=f"name it otherwise under [programs] in {SETTINGS}",
        )
    for folder in filter(None, (project.source, project.golden)):
        _require_in_workspace(folder, project.inputs.workspace.root)
    _require_own_sources(project)
    for name, script in SCRIPTS.items():
        if (project.source / name).is_file():
            return script
    raise UserError(
        str(project.source),
        f"is no project of {project.subject}",
        facts=[f"expected: {' or '.join(SCRIPTS)}"],
        next="edgewright init --program writes one",
    )


def _is_reserved(name: str) -> bool:
    return name.partition(".so")[0] in RESERVED


def _require_in_workspace(folder: Path, root: Path) -> None:
    """Raise UserError if a folder of the settings is a link or behind one: its files are released.

    Whoever made the repository could have any file of this machine released.
    """
    for place in (folder, *folder.parents):
        if place == root:
            return
        if place.is_symlink():
            raise UserError(
                str(place),
                "is a link, expected a folder of the workspace",
                next=f"put the folder itself there, or mend [programs] in {SETTINGS}",
            )


def _require_own_sources(project: _Project) -> None:
    """Raise UserError if sources lie elsewhere, by a link, or hold what is built of them.

    No more than their folder is hashed, and can be read.
    """
    source = project.source
    if project.folder.is_relative_to(source):
        raise UserError(
            str(source),
            f"has the build folder in it, expected the sources of {project.subject} alone",
            next=f"move them into a folder, and name it in [programs.{project.name}] of {SETTINGS}",
        )
    inside = source.resolve()
    for folder, folders, files in os.walk(source):
        for path in (Path(folder, name) for name in (*folders, *files)):
            is_link = path.is_symlink() and path.exists()
            if is_link and not path.resolve().is_relative_to(inside):
                raise UserError(
                    str(path),
                    f"is a link that leads out of the sources of {project.subject}",
                    facts=[f"to: {path.resolve()}"],
                    next="copy it there",
                )


def _key(project: _Project) -> str:
    """A hash of all that decides on what is built."""
    inputs = project.inputs
    return digest.text_sha256(
        inputs.builder.id,
        digest.tree_sha256(Path(__file__), Path(meson.__file__), project.source),
        project.settings.model_dump_json(),
        inputs.profile.model_dump_json(),
        inputs.out.toolchain.read_text(),
        digest.tree_sha256(inputs.workspace.resources.recipes / meson.RECIPE),
        *(inputs.packages[name].key for name in packages.SDK_PACKAGES),
    )


def _run_build(project: _Project, script: str, stages: Stages) -> None:
    inputs, inside = project.inputs, project.inputs.builder.path
    values = {
        "source": inside(project.source),
        "build": inside(project.folder / "build"),
        "stage": inside(project.stage),
        "prefix": PREFIX,
        "toolchain": inside(inputs.out.toolchain),
        "packages": ";".join(
            str(inside(inputs.packages[name].folder)) for name in packages.SDK_PACKAGES
        ),
        "jobs": inputs.jobs,
    }
    readable: tuple[Path, ...] = ()
    if script == meson.BUILD:
        tool = meson.unpacked(
            inputs.builder, inputs.workspace.resources, inputs.supply, project.log
        )
        values |= {"meson": inside(tool), "cross": inside(_write_cross_file(project))}
        readable = (tool,)
    head = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())
    _run(project, ["sh", "-euc", head + script], stages, _environment(project), readable)


def _write_cross_file(project: _Project) -> Path:
    inputs, inside = project.inputs, project.inputs.builder.path
    env = _environment(project)
    path = project.folder / "meson.cross"
    text = meson.cross_file(
        inputs.profile,
        toolchain=inside(inputs.out.toolchain),
        compile_flags=shlex.split(env["CFLAGS"]),
        link_flags=shlex.split(env["LDFLAGS"]),
        packages=[inside(inputs.packages[name].folder) for name in packages.SDK_PACKAGES],
    )
    write_file(path, text)
    return path


def _environment(project: _Project) -> dict[str, str]:
    """The board's compiler and flags for make; CMake and Meson's cross file have them from here."""
    profile, inside = project.inputs.profile, project.inputs.builder.path
    tool = f"{profile.abi.triplet}-"
    folders = [inside(project.inputs.packages[name].folder) for name in packages.SDK_PACKAGES]
    names = {inside(project.source): project.name, inside(project.folder / "build"): "build"}
    names |= dict(zip(folders, packages.SDK_PACKAGES, strict=True))
    # No path of this machine, nor of its cache, goes into what is built.
    prefixes = [f"-ffile-prefix-map={path}={name}" for path, name in names.items()]
    flags = shlex.join([*compiler_flags(profile), "-O2", "-g", *prefixes])
    static = ["-static"] if project.settings.linkage == "static" else []
    return {
        "CC": f"{tool}gcc",
        "CXX": f"{tool}g++",
        "AR": f"{tool}ar",
        "CFLAGS": flags,
        "CXXFLAGS": flags,
        "LDFLAGS": shlex.join([*static, "-Wl,--build-id=sha1", "-Wl,--gc-sections"]),
        "PKG_CONFIG_PATH": ":".join(f"{folder}/lib/pkgconfig" for folder in folders),
        "CCACHE_DISABLE": "1",  # its folder is not there
    }


def _run(
    project: _Project,
    argv: Sequence[str],
    stages: Stages,
    env: Mapping[str, str] | None = None,
    readable: Sequence[Path] = (),
) -> None:
    log, inputs = project.log, project.inputs
    libraries = (inputs.packages[name].folder for name in packages.SDK_PACKAGES)
    sandbox = Sandbox(
        writable=project.folder,
        readable=(project.source, inputs.out.toolchain, *libraries, *readable),
    )
    try:
        inputs.builder.run(argv, log, env=env, on_line=stages.progress.line, sandbox=sandbox)
    except ChildFailed as failed:
        refused = [line for line in log.read_text().splitlines() if READ_ONLY in line]
        if not refused:
            raise
        raise _writes_outside(project, refused, log) from failed


def _writes_outside(project: _Project, places: Sequence[str], log: Path | None) -> UserError:
    return UserError(
        project.subject,
        "writes outside of its folder",
        facts=[
            f"expected: files in the build folder, bin/, and {SHARE}/{project.name}/, installed "
            "below CMAKE_INSTALL_PREFIX or DESTDIR and PREFIX",
            *(f"found: {line.strip()}" for line in places[:MOST_PATHS]),
            *([f"log: {log}"] if log else []),
        ],
        next=project.again,
    )


def _require_inside(project: _Project) -> None:
    """What was installed is in bin/ and in share/NAME/, plain files alone, and the program is.

    The build may have left anything in its folder: nothing of it is followed, or opened, before.
    """
    outside, unfit = [], []
    is_link = project.stage.is_symlink()
    for path in [project.stage] if is_link else sorted(project.stage.rglob("*")):
        name, mode = path.relative_to(project.stage).as_posix(), path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            unfit.append(f"{'link' if stat.S_ISLNK(mode) else 'no regular file'}: /{name}")
        elif not path.is_relative_to(project.installed):
            outside.append(f"/{name}")
        else:
            inside = path.relative_to(project.installed).as_posix()
            is_binary = path.parent == project.installed / "bin"
            if not is_binary and not inside.startswith(f"{SHARE}/{project.name}/"):
                outside.append(inside)
            elif is_binary and _is_reserved(path.name):
                unfit.append(f"edgewright's own: {inside}")
    if outside:
        raise _writes_outside(project, outside, None)
    if unfit:
        raise UserError(
            project.subject,
            "installs what a release cannot take",
            facts=unfit[:MOST_PATHS],
            next=project.again,
        )
    if not (project.installed / "bin" / project.name).is_file():
        raise UserError(
            project.subject,
            f"installs no bin/{project.name}",
            facts=["expected: install(TARGETS …), or install in the Makefile"],
            next=project.again,
        )


def _split_symbols(project: _Project, stages: Stages) -> None:
    """Strip the binaries. One of another machine is refused before: no tool here could read it."""
    arguments = []
    for path in project.binaries.values():
        facts = read_elf(path)
        _require(project, audit.judge_machine(facts, project.inputs.profile), path)
        if facts.build_id:
            arguments += [str(project.inputs.builder.path(path)), facts.build_id]
    tool = f"{project.inputs.profile.abi.triplet}-"
    symbols = str(project.inputs.builder.path(project.symbols))
    _run(project, ["sh", "-euc", SPLIT_SYMBOLS, "_", tool, symbols, *arguments], stages)


def _require_fit(project: _Project) -> None:
    binaries = project.binaries
    linkages = dict.fromkeys(binaries, Linkage(project.settings.linkage))
    judgement = audit.audit_files(
        binaries,
        project.inputs.profile,
        project.symbols,
        linkages=linkages,
        without_budget=binaries,
        linkage_key=f"programs.{project.name}.linkage",
    )
    for file in judgement.files:
        _require(project, file.findings, binaries[file.path])


def _require(project: _Project, findings: Sequence[audit.Finding], path: Path) -> None:
    rebuild = f"invoke build --board={project.inputs.profile.name}"
    ours = [
        finding.model_copy(
            update={
                # To build the same anew does not help.
                "next": f"{finding.next}, then {rebuild}"
                if finding.next and not finding.next.startswith("invoke build")
                else project.again
            }
        )
        for finding in findings
    ]
    audit.require(ours, str(path))


def _files(project: _Project) -> dict[str, Path]:
    """What goes beside the binaries: what was installed in share/NAME/, and the golden data."""
    share = PurePath(SHARE, project.name)
    folders = {share: project.installed / share}
    if project.golden:
        if not project.golden.is_dir():
            raise UserError(
                str(project.golden),
                f"no such folder, the golden data of {project.subject}",
                next=f"make it, or mend golden in [programs.{project.name}] of {SETTINGS}",
            )
        folders[share / "golden"] = project.golden
    files: dict[str, Path] = {}
    size = 0
    for place, folder in folders.items():
        for inside, path in _regular_files(folder):
            name = (place / inside).as_posix()
            if name in files:
                raise UserError(
                    project.subject,
                    f"installs {name}, which its golden data have, too",
                    next=project.again,
                )
            files[name] = path
            size += path.stat().st_size
    if size > GOLDEN_BYTES:
        raise UserError(
            project.subject,
            "brings too much beside itself",
            facts=[f"expected: at most {GOLDEN_BYTES:,} bytes", f"found: {size:,}"],
            next=project.again,
        )
    return files


def _regular_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names in a folder, and files. Raises UserError for whatever is neither file nor folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            name = path.relative_to(folder).as_posix()
            open_inside(folder, name, next="copy the file there").close()
            yield name, path


def _service_file(inputs: ProgramInputs) -> dict[str, Path]:
    """The script that becomes the service of a release, where a program is it."""
    path = inputs.out.programs / PurePath(SERVICE_FILE).name
    for name, settings in inputs.workspace.settings.programs.items():
        if settings.service is not None:
            words = shlex.join([f"bin/{name}", *settings.service])
            update_file(path, f"#!/bin/sh\n# Started in the folder of the release.\nexec {words}\n")
            return {SERVICE_FILE: path}
    return {}
