"""Software bills of materials: what a release or an SDK is made of, by CycloneDX 1.6.

The package `cyclonedx` writes them. What is read may be anybody's: an excerpt, within limits. The
same ingredients give the same bytes, so a bill has no time stamp, and its serial number is that of
what it is about.
"""

import hashlib
import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from edgewright.base.errors import UserError
from edgewright.base.schema import Excerpt, Shown, parse_json
from edgewright.release.manifest import Manifest

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

SBOM_BYTES = 8 << 20
MOST_COMPONENTS = 5_000
LICENSE_REF = "LicenseRef-"  # SPDX's prefix of licences that its list does not have
NAMESPACE = uuid.UUID("b1e7f2d0-6f0c-5a63-9d3e-5f6a3f3b8a52")  # of serial numbers

Kind = Literal["application", "library", "machine-learning-model", "data"]


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A source archive, by its name in Debian and its hash."""

    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """Something that is in a release."""

    ref: str  # unique in a bill
    kind: Kind
    name: str
    version: str
    licence: str | None  # SPDX expression; None: nobody stated one
    texts: Mapping[str, bytes] = field(default_factory=dict)  # below licenses/: of its licence
    purl: str | None = None
    sha256: str | None = None  # of its file in the release
    sources: tuple[SourceFile, ...] = ()
    holds: tuple[str, ...] = ()  # refs of what is in it
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program that built a release and is not in it."""

    name: str
    version: str
    purl: str | None = None


@dataclass(frozen=True, kw_only=True)
class About:
    """What a bill is about."""

    ref: str
    kind: Literal["firmware", "library"]
    name: str
    version: str
    sha256: str


def about_release(manifest: Manifest) -> About:
    return About(
        ref="release",
        kind="firmware",
        name=f"{manifest.model.name} for {manifest.compatible}",
        version=manifest.id,
        sha256=hashlib.sha256(manifest.canonical()).hexdigest(),
    )


def render(about: About, ingredients: Sequence[Ingredient], tools: Sequence[Tool]) -> bytes:
    """The bill, as JSON. Raises ValueError for a ref that comes twice: one would hide the other."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    refs = [about.ref, *(item.ref for item in ingredients)]
    if twice := {ref for ref in refs if refs.count(ref) > 1}:
        raise ValueError(f"in the bill twice: {', '.join(sorted(twice))}")
    bom = Bom(serial_number=uuid.uuid5(NAMESPACE, about.sha256))
    bom.metadata.timestamp = None  # type: ignore[assignment]  # it is left out then
    for tool in tools:
        bom.metadata.tools.components.add(
            Component(
                name=tool.name,
                version=tool.version,
                type=ComponentType.APPLICATION,
                purl=_package_url(tool.purl),
            )
        )
    root = Component(
        name=about.name,
        version=about.version,
        type=ComponentType(about.kind),
        bom_ref=about.ref,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=about.sha256)],
    )
    bom.metadata.component = root
    components = {item.ref: _component(item) for item in ingredients}
    for component in components.values():
        bom.components.add(component)
    held = {ref for item in ingredients for ref in item.holds}
    bom.register_dependency(root, [c for ref, c in components.items() if ref not in held])
    for item in ingredients:
        bom.register_dependency(components[item.ref], [components[ref] for ref in item.holds])
    return JsonV1Dot6(bom).output_as_string(indent=2).encode() + b"\n"


def without(raw: bytes, refs: Collection[str]) -> bytes:
    """A bill that `render` wrote, for something that lacks these ingredients."""
    bill = json.loads(raw)
    bill["components"] = [part for part in bill["components"] if part["bom-ref"] not in refs]
    bill["dependencies"] = [
        {
            name: [ref for ref in value if ref not in refs] if name == "dependsOn" else value
            for name, value in part.items()
        }
        for part in bill["dependencies"]
        if part["ref"] not in refs
    ]
    return json.dumps(bill, indent=2).encode() + b"\n"


def _component(item: Ingredient) -> "Component":
    from cyclonedx.model import (
        ExternalReference,
        ExternalReferenceType,
        HashAlgorithm,
        HashType,
        Property,
        XsUri,
    )
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import LicenseExpression

    def hashes(sha256: str | None) -> list[HashType]:
        return [HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else []

    sources = (
        ExternalReference(
            type=ExternalReferenceType.SOURCE_DISTRIBUTION,
            url=XsUri(source.file),
            hashes=hashes(source.sha256),
        )
        for source in item.sources
    )
    texts = (
        ExternalReference(
            type=ExternalReferenceType.LICENSE,
            url=XsUri(f"licenses/{path}"),
            hashes=hashes(hashlib.sha256(text).hexdigest()),
        )
        for path, text in item.texts.items()
    )
    return Component(
        name=item.name,
        version=item.version,
        type=ComponentType(item.kind),
        bom_ref=item.ref,
        purl=_package_url(item.purl),
        licenses=[LicenseExpression(item.licence)] if item.licence else [],
        hashes=hashes(item.sha256),
        external_references=[*sources, *texts],
        properties=[Property(name=f"edgewright:{k}", value=v) for k, v in item.notes.items()],
    )


def _package_url(text: str | None) -> "PackageURL | None":
    from packageurl import PackageURL

    return PackageURL.from_string(text) if text else None


def unknown_licences(expression: str) -> list[str]:
    """What of an SPDX expression SPDX does not know; `LicenseRef-…` is anybody's own."""
    from license_expression import ExpressionError, get_spdx_licensing

    if not expression.strip():
        return ["nothing"]
    licensing = get_spdx_licensing()
    try:
        unknown = licensing.unknown_license_keys(expression)
    except ExpressionError as broken:
        return [str(broken)]
    return [str(key) for key in unknown if not str(key).startswith(LICENSE_REF)]


