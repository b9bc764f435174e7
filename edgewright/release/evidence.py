"""What is known about a release beside itself: its bill of materials, licence texts, provenance.

They lie in `<id>.evidence/` beside the release and not in it, since a release is what its board
gets: manifest, id and archive are what they would be without. The provenance has the hashes of
manifest, archive and bill, the bill has those of the licence texts, and the release's key signs the
provenance. Releases of 0.1.0 have none of it. An SDK and a wheel have bill and texts inside, and
their provenance alone beside them.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from edgewright.base import digest
from edgewright.base.errors import UserError
from edgewright.base.files import new_folder, read_inside, update_file, write_file
from edgewright.release import dsse
from edgewright.release.dsse import ENVELOPE_BYTES
from edgewright.release.keys import Signer
from edgewright.release.manifest import MANIFEST, Manifest, Release
from edgewright.release.minisign import PublicKey
from edgewright.release.provenance import (
    BUILD_TYPE,
    PAYLOAD_TYPE,
    STATEMENT_BYTES,
    Statement,
    read_statement,
)
from edgewright.release.sbom import SBOM_BYTES, Sbom, licence_texts, read_sbom

SBOM = "sbom.cdx.json"
LICENSES = "licenses"
STATEMENT = "provenance.json"
ENVELOPE = "provenance.dsse.json"
TEXT_BYTES = 4 << 20  # of one licence text
TEXTS_BYTES = 64 << 20  # of all


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What evidence is about, as its provenance and its messages have it."""

    noun: str
    build_type: str  # in its provenance
    rebuild: str  # the command that makes it anew
    without_bill: tuple[str, ...] = ()  # facts: which of this kind have none
    state_licence: str = ""  # what to do before that, where a part has no licence


RELEASE = Kind(
    noun="release",
    build_type=BUILD_TYPE,
    rebuild="invoke build",
    without_bill=("releases of edgewright 0.1.0 have none",),
    state_licence="for a model, write LICENSE with a line SPDX-License-Identifier: beside its "
    "network; then ",
)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The folder that lies beside a release, an SDK or a wheel."""

    folder: Path
    kind: Kind = RELEASE

    @classmethod
    def of(cls, folder: Path, name: str, kind: Kind = RELEASE) -> "Evidence":
        """That of a release or an SDK by its id, of a wheel by its file's name, in `folder`."""
        return cls(folder=folder / f"{name}.evidence", kind=kind)

    @property
    def about(self) -> str:
        """The id or the name of what it is about."""
        return self.folder.name.removesuffix(".evidence")

    @property
    def sbom(self) -> Path:
        return self.folder / SBOM

    @property
    def statement(self) -> Path:
        """The provenance to be signed."""
        return self.folder / STATEMENT

    @property
    def envelope(self) -> Path:
        """The signed provenance; there once the release is signed."""
        return self.folder / ENVELOPE

    @property
    def exists(self) -> bool:
        return self.folder.is_dir()


def beside(release: Release) -> Evidence:
    return Evidence.of(release.parent, release.id)


def write(evidence: Evidence, sbom: bytes, texts: Mapping[str, bytes], statement: bytes) -> bool:
    """Write the evidence of a release, unless it is there already; whether it was written.

    `texts` are by path below `licenses/`. What is replaced loses its signature.
    """
    files = {SBOM: sbom, STATEMENT: statement}
    return write_files(evidence, files | {f"{LICENSES}/{at}": text for at, text in texts.items()})


def write_files(evidence: Evidence, files: Mapping[str, bytes]) -> bool:
    """Write evidence, unless it is there already; whether it was written."""
    if all(_is_file(evidence.folder / path, content) for path, content in files.items()):
        return False
    with new_folder(evidence.folder) as aside:
        for path, content in files.items():
            write_file(aside / path, content, mode=0o644)
    return True


