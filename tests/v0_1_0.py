"""The releases, board and records that edgewright 0.1.0 left behind: `tests/data/v0_1_0/`."""

import shutil
import tarfile
import time
from pathlib import Path

import pytest

from edgewright.release.manifest import Release, load_release

FOLDER = Path(__file__).parent / "data" / "v0_1_0"
CURRENT, PREVIOUS = "577fd460cd389e71", "e80f3ccd01c5f4d0"
ARCHIVE = FOLDER / f"{CURRENT}.tar.gz"
BOARD_ROOT = FOLDER / "board-root.tar.xz"
LAST_SIGNED = 1795892492.0  # Unix seconds
ROOT = "/opt/edgewright"  # what the manifests say


def unpack(name: str, folder: Path) -> Path:
    with tarfile.open(FOLDER / name) as archive:
        archive.extractall(folder, filter="data")
    return folder


def release(folder: Path) -> Release:
    """The signed release as it lies in a build folder."""
    unpack(ARCHIVE.name, folder)
    shutil.copy(FOLDER / f"{CURRENT}.minisig", folder / CURRENT / "manifest.json.minisig")
    return load_release(folder / CURRENT)


def install_keys(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the key of 0.1.0 into a user's configuration folder, private as it was.

    The clock is never before the time that the key last signed at: nothing is signed then.
    """
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: max(clock(), LAST_SIGNED))
    shutil.copytree(FOLDER / "config", config)
    (config / "keys" / "default.key").chmod(0o600)