# Reading what may be anybody's


class SbomHash(Excerpt):
    alg: str
    content: str


class SbomReference(Excerpt):
    """Another document: a licence text, a source archive."""

    type: str
    url: str
    hashes: tuple[SbomHash, ...] = ()

    @property
    def sha256(self) -> str | None:
        return next((item.content for item in self.hashes if item.alg == "SHA-256"), None)


class _LicenceName(Shown, Excerpt):
    id: str = ""
    name: str = ""


class SbomLicence(Shown, Excerpt):
    expression: str = ""
    license: _LicenceName | None = None

    def __str__(self) -> str:
        named = self.license
        return self.expression or (named.id or named.name if named else "")


class SbomComponent(Shown, Excerpt):
    """Something that is in the release."""

    ref: Annotated[str, Field(alias="bom-ref")] = ""
    type: str
    name: str
    version: str = ""
    purl: str = ""
    licenses: tuple[SbomLicence, ...] = ()
    hashes: tuple[SbomHash, ...] = ()
    references: Annotated[tuple[SbomReference, ...], Field(alias="externalReferences")] = ()

    @property
    def licence(self) -> str:
        """SPDX expression; "" where none is stated."""
        return " AND ".join(str(item) for item in self.licenses if str(item))

    @property
    def sha256(self) -> str | None:
        return next((item.content for item in self.hashes if item.alg == "SHA-256"), None)


class SbomMetadata(Excerpt):
    component: SbomComponent | None = None


class SbomDependency(Excerpt):
    """What is in a component."""

    ref: str
    depends_on: Annotated[tuple[str, ...], Field(alias="dependsOn")] = ()


class Sbom(Excerpt):
    """What is read of a bill."""

    bom_format: Annotated[Literal["CycloneDX"], Field(alias="bomFormat")]
    spec_version: Annotated[str, Field(alias="specVersion")]
    metadata: SbomMetadata = SbomMetadata()
    components: Annotated[tuple[SbomComponent, ...], Field(max_length=MOST_COMPONENTS)] = ()
    dependencies: Annotated[tuple[SbomDependency, ...], Field(max_length=MOST_COMPONENTS)] = ()

    @property
    def unlicensed(self) -> tuple[str, ...]:
        """Names of components that state no licence."""
        return tuple(item.name for item in self.components if not item.licence)


def read_sbom(raw: bytes, subject: str) -> Sbom:
    """A bill of CycloneDX. Raises UserError."""
    return parse_json(Sbom, raw, subject, "not a bill of CycloneDX", limit=SBOM_BYTES)


def licence_texts(sbom: Sbom, subject: str) -> dict[str, str]:
    """Path → SHA-256 of the licence texts that a bill names. Raises UserError for a path that
    leads elsewhere, and for a text without a hash."""
    texts: dict[str, str] = {}
    for name, reference in _licence_references(sbom):
        path = reference.url
        parts = path.split("/")
        is_inside = parts[0] == "licenses" and len(parts) > 1 and not {"", ".", ".."} & set(parts)
        sha256 = reference.sha256 or ""
        if not (is_inside and path.isprintable() and len(sha256) == 64):
            facts = [f"of {name}: {path[:200]!r}, sha256 {sha256[:64]!r}"]
            raise UserError(subject, "names a licence text without place or hash", facts=facts)
        texts[path] = sha256
    return texts


def _licence_references(sbom: Sbom) -> Iterator[tuple[str, SbomReference]]:
    for component in sbom.components:
        for reference in component.references:
            if reference.type == "license":
                yield component.name, reference
