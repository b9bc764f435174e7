"""Small signed releases on their way into other updaters' formats."""

import json
from collections.abc import Mapping
from pathlib import Path

from edgewright.base.process import check
from edgewright.cli.export import exported
from edgewright.export.exported import Exported
from edgewright.export.release import ExportReport, ExportRequest, Format, export_release
from edgewright.export.updaters import ArtifactKey
from edgewright.release import evidence, order, provenance
from edgewright.release.manifest import MANIFEST, Release
from edgewright.release.provenance import Resource, file_resource
from edgewright.release.sbom import Ingredient, Tool, about_release, render
from tests.boards import make_release, rebuilt
from tests.signing import signer

MAINTAINER = "Line 3 <line3@example.com>"


def signed_release(
    folder: Path,
    edgectl: Path,
    *,
    root: str = "/opt/edgewright",
    model: bytes = b"model one",
    edge_infer: bytes | None = None,
    program_files: Mapping[str, Path] | None = None,
) -> Release:
    """A release with its bill, signed by this user; `edgectl` says which machine it is for."""
    release = make_release(folder, root=root, model=model, edge_infer=edge_infer, edgectl=edgectl)
    if program_files:
        release = rebuilt(release, folder / "with-programs", program_files=program_files)
    return sign_with_bill(release)


def sign_with_bill(release: Release) -> Release:
    """Write a bill of one part beside a release, and sign it as this user."""
    part = Ingredient(
        ref="edge-infer",
        kind="application",
        name="edge-infer",
        version="1",
        licence="MIT",
        texts={"edge-infer/LICENSE": b"Copyright (c) 2026 Acme\nmay be used\n"},
    )
    bill = render(about_release(release.manifest), [part], [Tool(name="g++", version="14")])
    texts = dict(part.texts)
    evidence.write(evidence.beside(release), bill, texts, statement_about(release, bill))
    order.sign_release(release, signer())
    return release


def statement_about(release: Release, bill: bytes) -> bytes:
    """The provenance of a release, as true as a signature asks for."""
    return provenance.statement(
        subject=[
            file_resource(MANIFEST, release.manifest.canonical()),
            file_resource(release.archive.name, release.archive.read_bytes()),
            file_resource(evidence.SBOM, bill),
        ],
        parameters={"board": release.manifest.board},
        internal={},
        dependencies=[
            Resource(name="model", digest={"sha256": release.manifest.model.onnx_sha256}),
            Resource(name="builder", digest={"sha256": "b" * 64}),
        ],
        builder="urn:edgewright:builder:test",
        versions={"edgewright": "1"},
    )


def artifact_key(folder: Path) -> ArtifactKey:
    """An RSA key as mender-artifact reads it too, and its own certificate."""
    private, certificate = folder / "key.pem", folder / "certificate.pem"
    check(["openssl", "genrsa", "-traditional", "-out", str(private), "2048"])
    subject = ["-subj", "/CN=line 3", "-days", "30", "-out", str(certificate)]
    check(["openssl", "req", "-x509", "-new", "-key", str(private), *subject])
    return ArtifactKey(certificate=certificate, private=private)


def public_half(key: ArtifactKey) -> Path:
    assert key.private is not None
    public = key.private.with_name("public.pem")
    check(["openssl", "rsa", "-in", str(key.private), "-pubout", "-out", str(public)])
    return public


def speaking(folder: Path, program: Path, protocol: int = 2) -> Path:
    """A copy of an ELF file that calls itself an `edgectl` of this protocol."""
    folder.mkdir(exist_ok=True)
    edgectl = folder / "edgectl"
    edgectl.write_bytes(program.read_bytes() + f"edgectl protocol {protocol}\n".encode())
    return edgectl


def export(
    release: Release | Exported,
    format: Format,
    folder: Path,
    *,
    maintainer: str = MAINTAINER,
    key: ArtifactKey | None = None,
    slot: str = "",
) -> ExportReport:
    return export_release(
        ExportRequest(
            exported=release if isinstance(release, Exported) else exported(release),
            format=format,
            folder=folder,
            maintainer=maintainer,
            key=key or ArtifactKey(),
            slot=slot,
        )
    )


def extract(archive: str, folder: Path) -> Path:
    folder.mkdir()
    check(["tar", "-xf", archive, "-C", str(folder)])
    return folder


def oci_bundle(release: Release, folder: Path) -> Path:
    """A release's image, unpacked as runtimes take it; what it runs has no terminal."""
    bundle = folder / "bundle"
    layout = extract(export(release, Format.OCI, folder).file, folder / "layout")
    check(["umoci", "unpack", "--image", f"{layout}:{release.id}", str(bundle)])
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle
