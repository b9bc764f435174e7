"""The evidence about what was built: a release's bill, licence texts and provenance, and the
provenance of SDKs and wheels, which have the others inside.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import edgewright
from edgewright.base import digest
from edgewright.base.files import read_inside
from edgewright.base.layout import BoardBuild
from edgewright.base.workspace import Workspace
from edgewright.board.audit import Audit
from edgewright.board.profile import BoardProfile
from edgewright.build import packages
from edgewright.build.bill import (
    BillInputs,
    Linked,
    compiler_packages,
    debian_version,
    model_licence,
    read_recipe,
    source_purl,
    write_bill,
)
from edgewright.build.container import Builder
from edgewright.build.packages import Package
from edgewright.release import evidence as release_evidence
from edgewright.release import sbom
from edgewright.release.manifest import MANIFEST, Release, Source
from edgewright.release.provenance import (
    SDK_BUILD_TYPE,
    STATEMENT_BYTES,
    WHEEL_BUILD_TYPE,
    Resource,
    file_resource,
    read_statement,
    statement,
)
from edgewright.release.sdk import Sdk, sdk_evidence
from edgewright.release.wheel import wheel_evidence


@dataclass(frozen=True, kw_only=True)
class EvidenceInputs:
    """A release, and what it was built from."""

    release: Release
    profile: BoardProfile
    model: Path  # the network
    workspace: Workspace
    builder: Builder
    packages: Mapping[str, Package]
    audit: Audit
    program_sources: Mapping[str, Path]  # of the user's programs: path in the release → folder
    all_sources: bool

    @property
    def out(self) -> BoardBuild:
        return self.workspace.build(self.profile.name)


def write_evidence(inputs: EvidenceInputs) -> bool:
    """Write the evidence beside a release; whether anything of it is new.

    Raises UserError for a library whose licence is not known, and for a licence text of a model
    that does not say which it is.
    """
    evidence = release_evidence.beside(inputs.release)
    stamp = inputs.out.root / "evidence.key"  # what it is about; written after it
    key = _key(inputs)
    if evidence.sbom.is_file() and stamp.is_file() and stamp.read_text() == key:
        return False
    bill = write_bill(
        BillInputs(
            manifest=inputs.release.manifest,
            model=inputs.model,
            linked=Linked(
                files={file.path: file.sha256 for file in inputs.release.manifest.files},
                edgewright=edgewright_version(inputs.release.manifest.source),
                packages=inputs.packages,
                audit=inputs.audit,
                symbols=inputs.out.symbols,
                compiler=compiler_packages(
                    inputs.builder, inputs.profile.abi.triplet, inputs.out.logs / "compiler.log"
                ),
                resources=inputs.workspace.resources,
                sources=inputs.builder.cache / "sources",
                programs=inputs.program_sources,
            ),
        )
    )
    about = sbom.about_release(inputs.release.manifest)
    raw = sbom.render(about, bill.ingredients, bill.tools)
    texts = {path: text for item in bill.ingredients for path, text in item.texts.items()}
    is_new = release_evidence.write(evidence, raw, texts, _statement(inputs, raw))
    stamp.write_text(key)
    return is_new


def edgewright_version(source: Source) -> str:
    """That which built something."""
    return source.edgewright or edgewright.__version__


def _key(inputs: EvidenceInputs) -> str:
    """A hash of all that the evidence tells, but for what the release's id stands for."""
    resources = inputs.workspace.resources
    licence = model_licence(inputs.model)
    return digest.text_sha256(
        inputs.release.id,
        digest.file_sha256(inputs.release.archive),
        inputs.builder.id,
        inputs.builder.digest or "",
        digest.tree_sha256(Path(__file__).parent, Path(sbom.__file__).parent),
        digest.tree_sha256(resources.recipes / "licences.toml", resources.recipes / "licences"),
        *(f"{package.ref} {package.package_id}" for package in inputs.packages.values()),
        licence.content.decode(errors="replace") if licence else "",
        *(f"{path} {digest.tree_sha256(tree)}" for path, tree in inputs.program_sources.items()),
        str(inputs.all_sources),
    )


def _statement(inputs: EvidenceInputs, raw_sbom: bytes) -> bytes:
    release, profile = inputs.release, inputs.profile
    has_libraries = packages.LIBEDGE in inputs.packages  # for programs of the user's
    shared_recipes: tuple[str, ...] = (packages.SOURCES, packages.PROGRAMS)
    shared_recipes += (packages.SDK_LIBRARIES,) if has_libraries else ()
    built_from = BuiltFrom(
        source=release.manifest.source,
        builder=inputs.builder,
        networks={"model": release.manifest.model.onnx_sha256},
        recipes=inputs.workspace.resources.recipes,
        packages=inputs.packages,
        shared_recipes=shared_recipes,
    )
    return statement(
        subject=_subject(release, raw_sbom),
        parameters={
            "board": profile.name,
            "compatible": profile.compatible,
            "model": release.manifest.model.name,
            "linkage": profile.runtime.linkage.value,
            "kernels": profile.runtime.kernels,
            "execution_providers": [p.value for p in profile.runtime.execution_providers],
            "sources": "all" if inputs.all_sources else "needed",
        },
        internal=_internal(inputs.out, release.manifest.runtime.ops_config_sha256),
        dependencies=[*built_from.resources(), *_programs(inputs)],
        builder=built_from.builder_id,
        versions=built_from.versions,
    )


