"""Where releases are published: a folder, on this machine or mounted, or what serves as one.

`blobs/<sha256>` holds contents, `releases/<board>/<id>.json` says which belong to a release,
`channels/<board>/<channel>.json` points to one. A release is published by its index alone, which
appears by rename after all of its blobs: whatever is interrupted has published nothing, and
repeating it writes what is still missing. What lies in a store may be anybody's.
"""

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgewright.base.errors import UserError
from edgewright.base.files import HashedFile, locked, open_inside, read_inside, write_file

MOST_RELEASES = 100_000
REPUBLISH = "invoke release.publish, where the release was built: it replaces what is broken"
BLOBS, RELEASES, CHANNELS = "blobs", "releases", "channels"


class Contents(ABC):
    """A store: documents by name, and contents by their hash."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, as messages and commands name it."""

    @abstractmethod
    def alone(self) -> AbstractContextManager[None]:
        """While one changes what is published; a reader needs no lock."""

    @abstractmethod
    def read(self, name: str, *, limit: int) -> bytes:
        """A document. Raises UserError for what is missing or larger than `limit` bytes."""

    @abstractmethod
    def exists(self, name: str) -> bool: ...

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Replace a document as a whole."""

    @abstractmethod
    def remove(self, name: str) -> int:
        """Remove a document; how many bytes it had."""

    @abstractmethod
    def names(self, folder: str) -> Iterator[str]:
        """Documents below a folder, sorted; what begins with a dot is being written."""

    def put(self, content: bytes) -> bool:
        """Keep a content under its hash; whether it was not there, or not whole."""
        name = f"{BLOBS}/{hashlib.sha256(content).hexdigest()}"
        if self.exists(name):
            with suppress(UserError):  # a link, or something larger: it is replaced
                if self.read(name, limit=len(content)) == content:
                    return False
        self.write(name, content)
        return True

    @abstractmethod
    def copy_blob(self, sha256: str, into: HashedFile, *, limit: int) -> None:
        """Write what lies under a hash into a file. Raises UserError for what is missing or larger
        than `limit` bytes.
        """

    def get(self, sha256: str, size: int) -> bytes:
        """The content of a hash. Raises UserError unless it is that, whole."""
        content = io.BytesIO()
        self.fetch(sha256, size, HashedFile(content))
        return content.getvalue()

    def fetch(self, sha256: str, size: int, into: HashedFile) -> None:
        """Write the content of a hash into a file. Raises UserError unless it is that, whole."""
        try:
            self.copy_blob(sha256, into, limit=size)
        except UserError as unread:
            again = unread.next or REPUBLISH
            raise UserError(
                unread.subject, unread.problem, facts=unread.facts, next=again
            ) from unread
        if (into.size, into.sha256) != (size, sha256):
            raise UserError(
                f"{self.place}/{BLOBS}/{sha256}",
                "is not what its name says",
                facts=[f"expected: {size:,} bytes, sha256 {sha256}", f"found: {into.size:,}"],
                next=REPUBLISH,
            )


@dataclass(frozen=True, kw_only=True)
class FolderStore(Contents):
    """A store in a folder."""

    root: Path

    @property
    def place(self) -> str:
        return str(self.root)

    def alone(self) -> AbstractContextManager[None]:
        return locked(self.root / ".lock")

    def read(self, name: str, *, limit: int) -> bytes:
        """Raises UserError for a link, too."""
        return read_inside(self.root, name, limit=limit)

    def copy_blob(self, sha256: str, into: HashedFile, *, limit: int) -> None:
        name = f"{BLOBS}/{sha256}"
        with open_inside(self.root, name) as file:
            into.copy(file, limit, str(self.root / name))

    def exists(self, name: str) -> bool:
        path = self.root / name
        return path.exists() or path.is_symlink()

    def write(self, name: str, content: bytes) -> None:
        folder, _, file = name.rpartition("/")
        write_file(self._own(folder) / file, content, mode=0o644, durable=True)

    def remove(self, name: str) -> int:
        folder, _, file = name.rpartition("/")
        path = self._own(folder) / file
        size = path.stat().st_size
        path.unlink()
        return size

    def _own(self, folder: str) -> Path:
        """A folder of the store. Raises UserError where a link leads elsewhere: what is written or
        removed there is somebody's who did not name it.
        """
        for part in (folder, *map(str, PurePosixPath(folder).parents[:-1])):
            if (path := self.root / part).is_symlink():
                raise UserError(
                    str(path),
                    "is a link, expected a part of this store",
                    next=f"rm {path}, or name the store that it leads to",
                )
        return self.root / folder

    def names(self, folder: str) -> Iterator[str]:
        top = self._own(folder)
        paths = [path for path in top.rglob("*") if not path.name.startswith(".")]
        if len(paths) > MOST_RELEASES:
            raise UserError(str(top), f"more than {MOST_RELEASES:,} files")
        for path in sorted(paths):
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(self.root).as_posix()


def folder_store(text: str, *, make: bool = False) -> FolderStore:
    """The store in a folder. Raises UserError unless it is there, or is to be made."""
    root = Path(text)
    # Any folder would pass for a store where nothing was published.
    if not make and not (root / RELEASES).is_dir():
        raise UserError(
            text, "no such store", next=f"invoke release.publish {text}, which makes it"
        )
    return FolderStore(root=root.resolve())
