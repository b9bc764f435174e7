"""Files and folders that appear whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from edgewright.base.errors import UserError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, beside `out`, that takes its place by rename at the end.

    If filling it ends in an exception, what was at `out` before is untouched. Raises UserError
    if something other than a folder is there.
    """
    if out.exists() and not out.is_dir():
        raise UserError(str(out), "is a file, expected a folder or nothing")
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield aside
        aside.chmod(0o755)
        _swap(aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _swap(new: Path, out: Path) -> None:
    if not out.exists():
        new.rename(out)
        return
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as bin_:
        old = Path(bin_) / "old"
        out.rename(old)
        try:
            new.rename(out)
        except OSError:
            old.rename(out)
            raise
