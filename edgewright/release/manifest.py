"""Releases: content-addressed folders with a canonical manifest and a deterministic archive."""

import functools
import gzip
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, Protocol, Self, TypeVar

from pydantic import (
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from edgewright.base.errors import UserError
from edgewright.base.files import (
    make_folder,
    new_folder,
    open_inside,
    read_file,
    read_inside,
    update_file,
)
from edgewright.base.schema import Excerpt, Part, parse_json
from edgewright.base.workspace import MOST_PROGRAMS
from edgewright.release.programs import (
    DEFAULT_PROGRAM,
    DEFAULT_PROGRAMS,
    SERVICE_FILE,
    ReleasedProgram,
)
from edgewright.release.run_file import (
    CARD,
    DEFAULT_LIMITS,
    GOLDEN,
    MODEL,
    REFERENCE,
    RUN_FILE,
    ImageLimits,
    RunFile,
    UnsureLimits,
)

SCHEMA = 1
MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.minisig"
EXPECTED = "expected.json"
ID_DIGITS = 16
MANIFEST_BYTES = 1 << 20  # a board takes none that is larger,
MOST_FILES = 4096  # nor one of more files
CARD_BYTES = 1 << 20
GOLDEN_BYTES = 256 << 20  # images and expected.json together
PROGRAM_BYTES = 2 << 30
REBUILD = "invoke build"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0)]
Mode = Annotated[str, Field(pattern=r"^0(644|755)$")]
ReleasePath = Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+)*$")]


class ReleaseFile(Part):
    """One file of a release; `path` is relative to the release folder, with `/`."""

    path: ReleasePath
    sha256: Sha256
    bytes: Size
    mode: Mode

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if {".", ".."} & set(path.split("/")) or path in (MANIFEST, SIGNATURE):
            raise ValueError(f"'{path}' is not a place for a file of a release")
        return path


class ReleasedModel(Part):
    """The model; `card` is the content of `model/card.json`."""

    name: str
    labels: tuple[str, ...]
    onnx_sha256: Sha256
    ort_sha256: Sha256
    card: dict[str, JsonValue]


class ReleasedRuntime(Part):
    """The runtime inside the programs, and how many threads it is to use."""

    name: Literal["onnxruntime"] = "onnxruntime"
    version: str
    ops_config_sha256: Sha256
    linkage: Literal["static", "shared"]
    threads: Annotated[int, Field(ge=1)]


class ReleasedBudgets(Part):
    """The board's budgets when the release was made; the smoke test holds it to them."""

    binary_bytes: int
    model_bytes: int
    peak_rss_mb: float
    latency_ms: float


class Source(Part):
    """The commit of the repository that the release was built in, and by which edgewright."""

    revision: str
    dirty: bool
    # Its version. The id of a release is a hash of these bytes: those of 0.1.0 have no such key.
    edgewright: str | None = Field(default=None, exclude_if=lambda version: version is None)


