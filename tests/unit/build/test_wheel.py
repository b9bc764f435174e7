"""A wheel is what pip wants, has a platform tag that is true, and the same bytes every time."""

import base64
import csv
import email
import hashlib
import json
import re
import zipfile
from pathlib import Path

import pytest

from edgewright.base.errors import UserError
from edgewright.board.catalogue import load_board
from edgewright.board.elf import NeededVersion, read_elf
from edgewright.board.profile import Arch, Libc, LibcFamily
from edgewright.build import wheel as wheels
from edgewright.build.wheel import (
    add_to_index,
    build_wheel,
    make_wheel,
    platform_tag,
    write_index,
)
from edgewright.release.evidence import SBOM, STATEMENT, require_licences, write_files
from edgewright.release.manifest import Source
from edgewright.release.provenance import SDK_BUILD_TYPE, Resource, file_resource, statement
from edgewright.release.sbom import About, Ingredient, read_sbom, render
from edgewright.release.sdk import (
    Sdk,
    SdkInputs,
    SdkModel,
    SdkRuntime,
    make_sdk,
    sdk_evidence,
)
from edgewright.release.wheel import sign_wheel, verify_wheel, wheel_evidence
from tests import signing
from tests.checkout import ROOT, checkout

CODE = checkout().resources.runtime_py
PROFILE = load_board("a53-som", checkout().boards)
ELF = ROOT / "tests" / "data" / "elf"
OPERATORS = 'ai.onnx;13;Add{"inputs": {"0": ["float"]}},MatMul\n'
HEADER = """\
/* struct OrtApi { in a comment */
struct OrtApi {
  // ORT_API2_STATUS(Nothing)
  OrtStatus*(ORT_API_CALL* CreateStatus)(OrtErrorCode code, _In_ const char* msg)NO_EXCEPTION;
  ORT_API2_STATUS(CreateEnv, OrtLoggingLevel level, _Outptr_ OrtEnv** out);
  ORT_CLASS_RELEASE(Env);
  void(ORT_API_CALL* ClearBoundInputs)(_Inout_ OrtIoBinding* binding_ptr)NO_EXCEPTION;
};
"""


def header_of(places: dict[str, int]) -> str:
    """A header whose table has functions at these places, and others between them."""
    names = {place: name for name, place in places.items()}
    members = (names.get(place, f"Other{place}") for place in range(max(names) + 1))
    return "".join(("struct OrtApi {\n", *map(member, members), "};\n"))


def member(name: str) -> str:
    if name.startswith("Release") and name != "ReleaseAvailableProviders":
        return f"  ORT_CLASS_RELEASE({name.removeprefix('Release')});\n"
    return f"  ORT_API2_STATUS({name}, int);\n"


TEXTS = {"libedge": b"MIT", "onnxruntime": b"MIT", "zlib": b"Zlib"}


def bill_of_sdk() -> bytes:
    parts = [
        Ingredient(
            ref=name,
            kind="library",
            name=name,
            version="1",
            licence=text.decode(),
            texts={f"{name}/LICENSE": text},
            holds=("zlib",) if name == "libedge" else (),
        )
        for name, text in TEXTS.items()
    ]
    about = About(ref="sdk", kind="library", name="an SDK", version="1", sha256="c" * 64)
    return render(about, parts, [])


