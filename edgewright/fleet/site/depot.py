"""The files of releases at a site: each is fetched once, by its digest, and sent on from here."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path

from edgewright.base.errors import UserError
from edgewright.base.faults import fault_of
from edgewright.base.files import locked, make_folder, new_folder
from edgewright.fleet.site.line import Line, RefusedError
from edgewright.release.manifest import (
    MANIFEST,
    Manifest,
    Release,
    ReleaseFile,
    load_release,
    parse_manifest,
)

KEPT_BYTES = 4 << 30  # of objects, beside those of the release that is asked for


@dataclass(frozen=True, kw_only=True)
class Depot:
    """`objects/` by SHA-256, and `releases/` of hard links to them."""

    folder: Path
    line: Line
    kept_bytes: int = KEPT_BYTES

    def release(self, manifest: bytes) -> Release:
        """A release, whose files are fetched where they are not here. Raises LineError."""
        parsed = parse_manifest(manifest, "manifest of an order")
        # Of one machine: two workers of a site would write into each other's parts.
        with locked(self.folder / ".lock"):
            folder = self.folder / "releases" / parsed.id
            try:
                release = load_release(folder)
            except UserError:  # it is not here, or what is here is damaged
                self._make_room(parsed)
                release = self._assembled(parsed, folder)
            os.utime(folder)  # used last
            return release

    def _make_room(self, manifest: Manifest) -> None:
        """Remove releases that were used longest ago, with their files, until there is room.

        What a board gets at this moment was used last.
        """
        wanted = {file.sha256 for file in manifest.files}
        releases = sorted(
            (self.folder / "releases").glob("*"), key=lambda path: path.stat().st_mtime
        )
        for oldest in [*releases, None]:
            objects = [o for o in (self.folder / "objects").glob("*") if o.stem not in wanted]
            if sum(path.stat().st_size for path in objects) <= self.kept_bytes:
                return
            if oldest is not None:
                shutil.rmtree(oldest)
            for path in objects:  # whose last release has gone, and parts that nobody goes on with
                if path.stat().st_nlink == 1:
                    path.unlink()

    def _assembled(self, manifest: Manifest, folder: Path) -> Release:
        objects = {file.path: self._object(manifest.id, file) for file in manifest.files}
        make_folder(folder.parent)
        with new_folder(folder) as aside:
            (aside / MANIFEST).write_bytes(manifest.canonical())
            for file in manifest.files:
                place = aside / file.path
                place.parent.mkdir(parents=True, exist_ok=True)
                os.link(objects[file.path], place)
        return load_release(folder)

    def _object(self, release: str, file: ReleaseFile) -> Path:
        """A file by its digest; one whose line was cut is fetched from there on."""
        path = self.folder / "objects" / file.sha256
        if _has_digest(path, file):
            return path
        part = path.with_suffix(".part")
        make_folder(path.parent)
        start = part.stat().st_size if part.exists() else 0
        if start < file.bytes or not file.bytes:
            source = f"/v1/releases/{release}/{file.sha256}"
            with part.open("ab", buffering=0) as stream:
                self.line.fetch(source, start, file.bytes, partial(_append, stream))
        if not _has_digest(part, file):
            part.unlink()
            raise RefusedError(self.line.url, f"sent another file than {file.sha256}")
        part.chmod(int(file.mode, 8))
        part.replace(path)
        return path


def _append(stream: FileIO, chunk: bytes) -> None:
    """Raises UserError where the disk is full: a line at fault would be tried again, and again."""
    unwritten = memoryview(chunk)
    try:
        while unwritten:
            unwritten = unwritten[stream.write(unwritten) :]
    except OSError as fault:
        raise fault_of(OSError(fault.errno, fault.strerror, stream.name)) from fault


def _has_digest(path: Path, file: ReleaseFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