class Canonical(Part):
    """A document whose bytes are signed, and whose id is a hash of them."""

    def canonical(self) -> bytes:
        """The one form on disk: sorted keys, no spaces, UTF-8, final newline."""
        text = json.dumps(self.table(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode() + b"\n"

    def table(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)


class ManifestBody(Canonical):
    """Everything that the id is the hash of."""

    schema_: Literal[1] = 1
    board: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    compatible: Annotated[str, Field(pattern=r"^[a-z0-9-]+,[a-z0-9.-]+$")]
    files: tuple[ReleaseFile, ...]
    model: ReleasedModel
    runtime: ReleasedRuntime
    budgets: ReleasedBudgets
    deploy_root: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$")]
    source: Source
    programs: Annotated[
        tuple[ReleasedProgram, ...], Field(min_length=1, max_length=MOST_PROGRAMS)
    ] = DEFAULT_PROGRAMS

    def table(self) -> dict[str, Any]:
        """Without the default programs: such a release has the bytes that it always had."""
        table = super().table()
        if self.programs == DEFAULT_PROGRAMS:
            del table["programs"]
        return table

    @model_validator(mode="after")
    def _has_its_programs(self) -> Self:
        names = [program.name for program in self.programs]
        if names != list(dict.fromkeys(names)):
            raise ValueError("a program comes twice")
        paths = {file.path for file in self.files}
        if absent := [p.path for p in self.own_programs if p.path not in paths]:
            raise ValueError(f"has no file '{absent[0]}', which is a program of it")
        return self

    @field_validator("files")
    @classmethod
    def _sorted_once(cls, files: tuple[ReleaseFile, ...]) -> tuple[ReleaseFile, ...]:
        paths = [file.path for file in files]
        if paths != sorted(set(paths)):
            raise ValueError("paths are to be sorted and unique")
        return files

    def file(self, path: str) -> ReleaseFile:
        """The entry of one path. Raises KeyError."""
        return {file.path: file for file in self.files}[path]

    @property
    def own_programs(self) -> tuple[ReleasedProgram, ...]:
        """Those that are its user's, beside the default one or in place of it."""
        return tuple(program for program in self.programs if program != DEFAULT_PROGRAM)

    @property
    def has_default_program(self) -> bool:
        return DEFAULT_PROGRAM in self.programs

    @property
    def has_own_service(self) -> bool:
        """Whether a program of its user's is the service, in place of the default one."""
        return any(file.path == SERVICE_FILE for file in self.files)

    def run_options(self, folder: str) -> tuple[str, ...]:
        """Options that make the default program run this release, in `folder`, as it is meant to.

        A release of 0.1.0 has no run.json: its manifest tells the same.
        """
        if any(file.path == RUN_FILE for file in self.files):
            return ("--release", folder)
        return ("--model", f"{folder}/{MODEL}", "--threads", str(self.runtime.threads))

    @property
    def total_bytes(self) -> int:
        return sum(file.bytes for file in self.files)


class Manifest(ManifestBody):
    """`manifest.json`. A signature is over the file's bytes, which are canonical."""

    id: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{ID_DIGITS}}}$")]

    @classmethod
    def of(cls, body: ManifestBody) -> "Manifest":
        return cls(id=content_id(body), **dict(body))

    def body(self) -> ManifestBody:
        return ManifestBody(**{name: getattr(self, name) for name in ManifestBody.model_fields})