def sdk_with_header(tmp_path: Path) -> Sdk:
    places = wheels.api_places(CODE / "_api.py")
    inputs = SdkInputs(
        board="a53-som",
        compatible="edgewright,a53-som",
        content={
            "operators.config": OPERATORS.encode(),
            "lib/libonnxruntime.so.1.21.0": (ELF / "good-v8").read_bytes(),
            wheels.HEADER: header_of(places).encode(),
            **{f"licenses/{name}/LICENSE": text for name, text in TEXTS.items()},
            SBOM: bill_of_sdk(),
        },
        links={},
        models=(SdkModel(name="cells", onnx_sha256="a" * 64),),
        runtime=SdkRuntime(
            version="1.21.0",
            ops_config_sha256="b" * 64,
            libc_floor="2.31",
            execution_providers=("cpu",),
        ),
        source=Source(revision="unknown", dirty=False),
    )
    sdk = make_sdk(inputs, tmp_path / "sdk")
    source = Resource(name="zlib.tar.gz", uri="pkg:deb/debian/zlib@1", digest={"sha256": "d" * 64})
    recipe = Resource(name="recipe zlib", annotations={"revision": "e" * 32})
    raw = statement(
        build_type=SDK_BUILD_TYPE,
        subject=[
            file_resource("manifest.json", sdk.manifest.canonical()),
            file_resource(SBOM, (sdk.folder / SBOM).read_bytes()),
            file_resource(sdk.archive.name, sdk.archive.read_bytes()),
        ],
        parameters={"board": "a53-som", "compatible": "edgewright,a53-som"},
        internal={},
        dependencies=[source, recipe],
        builder="urn:edgewright:builder:test",
        versions={"edgewright": "1"},
    )
    write_files(sdk_evidence(sdk), {STATEMENT: raw})
    return sdk


@pytest.fixture
def sdk(tmp_path: Path) -> Sdk:
    return sdk_with_header(tmp_path)


