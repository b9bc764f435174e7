"""Releases in the form that another updater takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from invoke.context import Context

from edgewright.base.errors import UserError, near_miss
from edgewright.cli.common import BOARD, Json, latest_release, say, task, write_document
from edgewright.cli.keys import ask
from edgewright.deploy import keyring
from edgewright.export.exported import Exported
from edgewright.export.release import ExportRequest, Format, export_release
from edgewright.export.updaters import ArtifactKey
from edgewright.release import keys, order
from edgewright.release.manifest import Release, load_release


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is exported, and as what."""

    format: Annotated[str, "deb, tar, oci, rauc, swu, mender or ostree"]
    board: Annotated[str, f"export the last build for this {BOARD}"] = ""
    path: Annotated[str, "or the release in this folder"] = ""
    out: Annotated[str, "folder for the file; default: beside the release"] = ""
    maintainer: Annotated[str, "deb: whom to ask, as in 'Line 3 <line3@example.com>'"] = ""
    certificate: Annotated[str, "rauc, swu: X.509 certificate that the file is signed by, PEM"] = ""
    private_key: Annotated[str, "rauc, swu, mender: private key that signs the file, PEM"] = ""
    slot: Annotated[str, "rauc: write the release to slots of this class; default: no slot"] = ""


@task
def export(c: Context, options: ExportOptions, json: Json = False) -> None:
    """Export a signed release. Example: invoke release.export --board=a53-som --format=tar"""
    release = _release(options)
    report = export_release(
        ExportRequest(
            exported=exported(release),
            format=_format(options.format),
            folder=Path(options.out) if options.out else release.folder.parent,
            maintainer=options.maintainer,
            key=ArtifactKey(
                certificate=_file("--certificate", options.certificate),
                private=_file("--private-key", options.private_key),
            ),
            slot=options.slot,
        )
    )
    if json:
        write_document(report)
    else:
        say(f"{report.file}: release {report.release}, {report.bytes:,} bytes")
        say(f"sha256 {report.sha256}")


def exported(release: Release) -> Exported:
    """A release signed by a key of this user, with that key for boards that trust none yet."""
    folder = keys.user_keys()
    stored = {key.public: key.name for key in folder.listed()}
    verified = order.verify_release(release, [*stored])
    signer = folder.open_signer(stored[verified.key], ask)
    return Exported(
        release=release,
        verified=verified,
        signature=order.read_signature(release) or b"",
        first_keys=keyring.first_of_kind(signer, release.manifest.compatible),
    )


def _release(options: ExportOptions) -> Release:
    if bool(options.path) == bool(options.board):
        raise UserError(
            "release",
            "expected one of --board and --path",
            next="invoke release.export --board=… --format=deb",
        )
    return load_release(Path(options.path)) if options.path else latest_release(options.board)


def _format(name: str) -> Format:
    try:
        return Format(name)
    except ValueError:
        raise UserError(
            f"format '{name}'",
            f"unknown{near_miss(name, [*Format])}",
            facts=[f"formats: {', '.join(Format)}"],
            next="invoke release.export --help",
        ) from None


def _file(option: str, name: str) -> Path | None:
    """Raises UserError for a file that is not there."""
    if not name:
        return None
    path = Path(name).resolve()
    if not path.is_file():
        raise UserError(
            f"{option}={name}", "no such file", next=f"the same command with another {option}"
        )
    return path