def content_id(body: Canonical) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical manifest without its id."""
    return hashlib.sha256(body.canonical()).hexdigest()[:ID_DIGITS]


class Identified(Protocol):
    """A manifest that is named by its content."""

    @property
    def id(self) -> str: ...

    def canonical(self) -> bytes: ...


AnyManifest = TypeVar("AnyManifest", bound=Identified)


@dataclass(frozen=True, kw_only=True)
class Bundle(Generic[AnyManifest]):
    """A content-addressed folder on this machine, with its archive beside it."""

    folder: Path
    manifest: AnyManifest

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def parent(self) -> Path:
        """The folder that it lies in; `folder` may be `.`, whose parent by name is itself."""
        return self.folder.resolve().parent

    @functools.cached_property
    def document(self) -> bytes:
        """Its manifest as it is signed; many boards get the same."""
        return self.manifest.canonical()

    @property
    def archive(self) -> Path:
        """`<id>.tar.gz` beside the folder."""
        return self.parent / f"{self.id}.tar.gz"

    @property
    def signature(self) -> Path:
        """`manifest.json.minisig`; there once the bundle is signed."""
        return self.folder / SIGNATURE


@dataclass(frozen=True, kw_only=True)
class Release(Bundle[Manifest]):
    """A release on this machine."""

    def path(self, file: ReleaseFile) -> Path:
        return self.folder / file.path


@dataclass(frozen=True, kw_only=True)
class ReleaseInputs:
    """What a release is made of."""

    board: str
    compatible: str
    deploy_root: str
    binaries: tuple[Path, ...]  # for bin/: programs, edgectl, and libonnxruntime.so.1 if shared
    programs: tuple[ReleasedProgram, ...] = DEFAULT_PROGRAMS
    program_files: Mapping[str, Path] = field(default_factory=dict)  # path in the release → file
    ort_model: Path
    onnx_sha256: str  # of the network that it was converted from
    card: Path
    golden: Path  # folder: images and expected.json
    reference: Path | None = None  # what images and answers are like; None: not known
    runtime: ReleasedRuntime
    execution_providers: tuple[str, ...] = ("cpu",)
    limits: ImageLimits = DEFAULT_LIMITS
    thermal_limit_c: int | None = None  # of the board's hottest zone
    unsure_images: UnsureLimits | None = None
    budgets: ReleasedBudgets
    source: Source


def inputs_of(release: Release) -> ReleaseInputs:
    """What a release is made of, as it lies in its folder, to make another one of it by a change.

    Of how it is run, no more than its threads: the other one is run as it is by default.
    """
    folder, manifest = release.folder, release.manifest
    files = (release.path(file) for file in manifest.files if file.path.startswith("bin/"))
    return ReleaseInputs(
        board=manifest.board,
        compatible=manifest.compatible,
        deploy_root=manifest.deploy_root,
        binaries=tuple(files),
        ort_model=folder / MODEL,
        onnx_sha256=manifest.model.onnx_sha256,
        card=folder / CARD,
        golden=folder / GOLDEN,
        runtime=manifest.runtime,
        budgets=manifest.budgets,
        source=manifest.source,
    )


class _CardHead(Excerpt):
    """What a release reads of a card; the rest is handed on as it is."""

    name: str
    # One a line in labels.txt; a task without classes has none.
    labels: tuple[Annotated[str, Field(pattern=r"^[^\r\n]+$")], ...] = ()


_FileName = Annotated[str, Field(pattern=r"^[^/]+$")]


class _GoldenCase(Excerpt):
    """An image, or the file of each tensor."""

    image: _FileName | None = None
    tensors: tuple[_FileName, ...] = ()

    @model_validator(mode="after")
    def _has_files(self) -> Self:
        if not self.files:
            raise ValueError("expected image or tensors")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        return (self.image,) if self.image else self.tensors


class _GoldenSet(Excerpt):
    """What a release reads of `expected.json`."""

    cases: tuple[_GoldenCase, ...]


def build_release(inputs: ReleaseInputs, out_dir: Path) -> Release:
    """Make `out_dir/<id>/` and `out_dir/<id>.tar.gz`; the same inputs give the same bytes.

    Both appear by rename, complete or not at all; a sound one that is there is left alone.
    Raises UserError for an input that is missing or unfit.
    """
    content = _contents(inputs)
    manifest = Manifest.of(_body(inputs, content))
    content[MANIFEST] = manifest.canonical()
    _require_for_boards(manifest, len(content[MANIFEST]))
    release = Release(folder=out_dir / manifest.id, manifest=manifest)
    make_folder(out_dir)
    if not _is_sound(release):
        with new_folder(release.folder) as aside:
            for path, data in content.items():
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                (aside / path).write_bytes(data)
                (aside / path).chmod(_mode(path))  # whatever the umask says
    archive = archive_bytes(manifest.id, content)
    update_file(release.archive, archive, mode=0o644)
    return release


def _require_for_boards(manifest: Manifest, size: int) -> None:
    """Raise UserError for a release that a board would refuse, or that could not be read again."""
    for unit, number, most in (
        ("files", len(manifest.files), MOST_FILES),
        ("bytes of manifest", size, MANIFEST_BYTES),
    ):
        if number > most:
            raise UserError(
                "release",
                "has more than a board takes",
                facts=[f"expected: at most {most:,} {unit}", f"found: {number:,}"],
                next="take files out of the golden data, then invoke build",
            )


def load_release(folder: Path) -> Release:
    """Read a release folder and verify every file in it.

    Raises UserError for a manifest that is missing, of an unknown schema, changed or not
    canonical, and for files that are missing, extra or not what the manifest says.
    """
    manifest = read_manifest(folder / MANIFEST)
    listed = [file.path for file in manifest.files]
    problems = [*file_problems(folder, manifest.files), *extra_files(folder, listed)]
    if problems:
        raise UserError(
            str(folder), "not the release its manifest describes", facts=problems, next=REBUILD
        )
    return Release(folder=folder, manifest=manifest)


def read_manifest(path: Path) -> Manifest:
    """Read `manifest.json`. Raises UserError."""
    return parse_manifest(
        read_inside(path.parent, path.name, limit=MANIFEST_BYTES, next=REBUILD), str(path)
    )


def parse_manifest(raw: bytes, subject: str) -> Manifest:
    """A manifest from its bytes, from disk or from a board. Raises UserError."""
    if len(raw) > MANIFEST_BYTES:
        facts = [f"expected: at most {MANIFEST_BYTES:,} bytes", f"found: {len(raw):,} bytes"]
        raise UserError(subject, "not a manifest", facts=facts, next=REBUILD)
    table = _json_object(raw, subject)
    # Before all else: what a newer schema says in other keys is no mistake of this file.
    if table.get("schema") != SCHEMA:
        raise UserError(
            subject,
            "unknown manifest schema",
            facts=[f"expected: {SCHEMA}", f"found: {json.dumps(table.get('schema'))}"],
            next="use the edgewright that made this release, or " + REBUILD,
        )
    manifest = parse_json(Manifest, raw, subject, "not a manifest", next=REBUILD)
    _require_unchanged(manifest, raw, subject)
    return manifest


def _require_unchanged(manifest: Manifest, raw: bytes, subject: str) -> None:
    content = content_id(manifest.body())
    if manifest.id != content:
        raise UserError(
            subject,
            "changed after the release was made",
            facts=[f"expected: id {content}, the hash of its content", f"found: id {manifest.id}"],
            next=REBUILD,
        )
    # A signature is over bytes: one content in two forms would have two signatures.
    if manifest.canonical() != raw:
        raise UserError(subject, "not in canonical form", next=REBUILD)


def _json_object(raw: bytes, subject: str) -> dict[str, Any]:
    try:
        table = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as broken:
        raise UserError(subject, f"not JSON: {broken}", next=REBUILD) from broken
    if not isinstance(table, dict):
        raise UserError(subject, "not a JSON object", next=REBUILD)
    return table


def _no_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python reads although no other reader of JSON has to."""
    raise ValueError(f"{name} is not a JSON number")


