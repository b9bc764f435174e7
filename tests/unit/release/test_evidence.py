"""Bill of materials, licence texts and signed provenance beside a release."""

import base64
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.release import dsse, evidence, keys, order, provenance, sbom
from edgewright.release.documents import verified_release
from edgewright.release.evidence import Evidence, Proof
from edgewright.release.manifest import Release, load_release
from edgewright.release.sbom import Ingredient, SourceFile, Tool
from tests import v0_1_0
from tests.boards import make_release
from tests.exports import statement_about
from tests.signing import signer

INGREDIENTS = (
    Ingredient(
        ref="edge-infer",
        kind="application",
        name="edge-infer",
        version="0.1.0",
        licence="MIT",
        texts={"edge-infer/LICENSE": b"may be used"},
        holds=("zlib",),
    ),
    Ingredient(
        ref="zlib",
        kind="library",
        name="zlib",
        version="1.3.1",
        licence="Zlib",
        texts={"zlib/LICENSE": b"may be inflated"},
        purl="pkg:deb/debian/zlib@1.3.1?arch=source",
        sources=(SourceFile(file="zlib_1.3.1.orig.tar.gz", sha256="6" * 64),),
    ),
    Ingredient(
        ref="model",
        kind="machine-learning-model",
        name="small",
        version="0" * 16,
        licence="LicenseRef-acme",
        texts={"model/LICENSE": b"ours"},
    ),
)


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return with_evidence(make_release(tmp_path / "one", root="/opt/edgewright"))


def with_evidence(release: Release, ingredients: tuple[Ingredient, ...] = INGREDIENTS) -> Release:
    bill = sbom.render(
        sbom.about_release(release.manifest), ingredients, [Tool(name="g++", version="14")]
    )
    texts = {path: text for item in ingredients for path, text in item.texts.items()}
    evidence.write(evidence.beside(release), bill, texts, statement_about(release, bill))
    return release


def signed_release(folder: Path, **contents: Any) -> Release:
    """With its evidence, signed as `release.sign` does."""
    release = with_evidence(make_release(folder, root="/opt", **contents))
    order.sign_release(release, signer())
    return release


def verify(release: Release, key: str = "default") -> Proof:
    trusted = [signer(key).public]
    order.verify(release.folder, trusted)
    return evidence.verify(evidence.beside(release), release.manifest, release.archive, trusted)


def test_a_bill_is_cyclonedx_1_6_and_the_same_each_time(release: Release) -> None:
    raw = evidence.beside(release).sbom.read_bytes()

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(raw.decode()) is None
    assert raw == sbom.render(
        sbom.about_release(release.manifest), INGREDIENTS, [Tool(name="g++", version="14")]
    )
    assert json.loads(raw)["specVersion"] == "1.6"


def test_a_statement_is_in_toto_v1_with_slsas_predicate(release: Release) -> None:
    statement = json.loads(evidence.beside(release).statement.read_bytes())

    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert {item["name"] for item in statement["subject"]} == {
        "manifest.json",
        release.archive.name,
        "sbom.cdx.json",
    }
    assert set(statement["predicate"]) == {"buildDefinition", "runDetails"}


def test_signing_a_release_signs_its_provenance(release: Release) -> None:
    order.sign_release(release, signer())

    proof = verify(release)

    assert proof.key == signer().public
    assert (len(proof.sbom.components), proof.texts) == (3, 3)
    verified = order.verify(release.folder, [signer().public])
    shown = verified_release(verified, proof).evidence
    assert shown is not None
    assert shown.provenance is not None
    assert shown.provenance.builder_sha256 == "b" * 64
    evidence.require_complete(evidence.beside(release), proof)


def test_the_release_itself_is_what_it_was_without_evidence(tmp_path: Path) -> None:
    bare = make_release(tmp_path / "one", root="/opt/edgewright")
    archive = bare.archive.read_bytes()

    order.sign_release(with_evidence(bare), signer())

    assert load_release(bare.folder).id == bare.id
    assert bare.archive.read_bytes() == archive
    assert not list(bare.folder.glob("**/*sbom*"))


def test_a_signed_provenance_is_kept_until_it_says_something_else(release: Release) -> None:
    order.sign_release(release, signer())
    signed = evidence.beside(release).envelope.read_bytes()

    order.sign_release(with_evidence(release), signer())
    assert evidence.beside(release).envelope.read_bytes() == signed

    with_evidence(release, INGREDIENTS[:2])
    assert not evidence.beside(release).envelope.exists()


