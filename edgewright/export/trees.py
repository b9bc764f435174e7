"""Trees of files in memory, and on disk and in archives with no time, owner or umask of ours."""

import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class File:
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    target: str


@dataclass(frozen=True)
class Folder:
    """One that may be empty; those that something lies in need not be named."""


Entry = File | Link | Folder
Tree = Mapping[str, Entry]  # by path relative to the tree's root


def text(content: str) -> File:
    return File(content.encode())


def script(content: str) -> File:
    return File(content.encode(), 0o755)


def below(folder: str, tree: Tree) -> dict[str, Entry]:
    """The same tree in a folder."""
    return {f"{folder}/{path}": entry for path, entry in tree.items()}


def write_tree(tree: Tree, folder: Path, epoch: int) -> None:
    """Write a tree into an empty folder; all its times are `epoch`, in Unix seconds."""
    for path in _folders(tree):
        (folder / path).mkdir()
    for path, entry in tree.items():
        if isinstance(entry, Link):
            (folder / path).symlink_to(entry.target)
        elif isinstance(entry, File):
            (folder / path).write_bytes(entry.content)
            (folder / path).chmod(entry.mode)
    folder.chmod(0o755)
    for path in _folders(tree):
        (folder / path).chmod(0o755)  # whatever the umask says
    # From the leaves up: what is written into a folder changes the folder's own time.
    for inside in sorted({*tree, *_folders(tree)}, reverse=True):
        os.utime(folder / inside, (epoch, epoch), follow_symlinks=False)
    os.utime(folder, (epoch, epoch))


def tar_bytes(tree: Tree, epoch: int) -> bytes:
    """A tar of a tree, owned by root, that depends on nothing but the tree and `epoch`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted({*tree, *_folders(tree)}):
            member = tarfile.TarInfo(path)
            member.mtime, member.uname, member.gname = epoch, "root", "root"
            entry = tree.get(path)
            if entry is None or isinstance(entry, Folder):
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
            elif isinstance(entry, Link):
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, entry.target, 0o777
                tar.addfile(member)
            else:
                member.size, member.mode = len(entry.content), entry.mode
                tar.addfile(member, io.BytesIO(entry.content))
    return packed.getvalue()


def _folders(tree: Tree) -> list[str]:
    """Every folder of a tree, each before those inside it."""
    named = {path for path, entry in tree.items() if isinstance(entry, Folder)}
    return sorted(named | {parent for path in tree for parent in _parents(path)})


def _parents(path: str) -> Iterator[str]:
    yield from (str(parent) for parent in PurePosixPath(path).parents if str(parent) != ".")


def normalized_tar(archive: bytes, epoch: int) -> bytes:
    """The same tar, of whoever wrote it, with root as owner and `epoch` as its members' time."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as source,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as out,
    ):
        for member in source:
            member.mtime, member.uname, member.gname = epoch, "root", "root"
            member.uid = member.gid = 0
            out.addfile(member, source.extractfile(member))
    return packed.getvalue()