def _contents(inputs: ReleaseInputs) -> dict[str, bytes]:
    """Release path → bytes, for everything but the manifest."""
    ort = _read(inputs.ort_model)
    card = _released_card(inputs.card, ort)
    run_file = RunFile(
        model_crc32=zlib.crc32(ort),
        threads=inputs.runtime.threads,
        execution_providers=inputs.execution_providers,
        limits=inputs.limits,
        thermal_limit_c=inputs.thermal_limit_c,
        unsure_images=inputs.unsure_images,
    )
    content = {
        RUN_FILE: run_file.content(),
        MODEL: ort,
        CARD: json.dumps(card, indent=2, ensure_ascii=False).encode() + b"\n",
        "model/labels.txt": "".join(f"{label}\n" for label in card.get("labels", [])).encode(),
    }
    content |= {f"bin/{binary.name}": _read(binary) for binary in inputs.binaries}
    content |= {path: _read(file) for path, file in inputs.program_files.items()}
    if inputs.reference:
        content[REFERENCE] = read_inside(
            inputs.reference.parent, inputs.reference.name, limit=CARD_BYTES
        )
    golden = golden_content(inputs.golden)
    return content | {f"{GOLDEN}/{name}": data for name, data in golden.items()}


def golden_content(folder: Path) -> dict[str, bytes]:
    """Name → bytes of `expected.json` and of the images that it names.

    Whoever made the model wrote it: nothing outside of the folder is read, or it would be signed
    and sent to boards. Raises UserError, also for more than `GOLDEN_BYTES`.
    """
    raw = read_inside(folder.parent, f"{folder.name}/{EXPECTED}", limit=CARD_BYTES, next=REBUILD)
    content = {EXPECTED: raw}
    room = GOLDEN_BYTES
    golden = parse_json(_GoldenSet, raw, str(folder / EXPECTED), "not a golden set")
    for file in (file for case in golden.cases for file in case.files):
        if file not in content:
            name = f"{folder.name}/{file}"
            content[file] = read_inside(folder.parent, name, limit=room, next=REBUILD)
            room -= len(content[file])
    return content


