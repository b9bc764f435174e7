"""SDKs: the runtime of a board as a library for others' programs, addressed by its content.

A folder and an archive like a release's, with a manifest that is signed like a release's. The
signature's comment is no order: no board takes an SDK for a release. Bill and licence texts lie
inside, the provenance beside it.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from edgewright.base.errors import UserError
from edgewright.base.files import (
    make_folder,
    new_folder,
    read_inside,
    update_file,
    write_file,
)
from edgewright.base.schema import Part, parse_json
from edgewright.release import evidence, minisign
from edgewright.release.evidence import Evidence, Expectations, Kind, Proof
from edgewright.release.keys import Signer
from edgewright.release.manifest import (
    ID_DIGITS,
    MANIFEST,
    MANIFEST_BYTES,
    SIGNATURE,
    Bundle,
    Canonical,
    ReleaseFile,
    ReleasePath,
    Sha256,
    Source,
    archive_bytes,
    content_id,
    entries,
    extra_files,
    file_problems,
)
from edgewright.release.minisign import PublicKey
from edgewright.release.order import SIGNATURE_BYTES
from edgewright.release.provenance import SDK_BUILD_TYPE, Statement

OPERATORS = "operators.config"
REBUILD = "invoke sdk"
KIND = Kind(
    noun="SDK",
    build_type=SDK_BUILD_TYPE,
    rebuild=REBUILD,
    without_bill=("the first SDKs have none",),
)
OperatorChoice = Literal["models", "all"]  # those of the models, or every one that the CPU runs
COMMENT = re.compile(r"edgewright sdk=(?P<sdk>[0-9a-f]{16}) compatible=(?P<compatible>\S+)")


def parse_operators(text: str) -> OperatorChoice:
    """Raises UserError for anything but models and all."""
    choices: tuple[OperatorChoice, ...] = get_args(OperatorChoice)
    for choice in choices:
        if text == choice:
            return choice
    raise UserError(
        f"--operators={text}",
        "unknown choice of operators",
        facts=[f"expected: {', '.join(choices)}"],
        next="the same command with --operators=all",
    )


class SdkLink(Part):
    """A symbolic link; `target` is a file beside it."""

    path: ReleasePath
    target: Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]+$")]


class SdkModel(Part):
    """A model that the runtime was built for."""

    name: str
    onnx_sha256: Sha256


class SdkRuntime(Part):
    """The library, and what it needs and offers."""

    name: Literal["onnxruntime"] = "onnxruntime"
    version: str
    # The id of an SDK is a hash of these bytes: those of 0.1.0 have no such key.
    operators: OperatorChoice = Field(
        default="models", exclude_if=lambda choice: choice == "models"
    )
    ops_config_sha256: Sha256
    # As the choice above.
    libc_family: Literal["glibc", "musl"] = Field(
        default="glibc", exclude_if=lambda family: family == "glibc"
    )
    libc_floor: str  # no newer one of it is needed
    execution_providers: tuple[str, ...]


class SdkBody(Canonical):
    """Everything that the id is the hash of."""

    schema_: Literal[1] = 1
    kind: Literal["sdk"] = "sdk"
    board: str
    compatible: str
    files: tuple[ReleaseFile, ...]
    links: tuple[SdkLink, ...]
    models: tuple[SdkModel, ...]
    runtime: SdkRuntime
    source: Source


class SdkManifest(SdkBody):
    """`manifest.json` of an SDK. A signature is over the file's bytes, which are canonical."""

    id: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{ID_DIGITS}}}$")]

    def body(self) -> SdkBody:
        return SdkBody(**{name: getattr(self, name) for name in SdkBody.model_fields})


@dataclass(frozen=True, kw_only=True)
class Sdk(Bundle[SdkManifest]):
    """An SDK on this machine."""


@dataclass(frozen=True, kw_only=True)
class SdkInputs:
    """What an SDK is made of."""

    board: str
    compatible: str
    content: Mapping[str, bytes]  # by path
    links: Mapping[str, str]  # path → name of the file beside it
    models: tuple[SdkModel, ...]
    runtime: SdkRuntime
    source: Source


def make_sdk(inputs: SdkInputs, out: Path) -> Sdk:
    """Make `out/<id>/` and `out/<id>.tar.gz`; the same inputs give the same bytes.

    Both appear by rename, complete or not at all; a sound one that is there is left alone.
    """
    body = SdkBody(
        board=inputs.board,
        compatible=inputs.compatible,
        files=entries(inputs.content),
        links=tuple(SdkLink(path=p, target=t) for p, t in sorted(inputs.links.items())),
        models=inputs.models,
        runtime=inputs.runtime,
        source=inputs.source,
    )
    manifest = SdkManifest(id=content_id(body), **dict(body))
    content = {**inputs.content, MANIFEST: manifest.canonical()}
    sdk = Sdk(folder=out / manifest.id, manifest=manifest)
    make_folder(out)
    if not _is_sound(sdk):
        with new_folder(sdk.folder) as aside:
            for path, data in content.items():
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                (aside / path).write_bytes(data)
                (aside / path).chmod(0o644)  # whatever the umask says
            for path, target in inputs.links.items():
                (aside / path).symlink_to(target)
    update_file(sdk.archive, archive_bytes(manifest.id, content, inputs.links), mode=0o644)
    return sdk


def _is_sound(sdk: Sdk) -> bool:
    try:
        return load_sdk(sdk.folder).manifest == sdk.manifest
    except UserError:
        return False


