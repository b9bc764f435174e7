"""Build a release again from its recorded inputs, under other conditions, and compare the bytes."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgewright.base import digest, process
from edgewright.base.errors import UserError
from edgewright.base.files import locked, make_folder
from edgewright.base.progress import Progress
from edgewright.base.schema import Document, Part, read_record
from edgewright.base.workspace import Workspace
from edgewright.build import conditions, container, pipeline
from edgewright.build.conditions import Condition
from edgewright.build.packages import Package
from edgewright.model.contract.network_file import network_sha256
from edgewright.release import evidence
from edgewright.release.manifest import Release, load_release

_CONAN_TIMES = "conanmanifest.txt"  # when Conan made the package


class ComparedFile(Part):
    """One file of the release, or of a package that it was linked from."""

    name: str
    sha256: str | None  # None: not there
    again: str | None

    @property
    def is_same(self) -> bool:
        return self.sha256 == self.again


class ReproduceReport(Document):
    """`release.reproduce --json`."""

    version: Literal[1] = 1
    release: str
    board: str
    revision: str
    again: str  # id of the release that was built again
    same: bool
    seconds: float
    conditions: tuple[Condition, ...]
    files: tuple[ComparedFile, ...]
    packages: tuple[str, ...]  # compared
    not_compared: tuple[str, ...]  # packages that this machine's cache does not have any more
    difference: str | None  # file with diffoscope's report
    advice: str | None  # how to get one

    @property
    def differing(self) -> tuple[ComparedFile, ...]:
        return tuple(file for file in self.files if not file.is_same)


@dataclass(frozen=True, kw_only=True)
class ReproduceRequest:
    """What to build again, and where."""

    release: Release
    model: Path
    workspace: Workspace
    cache: Path  # the user's: it has the packages that the release was linked from
    folder: Path  # empty; everything is built in there
    jobs: int

    @property
    def clone_builds(self) -> bool:
        """Whether the workspace is edgewright's own: at its commit it is the same edgewright."""
        return self.workspace.root == self.workspace.resources.root


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """A folder that is empty, and nobody else's meanwhile. Raises UserError where it is."""

    def refuse() -> None:
        raise UserError(str(folder), "a release is being reproduced there", next="wait for it")

    with locked(folder.with_suffix(".lock"), on_busy=refuse):
        if folder.exists():
            shutil.rmtree(folder)  # of one that was interrupted, or came out otherwise
        make_folder(folder)
        yield


def reproduce(request: ReproduceRequest, progress: Progress) -> ReproduceReport:
    """Clone, build under other conditions, compare.

    Raises UserError where the release cannot be made again from what is recorded of it, or this
    machine has not its inputs; ChildFailed where the build fails.
    """
    began = time.monotonic()
    _require_inputs(request)
    around = conditions.prepare(request.folder / "conditions")
    again = _build(request, around, _cloned(request), progress)
    files = [*compared("", _release_files(request.release), _release_files(again))]
    packages = [*_packages(request)]
    for package, before in packages:
        if before:
            files += compared(f"{package.name}/", _tree(before.folder), _tree(package.folder))
    differing = [file for file in files if not file.is_same]
    difference, advice = None, None
    if differing:
        archives = request.release.archive, again.archive
        difference, advice = explained(request.folder, *archives)
    return ReproduceReport(
        release=request.release.id,
        board=request.release.manifest.board,
        revision=request.release.manifest.source.revision,
        again=again.id,
        same=not differing,
        seconds=round(time.monotonic() - began, 1),
        conditions=around.listed,
        files=tuple(files),
        packages=tuple(package.name for package, before in packages if before),
        not_compared=tuple(package.name for package, before in packages if not before),
        difference=difference,
        advice=advice,
    )


def _require_inputs(request: ReproduceRequest) -> None:
    subject, source = f"release {request.release.id}", request.release.manifest.source
    if source.dirty or source.revision == "unknown":
        raise UserError(
            subject,
            "was built from files that no commit has",
            facts=[f"revision: {source.revision}{', with changes' if source.dirty else ''}"],
            next="commit them, and build it anew",
        )
    current = pipeline.source_of(request.workspace)
    if not request.clone_builds and current.edgewright != source.edgewright:
        raise UserError(
            subject,
            "was built by another edgewright",
            facts=[f"expected: {source.edgewright}", f"found: {current.edgewright}"],
            next=f"pip install edgewright=={source.edgewright}",
        )
    expected, actual = request.release.manifest.model.onnx_sha256, network_sha256(request.model)
    if expected != actual:
        raise UserError(
            str(request.model),
            f"is not the network of release {request.release.id}",
            facts=[f"expected: SHA-256 {expected}", f"found: SHA-256 {actual}"],
            next="release.reproduce --model=PATH",
        )