def _programs(inputs: EvidenceInputs) -> Iterator[Resource]:
    """The sources of the user's programs, which need not be a commit's."""
    for path, folder in sorted(inputs.program_sources.items()):
        tree = digest.tree_sha256(folder)
        yield Resource(name=f"program {path}", annotations={"tree_sha256": tree})


def _subject(bundle: Release | Sdk, raw_sbom: bytes) -> list[Resource]:
    archive = {"sha256": digest.file_sha256(bundle.archive)}
    return [
        file_resource(MANIFEST, bundle.manifest.canonical()),
        Resource(name=bundle.archive.name, digest=archive),
        file_resource(release_evidence.SBOM, raw_sbom),
    ]


def _internal(out: BoardBuild, ops_config_sha256: str) -> dict[str, str]:
    return {
        "conan_profile_sha256": digest.file_sha256(out.conan_profile),
        "toolchain_sha256": digest.file_sha256(out.toolchain),
        "ops_config_sha256": ops_config_sha256,
    }


@dataclass(frozen=True, kw_only=True)
class BuiltFrom:
    """What a build read, as its provenance names it."""

    source: Source
    builder: Builder
    networks: Mapping[str, str]  # SHA-256 by the resource's name
    recipes: Path
    packages: Mapping[str, Package]
    shared_recipes: tuple[str, ...]  # that those of the packages use

    @property
    def builder_id(self) -> str:
        return f"urn:edgewright:builder:{self.builder.id}"

    @property
    def versions(self) -> dict[str, str]:
        return {"edgewright": edgewright_version(self.source)}

    def resources(self) -> Iterator[Resource]:
        """Image, repository, networks, recipes by revision, sources by hash."""
        if self.builder.digest:
            yield Resource(name="builder", digest={"sha256": self.builder.digest})
        if self.source.revision != "unknown":
            yield Resource(
                name="repository",
                digest={"gitCommit": self.source.revision},
                annotations={"dirty": "true" if self.source.dirty else "false"},
            )
        for name, sha256 in self.networks.items():
            yield Resource(name=name, digest={"sha256": sha256})
        for name, package in sorted(self.packages.items()):
            yield from _recipe(self.recipes, name, package)
        for shared in self.shared_recipes:
            yield Resource(
                name=f"recipe {shared}",
                annotations={"tree_sha256": digest.tree_sha256(self.recipes / shared)},
            )


def _recipe(recipes: Path, name: str, package: Package) -> Iterator[Resource]:
    yield Resource(
        name=f"recipe {name}",
        uri=f"pkg:conan/{package.ref.partition('#')[0].replace('/', '@')}",
        annotations={"revision": package.ref.partition("#")[2], "package": package.package_id},
    )
    for item in read_recipe(recipes / name).debian:
        yield Resource(
            name=item.file,
            uri=source_purl(item.package, debian_version(item.file)),
            digest={"sha256": item.sha256},
        )


def write_sdk_provenance(
    sdk: Sdk, profile: BoardProfile, out: BoardBuild, built_from: BuiltFrom
) -> None:
    """Write the provenance of an SDK beside it, to be signed."""
    manifest = sdk.manifest
    raw = statement(
        build_type=SDK_BUILD_TYPE,
        subject=_subject(sdk, (sdk.folder / release_evidence.SBOM).read_bytes()),
        parameters={
            "board": manifest.board,
            "compatible": manifest.compatible,
            "models": [model.name for model in manifest.models],
            "libc_floor": manifest.runtime.libc_floor,
            "kernels": profile.runtime.kernels,
            "execution_providers": [*manifest.runtime.execution_providers],
        },
        internal=_internal(out, manifest.runtime.ops_config_sha256),
        dependencies=[*built_from.resources()],
        builder=built_from.builder_id,
        versions=built_from.versions,
    )
    release_evidence.write_files(sdk_evidence(sdk), {release_evidence.STATEMENT: raw})


def write_wheel_provenance(wheel: Path, raw_sbom: bytes, sdk: Sdk, code: Path) -> None:
    """Write the provenance of an SDK's wheel beside it: of all that the SDK's was, the SDK itself
    and the Python code.

    Raises UserError if the SDK has none.
    """
    of_sdk = sdk_evidence(sdk)
    source = read_inside(
        of_sdk.folder, release_evidence.STATEMENT, limit=STATEMENT_BYTES, next=of_sdk.kind.rebuild
    )
    predicate = read_statement(source, str(of_sdk.statement)).predicate
    raw = statement(
        build_type=WHEEL_BUILD_TYPE,
        subject=[
            Resource(name=wheel.name, digest={"sha256": digest.file_sha256(wheel)}),
            file_resource(release_evidence.SBOM, raw_sbom),
        ],
        parameters={**predicate.build.parameters, "sdk": sdk.id},
        internal={},
        dependencies=[
            *(item.resource() for item in predicate.build.dependencies),
            file_resource("sdk", sdk.manifest.canonical()),
            Resource(name="runtime_py", annotations={"tree_sha256": digest.tree_sha256(code)}),
        ],
        builder=predicate.run.builder.id,
        versions=predicate.run.builder.version,
    )
    release_evidence.write_files(wheel_evidence(wheel), {release_evidence.STATEMENT: raw})
