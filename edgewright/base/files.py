"""Files and folders that appear whole or not at all, and locks between processes and threads.

Temporary names end in random digits: all threads of a process have one process id, and so may
two containers that share a folder.

Nothing here waits for the disk unless `durable` says so. What a power cut takes of a cache or of
a build is made anew; durable is what cannot be: keys, sequence numbers, pinned host keys.
"""

import errno
import fcntl
import filecmp
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import IO, BinaryIO, Protocol

from edgewright.base.errors import UserError, near_miss

MOST_NEIGHBOURS = 1000  # files of a folder that a mistyped name is compared with
PIECE_BYTES = 1 << 20  # of what is copied
POLL_SECONDS = 0.02


def unique_name(prefix: str) -> str:
    """`<prefix>-<12 random hex digits>`, for containers and whatever else a machine shares."""
    return f"{prefix}-{secrets.token_hex(6)}"


# Reading what others wrote


def open_inside(folder: Path, name: str, *, next: str | None = None) -> BufferedReader:
    """Open a regular file of a folder that somebody else may have made.

    `name` is relative, with `/`. No part of it is followed if it is a link, so what is read lies
    in the folder; only `folder` itself may be one, as it is what the user named. Raises UserError
    for a name that leads elsewhere, and for what is missing, a link, a device or not readable.
    """
    parts = name.split("/")
    if {"", ".", ".."} & set(parts) or not name.isprintable():
        raise UserError(str(folder), f"{name!r} is not the name of a file inside it", next=next)
    at = _opened(folder, None, os.O_DIRECTORY, folder, next)
    try:
        for part in parts[:-1]:
            inner = _opened(part, at, os.O_DIRECTORY | os.O_NOFOLLOW, folder / name, next)
            os.close(at)
            at = inner
        return _regular(_opened(parts[-1], at, os.O_NOFOLLOW, folder / name, next), folder / name)
    finally:
        os.close(at)


def read_inside(folder: Path, name: str, *, limit: int, next: str | None = None) -> bytes:
    """The content of `open_inside`. Raises UserError, also for more than `limit` bytes."""
    with open_inside(folder, name, next=next) as file:
        return _bounded(file, folder / name, limit)


def read_file(path: Path, *, limit: int, next: str | None = None) -> bytes:
    """The content of a file that the user named, who may have named a link to it.

    Raises UserError for what is missing, a device, not readable, or larger than `limit` bytes.
    """
    with _regular(_opened(path, None, 0, path, next), path) as file:
        return _bounded(file, path, limit)


def _opened(
    name: str | Path, folder: int | None, flags: int, subject: Path, next: str | None
) -> int:
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer.
        return os.open(name, os.O_RDONLY | os.O_NONBLOCK | flags, dir_fd=folder)
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        problem = "no such file" if is_missing else f"not readable: {error.strerror}"
        if is_missing and folder is None:  # a folder of somebody else's is not listed
            problem += _neighbour(subject)
        with suppress(OSError):
            entry = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if flags & os.O_NOFOLLOW and stat.S_ISLNK(entry.st_mode):
                problem = "is a link or behind one, expected a file of this folder"
        raise UserError(str(subject), problem, next=next) from error


def _neighbour(path: Path) -> str:
    """The file beside it whose name is like the one that is missing, as the end of a message."""
    with suppress(OSError):
        names = {entry.name for entry in islice(path.parent.iterdir(), MOST_NEIGHBOURS)}
        return near_miss(path.name, sorted(names - {path.name}))  # a broken link is there itself
    return ""


def _regular(handle: int, subject: Path) -> BufferedReader:
    """The file behind a handle; a device or a FIFO would have no end."""
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise UserError(str(subject), "is no regular file")
    return os.fdopen(handle, "rb")


def _bounded(file: BufferedReader, subject: Path, limit: int) -> bytes:
    content = file.read(limit + 1)  # not st_size alone: the file may grow, or be in /proc
    if len(content) > limit:
        raise _too_large(str(subject), limit)
    return content


def _too_large(subject: str, limit: int) -> UserError:
    return UserError(subject, "is too large", facts=[f"expected: at most {limit:,} bytes"])


# Writing


class Readable(Protocol):
    """What bytes are read of: a file, or a server's answer."""

    def read(self, amount: int, /) -> bytes: ...


class NotWrittenError(OSError):
    """A file of this machine did not take what was read: no fault of where that comes from."""


class HashedFile:
    """An open file that is written piece by piece, with the hash and size of what it holds."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.begin()

    def begin(self) -> None:
        """Empty it: what was sent in part is sent anew. Raises NotWrittenError."""
        with _writing():
            self._file.seek(0)
            self._file.truncate()
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def copy(self, source: Readable, limit: int, subject: str) -> None:
        """Take all of a source. Raises UserError for more than `limit` bytes, of which it reads
        one piece at most, and NotWrittenError.
        """
        while piece := source.read(PIECE_BYTES):
            with _writing():
                self._file.write(piece)
            self._hash.update(piece)
            self.size += len(piece)
            if self.size > limit:
                raise _too_large(subject, limit)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise NotWrittenError(fault.errno, fault.strerror, fault.filename) from fault


def make_folder(path: Path, *, mode: int = 0o777) -> None:
    """Make a folder and those above it, unless it is there. Raises UserError where it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=mode)
    except (FileExistsError, NotADirectoryError, FileNotFoundError) as taken:
        # A file in its way, a link that leads nowhere (a disk that is not mounted), or /proc.
        problem = "cannot be made: a file or a broken link is in the way"
        raise UserError(
            str(path),
            problem,
            facts=[f"at: {taken.filename}"],
            next="take that away, or name another folder",
        ) from taken


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """An unused name beside `path`, with the same suffix, to write a file to.

    At the end that file takes the place of `path` by rename. If writing it ends in an exception,
    `path` is untouched and nothing is left over. Missing parent folders are made.
    """
    with _unused_name(path) as aside:
        yield aside
        if durable:
            _sync(aside)
        aside.replace(path)
        if durable:
            _sync(path.parent)


