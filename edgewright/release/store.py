"""Where releases are published: a folder, on this machine or mounted from another one.

`blobs/<sha256>` holds contents, `releases/<board>/<id>.json` says which belong to a release,
`channels/<board>/<channel>.json` points to one. A release is published by its index alone, which
appears by rename after all of its blobs: whatever is interrupted has published nothing, and
repeating it writes what is still missing. What lies in a store may be anybody's.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from edgewright.base.errors import UserError
from edgewright.base.files import locked, read_inside, write_file

MOST_RELEASES = 100_000
BLOBS, RELEASES, CHANNELS = "blobs", "releases", "channels"
BLOB = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class FolderStore:
    """A store in a folder."""

    root: Path

    def alone(self) -> AbstractContextManager[None]:
        """While one changes what is published; a reader needs no lock."""
        return locked(self.root / ".lock")

    def read(self, name: str, *, limit: int) -> bytes:
        """A document. Raises UserError for what is missing, a link, or larger than `limit`."""
        return read_inside(self.root, name, limit=limit)

    def exists(self, name: str) -> bool:
        path = self.root / name
        return path.exists() or path.is_symlink()

    def write(self, name: str, content: bytes) -> None:
        """Replace a document by rename."""
        write_file(self.root / name, content, mode=0o644, durable=True)

    def remove(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def put(self, content: bytes) -> bool:
        """Keep a content under its hash; whether it was not there, or not whole."""
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.root / BLOBS / sha256
        if path.is_file() and not path.is_symlink() and path.read_bytes() == content:
            return False
        self.write(f"{BLOBS}/{sha256}", content)
        return True

    def get(self, sha256: str, size: int) -> bytes:
        """The content of a hash. Raises UserError unless it is that, whole."""
        content = self.read(f"{BLOBS}/{sha256}", limit=size)
        if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
            raise UserError(
                str(self.root / BLOBS / sha256),
                "is not what its name says",
                facts=[f"expected: {size:,} bytes, sha256 {sha256}", f"found: {len(content):,}"],
                next="publish the release again",
            )
        return content

    def names(self, folder: str) -> Iterator[str]:
        """Files below a folder, sorted; what begins with a dot is being written."""
        top = self.root / folder
        paths = [path for path in top.rglob("*") if not path.name.startswith(".")]
        if len(paths) > MOST_RELEASES:
            raise UserError(str(top), f"more than {MOST_RELEASES:,} files")
        for path in sorted(paths):
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(self.root).as_posix()


def open_store(text: str, *, make: bool = False) -> FolderStore:
    """The store that an option names. Raises UserError unless it is there, or is to be made."""
    if "://" in text:
        raise UserError(
            text,
            "is no folder",
            facts=["a store is a folder, which may be mounted"],
            next="mount it",
        )
    root = Path(text)
    if not make and not root.is_dir():
        raise UserError(text, "no such store", next="invoke release.publish makes it")
    return FolderStore(root=root)