def test_a_wheel_has_its_files_and_their_hashes(sdk: Sdk, tmp_path: Path) -> None:
    report = build_wheel(sdk, PROFILE, CODE, tmp_path / "out")

    with zipfile.ZipFile(report.wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    info = f"edgewright_runtime-{report.wheel_version}.dist-info"
    rows = [*csv.reader(content[f"{info}/RECORD"].decode().splitlines())]
    for name, sha256, size in rows[:-1]:
        expected = base64.urlsafe_b64encode(hashlib.sha256(content[name]).digest()).rstrip(b"=")
        assert (sha256, size) == (f"sha256={expected.decode()}", str(len(content[name])))
    assert {row[0] for row in rows} == set(content)
    assert content["edgewright_runtime/libonnxruntime.so.1"] == (ELF / "good-v8").read_bytes()
    assert content[f"{info}/licenses/onnxruntime/LICENSE"] == b"MIT"
    assert f"{info}/licenses/zlib/LICENSE" not in content  # libedge's, which is in no wheel
    bill = json.loads(content[f"{info}/sboms/sbom.cdx.json"])
    assert [part["bom-ref"] for part in bill["components"]] == ["onnxruntime"]
    assert bill["dependencies"] == [
        {"ref": "onnxruntime"},
        {"ref": "sdk", "dependsOn": ["onnxruntime"]},
    ]
    assert {path.name for path in CODE.glob("*.py")} < {Path(name).name for name in content}
    metadata = email.message_from_bytes(content[f"{info}/METADATA"])
    assert (metadata["Name"], metadata["Requires-Python"]) == ("edgewright-runtime", ">=3.7")
    assert metadata.get_all("Requires-Dist") == ["numpy"]
    assert "Tag: py3-none-manylinux_2_31_armv7l\n" in content[f"{info}/WHEEL"].decode()
    about = json.loads(content["edgewright_runtime/build.json"])
    assert about["instructions"] == ["ARMv8", "NEON", "VFPv4", "integer division"]
    assert about["operators"] == ["ai.onnx:Add (opset 13)", "ai.onnx:MatMul (opset 13)"]


def test_the_name_tells_boards_and_contents_apart(sdk: Sdk) -> None:
    wheel = make_wheel(sdk, PROFILE, CODE)

    assert wheel.name.startswith("edgewright_runtime-1.21.0+a53.som.w")
    assert wheel.name.endswith("-py3-none-manylinux_2_31_armv7l.whl")
    assert make_wheel(sdk, PROFILE, CODE) == wheel


def test_the_tag_is_the_sdk_s_also_when_the_profile_has_changed_since(sdk: Sdk) -> None:
    musl = Libc(family=LibcFamily.MUSL, floor="1.2")

    wheel = make_wheel(sdk, PROFILE.model_copy(update={"libc": musl}), CODE)

    assert wheel == make_wheel(sdk, PROFILE, CODE)


def test_a_tag_is_given_only_where_it_is_true() -> None:
    facts = read_elf(ELF / "good-v8").model_copy(update={"needed": ("libc.so.6",), "versions": ()})
    newer = NeededVersion(library="libc.so.6", version="GLIBC_2.34", symbols=("x",))

    def tag(floor: str, arch: Arch = Arch.ARMHF, family: str = "glibc", **changes: object) -> str:
        return platform_tag(facts.model_copy(update=changes), LibcFamily(family), floor, arch)

    assert tag("2.28", Arch.ARM64) == "manylinux_2_28_aarch64"
    assert tag("2.18") == "manylinux_2_18_armv7l"
    assert tag("2.16") == "linux_armv7l"
    assert tag("2.31", needed=("libc.so.6", "libstdc++.so.6")) == "linux_armv7l"
    assert tag("2.31", versions=(newer,)) == "linux_armv7l"
    assert tag("1.2", family="musl", needed=("libc.so",)) == "musllinux_1_2_armv7l"
    assert tag("1.2", family="musl") == "linux_armv7l"  # needs glibc's libc.so.6


def test_the_order_of_the_table_is_read_from_the_header() -> None:
    expected = ["CreateStatus", "CreateEnv", "ReleaseEnv", "ClearBoundInputs"]

    assert wheels.api_members(HEADER, "header") == expected


def test_a_header_with_another_table_is_refused(tmp_path: Path) -> None:
    places = wheels.api_places(CODE / "_api.py")
    header = tmp_path / "api.h"
    header.write_text(header_of(places | {"CreateSession": 8, "CreateSessionFromArray": 7}))

    with pytest.raises(UserError) as refused:
        wheels.require_places(CODE / "_api.py", header)

    assert "CreateSession: expected at 7, found at 8" in str(refused.value)
    assert str(refused.value).endswith("correct the places in FUNCTIONS and PLAIN there")


def test_an_index_lists_every_wheel_with_its_hash(sdk: Sdk, tmp_path: Path) -> None:
    index = tmp_path / "index"
    report = add_to_index(build_wheel(sdk, PROFILE, CODE, tmp_path / "out"), index)
    (index / "edgewright_runtime-1.20.0+old-py3-none-linux_armv7l.whl").write_bytes(b"old")
    write_index(index)

    page = (index / "simple" / "edgewright-runtime" / "index.html").read_text()
    name = report.wheel.name.replace("+", "%2B")
    assert f'<a href="../../{name}#sha256={report.sha256}" data-requires-python="&gt;=3.7">' in page
    assert "edgewright_runtime-1.20.0%2Bold-py3-none-linux_armv7l.whl#sha256=" in page
    assert 'href="edgewright-runtime/"' in (index / "simple" / "index.html").read_text()


@pytest.fixture
def signed(sdk: Sdk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel whose provenance is signed."""
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    wheel = build_wheel(sdk, PROFILE, CODE, tmp_path / "out").wheel
    sign_wheel(wheel, signing.signer())
    return wheel


def test_the_provenance_of_a_wheel_says_what_its_sdk_was_built_from(
    signed: Path, sdk: Sdk, tmp_path: Path
) -> None:
    verified = verify_wheel(signed, [signing.signer().public])

    assert (verified.sdk, verified.board) == (sdk.id, "a53-som")
    assert verified.proof.texts == len(verified.proof.sbom.components) == 1
    stated = verified.proof.statement
    assert stated is not None
    inputs = {item.name: item for item in stated.predicate.build.dependencies}
    assert [*inputs] == ["zlib.tar.gz", "recipe zlib", "sdk", "runtime_py"]
    assert inputs["zlib.tar.gz"].uri == "pkg:deb/debian/zlib@1"
    assert inputs["recipe zlib"].annotations == {"revision": "e" * 32}
    manifest = hashlib.sha256(sdk.manifest.canonical()).hexdigest()
    assert inputs["sdk"].digest == {"sha256": manifest}


def test_an_index_hands_out_the_signed_provenance_too(
    signed: Path, sdk: Sdk, tmp_path: Path
) -> None:
    report = build_wheel(sdk, PROFILE, CODE, signed.parent)  # the same, so the signature stays

    add_to_index(report, tmp_path / "index")

    verified = verify_wheel(tmp_path / "index" / signed.name, [signing.signer().public])
    assert verified.sdk == sdk.id


def test_a_wheel_that_was_changed_is_refused(signed: Path) -> None:
    with zipfile.ZipFile(signed, "a") as archive:
        archive.writestr("evil.pth", "import evil")

    with pytest.raises(UserError, match=f"is not about {re.escape(signed.name)}") as refused:
        verify_wheel(signed, [signing.signer().public])

    assert f"{signed.name}: expected sha256" in " ".join(refused.value.facts)


def test_a_wheel_is_verified_by_a_trusted_signature_alone(signed: Path) -> None:
    with pytest.raises(UserError, match="signed by a key that is not trusted here"):
        verify_wheel(signed, [signing.signer("stranger").public])

    wheel_evidence(signed).envelope.unlink()
    with pytest.raises(UserError, match="is not signed") as refused:
        verify_wheel(signed, [signing.signer().public])
    assert refused.value.next == f"invoke sdk.sign {signed}"

    wheel_evidence(signed).statement.unlink()
    with pytest.raises(UserError, match="has no provenance to be signed"):
        sign_wheel(signed, signing.signer())


def test_the_provenance_of_another_wheel_is_not_signed(signed: Path) -> None:
    behind = wheel_evidence(signed)
    behind.envelope.unlink()
    signed.write_bytes(signed.read_bytes() + b"\0")

    with pytest.raises(UserError, match=f"is not about {re.escape(signed.name)}") as refused:
        sign_wheel(signed, signing.signer())

    assert refused.value.next == "invoke wheel"
    assert not behind.envelope.exists()


def test_parts_of_a_wheel_without_a_licence_are_no_model_s(signed: Path) -> None:
    part = Ingredient(ref="x", kind="library", name="x", version="1", licence=None, texts={})
    about = About(ref="wheel", kind="library", name="a wheel", version="1", sha256="c" * 64)
    bill = read_sbom(render(about, [part], []), "bill")

    with pytest.raises(UserError, match="licences are missing") as refused:
        require_licences(bill, str(signed), wheel_evidence(signed).kind)

    assert refused.value.next == "invoke wheel"


@pytest.mark.parametrize(
    ("member", "content", "problem"),
    [
        ("licenses/onnxruntime/LICENSE", b"GPL", "licence texts differ from the bill"),
        ("licenses/onnxruntime/LICENSE", None, "licence texts differ from the bill"),
        ("licenses/more/LICENSE", b"MIT", "licence texts differ from the bill"),
        ("sboms/sbom.cdx.json", b"{}", "not the bill that the provenance speaks of"),
        ("sboms/sbom.cdx.json", None, "no such file"),
    ],
)
def test_a_signer_whose_wheel_contradicts_its_bill_is_refused(
    signed: Path, member: str, content: bytes | None, problem: str
) -> None:
    """By a licence text that is gone, say: a wheel that was packed anew, and signed."""
    with zipfile.ZipFile(signed) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    info = next(name for name in files if name.endswith(".dist-info/METADATA")).rpartition("/")[0]
    files.pop(f"{info}/{member}", None)
    if content is not None:
        files[f"{info}/{member}"] = content
    with zipfile.ZipFile(signed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    behind = wheel_evidence(signed)
    stated = json.loads(behind.statement.read_bytes())
    stated["subject"][0]["digest"]["sha256"] = hashlib.sha256(signed.read_bytes()).hexdigest()
    behind.statement.write_text(json.dumps(stated))
    sign_wheel(signed, signing.signer())

    with pytest.raises(UserError, match=problem):
        verify_wheel(signed, [signing.signer().public])
