"""A mirror: all that the builds of a workspace take from elsewhere, in one folder, by hash.

`blobs/<sha256>` holds contents and `index.json` says what they are. The index appears by rename,
after all of its blobs: a mirror that was interrupted while it was made has none, or the former
one. Whoever takes a file out of it compares its hash.
"""

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

import edgewright
from edgewright.base import digest, process
from edgewright.base.errors import CheckError, UserError
from edgewright.base.files import (
    cached_folder,
    copy_file,
    locked,
    make_folder,
    open_inside,
    read_file,
    replacing,
    write_file,
)
from edgewright.base.layout import Resources
from edgewright.base.progress import LineSink, Progress
from edgewright.base.runtime_version import runtime_version
from edgewright.base.schema import LIMIT, Document, Part, parse_json
from edgewright.base.workspace import Inside, Workspace
from edgewright.build.container import image_tag
from edgewright.build.supply import (
    Pins,
    Supply,
    fetch,
    image_exists,
    pins_of,
    source_file,
)
from edgewright.model.contract import host_runtime

INDEX, BLOBS = "index.json", "blobs"
Kind = Literal["source", "base image", "package", "wheel", "runtime", "model"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class MirroredFile(Part):
    """A file of the mirror, by its name where it is used."""

    kind: Kind
    name: Inside  # of a base image the name that Docker gives it; of a model MODEL/FILE
    sha256: Sha256
    bytes: int


class MirrorIndex(Document):
    """`index.json`."""

    version: Literal[1] = 1
    edgewright: str
    builder: str  # the image that base image, packages and wheels are for
    files: tuple[MirroredFile, ...]


class Share(Part):
    """What there is of one kind."""

    kind: Kind
    files: int
    bytes: int


class Fault(Part):
    """A file that is not there, or not what it should be."""

    file: str
    sha256: str | None  # that it should have; null: it has no business there
    problem: str


class MirrorReport(Document):
    """What `mirror.create` and `mirror.verify` print."""

    version: Literal[1] = 1
    folder: Path
    index_sha256: str  # stands for every byte of the mirror
    builder: str
    contents: tuple[Share, ...]
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A mirror as the only supply of a build."""

    folder: Path
    index: MirrorIndex

    def sources(self, pins: Pins, into: Path, log: Path) -> None:
        mirrored = {file.sha256: file for file in self.of("source")}
        for source in pins.sources:
            if source.sha256 not in mirrored:
                raise self._lacks(source.file, f"sha256 {source.sha256}")
            self.take(mirrored[source.sha256], into / source.file)

    def builder(self, image: str, context: Path, log: Path, on_line: LineSink | None) -> str:
        if image != self.index.builder:
            raise self._lacks(image, f"found: {self.index.builder}")
        for kind, folder in (("package", "packages"), ("wheel", "wheels")):
            for file in self.of(kind):
                self.take(file, context / folder / file.name)
        (base,) = self.of("base image")
        if not image_exists(base.name):
            with tempfile.TemporaryDirectory(prefix="edgewright-base-") as scratch:
                archive = Path(scratch) / "base.tar"
                self.take(base, archive)
                load = ["docker", "load", "--input", str(archive)]
                process.run_logged(load, log, on_line=on_line)
        return base.name

    def host_runtime(self) -> None:
        with tempfile.TemporaryDirectory(prefix="edgewright-wheels-") as scratch:
            for file in self.of("runtime"):
                self.take(file, Path(scratch) / file.name)
            host_runtime.provide(Path(scratch))

    def model(self, name: str, cache: Path) -> Path:
        """The network of a model, in a folder of the cache with all that belongs to it.

        Raises UserError if the mirror has no model of this name.
        """
        files = [file for file in self.of("model") if file.name.startswith(f"{name}/")]
        networks = [file for file in files if file.name.endswith(".onnx")]
        if not networks:
            raise self._lacks(f"model '{name}'", "it is in no workspace either")
        key = digest.text_sha256(*(f"{file.name} {file.sha256}" for file in files))
        out = cache / "mirrored" / key[:16]
        if not out.is_dir():
            with cached_folder(out) as folder:
                for file in files:
                    self.take(file, folder / file.name)
        return out / networks[0].name

    def of(self, kind: str) -> Iterator[MirroredFile]:
        return (file for file in self.index.files if file.kind == kind)

    def blob(self, file: MirroredFile) -> Path:
        return self.folder / BLOBS / file.sha256

    def take(self, file: MirroredFile, target: Path) -> None:
        """Copy a file out of the mirror, hashing what is copied. Raises UserError.

        No link is followed, and nothing of another size than the index says is copied.
        """
        facts, again = [f"{file.kind}: {file.name}"], f"edgewright mirror.verify {self.folder}"
        with replacing(target) as aside:
            try:
                blob = open_inside(self.folder / BLOBS, file.sha256)
            except UserError as unread:
                raise UserError(unread.subject, unread.problem, facts=facts, next=again) from unread
            with blob, aside.open("wb") as copy:
                size = os.fstat(blob.fileno()).st_size
                if size == file.bytes:
                    shutil.copyfileobj(blob, copy)
            if problem := problem_of(file, size, aside):
                raise UserError(str(self.blob(file)), problem, facts=facts, next=again)

    def _lacks(self, subject: str, fact: str) -> UserError:
        return UserError(
            subject,
            "is not in the mirror",
            facts=[f"mirror: {self.folder}", fact],
            next=f"edgewright mirror.create {self.folder}, where there is a network",
        )


def open_mirror(folder: Path) -> Mirror:
    """Raises UserError where there is none, or half of one."""
    path = folder / INDEX
    again = f"edgewright mirror.create {folder}, where there is a network"
    if not path.is_file():
        raise UserError(
            str(folder), "is no mirror, or half of one", facts=[f"expected: {path}"], next=again
        )
    raw = read_file(path, limit=LIMIT, next=again)
    index = parse_json(MirrorIndex, raw, str(path), "is no index of a mirror", next=again)
    return Mirror(folder=folder, index=index)


# Make


@dataclass(frozen=True, kw_only=True)
class MirrorRequest:
    """What to gather, and where."""

    folder: Path
    workspace: Workspace
    cache: Path  # sources are in it afterwards, too
    log: Path
    supply: Supply


def create(request: MirrorRequest, progress: Progress) -> MirrorReport:
    """Gather all that the workspace's builds take from elsewhere; what is there is not copied.

    What an older index named and this one does not is removed. Raises UserError or ChildFailed;
    the former index is then in place.
    """
    make_folder(request.folder)

    def refuse() -> None:
        raise UserError(str(request.folder), "is being written by another", next="wait for it")

    with locked(request.folder / ".lock", on_busy=refuse):
        files: list[MirroredFile] = []
        with tempfile.TemporaryDirectory(dir=request.folder, prefix=".gather-") as scratch:
            for kind, gathered in _gather(request, Path(scratch), progress):
                blobs = request.folder / BLOBS
                files += [_keep(kind, name, path, blobs) for name, path in gathered]
        index = MirrorIndex(
            edgewright=edgewright.__version__,
            builder=image_tag(request.workspace.resources),
            files=tuple(sorted(set(files), key=lambda file: (file.kind, file.name))),
        )
        write_file(request.folder / INDEX, index.to_json())
        for blob in _unindexed(request.folder, index):
            blob.unlink()
    return report(open_mirror(request.folder))


Named = Iterable[tuple[str, Path]]


def _gather(
    request: MirrorRequest, scratch: Path, progress: Progress
) -> Iterator[tuple[Kind, Named]]:
    progress.start("sources")
    yield "source", _sources(request)
    progress.start("packages of the builder")
    context, image = scratch / "builder", image_tag(request.workspace.resources)
    shutil.copytree(request.workspace.resources.docker / "builder", context)
    base = request.supply.builder(image, context, request.log, progress.line)
    yield "package", _files_of(context / "packages")
    yield "wheel", _files_of(context / "wheels")
    progress.start("base image")
    yield "base image", [_saved_image(base, scratch, request.log)]
    progress.start("ONNX Runtime of this machine")
    yield "runtime", _files_of(_runtime_wheel(scratch / "runtime", request.log))
    progress.start("models")
    yield "model", _models(request.workspace)


def _sources(request: MirrorRequest) -> Named:
    recipes = [path.parent for path in request.workspace.resources.recipes.glob("*/conandata.yml")]
    store = request.cache / "sources"
    fetch(recipes, store, request.supply, request.log)
    for recipe in recipes:
        for source in pins_of(recipe).sources:
            yield source.file, source_file(store, source)


def _files_of(folder: Path) -> Named:
    return [(path.name, path) for path in folder.iterdir()]


def _saved_image(image: str, scratch: Path, log: Path) -> tuple[str, Path]:
    """The image under a name by its content, so that loading it takes no other's name."""
    inspect = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
    name = f"edgewright/base:{process.check(inspect).stdout.strip().removeprefix('sha256:')[:12]}"
    process.check(["docker", "tag", image, name])
    archive = scratch / "base.tar"
    process.run_logged(["docker", "save", "--output", str(archive), name], log)
    return name, archive


def _runtime_wheel(folder: Path, log: Path) -> Path:
    """The boards' version of ONNX Runtime, which converts networks, for the Python that runs."""
    requirement = f"{host_runtime.PACKAGE}=={runtime_version().wheel}"
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder)]
    process.run_logged([*argv, requirement], log)
    return folder


