"""Content hashes: what caches and releases are keyed by."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def text_sha256(*texts: str) -> str:
    """Hash of a sequence of texts; where one ends and the next begins counts."""
    hasher = hashlib.sha256()
    for text in texts:
        data = text.encode()
        hasher.update(f"{len(data)}:".encode())
        hasher.update(data)
    return hasher.hexdigest()


def tree_sha256(*roots: Path) -> str:
    """Hash of the names, modes and contents of the files under `roots` (files or folders).

    A link to a folder is not entered: where it leads counts.
    """
    parts = []
    for root in roots:
        for path in _files(root):
            name = path.relative_to(root.parent).as_posix()
            if path.is_dir():
                parts += [name, "l", str(path.readlink())]
                continue
            executable = "x" if path.stat().st_mode & 0o100 else "-"
            parts += [name, executable, file_sha256(path)]
    return text_sha256(*parts)


def _files(root: Path) -> Iterable[Path]:
    if root.is_file():
        return [root]
    # Without what Python leaves in a folder of recipes that was used: they are the same recipes.
    files = (p for p in root.rglob("*") if p.is_file() or (p.is_symlink() and p.is_dir()))
    return sorted(path for path in files if "__pycache__" not in path.parts)