def test_a_release_of_0_1_0_has_no_evidence_and_says_so(tmp_path: Path) -> None:
    behind = evidence.beside(v0_1_0.release(tmp_path))

    assert not behind.exists
    with pytest.raises(UserError, match="no bill of materials") as refused:
        evidence.read_bill(behind)
    assert refused.value.facts == ("releases of edgewright 0.1.0 have none",)


def test_a_provenance_that_is_not_signed_proves_nothing(release: Release) -> None:
    release.signature.write_bytes(order.sign(release.manifest, signer()))

    proof = verify(release)

    assert (proof.statement, proof.key) == (None, None)
    with pytest.raises(UserError, match="its provenance is not signed"):
        evidence.require_complete(evidence.beside(release), proof)


def test_a_licence_text_that_is_gone_is_named(release: Release) -> None:
    order.sign_release(release, signer())
    (evidence.beside(release).folder / "licenses/zlib/LICENSE").unlink()

    with pytest.raises(UserError, match="licence texts differ") as refused:
        verify(release)
    assert refused.value.facts == ("licenses/zlib/LICENSE: no such file",)


def test_a_component_without_licence_is_named(release: Release) -> None:
    unknown = replace(INGREDIENTS[2], licence=None, texts={})
    with_evidence(release, (*INGREDIENTS[:2], unknown))
    order.sign_release(release, signer())

    proof = verify(release)

    assert proof.sbom.unlicensed == ("small",)
    with pytest.raises(UserError, match="licences are missing") as refused:
        evidence.require_licences(proof.sbom, "bill", evidence.RELEASE)
    assert refused.value.facts == ("small: no licence is stated",)


def change_text(behind: Evidence) -> None:
    (behind.folder / "licenses/zlib/LICENSE").write_bytes(b"may not")


def add_text(behind: Evidence) -> None:
    (behind.folder / "licenses/more").write_bytes(b"not listed")


def link_text(behind: Evidence) -> None:
    path = behind.folder / "licenses/zlib/LICENSE"
    (behind.folder.parent / "elsewhere").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(behind.folder.parent / "elsewhere")


def change_bill(behind: Evidence) -> None:
    behind.sbom.write_bytes(behind.sbom.read_bytes().replace(b'"1.3.1"', b'"1.3.2"'))


def change_statement(behind: Evidence) -> None:
    envelope = json.loads(behind.envelope.read_bytes())
    payload = base64.b64decode(envelope["payload"]).replace(b"builder:test", b"builder:evil")
    envelope["payload"] = base64.b64encode(payload).decode()
    behind.envelope.write_text(json.dumps(envelope))


def change_unsigned_statement(behind: Evidence) -> None:
    raw = behind.statement.read_bytes().replace(b"builder:test", b"builder:evil")
    behind.statement.write_bytes(raw)


def link_all_texts(behind: Evidence) -> None:
    (behind.folder / "licenses").rename(behind.folder.parent / "texts")
    (behind.folder / "licenses").symlink_to(behind.folder.parent / "texts")


def change_type(behind: Evidence) -> None:
    envelope = json.loads(behind.envelope.read_bytes())
    envelope["payloadType"] = "text/plain"
    behind.envelope.write_text(json.dumps(envelope))


def lead_outside(behind: Evidence) -> None:
    raw = behind.sbom.read_bytes().replace(b"licenses/zlib/LICENSE", b"licenses/../../one/x")
    behind.sbom.write_bytes(raw)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (change_text, "licence texts differ"),
        (add_text, "licence texts differ"),
        (link_text, "licence texts differ"),
        (change_bill, "is not about "),
        (link_all_texts, "licence texts differ"),
        (change_statement, "signature does not fit"),
        (change_unsigned_statement, "is not about "),
        (change_type, "another type of payload"),
        (lead_outside, "licence text without place"),
    ],
)
def test_what_was_changed_after_signing_is_refused(
    release: Release, change: Callable[[Evidence], None], problem: str
) -> None:
    order.sign_release(release, signer())
    change(evidence.beside(release))

    with pytest.raises(UserError, match=problem):
        verify(release)


def test_evidence_of_another_release_is_refused(release: Release, tmp_path: Path) -> None:
    other = with_evidence(make_release(tmp_path / "two", root="/opt/edgewright", model=b"two"))
    for item in (release, other):
        order.sign_release(item, signer())
    shutil.rmtree(evidence.beside(release).folder)
    shutil.copytree(evidence.beside(other).folder, evidence.beside(release).folder)

    with pytest.raises(UserError, match="is of another release"):
        verify(release)