def _released_card(path: Path, ort: bytes) -> dict[str, Any]:
    """The card with `file` naming `model.ort`, as docs/formats.md has it."""
    _card_head(path)
    card = _json_object(_read_card(path), str(path))
    digest = hashlib.sha256(ort).hexdigest()
    return card | {"file": {"name": "model.ort", "sha256": digest, "bytes": len(ort)}}


def _card_head(path: Path) -> _CardHead:
    return parse_json(_CardHead, _read_card(path), str(path), "not a model card")


def _read_card(path: Path) -> bytes:
    return read_inside(path.parent, path.name, limit=CARD_BYTES, next=REBUILD)


def _read(path: Path) -> bytes:
    return read_file(path, limit=PROGRAM_BYTES, next=REBUILD)


def _body(inputs: ReleaseInputs, content: Mapping[str, bytes]) -> ManifestBody:
    head = _card_head(inputs.card)
    return ManifestBody(
        board=inputs.board,
        compatible=inputs.compatible,
        files=entries(content),
        model=ReleasedModel(
            name=head.name,
            labels=head.labels,
            onnx_sha256=inputs.onnx_sha256,
            ort_sha256=hashlib.sha256(content[MODEL]).hexdigest(),
            card=json.loads(content[CARD]),
        ),
        runtime=inputs.runtime,
        budgets=inputs.budgets,
        deploy_root=inputs.deploy_root,
        source=inputs.source,
        programs=inputs.programs,
    )


def entries(content: Mapping[str, bytes]) -> tuple[ReleaseFile, ...]:
    """What a manifest says of files. Raises UserError for a name that is unfit for a board."""
    try:
        return tuple(
            ReleaseFile(
                path=path,
                sha256=hashlib.sha256(content[path]).hexdigest(),
                bytes=len(content[path]),
                mode=f"{_mode(path):04o}",
            )
            for path in sorted(content)
        )
    except ValidationError as invalid:
        path = invalid.errors()[0]["input"]
        raise UserError(
            str(path),
            "file name unfit for a board",
            facts=["expected: letters, digits and . _ + - only"],
            next="rename the file",
        ) from invalid


def _mode(path: str) -> int:
    return 0o755 if path.startswith("bin/") else 0o644


def _is_sound(release: Release) -> bool:
    try:
        return load_release(release.folder).manifest == release.manifest
    except UserError:
        return False


def archive_bytes(
    prefix: str, content: Mapping[str, bytes], links: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """A tar.gz that depends on nothing but names and contents; `links` maps links to targets."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        # Owner and time stay TarInfo's zeros: an archive built anew has the same bytes.
        for path in sorted(content):
            member = tarfile.TarInfo(f"{prefix}/{path}")
            member.size, member.mode = len(content[path]), _mode(path)
            tar.addfile(member, io.BytesIO(content[path]))
        for path, target in sorted(links.items()):
            member = tarfile.TarInfo(f"{prefix}/{path}")
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(member)
    return packed.getvalue()


def file_problems(folder: Path, files: Iterable[ReleaseFile]) -> Iterable[str]:
    """What of a folder's files is missing, or not as its manifest says."""
    for file in files:
        try:
            with open_inside(folder, file.path) as stream:
                # Its size first: hashing a sparse file of 10^12 bytes takes an hour.
                size = os.fstat(stream.fileno()).st_size
                if size != file.bytes:
                    yield f"{file.path}: expected {file.bytes:,} bytes, found {size:,}"
                elif (sha256 := hashlib.file_digest(stream, "sha256").hexdigest()) != file.sha256:
                    yield f"{file.path}: expected sha256 {file.sha256}, found {sha256}"
        except UserError as fault:
            yield f"{file.path}: {fault.problem}"


def extra_files(folder: Path, paths: Iterable[str]) -> Iterable[str]:
    """Files and links of a folder that are neither among `paths` nor the manifest itself."""
    listed = {*paths, MANIFEST, SIGNATURE}
    for path in sorted(folder.rglob("*")):
        inside = PurePosixPath(path.relative_to(folder)).as_posix()
        if inside not in listed and (path.is_symlink() or not path.is_dir()):
            yield f"{inside}: not in the manifest"
