"""SDKs: the same bytes for the same content, and nothing believed that is not as it was signed."""

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.release.manifest import Source
from edgewright.release.order import parse_order
from edgewright.release.sdk import (
    Sdk,
    SdkInputs,
    SdkModel,
    SdkRuntime,
    load_sdk,
    make_sdk,
    sign_sdk,
    verify_sdk,
)
from tests import signing

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

    told = str(refused.value)
    assert "not the SDK its manifest describes" in told
    assert "include/x.h: expected sha256" in told
    assert "lib/libx.so: expected a link to libx.so.1" in told
    assert "lib/libevil.so: not in the manifest" in told


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