@pytest.mark.parametrize(
    ("written", "changed", "fact"),
    [
        (b'"board":"board"', b'"board":"other"', "board: manifest board, provenance other"),
        (b"0" * 64, b"1" * 64, f"model: manifest {'0' * 64}, provenance {'1' * 64}"),
        (
            b"urn:edgewright:build:v1",
            b"urn:edgewright:sdk:v1",
            "build type: expected urn:edgewright:build:v1, found urn:edgewright:sdk:v1",
        ),
    ],
)
def test_a_provenance_of_anything_else_is_neither_signed_nor_believed(
    release: Release, written: bytes, changed: bytes, fact: str
) -> None:
    behind = evidence.beside(release)
    statement = behind.statement.read_bytes()
    assert written in statement
    behind.statement.write_bytes(statement.replace(written, changed))

    with pytest.raises(UserError, match=f"is not about {release.id}") as refused:
        order.sign_release(release, signer())
    assert refused.value.facts == (fact,)
    assert not behind.envelope.exists()
    assert not release.signature.exists()

    release.signature.write_bytes(order.sign(release.manifest, signer()))
    sign_unread(behind)
    with pytest.raises(UserError, match=f"is not about {release.id}") as refused:
        verify(release)
    assert refused.value.facts == (fact,)


def sign_unread(behind: Evidence) -> None:
    """As somebody does who signs whatever lies there."""
    raw = behind.statement.read_bytes()
    sealed = dsse.seal(raw, provenance.PAYLOAD_TYPE, signer(), evidence.comment(behind.about))
    behind.envelope.write_bytes(sealed)


def test_an_archive_that_was_packed_anew_is_not_the_one_that_was_built(release: Release) -> None:
    order.sign_release(release, signer())
    release.archive.write_bytes(release.archive.read_bytes() + bytes(512))

    with pytest.raises(UserError, match=f"is not about {release.id}"):
        verify(release)


def test_a_key_that_is_not_trusted_vouches_for_nothing(release: Release) -> None:
    order.sign_release(release, signer())
    order.sign_release(release, signer("other"))
    release.signature.write_bytes(order.sign(release.manifest, signer()))

    with pytest.raises(UserError, match="signed by a key that is not trusted here"):
        verify(release)


def test_a_signature_of_an_order_is_none_of_a_provenance(release: Release) -> None:
    order.sign_release(release, signer())
    behind = evidence.beside(release)
    envelope = json.loads(behind.envelope.read_bytes())
    envelope["signatures"][0]["sig"] = base64.b64encode(release.signature.read_bytes()).decode()
    behind.envelope.write_text(json.dumps(envelope))

    with pytest.raises(UserError, match="signature does not fit"):
        verify(release)


def test_a_command_signs_the_provenance_too(release: Release, tmp_path: Path) -> None:
    class Stub:
        public = signer().public
        signed: list[str] = []  # noqa: RUF012

        def next_sequence(self, *, at_least: int = 0) -> int:
            return max(at_least, 1)

        def sign(self, data: bytes, comment: str) -> Any:
            self.signed.append(comment)
            return signer().sign(data, comment)

    order.sign_release(release, Stub())  # type: ignore[arg-type]

    assert Stub.signed[0] == f"edgewright provenance={release.id}"
    assert verify(release).key == keys.user_keys().stored("default").public


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(raw=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused_in_words(raw: bytes) -> None:
    for read in (
        lambda: sbom.licence_texts(sbom.read_sbom(raw, "bill"), "bill"),
        lambda: provenance.read_statement(raw, "statement"),
        lambda: dsse.open_(raw, provenance.PAYLOAD_TYPE, [], "envelope"),
    ):
        try:
            read()
        except UserError:
            continue


@pytest.mark.parametrize(
    ("expression", "unknown"),
    [
        ("MIT", []),
        ("GPL-3.0-or-later WITH GCC-exception-3.1", []),
        ("LicenseRef-acme AND MIT", []),
        ("free", ["free"]),
        ("MIT OR free", ["free"]),
        ("", ["nothing"]),
    ],
)
def test_licences_are_those_of_spdx_or_ones_own(expression: str, unknown: list[str]) -> None:
    assert sbom.unknown_licences(expression) == unknown


@pytest.mark.parametrize("expression", ["MIT AND", "((", "AND"])
def test_what_is_no_expression_is_told(expression: str) -> None:
    assert sbom.unknown_licences(expression)