def write_file(
    path: Path, content: bytes | str, *, mode: int | None = None, durable: bool = False
) -> None:
    """Write a file by rename; the umask decides on its mode unless `mode` does. Text is UTF-8."""
    with replacing(path, durable=durable) as aside:
        _create(aside, content, mode)


def write_new_file(path: Path, content: bytes | str, *, mode: int) -> None:
    """Write a durable file that is never put over another. Raises FileExistsError."""
    with _unused_name(path) as aside:
        _create(aside, content, mode)
        _sync(aside)
        path.hardlink_to(aside)  # a rename would replace what is there
    _sync(path.parent)


def update_file(path: Path, content: bytes | str, *, mode: int | None = None) -> bool:
    """Write a file unless it has this content already; returns whether it was written.

    What is left alone keeps its inode and its times: a board may have it mounted, a build tool
    compares them.
    """
    if path.is_file() and path.read_bytes() == _encoded(content):
        return False
    write_file(path, content, mode=mode)
    return True


def copy_file(source: Path, target: Path) -> None:
    """Copy a file with its mode and times, by rename; an equal target is left alone."""
    if target.is_file() and filecmp.cmp(source, target, shallow=False):
        return
    with replacing(target) as aside:
        shutil.copy2(source, aside)


@contextmanager
def _unused_name(path: Path) -> Iterator[Path]:
    """A hidden name beside `path`; what is there at the end is removed."""
    make_folder(path.parent)
    aside = path.with_name(f".{path.stem}.{secrets.token_hex(8)}{path.suffix}")
    try:
        with named(path):
            yield aside
    except OSError as fault:
        if fault.filename in (aside, str(aside)):
            fault.filename = str(path)  # the file that the user knows
        raise
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """The error of a full or failing disk does not name the file that was being written."""
    try:
        yield
    except OSError as fault:
        if fault.filename is None and fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            fault.filename = str(path)
        raise


def _create(path: Path, content: bytes | str, mode: int | None) -> None:
    """A secret is never readable by others, not even before its first byte is written."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with open(os.open(path, flags, 0o666 if mode is None else mode), "wb") as file:  # noqa: PTH123
        if mode is not None:
            os.fchmod(file.fileno(), mode)  # whatever the umask took away
        file.write(_encoded(content))


def _encoded(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_tree(path: Path) -> None:
    """Remove what is at a path, if anything: a folder that denies it to its own user, too.

    Raises OSError for what cannot be removed. No link is followed.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    path.chmod(0o700)
    for folder, folders, _ in os.walk(path):
        for inner in (Path(folder, name) for name in folders):
            if not inner.is_symlink():
                inner.chmod(0o700)
    shutil.rmtree(path)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, beside `out`, that takes its place by rename at the end.

    If filling it ends in an exception, what was at `out` before is untouched. Raises UserError
    if something other than a folder is there.
    """
    if out.exists() and not out.is_dir():
        raise UserError(str(out), "is a file, expected a folder or nothing")
    with _folder_aside(out) as aside:
        yield aside
        _swap(aside, out)


@contextmanager
def cached_folder(out: Path) -> Iterator[Path]:
    """A folder to fill with what only its name decides on; it becomes `out` at the end.

    Whoever fills the same one at the same time makes the same: the first to end is taken.
    """
    with _folder_aside(out) as aside:
        yield aside
        try:
            aside.rename(out)
        except OSError:
            if not out.is_dir():
                raise


@contextmanager
def _folder_aside(out: Path) -> Iterator[Path]:
    make_folder(out.parent)
    aside = Path(mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    aside.chmod(0o755)  # mkdtemp's is 0700
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _swap(new: Path, out: Path) -> None:
    if not out.exists():
        new.rename(out)
        return
    # A rename does not replace a folder that has files in it: the old one steps aside first, and
    # comes back if the new one cannot follow.
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as bin_:
        old = Path(bin_) / "old"
        out.rename(old)
        try:
            new.rename(out)
        except OSError:
            old.rename(out)
            raise


@contextmanager
def locked(
    path: Path, *, on_busy: Callable[[], None] | None = None, patience_s: float = 0.0
) -> Iterator[None]:
    """Hold an advisory lock on a file; it ends with the block or with the process.

    It excludes other threads as well as other processes. While another holds it, this waits;
    after `patience_s` seconds `on_busy` is called, and may raise to give up instead.
    """
    while True:
        # The lock belongs to the open file, and every caller opens its own: threads exclude each
        # other.
        with _lock_file(path) as handle:
            if not wait_for(lambda: _flock(handle), patience_s):
                if on_busy:
                    on_busy()
                fcntl.flock(handle, fcntl.LOCK_EX)
            # Its holder may have removed the file: a lock on one without a name excludes nobody.
            if _is_at(handle, path):
                yield
                return


def _lock_file(path: Path) -> IO[bytes]:
    """The file of a lock; its folder is mostly there, and is made where it is not."""
    try:
        return path.open("ab", buffering=0)
    except FileNotFoundError:
        make_folder(path.parent)
        return path.open("ab", buffering=0)


def _is_at(handle: IO[bytes], path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    return False


def _flock(handle: IO[bytes]) -> bool:
    """Lock a file, unless another one has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask at least once; False where it does not hold within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
