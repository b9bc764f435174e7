"""A bill of materials in SPDX 2.3, written from the one in CycloneDX by the package `spdx_tools`.

It needs the extra [spdx]. The bill in the evidence stays the signed one; this is the same said in
another format, for those who ask for it, and names the bill by its hash.
"""

import hashlib
import io
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime

from license_expression import get_spdx_licensing
from spdx_tools.spdx.model import (
    Actor,
    ActorType,
    Checksum,
    ChecksumAlgorithm,
    CreationInfo,
    Document,
    ExternalPackageRef,
    ExternalPackageRefCategory,
    ExtractedLicensingInfo,
    Package,
    PackagePurpose,
    Relationship,
    RelationshipType,
    SpdxNoAssertion,
)
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from spdx_tools.spdx.writer.json import json_writer

from edgewright.base.errors import UserError
from edgewright.base.text import visible
from edgewright.release.sbom import LICENSE_REF, NAMESPACE, Sbom, SbomComponent

VERSION = "SPDX-2.3"
DOCUMENT = "SPDXRef-DOCUMENT"
PROBLEMS = 20  # that an error shows
PURPOSES = {
    "application": PackagePurpose.APPLICATION,
    "firmware": PackagePurpose.FIRMWARE,
    "library": PackagePurpose.LIBRARY,
}


def render(
    raw: bytes, bill: Sbom, texts: Mapping[str, bytes], subject: str, writer: str, at: datetime
) -> bytes:
    """The document of a bill, as JSON. SPDX demands a time; the same one gives the same bytes.

    `raw` are the bill's own bytes, `texts` the licence texts by their paths in it, `writer` is the
    program's name and version. Raises UserError for a bill that cannot be said in SPDX.
    """
    if bill.metadata.component is None:
        raise UserError(subject, "does not say what it is the bill of")
    components = [bill.metadata.component, *bill.components]
    ids = {item.ref: _id(number, item) for number, item in enumerate(components)}
    sha256 = hashlib.sha256(raw).hexdigest()
    document = Document(
        CreationInfo(
            spdx_version=VERSION,
            spdx_id=DOCUMENT,
            name=components[0].name,
            document_namespace=uuid.uuid5(NAMESPACE, f"{sha256} {at.isoformat()}").urn,
            creators=[Actor(ActorType.TOOL, writer)],
            created=at,
            creator_comment=f"from the bill in CycloneDX with sha256 {sha256}",
        ),
        packages=[_package(item, ids[item.ref]) for item in components],
        relationships=[*_relationships(bill, ids)],
        extracted_licensing_info=[*_own_licences(bill, texts)],
    )
    problems = validate_full_spdx_document(document, VERSION)
    if problems:
        facts = [visible(problem.validation_message) for problem in problems[:PROBLEMS]]
        raise UserError(subject, "cannot be said in SPDX", facts=facts, next="invoke build")
    stream = io.StringIO()
    json_writer.write_document_to_stream(document, stream, validate=False)
    return stream.getvalue().encode() + b"\n"


def _id(number: int, item: SbomComponent) -> str:
    """SPDX has fewer letters for ids than CycloneDX; the number keeps them apart."""
    return f"SPDXRef-{number}-{re.sub(r'[^A-Za-z0-9.-]', '-', item.name)}"


def _package(item: SbomComponent, spdx_id: str) -> Package:
    unknown = SpdxNoAssertion()
    sources = [ref for ref in item.references if ref.type == "source-distribution"]
    return Package(
        spdx_id=spdx_id,
        name=item.name,
        version=item.version or None,
        download_location=unknown,
        files_analyzed=False,
        checksums=[Checksum(ChecksumAlgorithm.SHA256, item.sha256)] if item.sha256 else [],
        source_info="; ".join(f"{ref.url} sha256 {ref.sha256}" for ref in sources) or None,
        license_concluded=unknown,
        license_declared=get_spdx_licensing().parse(item.licence) if item.licence else unknown,
        copyright_text=unknown,
        external_references=[
            ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", item.purl)
        ]
        if item.purl
        else [],
        primary_package_purpose=PURPOSES.get(item.type, PackagePurpose.OTHER),
    )


def _relationships(bill: Sbom, ids: Mapping[str, str]) -> Iterator[Relationship]:
    yield Relationship(DOCUMENT, RelationshipType.DESCRIBES, next(iter(ids.values())))
    for item in bill.dependencies:
        for inner in item.depends_on:
            if {item.ref, inner} <= ids.keys():
                yield Relationship(ids[item.ref], RelationshipType.CONTAINS, ids[inner])


def _own_licences(bill: Sbom, texts: Mapping[str, bytes]) -> Iterator[ExtractedLicensingInfo]:
    """Licences that SPDX does not list, with their texts."""
    licensing = get_spdx_licensing()
    written: dict[str, list[str]] = {}
    for item in bill.components:
        for name in licensing.license_keys(item.licence) if item.licence else ():
            if name.startswith(LICENSE_REF) and name not in licensing.known_symbols:
                own = [texts[ref.url] for ref in item.references if ref.type == "license"]
                written.setdefault(name, []).extend(text.decode(errors="replace") for text in own)
    for name, parts in written.items():
        text = "\n".join(dict.fromkeys(parts))
        yield ExtractedLicensingInfo(license_id=name, extracted_text=text)
