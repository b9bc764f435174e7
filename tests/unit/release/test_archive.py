"""Archives and release folders of strangers: nothing is read of them before the signature."""

import contextlib
import gzip
import io
import tarfile
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.release import keys, minisign
from edgewright.release import order as orders
from edgewright.release.manifest import Release
from tests.boards import make_release
from tests.signing import signer


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return make_release(tmp_path / "one", root="/opt/edgewright")


def trusted() -> list[minisign.PublicKey]:
    return [key.public for key in keys.user_keys().listed()]


def packed(path: Path, members: Iterable[tuple[tarfile.TarInfo, BinaryIO | None]]) -> Path:
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT, compresslevel=1) as tar:
        for member, content in members:
            tar.addfile(member, content)
    return path


class Zeros(io.RawIOBase):
    """Zeros without end: a gigabyte of them is a megabyte of an archive."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = bytes(len(buffer))
        return len(buffer)


def zeros(name: str, size: int) -> tuple[tarfile.TarInfo, BinaryIO]:
    member = tarfile.TarInfo(name)
    member.size = size
    return member, io.BufferedReader(Zeros(), 1 << 20)


def long_header(release: Release) -> tuple[tarfile.TarInfo, None]:
    """An extended header of 60 MB, which tarfile would read into memory."""
    member = tarfile.TarInfo(f"{release.id}/bin/edge-infer")
    member.pax_headers = {"comment": "a" * 60_000_000}
    return member, None


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (lambda release: zeros(f"{release.id}/bin/edge-infer", 700 << 20), "within 256 MiB"),
        (lambda release: zeros(f"{release.id}/manifest.json", 700 << 20), "is too large"),
        (long_header, "has no place in a release"),
    ],
)
def test_archive_that_nobody_signed_takes_no_memory(
    release: Release,
    tmp_path: Path,
    archive: Callable[[Release], tuple[tarfile.TarInfo, BinaryIO | None]],
    words: str,
) -> None:
    path = packed(tmp_path / "bomb.tar.gz", [archive(release)])
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=words):
            orders.verify(path, trusted())
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_nothing_beyond_the_manifest_is_read_of_a_signed_archive(release: Release) -> None:
    orders.sign_release(release, signer())
    name = f"{release.id}/manifest.json"
    manifest = tarfile.TarInfo(name)
    manifest.size = len(release.manifest.canonical())
    for last in ("model/model.ort", "model/more", "manifest.json"):
        content = io.BytesIO(release.manifest.canonical())
        bomb = zeros(f"{release.id}/{last}", 500 << 20)
        packed(release.archive, [(manifest, content), bomb])
        begin = time.process_time()
        with pytest.raises(UserError, match="not a file of this release, or not of its size"):
            orders.verify(release.archive, trusted())
        assert time.process_time() - begin < 0.2


def test_an_archive_is_judged_by_its_signature_first(release: Release, tmp_path: Path) -> None:
    orders.sign_release(release, signer("theirs"))
    release.archive.write_bytes(release.archive.read_bytes()[:-20])
    mine = keys.user_keys().generate().public
    with pytest.raises(UserError, match="signed by a key that is not trusted here"):
        orders.verify(release.archive, [mine])
    (release.folder / "model" / "model.ort").write_bytes(b"swapped!!")
    with pytest.raises(UserError, match="signed by a key that is not trusted here"):
        orders.verify(release.folder, [mine])


@pytest.mark.parametrize("name", ["manifest.json", "manifest.json.minisig"])
def test_a_device_in_a_release_folder_is_not_read(release: Release, name: str) -> None:
    orders.sign_release(release, signer())
    (release.folder / name).unlink()
    (release.folder / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match="is a link or behind one"):
        orders.verify(release.folder, trusted())


def test_any_damage_to_an_archive_is_told_in_words(release: Release) -> None:
    orders.sign_release(release, signer())
    sound = gzip.decompress(release.archive.read_bytes())

    @settings(max_examples=150, deadline=None)
    @given(at=st.integers(0, len(sound) - 1), bit=st.integers(0, 7), cut=st.booleans())
    def damage(at: int, bit: int, cut: bool) -> None:
        remainder = b"" if cut else bytes([sound[at] ^ 1 << bit]) + sound[at + 1 :]
        release.archive.write_bytes(gzip.compress(sound[:at] + remainder, 1))
        with contextlib.suppress(UserError):  # padding between files means nothing
            orders.verify(release.archive, trusted())

    damage()