def _cloned(request: ReproduceRequest) -> Path:
    """The workspace at the recorded commit, in a folder of its own."""
    root, clone = request.workspace.root, request.folder / "somewhere" / "else"
    revision = request.release.manifest.source.revision
    git = ["git", "-C", str(root)]
    if process.capture([*git, "cat-file", "-e", f"{revision}^{{commit}}"]).returncode != 0:
        raise UserError(
            str(root), f"has no commit {revision}", next="git fetch, then the same command"
        )
    top, prefix = process.check(
        [*git, "rev-parse", "--show-toplevel", "--show-prefix"]
    ).stdout.splitlines()
    process.check(["git", "clone", "--quiet", "--no-checkout", "--no-hardlinks", top, str(clone)])
    process.check(["git", "-C", str(clone), "checkout", "--quiet", "--detach", revision])
    return clone / prefix


def _build(
    request: ReproduceRequest, around: conditions.Conditions, root: Path, progress: Progress
) -> Release:
    cache, model = request.folder / "cache", request.folder / "model"
    shutil.copytree(request.model.parent, model)
    # They are taken by the hash that a recipe has: the same, or none at all.
    shutil.copytree(request.cache / "sources", cache / "sources", dirs_exist_ok=True)
    for path in (request.folder, *request.folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o777)  # the container's user is another one
    manifest = request.release.manifest
    sources = ["--all-sources"] if _has_all_sources(request.release) else []
    argv = [*around.argv, sys.executable, "-m", "edgewright.cli", "build", "--no-estimate"]
    argv += [f"--board={manifest.board}", f"--model={model / request.model.name}", *sources]
    argv += ["--builder=docker", f"--jobs={request.jobs}", "--json"]
    env = {
        "PATH": f"{around.path}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "EDGEWRIGHT_CACHE": str(cache),
        "EDGEWRIGHT_CONFIG": str(request.folder / "config"),  # no key: nothing is signed
    }
    if request.clone_builds:
        env["PYTHONPATH"] = str(root)
    log = request.folder / "build.log"
    process.run_logged(argv, log, cwd=root, env=env, on_line=progress.line, next=f"read {log}")
    out = request.workspace.build(manifest.board)
    built = root / out.release.relative_to(request.workspace.root)
    latest = root / out.latest.relative_to(request.workspace.root)
    return load_release(built / latest.read_text().strip())


def _has_all_sources(release: Release) -> bool:
    statement = evidence.beside(release).statement
    if not statement.is_file():
        return False
    built = json.loads(statement.read_bytes())["predicate"]["buildDefinition"]
    return bool(built["externalParameters"].get("sources") == "all")


def _release_files(release: Release) -> dict[str, Path]:
    """All that a release consists of, but for signatures."""
    beside = evidence.beside(release)
    files = {**_tree(release.folder), release.archive.name: release.archive}
    if beside.exists:
        unsigned = _tree(beside.folder)
        unsigned.pop(beside.envelope.name, None)
        files |= {f"evidence/{name}": path for name, path in unsigned.items()}
    return files


def _tree(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != _CONAN_TIMES
    }


def _packages(request: ReproduceRequest) -> Iterator[tuple[Package, Package | None]]:
    """Each package that was built again, and the one of the same inputs that was built before."""
    image = container.image_tag(request.workspace.resources)
    records = Path("conan", image.replace("/", "-").replace(":", "-"), "edgewright")
    for record in sorted((request.folder / "cache" / records).glob("*.json")):
        again = _package(record, request.folder / "cache")
        if again is not None:
            yield again, _package(request.cache / records / record.name, request.cache)


def _package(record: Path, cache: Path) -> Package | None:
    package = read_record(Package, record)
    if package is None or not (cache / package.folder).is_dir():
        return None
    return package.model_copy(update={"folder": cache / package.folder})


def compared(
    prefix: str, before: Mapping[str, Path], again: Mapping[str, Path]
) -> Iterator[ComparedFile]:
    """Each file of either build, by its name behind `prefix`."""
    for name in sorted({*before, *again}):
        yield ComparedFile(
            name=f"{prefix}{name}",
            sha256=digest.file_sha256(before[name]) if name in before else None,
            again=digest.file_sha256(again[name]) if name in again else None,
        )


def explained(folder: Path, before: Path, again: Path) -> tuple[str | None, str | None]:
    """Where diffoscope's report on both archives lies; else how to get one."""
    if process.which("diffoscope") is None:
        return None, "apt-get install diffoscope-minimal"
    report = folder / "difference.txt"
    make_folder(report.parent)
    argv = ["diffoscope", "--text", str(report), str(before), str(again)]
    ended = process.capture(argv)
    # 1: they differ. A report that diffoscope began and did not end says too little.
    return (str(report), None) if ended.returncode == 1 else (None, process.quote(argv))
