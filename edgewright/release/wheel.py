"""Wheels of SDKs, proven: by a signed provenance that lies beside the file and names its hash.

Bill and licence texts are in the wheel, where tools of Python look for them (PEP 770, PEP 639).
"""

import hashlib
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright.base import digest
from edgewright.base.errors import UserError
from edgewright.release import evidence
from edgewright.release.evidence import LICENSES, SBOM, Evidence, Expectations, Kind, Proof
from edgewright.release.keys import Signer
from edgewright.release.minisign import PublicKey
from edgewright.release.provenance import WHEEL_BUILD_TYPE, Statement
from edgewright.release.sbom import SBOM_BYTES, licence_texts, read_sbom

SUFFIX = ".whl"
REBUILD = "invoke wheel"
KIND = Kind(noun="wheel", build_type=WHEEL_BUILD_TYPE, rebuild=REBUILD)
INFO = re.compile(r"(?P<info>[^/]+\.dist-info)/METADATA")


@dataclass(frozen=True, kw_only=True)
class VerifiedWheel:
    """A wheel that is the one that its signed provenance speaks of."""

    sdk: str  # that it was made of
    board: str
    compatible: str
    key: PublicKey  # that signed the provenance
    files: int
    proof: Proof


def wheel_evidence(wheel: Path) -> Evidence:
    """Where the provenance of a wheel is: beside it."""
    return Evidence.of(wheel.parent, wheel.name, KIND)


def sign_wheel(wheel: Path, signer: Signer) -> None:
    """Sign the provenance of a wheel. Raises UserError if it has none, or another's."""
    beside = wheel_evidence(wheel)
    if not beside.statement.is_file():
        facts = [f"expected: {beside.statement}"]
        raise UserError(str(wheel), "has no provenance to be signed", facts=facts, next=REBUILD)
    evidence.sign(beside, _expected(wheel), signer)


def _expected(wheel: Path) -> Expectations:
    return Expectations(files={wheel.name: digest.file_sha256(wheel)})


def verify_wheel(wheel: Path, trusted: Sequence[PublicKey]) -> VerifiedWheel:
    """Check a wheel by its signed provenance, its bill and its licence texts. Raises UserError."""
    beside = wheel_evidence(wheel)
    if not wheel.is_file():
        raise UserError(str(wheel), "no such wheel", next=REBUILD)
    if not beside.envelope.is_file():
        raise UserError(
            str(wheel),
            "is not signed",
            facts=[f"expected: {beside.envelope}"],
            next=f"invoke sdk.sign {wheel}",
        )
    statement, key = evidence.verify_provenance(beside, _expected(wheel), trusted)
    try:
        with zipfile.ZipFile(wheel) as archive:
            proof = _proof(archive, beside, statement, key)
            count = len(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError) as broken:
        raise UserError(str(wheel), f"no wheel: {broken}", next=REBUILD) from broken
    sdk, board, compatible = (
        str(statement.predicate.build.parameters.get(name, ""))
        for name in ("sdk", "board", "compatible")
    )
    return VerifiedWheel(
        sdk=sdk, board=board, compatible=compatible, key=key, files=count, proof=proof
    )


def _proof(
    archive: zipfile.ZipFile, beside: Evidence, statement: Statement, key: PublicKey
) -> Proof:
    """Of the bill and the texts inside."""
    names = archive.namelist()
    info = next((match["info"] for match in map(INFO.fullmatch, names) if match), "")

    def read(path: str, limit: int) -> bytes:
        try:
            with archive.open(f"{info}/{path}") as member:
                content = member.read(limit + 1)
        except KeyError:
            raise UserError(f"{archive.filename}: {path}", "no such file", next=REBUILD) from None
        if len(content) > limit:
            raise UserError(f"{archive.filename}: {path}", f"more than {limit:,} bytes")
        return content

    raw, subject = read(f"sboms/{SBOM}", SBOM_BYTES), f"{archive.filename}: {SBOM}"
    if hashlib.sha256(raw).hexdigest() != statement.subjects.get(SBOM):
        raise UserError(subject, "not the bill that the provenance speaks of", next=REBUILD)
    bill = read_sbom(raw, subject)
    present = {
        name.removeprefix(f"{info}/")
        for name in names
        if name.startswith(f"{info}/{LICENSES}/") and not name.endswith("/")
    }
    texts = evidence.compared_texts(licence_texts(bill, subject), read, present, beside)
    return Proof(sbom=bill, texts=len(texts), statement=statement, key=key)
