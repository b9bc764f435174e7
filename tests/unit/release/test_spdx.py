"""A bill of materials in SPDX."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from spdx_tools.spdx.model import Document, RelationshipType
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from edgewright.base.errors import UserError
from edgewright.release import evidence, sbom, spdx
from edgewright.release.evidence import Evidence
from edgewright.release.sbom import Ingredient
from tests.boards import make_release
from tests.unit.release.test_evidence import INGREDIENTS, with_evidence

AT = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def behind(tmp_path: Path) -> Evidence:
    return evidence.beside(with_evidence(make_release(tmp_path / "one", root="/opt")))


def rendered(behind: Evidence) -> bytes:
    raw, bill = evidence.read_bill(behind)
    texts = evidence.read_texts(behind, bill)
    return spdx.render(raw, bill, texts, "bill", "edgewright-0", AT)


def parsed(content: bytes) -> Document:
    document: Document = JsonLikeDictParser().parse(json.loads(content))
    assert validate_full_spdx_document(document, "SPDX-2.3") == []
    return document


def test_the_document_is_spdx_2_3_and_the_same_each_time(behind: Evidence) -> None:
    content = rendered(behind)

    document = parsed(content)
    assert document.creation_info.spdx_version == "SPDX-2.3"
    assert content == rendered(behind)
    sha256 = hashlib.sha256(behind.sbom.read_bytes()).hexdigest()
    assert sha256 in str(document.creation_info.creator_comment)


def test_each_part_is_a_package_with_licence_and_sources(behind: Evidence) -> None:
    packages = {package.name: package for package in parsed(rendered(behind)).packages}

    assert len(packages) == len(INGREDIENTS) + 1
    licences = {item.name: str(packages[item.name].license_declared) for item in INGREDIENTS}
    assert licences == {item.name: item.licence for item in INGREDIENTS}
    assert packages["zlib"].external_references[0].locator == INGREDIENTS[1].purl
    assert packages["zlib"].source_info == f"zlib_1.3.1.orig.tar.gz sha256 {'6' * 64}"


def test_what_is_in_what_is_said(behind: Evidence) -> None:
    document = parsed(rendered(behind))

    names = {package.spdx_id: package.name for package in document.packages}
    contained = {
        (names[item.spdx_element_id], names[str(item.related_spdx_element_id)])
        for item in document.relationships
        if item.relationship_type == RelationshipType.CONTAINS
    }
    name = document.packages[0].name
    assert contained == {(name, "edge-infer"), (name, "small"), ("edge-infer", "zlib")}


def test_a_licence_of_ones_own_has_its_text(behind: Evidence) -> None:
    (own,) = parsed(rendered(behind)).extracted_licensing_info

    assert (own.license_id, own.extracted_text) == ("LicenseRef-acme", "ours")


@pytest.mark.parametrize(
    "ingredient",
    [
        Ingredient(ref="a", kind="library", name="a", version="1", licence="Moon-1.0"),
        Ingredient(ref="a", kind="library", name="a", version="1", licence="LicenseRef-a b"),
    ],
)
def test_a_licence_that_spdx_does_not_know_is_refused(
    tmp_path: Path, ingredient: Ingredient
) -> None:
    manifest = make_release(tmp_path / "one", root="/opt").manifest
    raw = sbom.render(sbom.about_release(manifest), [ingredient], [])

    with pytest.raises(UserError, match="cannot be said in SPDX"):
        spdx.render(raw, sbom.read_sbom(raw, "bill"), {}, "bill", "edgewright-0", AT)
