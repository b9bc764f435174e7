"""Releases in a store: what is published, promoted, pulled and removed."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.base.files import HashedFile
from edgewright.release import channels, evidence, order, published
from edgewright.release.channels import Pointer
from edgewright.release.documents import store_list
from edgewright.release.manifest import Release
from edgewright.release.store import FolderStore, folder_store
from tests import v0_1_0
from tests.boards import make_release
from tests.memory import Memory
from tests.signing import signer
from tests.unit.release.test_evidence import INGREDIENTS, signed_release, with_evidence

BOARD = "board"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEWRIGHT_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return folder_store(str(tmp_path / "store"), make=True)


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Release]:
    def signed(model: str) -> Release:
        return signed_release(tmp_path / f"made-{model}", model=model.encode())

    return signed


def publish(release: Release, store: FolderStore) -> published.Publication:
    return published.publish(release, store, [signer().public])


def pull(store: FolderStore, release: str, out: Path) -> Release:
    return published.pull(store, BOARD, release, out, [signer().public])


def point(store: FolderStore, config: Path, name: str, release: str) -> Pointer:
    place = channels.channel(store, BOARD, name, config)
    with store.alone():
        return place.point(release, signer(), [signer().public])


def read(store: FolderStore, config: Path, name: str) -> Pointer | None:
    return channels.channel(store, BOARD, name, config).read([signer().public])


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# Publish and pull


def test_what_is_pulled_is_what_was_published(
    store: FolderStore, make: Callable[[str], Release], tmp_path: Path
) -> None:
    release = make("one")

    publication = publish(release, store)
    pulled = pull(store, release.id, tmp_path / "out")

    assert publication.has_evidence
    assert files(pulled.folder) == files(release.folder)
    assert pulled.archive.read_bytes() == release.archive.read_bytes()
    trusted = [signer().public]
    order.verify(pulled.archive, trusted)
    behind = evidence.beside(pulled)
    proof = evidence.verify(behind, pulled.manifest, pulled.archive, trusted)
    assert proof.key == signer().public
    assert (pulled.folder / "bin/edge-infer").stat().st_mode & 0o777 == 0o755


def test_a_content_of_any_size_is_fetched_in_little_memory(
    store: FolderStore, tmp_path: Path
) -> None:
    content = bytes(48 << 20)
    sha256 = hashlib.sha256(content).hexdigest()
    store.put(content)

    with Memory() as memory, (tmp_path / "out").open("wb") as out:
        store.fetch(sha256, len(content), HashedFile(out))

    assert memory.grown < 8 << 20
    assert (tmp_path / "out").read_bytes() == content


class FullDisk(FolderStore):
    """Whatever is written on this machine finds no room, as the kernel says it: by no name."""

    def copy_blob(self, sha256: str, into: HashedFile, *, limit: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_is_named_and_nothing_of_the_release_is_left(
    store: FolderStore, make: Callable[[str], Release], tmp_path: Path
) -> None:
    release = make("one")
    publish(release, store)

    with pytest.raises(OSError, match="No space left") as full:
        pull(FullDisk(root=store.root), release.id, tmp_path / "out")

    assert full.value.filename == str(tmp_path / "out" / release.id)
    assert [*(tmp_path / "out").iterdir()] == []


def test_publishing_again_writes_nothing(
    store: FolderStore, make: Callable[[str], Release], tmp_path: Path
) -> None:
    release = make("one")
    publish(release, store)
    before = files(store.root)

    assert publish(release, store).sent == 0
    assert files(store.root) == before
    pull(store, release.id, tmp_path / "out")
    assert pull(store, release.id, tmp_path / "out").id == release.id


@pytest.mark.parametrize("at", range(8))
def test_an_interrupted_publication_publishes_nothing_and_the_next_one_converges(
    store: FolderStore,
    make: Callable[[str], Release],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    release = make("one")
    writes: list[str] = []
    write = FolderStore.write

    def cut(self: FolderStore, name: str, content: bytes) -> None:
        if len(writes) == at:
            raise OSError(28, "No space left on device")
        writes.append(name)
        write(self, name, content)

    with monkeypatch.context() as patched:
        patched.setattr(FolderStore, "write", cut)
        with pytest.raises(OSError, match="No space"):
            publish(release, store)

    assert published.listed(store) == []
    assert publish(release, store).sent > 0
    assert pull(store, release.id, tmp_path / "out").id == release.id


def test_a_link_in_place_of_a_content_is_replaced(
    store: FolderStore, make: Callable[[str], Release], tmp_path: Path
) -> None:
    release = make("one")
    blob = store.root / "blobs" / hashlib.sha256(release.archive.read_bytes()).hexdigest()
    blob.parent.mkdir(parents=True)
    blob.symlink_to(tmp_path / "elsewhere")

    publish(release, store)

    assert not (tmp_path / "elsewhere").exists()
    assert pull(store, release.id, tmp_path / "out").id == release.id


def test_what_lies_beside_evidence_is_not_published(
    store: FolderStore, make: Callable[[str], Release], tmp_path: Path
) -> None:
    release = make("one")
    (evidence.beside(release).folder / "my notes").write_text("call the lawyer")

    publish(release, store)

    pulled = pull(store, release.id, tmp_path / "out")
    assert not (evidence.beside(pulled).folder / "my notes").exists()


def test_a_provenance_without_its_signature_is_not_pulled(
    store: FolderStore, make: Callable[[str], Release], tmp_path: Path
) -> None:
    """Else the next `release.sign` here would sign what a store slipped in."""
    release = make("one")
    publish(release, store)
    index = store.root / "releases" / BOARD / f"{release.id}.json"
    table = json.loads(index.read_text())
    name = f"evidence/{evidence.ENVELOPE}"
    table["files"] = [file for file in table["files"] if file["name"] != name]
    index.write_text(json.dumps(table))

    with pytest.raises(UserError, match="its provenance is not signed"):
        pull(store, release.id, tmp_path / "out")


def test_a_blob_that_was_cut_is_written_again(
    store: FolderStore, make: Callable[[str], Release], tmp_path: Path
) -> None:
    release = make("one")
    publish(release, store)
    blob = store.root / "blobs" / hashlib.sha256(release.archive.read_bytes()).hexdigest()
    blob.write_bytes(blob.read_bytes() + b"more")
    with pytest.raises(UserError, match=r"(?s)is too large.*next: invoke release\.publish"):
        pull(store, release.id, tmp_path / "out")
    blob.write_bytes(blob.read_bytes()[:100])

    with pytest.raises(UserError, match="is not what its name says"):
        pull(store, release.id, tmp_path / "out")
    assert [*(tmp_path / "out").iterdir()] == []
    assert publish(release, store).sent == 1
    pull(store, release.id, tmp_path / "out")


def test_a_release_that_is_not_signed_is_not_published(store: FolderStore, tmp_path: Path) -> None:
    release = with_evidence(make_release(tmp_path / "one", root="/opt"))

    with pytest.raises(UserError, match="is not signed"):
        publish(release, store)
    assert published.listed(store) == []


def test_a_release_without_a_licence_is_not_published(store: FolderStore, tmp_path: Path) -> None:
    parts = (*INGREDIENTS[:2], replace(INGREDIENTS[2], licence=None))
    release = with_evidence(make_release(tmp_path / "one", root="/opt"), parts)
    order.sign_release(release, signer())

    with pytest.raises(UserError, match="licences are missing"):
        publish(release, store)


def test_a_release_of_0_1_0_is_published_and_said_to_have_no_evidence(
    store: FolderStore, tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    v0_1_0.install_keys(config, monkeypatch)
    release = v0_1_0.release(tmp_path)
    for name in (release.archive.name, f"{release.id}.minisig"):
        shutil.copy(v0_1_0.FOLDER / name, tmp_path)
    trusted = [signer().public]

    publication = published.publish(release, store, trusted)
    pulled = published.pull(store, release.manifest.board, release.id, tmp_path / "out", trusted)

    assert not publication.has_evidence
    assert files(pulled.folder) == files(release.folder)
    assert not evidence.beside(pulled).exists


# A hostile store


def index(store: FolderStore, release: Release) -> Path:
    return store.root / "releases" / BOARD / f"{release.id}.json"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("evidence/../../../escaped", "is not the index of this release"),
        ("evidence/licenses/../../x", "is not the index of this release"),
        ("/etc/passwd", "not the index of a release"),
        ("evidence/other", "is not the index of this release"),
        ("archive", "lacks archive or signature, or has a file twice"),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(
    store: FolderStore, make: Callable[[str], Release], tmp_path: Path, name: str, problem: str
) -> None:
    release = make("one")
    publish(release, store)
    table = json.loads(index(store, release).read_text())
    table["files"][-1]["name"] = name
    index(store, release).write_text(json.dumps(table))

    with pytest.raises(UserError, match=problem):
        pull(store, release.id, tmp_path / "out")
    assert not (tmp_path / "escaped").exists()


def test_another_release_under_a_known_name_is_refused(
    store: FolderStore, make: Callable[[str], Release], tmp_path: Path
) -> None:
    release_one, release_two = make("one"), make("two")
    publish(release_one, store)
    publish(release_two, store)
    text = index(store, release_two).read_text().replace(release_two.id, release_one.id)
    index(store, release_one).write_text(text)

    with pytest.raises(UserError):
        pull(store, release_one.id, tmp_path / "out")
    assert [*(tmp_path / "out").iterdir()] == []


def test_a_strangers_release_is_refused(
    store: FolderStore, make: Callable[[str], Release], tmp_path: Path
) -> None:
    release = make("one")
    publish(release, store)

    with pytest.raises(UserError, match="signed by a key that is not trusted here"):
        published.pull(store, BOARD, release.id, tmp_path / "out", [signer("other").public])
    assert [*(tmp_path / "out").iterdir()] == []


def test_a_link_in_a_store_is_not_followed(
    store: FolderStore, make: Callable[[str], Release], tmp_path: Path
) -> None:
    release = make("one")
    publish(release, store)
    (tmp_path / "copy").write_bytes(index(store, release).read_bytes())
    index(store, release).unlink()
    index(store, release).symlink_to(tmp_path / "copy")

    with pytest.raises(UserError, match="is a link"):
        pull(store, release.id, tmp_path / "out")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(raw=st.binary(max_size=100))
def test_any_index_is_read_or_refused_in_words(store: FolderStore, raw: bytes) -> None:
    store.write(f"releases/{BOARD}/{'0' * 16}.json", raw)

    with pytest.raises(UserError):
        published.find(store, BOARD, "0" * 16)


# Channels


def test_promotion_is_a_new_pointer(
    store: FolderStore, make: Callable[[str], Release], config: Path
) -> None:
    release_one, release_two = make("one"), make("two")
    for release in (release_one, release_two):
        publish(release, store)

    first = point(store, config, "beta", release_one.id)
    second = point(store, config, "beta", release_two.id)

    assert read(store, config, "beta") == second
    assert second.sequence > first.sequence
    assert read(store, config, "stable") is None
    rows = store_list("store", published.listed(store), [second]).releases
    assert {row.release: row.channels for row in rows} == {
        release_one.id: (),
        release_two.id: ("beta",),
    }


def test_a_pointer_to_the_same_release_stays(
    store: FolderStore, make: Callable[[str], Release], config: Path
) -> None:
    release = make("one")
    publish(release, store)

    assert point(store, config, "beta", release.id) == point(store, config, "beta", release.id)


def test_a_pointer_older_than_the_one_known_is_refused(
    store: FolderStore, make: Callable[[str], Release], config: Path
) -> None:
    release_one, release_two = make("one"), make("two")
    for release in (release_one, release_two):
        publish(release, store)
    point(store, config, "stable", release_one.id)
    old = (store.root / "channels" / BOARD / "stable.json").read_bytes()
    pointer = point(store, config, "stable", release_two.id)
    (store.root / "channels" / BOARD / "stable.json").write_bytes(old)

    with pytest.raises(UserError, match="was set back") as refused:
        read(store, config, "stable")
    assert refused.value.facts[0] == f"expected: sequence {pointer.sequence} or higher"


def test_a_pointer_that_is_gone_is_no_empty_channel(
    store: FolderStore, make: Callable[[str], Release], config: Path
) -> None:
    release = make("one")
    publish(release, store)
    point(store, config, "stable", release.id)
    (store.root / "channels" / BOARD / "stable.json").unlink()

    with pytest.raises(UserError, match="is gone"):
        read(store, config, "stable")


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_promotion_goes_beyond_what_was_set_back(
    store: FolderStore, make: Callable[[str], Release], config: Path, is_gone: bool
) -> None:
    release_one, release_two = make("one"), make("two")
    for release in (release_one, release_two):
        publish(release, store)
    file = store.root / "channels" / BOARD / "stable.json"
    point(store, config, "stable", release_one.id)
    old = file.read_bytes()
    known = point(store, config, "stable", release_two.id)
    file.unlink() if is_gone else file.write_bytes(old)

    assert point(store, config, "stable", release_one.id).sequence > known.sequence
    pointer = read(store, config, "stable")
    assert pointer is not None
    assert pointer.release == release_one.id


def test_another_channels_pointer_is_refused(
    store: FolderStore, make: Callable[[str], Release], config: Path
) -> None:
    release = make("one")
    publish(release, store)
    point(store, config, "nightly", release.id)
    place = store.root / "channels" / BOARD
    shutil.copy(place / "nightly.json", place / "stable.json")

    with pytest.raises(UserError, match="holds another channel's pointer"):
        read(store, config, "stable")


def test_a_strangers_pointer_is_refused(
    store: FolderStore, make: Callable[[str], Release], config: Path
) -> None:
    release = make("one")
    publish(release, store)
    place = channels.channel(store, BOARD, "stable", config)
    with store.alone():
        place.point(release.id, signer("other"), [signer("other").public])

    with pytest.raises(UserError, match="signed by a key that is not trusted here"):
        read(store, config, "stable")


def test_a_provenance_is_no_pointer(
    store: FolderStore, make: Callable[[str], Release], config: Path
) -> None:
    release = make("one")
    publish(release, store)
    raw = evidence.beside(release).envelope.read_bytes()
    store.write(f"channels/{BOARD}/stable.json", raw)

    with pytest.raises(UserError, match="another type of payload"):
        read(store, config, "stable")


# Retention


@pytest.mark.parametrize("link", ["blobs", "releases", f"releases/{BOARD}"])
def test_nothing_is_written_or_removed_behind_a_link_of_a_store(
    store: FolderStore, make: Callable[[str], Release], config: Path, tmp_path: Path, link: str
) -> None:
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "letter").write_text("mine")
    place = store.root / link
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(precious)

    with pytest.raises(UserError, match="is a link"):
        publish(make("one"), store)
    if link != f"releases/{BOARD}":  # behind which no name is looked for
        with pytest.raises(UserError, match="is a link"):
            retain(store, config, 1)
    assert files(precious) == {"letter": b"mine"}


def retain(store: FolderStore, config: Path, keep: int) -> published.Retained:
    return published.retain(store, config, [signer().public], keep)


def test_old_releases_go_and_what_a_channel_points_to_stays(
    store: FolderStore, make: Callable[[str], Release], config: Path, tmp_path: Path
) -> None:
    release_one, release_two, release_three = make("one"), make("two"), make("three")
    for release in (release_one, release_two, release_three):
        publish(release, store)
    point(store, config, "stable", release_one.id)

    retained = retain(store, config, 1)

    assert [item.release for item in retained.removed] == [release_two.id]
    assert {item.release for item in published.listed(store)} == {release_one.id, release_three.id}
    assert retained.blobs > 0
    for release in (release_one, release_three):
        pull(store, release.id, tmp_path / "out")
    assert retain(store, config, 1).blobs == 0


def test_what_is_needed_elsewhere_stays(
    store: FolderStore, make: Callable[[str], Release], config: Path
) -> None:
    release_one, release_two, release_three = make("one"), make("two"), make("three")
    for release in (release_one, release_two, release_three):
        publish(release, store)

    retained = published.retain(store, config, [signer().public], 1, needed={release_one.id})

    assert [item.release for item in retained.removed] == [release_two.id]


def test_what_an_interrupted_publication_left_goes_too(
    store: FolderStore, make: Callable[[str], Release], config: Path
) -> None:
    publish(make("one"), store)
    store.put(b"left over")

    assert retain(store, config, 1).blobs == 1


@pytest.mark.parametrize("what", ["channels", "releases"])
def test_nothing_is_removed_of_a_store_that_is_not_understood(
    store: FolderStore, make: Callable[[str], Release], config: Path, what: str
) -> None:
    release_one, release_two = make("one"), make("two")
    for release in (release_one, release_two):
        publish(release, store)
    point(store, config, "stable", release_one.id)
    damaged = next((store.root / what / BOARD).iterdir())
    damaged.write_text("{}")
    before = files(store.root)

    with pytest.raises(UserError):
        retain(store, config, 1)
    assert files(store.root) == before


def test_a_store_is_a_folder_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such store"):
        folder_store(str(tmp_path / "nowhere"))
