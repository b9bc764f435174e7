"""A signed release as a package, an archive or an artifact of another updater."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from edgewright.base.digest import file_sha256
from edgewright.base.errors import UserError
from edgewright.base.files import make_folder
from edgewright.base.schema import Document
from edgewright.export import deb, file_tree, oci, rauc, updaters
from edgewright.export.exported import Exported
from edgewright.export.updaters import ArtifactKey


class Format(StrEnum):
    DEB = "deb"
    TAR = "tar"
    OCI = "oci"
    RAUC = "rauc"
    SWU = "swu"
    MENDER = "mender"
    OSTREE = "ostree"


ENDINGS: Mapping[Format, str] = {
    Format.DEB: ".deb",
    Format.TAR: ".tar",
    Format.OCI: ".oci.tar",
    Format.RAUC: ".raucb",
    Format.SWU: ".swu",
    Format.MENDER: ".mender",
    Format.OSTREE: ".ostree.tar",
}


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What is exported, and what a format needs beside the release."""

    exported: Exported
    format: Format
    folder: Path  # that the file is written into
    maintainer: str = ""  # "NAME <ADDRESS>"; of a Debian package
    key: ArtifactKey = field(default_factory=ArtifactKey)
    slot: str = ""  # of RAUC: the class of the slots that the release is written to


class ExportReport(Document):
    """`release.export --json`: the file that was written."""

    version: Literal[1] = 1
    release: str
    sequence: int  # of the order in it
    format: Format
    architecture: str  # in Debian's words
    file: str
    bytes: int
    sha256: str


def export_release(request: ExportRequest) -> ExportReport:
    """Write one file, by the format's own tool; the same signed release makes the same bytes.

    Its name, its version and the times in it are those of the release's order. Raises UserError
    for a tool that is not there, with the command that installs it, and for what the format
    cannot have.
    """
    exported = request.exported
    path = request.folder / exported.file_name(_ending(request))
    make_folder(request.folder)
    _writer(request)(path)
    return ExportReport(
        release=exported.release.id,
        sequence=exported.verified.order.sequence,
        format=request.format,
        architecture=exported.platform.debian,
        file=str(path),
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
    )


def _ending(request: ExportRequest) -> str:
    """Raises UserError for a slot where there is none."""
    ending = ENDINGS[request.format]
    if not request.slot:
        return ending
    if request.format is not Format.RAUC:
        raise UserError(
            f"--slot={request.slot}",
            f"{request.format} has no slots",
            next="the same command with --format=rauc, or without --slot",
        )
    rauc.require_slot_class(request.slot)
    return f".{request.slot}{ending}"


def _writer(request: ExportRequest) -> Callable[[Path], None]:
    exported, key = request.exported, request.key
    writers: Mapping[Format, Callable[[Path], None]] = {
        Format.DEB: functools.partial(deb.write_deb, exported, request.maintainer),
        Format.TAR: functools.partial(file_tree.write_tar, exported),
        Format.OCI: functools.partial(oci.write_image, exported),
        Format.RAUC: functools.partial(rauc.write_rauc, exported, key, request.slot),
        Format.SWU: functools.partial(updaters.write_swu, exported, key),
        Format.MENDER: functools.partial(updaters.write_mender, exported, key),
        Format.OSTREE: functools.partial(file_tree.write_ostree, exported),
    }
    return writers[request.format]