def load_sdk(folder: Path) -> Sdk:
    """Read an SDK's folder and compare everything in it with its manifest. Raises UserError."""
    raw = read_inside(folder, MANIFEST, limit=MANIFEST_BYTES, next=REBUILD)
    subject = str(folder / MANIFEST)
    manifest = parse_json(SdkManifest, raw, subject, "not an SDK's manifest", next=REBUILD)
    if manifest.id != content_id(manifest.body()) or manifest.canonical() != raw:
        raise UserError(subject, "changed after the SDK was made", next=REBUILD)
    listed = [file.path for file in manifest.files] + [link.path for link in manifest.links]
    problems = [
        *file_problems(folder, manifest.files),
        *(_link_problem(folder, link) for link in manifest.links if not _is_link(folder, link)),
        *extra_files(folder, listed),
    ]
    if problems:
        raise UserError(
            str(folder), "not the SDK its manifest describes", facts=problems, next=REBUILD
        )
    return Sdk(folder=folder, manifest=manifest)


def _is_link(folder: Path, link: SdkLink) -> bool:
    path = folder / link.path
    return path.is_symlink() and os.readlink(path) == link.target  # noqa: PTH115


def _link_problem(folder: Path, link: SdkLink) -> str:
    return f"{link.path}: expected a link to {link.target}"


def sign_sdk(sdk: Sdk, signer: Signer) -> None:
    """Sign an SDK on this machine, and its provenance if it has one.

    The signature lies in its folder and beside its archive. Raises UserError for a provenance of
    anything else, and signs nothing then.
    """
    sign_provenance(sdk, signer)
    comment = f"edgewright sdk={sdk.id} compatible={sdk.manifest.compatible}"
    signature = signer.sign(sdk.manifest.canonical(), comment)
    text = signature.text(f"signature of SDK {sdk.id} by key {signer.public.id}")
    for path in (sdk.signature, sdk.parent / f"{sdk.id}.minisig"):
        write_file(path, text, mode=0o644)


def sign_provenance(sdk: Sdk, signer: Signer) -> None:
    """Sign the provenance of an SDK, if it has one. Raises UserError for that of anything else."""
    beside = sdk_evidence(sdk)
    if beside.statement.is_file():
        bill, _ = evidence.read_bill(enclosed_evidence(sdk))
        evidence.sign(beside, _expected(sdk, bill), signer)


def sdk_evidence(sdk: Sdk) -> Evidence:
    """Where the provenance of an SDK is: beside its folder and its archive."""
    return Evidence.of(sdk.parent, sdk.id, KIND)


def enclosed_evidence(sdk: Sdk) -> Evidence:
    """Where its bill and its licence texts are."""
    return Evidence(folder=sdk.folder, kind=KIND)


def _expected(sdk: Sdk, bill: bytes) -> Expectations:
    manifest = sdk.manifest
    parameters = {"board": manifest.board, "compatible": manifest.compatible}
    return evidence.expected_of_bundle(manifest.canonical(), bill, sdk.archive, parameters)


def verify_sdk(folder: Path, trusted: Sequence[PublicKey]) -> tuple[Sdk, PublicKey]:
    """An SDK's folder whose signature and files are right, and the key. Raises UserError."""
    if folder.is_file():
        id = folder.name.removesuffix(".tar.gz")
        raise UserError(
            str(folder),
            "is a file, expected the folder of an SDK",
            next=f"tar -xzf {folder} && cp {folder.with_name(id)}.minisig {id}/{SIGNATURE}, then "
            f"invoke sdk.verify {id}",
        )
    if not folder.is_dir():
        raise UserError(str(folder), "no such SDK", next=REBUILD)
    if not (folder / SIGNATURE).exists():
        raise UserError(str(folder), "is not signed", next=f"invoke sdk.sign {folder}")
    raw = read_inside(folder, SIGNATURE, limit=SIGNATURE_BYTES)
    subject = f"{folder}: {SIGNATURE}"
    signature = minisign.parse_signature(raw, subject)
    key = next((key for key in trusted if key.key_id == signature.key_id), None)
    if key is None:
        raise UserError(
            subject,
            "signed by a key that is not trusted here",
            facts=[f"found: {signature.id}"],
            next="put its owner's .pub file into your key folder: invoke keys.list",
        )
    content = read_inside(folder, MANIFEST, limit=MANIFEST_BYTES, next=REBUILD)
    minisign.verify(signature, content, key, subject)
    sdk = load_sdk(folder)
    comment = COMMENT.fullmatch(signature.trusted_comment)
    if comment is None or comment["sdk"] != sdk.id:
        raise UserError(subject, "is no signature of this SDK", next=f"invoke sdk.sign {folder}")
    return sdk, key


def verify_evidence(
    sdk: Sdk, trusted: Sequence[PublicKey], *, complete: bool = False
) -> Proof | None:
    """Check bill, licence texts and provenance of an SDK whose files are what its manifest says.

    None: it has no bill, as the first SDKs. Raises UserError; with `complete` for whatever lacks.
    """
    enclosed = enclosed_evidence(sdk)
    if not enclosed.sbom.is_file() and not complete:
        return None
    raw, bill = evidence.read_bill(enclosed)
    texts = len(evidence.read_texts(enclosed, bill))
    statement, key = _verified_provenance(sdk, raw, trusted)
    proof = Proof(sbom=bill, texts=texts, statement=statement, key=key)
    if complete:
        evidence.require_complete(enclosed, proof, f"invoke sdk.sign {sdk.folder}")
    return proof


def _verified_provenance(
    sdk: Sdk, bill: bytes, trusted: Sequence[PublicKey]
) -> tuple[Statement, PublicKey] | tuple[None, None]:
    beside = sdk_evidence(sdk)
    if not beside.envelope.is_file():
        return None, None
    return evidence.verify_provenance(beside, _expected(sdk, bill), trusted)