def _models(workspace: Workspace) -> Named:
    """The models that the workspace names, and the demo's, where they are there."""
    networks = {name: workspace.model(name) for name in workspace.settings.models}
    demo = workspace.resources.demo_models
    for path in sorted(demo.glob("*/model.onnx")) if demo else []:
        networks.setdefault(path.parent.name, path)
    for name, network in networks.items():
        folder = network.parent
        parts = [*folder.glob("*"), *(folder / "golden").rglob("*")]
        others = {path for path in folder.glob("*.onnx") if path != network}
        for path in sorted({*parts} - others):
            if path.is_file() and not path.is_symlink():
                yield f"{name}/{path.relative_to(folder).as_posix()}", path


def _keep(kind: Kind, name: str, path: Path, blobs: Path) -> MirroredFile:
    sha256 = digest.file_sha256(path)
    copy_file(path, blobs / sha256)  # puts right what was damaged there
    return MirroredFile(kind=kind, name=name, sha256=sha256, bytes=path.stat().st_size)


# Verify


def verify(folder: Path, resources: Resources) -> MirrorReport:
    """Read every byte, and look whether this edgewright's builds find what they need.

    Raises UserError where there is no mirror.
    """
    mirror = open_mirror(folder)
    return report(mirror, (*_damaged(mirror), *_lacking(mirror, resources)))


