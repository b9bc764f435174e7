"""The evidence about a release that was built: its bill, its licence texts, its provenance."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import edgewright
from edgewright.base import digest
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
from edgewright.release.provenance import Resource, file_resource, statement


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
        str(inputs.all_sources),
    )


def _statement(inputs: EvidenceInputs, raw_sbom: bytes) -> bytes:
    release, profile = inputs.release, inputs.profile
    archive = Resource(
        name=release.archive.name, digest={"sha256": digest.file_sha256(release.archive)}
    )
    return statement(
        subject=[
            file_resource(MANIFEST, release.manifest.canonical()),
            archive,
            file_resource(release_evidence.SBOM, raw_sbom),
        ],
        parameters={
            "board": profile.name,
            "compatible": profile.compatible,
            "model": release.manifest.model.name,
            "linkage": profile.runtime.linkage.value,
            "kernels": profile.runtime.kernels,
            "execution_providers": [p.value for p in profile.runtime.execution_providers],
            "sources": "all" if inputs.all_sources else "needed",
        },
        internal={
            "conan_profile_sha256": digest.file_sha256(inputs.out.conan_profile),
            "toolchain_sha256": digest.file_sha256(inputs.out.toolchain),
            "ops_config_sha256": release.manifest.runtime.ops_config_sha256,
        },
        dependencies=[*_dependencies(inputs)],
        builder=f"urn:edgewright:builder:{inputs.builder.id}",
        versions={"edgewright": edgewright_version(release.manifest.source)},
    )


def _dependencies(inputs: EvidenceInputs) -> Iterator[Resource]:
    """What the build read: image, repository, model, recipes by revision, sources by hash."""
    if inputs.builder.digest:
        yield Resource(name="builder", digest={"sha256": inputs.builder.digest})
    source = inputs.release.manifest.source
    if source.revision != "unknown":
        yield Resource(
            name="repository",
            digest={"gitCommit": source.revision},
            annotations={"dirty": "true" if source.dirty else "false"},
        )
    yield Resource(name="model", digest={"sha256": inputs.release.manifest.model.onnx_sha256})
    recipes = inputs.workspace.resources.recipes
    for name, package in sorted(inputs.packages.items()):
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
    for shared in (packages.SOURCES, packages.PROGRAMS):
        yield Resource(
            name=f"recipe {shared}",
            annotations={"tree_sha256": digest.tree_sha256(recipes / shared)},
        )