def _is_file(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def comment(about: str) -> str:
    """The trusted comment of a signed provenance: no order to run a release."""
    return f"edgewright provenance={about}"


def is_unsigned(evidence: Evidence) -> bool:
    """Whether there is a provenance that nobody signed."""
    return evidence.statement.is_file() and not evidence.envelope.is_file()


@dataclass(frozen=True, kw_only=True)
class Expectations:
    """What a provenance has to speak of, as it lies here."""

    files: Mapping[str, str]  # SHA-256 by name
    parameters: Mapping[str, str] = field(default_factory=dict)  # of the build, by the manifest
    inputs: Mapping[str, str] = field(default_factory=dict)  # SHA-256 by name, by the manifest

    def contradictions(self, statement: Statement, kind: Kind) -> list[str]:
        """What the statement says otherwise, or not at all."""
        build = statement.predicate.build
        stated = {name: build.parameters.get(name) for name in self.parameters}
        for name in self.inputs:
            dependency = statement.dependency(name)
            stated[name] = dependency.digest.get("sha256") if dependency else None
        problems = [
            f"{name}: expected sha256 {statement.subjects.get(name, 'none')}, found {sha256}"
            for name, sha256 in self.files.items()
            if statement.subjects.get(name) != sha256
        ]
        problems += [
            f"{name}: manifest {value}, provenance {stated[name]}"
            for name, value in {**self.parameters, **self.inputs}.items()
            if stated[name] != value
        ]
        if build.build_type != kind.build_type:
            problems.append(f"build type: expected {kind.build_type}, found {build.build_type}")
        return problems


def expected_of_bundle(
    manifest: bytes, bill: bytes, archive: Path, parameters: Mapping[str, str], **inputs: str
) -> Expectations:
    """A release or an SDK, by the bytes of its manifest; its archive is compared if it is there."""
    contents = {MANIFEST: manifest, SBOM: bill}
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    if archive.is_file():
        files[archive.name] = digest.file_sha256(archive)
    return Expectations(files=files, parameters=parameters, inputs=inputs)


def sign_release(release: Release, signer: Signer) -> None:
    """Sign the provenance of a release, if it has one. Raises UserError as `sign` does."""
    evidence = beside(release)
    if evidence.statement.is_file():
        bill, _ = read_bill(evidence)
        sign(evidence, _expected_of_release(release.manifest, bill, release.archive), signer)


def sign(evidence: Evidence, expected: Expectations, signer: Signer) -> None:
    """Sign a provenance that this key has not signed.

    Raises UserError for a statement about anything else than `expected`: who signs vouches for it.
    """
    statement = read_inside(evidence.folder, STATEMENT, limit=STATEMENT_BYTES)
    subject = str(evidence.statement)
    if problems := expected.contradictions(read_statement(statement, subject), evidence.kind):
        raise _is_about_another(evidence, subject, problems)
    if evidence.envelope.is_file():
        raw = read_inside(evidence.folder, ENVELOPE, limit=ENVELOPE_BYTES)
        try:
            opened = dsse.open_(raw, PAYLOAD_TYPE, [signer.public], str(evidence.envelope))
        except UserError:
            pass
        else:
            if opened.payload == statement:
                return
    raw = dsse.seal(statement, PAYLOAD_TYPE, signer, comment(evidence.about))
    update_file(evidence.envelope, raw, mode=0o644)


# Verifying what may be anybody's


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Evidence that was checked."""

    sbom: Sbom
    texts: int  # licence texts, each as the bill says
    statement: Statement | None  # None: not signed
    key: PublicKey | None  # that signed it


def read_bill(evidence: Evidence) -> tuple[bytes, Sbom]:
    """The bill of what evidence is about. Raises UserError where there is none."""
    if not evidence.sbom.is_file():
        raise UserError(
            str(evidence.folder),
            "no bill of materials",
            facts=evidence.kind.without_bill,
            next=f"{evidence.kind.rebuild} makes the {evidence.kind.noun} again, with one",
        )
    raw = read_inside(evidence.folder, SBOM, limit=SBOM_BYTES)
    return raw, read_sbom(raw, str(evidence.sbom))


def read_texts(evidence: Evidence, sbom: Sbom) -> dict[str, bytes]:
    """All licence texts by their paths, compared with the bill. Raises UserError."""
    return compared_texts(
        licence_texts(sbom, str(evidence.sbom)),
        lambda path, limit: read_inside(evidence.folder, path, limit=limit),
        _files(evidence.folder / LICENSES),
        evidence,
    )


def compared_texts(
    texts: Mapping[str, str],
    read_text: Callable[[str, int], bytes],
    present: Set[str],
    evidence: Evidence,
) -> dict[str, bytes]:
    """The licence texts of a bill, given as path → SHA-256, by their paths.

    `read_text` reads one of at most so many bytes, `present` are the paths of all that are there.
    Raises UserError for those that are missing, others, or not in the bill.
    """
    problems, room, read = [], TEXTS_BYTES, {}
    for path, sha256 in texts.items():
        try:
            text = read_text(path, min(TEXT_BYTES, room))
        except UserError as fault:
            problems.append(f"{path}: {fault.problem}")
            continue
        room -= len(text)
        read[path] = text
        if hashlib.sha256(text).hexdigest() != sha256:
            problems.append(f"{path}: not the text that the bill of materials speaks of")
    for unlisted in sorted(present - texts.keys()):
        problems.append(f"{unlisted}: not in the bill of materials")
    if problems:
        raise UserError(
            str(evidence.folder),
            "licence texts differ from the bill",
            facts=problems,
            next=evidence.kind.rebuild,
        )
    return read


def _files(folder: Path) -> set[str]:
    if folder.is_symlink():  # to anywhere: it is not walked
        return {folder.name}
    return {
        PurePosixPath(path.relative_to(folder.parent)).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def require_licences(sbom: Sbom, subject: str, kind: Kind) -> None:
    """Raise UserError for parts whose licence nobody stated."""
    problems = [f"{name}: no licence is stated" for name in sbom.unlicensed]
    if problems:
        raise UserError(
            subject,
            "licences are missing",
            facts=problems,
            next=f"{kind.state_licence}{kind.rebuild}",
        )


def require_complete(evidence: Evidence, proof: Proof, sign_by: str = "") -> None:
    """Raise UserError unless every licence is known and the provenance is signed.

    `sign_by` is the command that signs it, where it is no release's.
    """
    require_licences(proof.sbom, str(evidence.sbom), evidence.kind)
    if proof.statement is None:
        release = evidence.folder.with_suffix("")
        raise UserError(
            str(evidence.folder),
            "its provenance is not signed",
            next=sign_by or f"invoke release.sign --path={release}",
        )


def verify(
    evidence: Evidence, manifest: Manifest, archive: Path, trusted: Sequence[PublicKey]
) -> Proof:
    """Check the evidence about a release whose manifest was verified. Raises UserError.

    `archive` is compared if it is there.
    """
    raw, sbom = read_bill(evidence)
    manifest_sha256 = hashlib.sha256(manifest.canonical()).hexdigest()
    about = sbom.metadata.component
    if about is None or (about.version, about.sha256) != (manifest.id, manifest_sha256):
        raise UserError(
            str(evidence.sbom),
            "is of another release",
            facts=[f"expected: {manifest.id}, sha256 {manifest_sha256}"],
            next=evidence.kind.rebuild,
        )
    texts = len(read_texts(evidence, sbom))
    if not evidence.envelope.is_file():
        return Proof(sbom=sbom, texts=texts, statement=None, key=None)
    statement, key = verify_provenance(
        evidence, _expected_of_release(manifest, raw, archive), trusted
    )
    return Proof(sbom=sbom, texts=texts, statement=statement, key=key)


def _expected_of_release(manifest: Manifest, bill: bytes, archive: Path) -> Expectations:
    return expected_of_bundle(
        manifest.canonical(),
        bill,
        archive,
        {"board": manifest.board},
        model=manifest.model.onnx_sha256,
    )


def verify_provenance(
    evidence: Evidence, expected: Expectations, trusted: Sequence[PublicKey]
) -> tuple[Statement, PublicKey]:
    """A signed provenance that speaks of this, and the key. Raises UserError."""
    opened = dsse.open_(
        read_inside(evidence.folder, ENVELOPE, limit=ENVELOPE_BYTES),
        PAYLOAD_TYPE,
        trusted,
        str(evidence.envelope),
    )
    statement = read_statement(opened.payload, str(evidence.envelope))
    problems = expected.contradictions(statement, evidence.kind)
    if opened.comment != comment(evidence.about):
        problems.append(f"signed as: {opened.comment[:200]}")
    if evidence.statement.is_file():
        # `release.sign` with another key signs this file: what was not signed is not slipped in.
        beside_it = read_inside(evidence.folder, STATEMENT, limit=STATEMENT_BYTES)
        if beside_it != opened.payload:
            problems.append(f"{STATEMENT}: another statement than the signed one")
    if problems:
        raise _is_about_another(evidence, str(evidence.envelope), problems)
    return statement, opened.key


def _is_about_another(evidence: Evidence, subject: str, problems: Sequence[str]) -> UserError:
    return UserError(
        subject,
        f"is not about {evidence.about}",
        facts=problems,
        next=evidence.kind.rebuild,
    )