def require_whole(verified: MirrorReport) -> None:
    """Raises CheckError with every file that is at fault."""
    if verified.faults:
        raise CheckError(
            str(verified.folder),
            f"{len(verified.faults)} files are not what they should be",
            facts=[f"{fault.file}: {fault.problem}" for fault in verified.faults],
            next=f"edgewright mirror.create {verified.folder}, where there is a network",
        )


def report(mirror: Mirror, faults: tuple[Fault, ...] = ()) -> MirrorReport:
    files, sizes = Counter[Kind](), Counter[Kind]()
    for file in mirror.index.files:
        files[file.kind] += 1
        sizes[file.kind] += file.bytes
    return MirrorReport(
        folder=mirror.folder,
        index_sha256=digest.file_sha256(mirror.folder / INDEX),
        builder=mirror.index.builder,
        contents=tuple(
            Share(kind=kind, files=files[kind], bytes=sizes[kind]) for kind in KINDS if files[kind]
        ),
        faults=faults,
    )


def problem_of(file: MirroredFile, size: int, path: Path) -> str | None:
    """Why something of a size, with the content of `path`, is not the file; or None."""
    if size != file.bytes:
        return f"has {size:,} bytes, expected {file.bytes:,}"
    sha256 = digest.file_sha256(path)
    return None if sha256 == file.sha256 else f"has sha256 {sha256}, expected {file.sha256}"


def _damaged(mirror: Mirror) -> Iterator[Fault]:
    for file in mirror.index.files:
        blob = mirror.blob(file)
        is_there = blob.is_file() and not blob.is_symlink()
        problem = problem_of(file, blob.stat().st_size, blob) if is_there else "is not there"
        if problem:
            yield Fault(file=f"{file.kind} {file.name}", sha256=file.sha256, problem=problem)
    for blob in _unindexed(mirror.folder, mirror.index):
        yield Fault(file=f"{BLOBS}/{blob.name}", sha256=None, problem="the index has no such file")


def _unindexed(folder: Path, index: MirrorIndex) -> list[Path]:
    named = {file.sha256 for file in index.files}
    return sorted(path for path in (folder / BLOBS).glob("*") if path.name not in named)


def _lacking(mirror: Mirror, resources: Resources) -> Iterator[Fault]:
    """What this edgewright builds from, and the one that made the mirror did not."""
    mirrored = {file.sha256 for file in mirror.of("source")}
    for table in sorted(resources.recipes.glob("*/conandata.yml")):
        for source in pins_of(table.parent).sources:
            if source.sha256 not in mirrored:
                name = f"source {source.file}"
                yield Fault(file=name, sha256=source.sha256, problem="the index lacks it")
    expected = image_tag(resources)
    if mirror.index.builder != expected:
        problem = f"the mirror is for {mirror.index.builder}"
        yield Fault(file=expected, sha256=None, problem=problem)
