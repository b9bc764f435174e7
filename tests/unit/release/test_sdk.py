"""SDKs: the same bytes for the same content, and nothing believed that is not as it was signed."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, ValidationError

from edgewright.base.errors import UserError
from edgewright.cli.keys import sign_sdk as sign_built_sdk
from edgewright.cli.schemas import schema_text
from edgewright.release import evidence
from edgewright.release.evidence import LICENSES, SBOM, STATEMENT, Proof
from edgewright.release.manifest import MANIFEST, Source
from edgewright.release.order import parse_order
from edgewright.release.provenance import SDK_BUILD_TYPE, file_resource, statement
from edgewright.release.sbom import About, Ingredient, render
from edgewright.release.sdk import (
    Sdk,
    SdkInputs,
    SdkManifest,
    SdkModel,
    SdkRuntime,
    load_sdk,
    make_sdk,
    sdk_evidence,
    sign_sdk,
    verify_evidence,
    verify_sdk,
)
from tests import signing
from tests.unit.release.test_evidence import sign_unread

INPUTS = SdkInputs(
    board="a53-som",
    compatible="edgewright,a53-som",
    content={"lib/libx.so.1.2": b"library", "include/x.h": b"header"},
    links={"lib/libx.so.1": "libx.so.1.2", "lib/libx.so": "libx.so.1"},
    models=(SdkModel(name="cells", onnx_sha256="a" * 64),),
    runtime=SdkRuntime(
        version="1.21.0",
        ops_config_sha256="b" * 64,
        libc_floor="2.31",
        execution_providers=("cpu",),
    ),
    source=Source(revision="unknown", dirty=False, edgewright="0.2.0"),
)


@pytest.fixture
def sdk(tmp_path: Path) -> Sdk:
    return make_sdk(INPUTS, tmp_path / "sdk")


@pytest.fixture(autouse=True)
def own_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))


def test_the_choice_of_operators_is_in_a_manifest_of_all_alone(sdk: Sdk, tmp_path: Path) -> None:
    """So that SDKs of before the choice have their bytes, and their ids."""
    runtime = INPUTS.runtime.model_copy(update={"operators": "all"})

    everything = make_sdk(replace(INPUTS, models=(), runtime=runtime), tmp_path)

    assert b"operators" not in sdk.manifest.canonical()
    assert b'"operators":"all"' in everything.manifest.canonical()
    assert load_sdk(sdk.folder).manifest.runtime.operators == "models"
    assert load_sdk(everything.folder).manifest.runtime.operators == "all"


def test_ids_are_those_that_sdks_had_before_the_choice_of_operators(sdk: Sdk) -> None:
    assert sdk.id == "99df603a5697832e"


def test_the_schema_of_a_manifest_has_all_keys_of_the_runtime_and_no_others(sdk: Sdk) -> None:
    document = sdk.manifest.table()
    schema = json.loads(schema_text(SdkManifest))
    Draft202012Validator(schema).validate(document)

    for runtime in (
        {**document["runtime"], "nonsense": 1},
        {**document["runtime"], "operators": "most"},
        {"operators": "all"},
    ):
        with pytest.raises(ValidationError):
            Draft202012Validator(schema).validate({**document, "runtime": runtime})
    everything = {**document["runtime"], "operators": "all"}
    Draft202012Validator(schema).validate({**document, "runtime": everything})


def test_the_same_content_has_the_same_id_and_archive(sdk: Sdk, tmp_path: Path) -> None:
    again = make_sdk(INPUTS, tmp_path / "again")

    assert again.id == sdk.id
    assert again.archive.read_bytes() == sdk.archive.read_bytes()


def test_other_content_has_another_id(sdk: Sdk, tmp_path: Path) -> None:
    other = make_sdk(replace(INPUTS, content={"lib/libx.so.1.2": b"changed"}), tmp_path)

    assert other.id != sdk.id


def test_an_archive_unpacks_to_the_sdk(sdk: Sdk, tmp_path: Path) -> None:
    with tarfile.open(sdk.archive) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")

    unpacked = load_sdk(tmp_path / "unpacked" / sdk.id)
    assert unpacked.manifest == sdk.manifest
    assert (unpacked.folder / "lib" / "libx.so").read_bytes() == b"library"


def test_what_was_changed_is_told_file_by_file(sdk: Sdk) -> None:
    (sdk.folder / "include" / "x.h").write_bytes(b"HEADER")
    (sdk.folder / "lib" / "libx.so").unlink()
    (sdk.folder / "lib" / "libx.so").symlink_to("libevil.so")
    (sdk.folder / "lib" / "libevil.so").write_bytes(b"evil")

    with pytest.raises(UserError) as refused:
        load_sdk(sdk.folder)

    message = str(refused.value)
    assert "not the SDK its manifest describes" in message
    assert "include/x.h: expected sha256" in message
    assert "lib/libx.so: expected a link to libx.so.1" in message
    assert "lib/libevil.so: not in the manifest" in message


def test_a_damaged_sdk_is_made_again(sdk: Sdk, tmp_path: Path) -> None:
    (sdk.folder / "include" / "x.h").write_bytes(b"HEADER")

    assert load_sdk(make_sdk(INPUTS, tmp_path / "sdk").folder).id == sdk.id


def test_a_changed_manifest_is_refused(sdk: Sdk) -> None:
    manifest = sdk.folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"2.31", b"2.17"))

    with pytest.raises(UserError, match="changed after the SDK was made"):
        load_sdk(sdk.folder)


def test_a_signed_sdk_is_verified(sdk: Sdk) -> None:
    signer = signing.signer()
    sign_sdk(sdk, signer)

    verified, key = verify_sdk(sdk.folder, [signer.public])

    assert verified.id == sdk.id
    assert key == signer.public


def test_a_stranger_s_signature_is_refused(sdk: Sdk) -> None:
    sign_sdk(sdk, signing.signer("stranger"))

    with pytest.raises(UserError, match="signed by a key that is not trusted here"):
        verify_sdk(sdk.folder, [signing.signer().public])


def test_another_sdk_s_signature_is_refused(sdk: Sdk, tmp_path: Path) -> None:
    signer = signing.signer()
    other = make_sdk(replace(INPUTS, content={"lib/libx.so.1.2": b"other"}), tmp_path)
    sign_sdk(other, signer)
    sdk.signature.write_bytes(other.signature.read_bytes())

    with pytest.raises(UserError):
        verify_sdk(sdk.folder, [signer.public])


def test_an_sdk_without_a_signature_is_told(sdk: Sdk) -> None:
    with pytest.raises(UserError, match="is not signed"):
        verify_sdk(sdk.folder, [signing.signer().public])


def test_no_board_takes_an_sdk_s_signature_for_an_order(sdk: Sdk) -> None:
    sign_sdk(sdk, signing.signer())
    comment = f"edgewright sdk={sdk.id} compatible={sdk.manifest.compatible}"
    assert f"trusted comment: {comment}\n" in sdk.signature.read_text()

    with pytest.raises(UserError, match="no order to run a release"):
        parse_order(comment, "signature")


@pytest.fixture
def proven(tmp_path: Path) -> Sdk:
    """An SDK with bill and licence text inside, and a provenance beside it that is signed."""
    part = Ingredient(
        ref="zlib", kind="library", name="zlib", version="1", licence="Zlib", texts={"zlib/L": b"x"}
    )
    about = About(ref="sdk", kind="library", name="library", version="1", sha256="a" * 64)
    bill = render(about, [part], [])
    inside = {**INPUTS.content, SBOM: bill, f"{LICENSES}/zlib/L": b"x"}
    sdk = make_sdk(replace(INPUTS, content=inside), tmp_path / "proven")
    write_statement(sdk, bill)
    sign_sdk(sdk, signing.signer())
    return sdk


def write_statement(sdk: Sdk, bill: bytes) -> None:
    raw = statement(
        build_type=SDK_BUILD_TYPE,
        subject=[
            file_resource(MANIFEST, sdk.manifest.canonical()),
            file_resource(sdk.archive.name, sdk.archive.read_bytes()),
            file_resource(SBOM, bill),
        ],
        parameters={"board": sdk.manifest.board, "compatible": sdk.manifest.compatible},
        internal={},
        dependencies=[],
        builder="urn:edgewright:builder:test",
        versions={},
    )
    evidence.write_files(sdk_evidence(sdk), {STATEMENT: raw})


def proof_of(sdk: Sdk, *, complete: bool = True) -> Proof | None:
    return verify_evidence(sdk, [signing.signer().public], complete=complete)


def test_a_signed_provenance_is_verified_with_bill_and_texts(proven: Sdk) -> None:
    proof = proof_of(proven)

    assert proof is not None
    assert proof.statement is not None
    assert proof.key == signing.signer().public
    assert proof.statement.predicate.run.builder.id == "urn:edgewright:builder:test"
    assert (len(proof.sbom.components), proof.texts) == (1, 1)


def test_a_provenance_of_another_sdk_proves_nothing(proven: Sdk, tmp_path: Path) -> None:
    bill = (proven.folder / SBOM).read_bytes()
    content = {SBOM: bill, f"{LICENSES}/zlib/L": b"x"}
    other = make_sdk(replace(INPUTS, content=content, links={}), tmp_path / "other")
    sdk_evidence(proven).folder.rename(sdk_evidence(other).folder)

    with pytest.raises(UserError, match=f"is not about {other.id}") as refused:
        proof_of(other)

    facts = " ".join(refused.value.facts)
    assert f"{MANIFEST}: expected sha256" in facts
    assert f"signed as: edgewright provenance={proven.id}" in facts


@pytest.mark.parametrize(
    ("written", "changed", "fact"),
    [
        (b'"board":"a53-som"', b'"board":"rpi2"', "board: manifest a53-som, provenance rpi2"),
        (
            b'"compatible":"edgewright,a53-som"',
            b'"compatible":"edgewright,rpi2"',
            "compatible: manifest edgewright,a53-som, provenance edgewright,rpi2",
        ),
        (
            b"urn:edgewright:sdk:v1",
            b"urn:edgewright:build:v1",
            "build type: expected urn:edgewright:sdk:v1, found urn:edgewright:build:v1",
        ),
    ],
)
def test_a_provenance_of_anything_else_is_neither_signed_nor_believed(
    proven: Sdk, written: bytes, changed: bytes, fact: str
) -> None:
    behind = sdk_evidence(proven)
    statement = behind.statement.read_bytes()
    assert written in statement
    behind.statement.write_bytes(statement.replace(written, changed))
    proven.signature.unlink()

    with pytest.raises(UserError, match=f"is not about {proven.id}") as refused:
        sign_sdk(proven, signing.signer())
    assert refused.value.facts == (fact,)
    assert refused.value.next == "invoke sdk"
    assert not proven.signature.exists()

    sign_unread(behind)
    with pytest.raises(UserError, match=f"is not about {proven.id}") as refused:
        proof_of(proven)
    assert refused.value.facts == (fact,)


def test_an_sdk_is_proven_in_its_own_folder_too(
    proven: Sdk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(proven.folder)

    inside = load_sdk(Path())

    assert inside.archive == proven.archive
    proof = proof_of(inside)
    assert proof is not None
    assert proof.key == signing.signer().public


def test_a_new_provenance_is_signed_and_the_signature_of_another_key_stays(
    proven: Sdk, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_sdk(proven, signing.signer("colleague"))
    by_colleague = proven.signature.read_bytes()
    sdk_evidence(proven).envelope.unlink()

    sign_built_sdk(proven)

    assert "signed its provenance" in capsys.readouterr().err
    assert proven.signature.read_bytes() == by_colleague
    proof = proof_of(proven)
    assert proof is not None
    assert proof.key == signing.signer().public


def test_an_archive_that_was_packed_anew_is_not_the_one_that_was_built(proven: Sdk) -> None:
    proven.archive.write_bytes(proven.archive.read_bytes() + b"\0")

    with pytest.raises(UserError, match=f"is not about {proven.id}"):
        proof_of(proven)


def test_what_an_sdk_lacks_is_refused_where_all_is_asked_for(sdk: Sdk, proven: Sdk) -> None:
    assert proof_of(sdk, complete=False) is None
    with pytest.raises(UserError, match="no bill of materials") as refused:
        proof_of(sdk)
    assert refused.value.facts == ("the first SDKs have none",)
    assert refused.value.next == "invoke sdk makes the SDK again, with one"

    sdk_evidence(proven).envelope.unlink()
    proof = proof_of(proven, complete=False)
    assert proof is not None
    assert proof.statement is None
    with pytest.raises(UserError, match="its provenance is not signed") as refused:
        proof_of(proven)
    assert refused.value.next == f"invoke sdk.sign {proven.folder}"
