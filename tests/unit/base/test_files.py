import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgewright.base import digest
from edgewright.base.errors import UserError
from edgewright.base.files import (
    cached_folder,
    copy_file,
    locked,
    new_folder,
    read_file,
    read_inside,
    remove_tree,
    replacing,
    unique_name,
    update_file,
    write_file,
    write_new_file,
)
from edgewright.base.memory import available, require_memory


def fill(out: Path, text: str, fault: BaseException | None = None) -> None:
    with new_folder(out) as folder:
        (folder / "file").write_text(text)
        assert not (out / "file").exists() or (out / "file").read_text() != text
        if fault:
            raise fault


def test_a_folder_appears_whole_and_takes_the_place_of_the_former(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    fill(out, "first")
    (out / "left over").touch()
    fill(out, "second")
    assert {path.name: path.read_text() for path in out.iterdir()} == {"file": "second"}
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("fault", [UserError("net", "is bad"), KeyboardInterrupt()])
def test_what_goes_wrong_leaves_nothing_new(fault: BaseException, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill(out, "former")
    with pytest.raises(type(fault)):
        fill(out, "half", fault)
    assert {path.name: path.read_text() for path in out.iterdir()} == {"file": "former"}
    assert list(tmp_path.iterdir()) == [out]


def test_a_fault_names_the_file_that_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(OSError, match="Read-only file system") as fault:
        write_file(tmp_path / "fleet.toml", "version = 1")
    assert fault.value.filename == str(tmp_path / "fleet.toml")


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="is a file, expected a folder"):
        fill(tmp_path / "out", "new")
    assert (tmp_path / "out").read_text() == "mine"


def at_once(work: Callable[[int], object], count: int = 8) -> list[object]:
    """Run `work(0)` to `work(count - 1)` in threads of this process that begin together."""
    begin = threading.Barrier(count)

    def wait_and_work(number: int) -> object:
        begin.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(wait_and_work, range(count)))


def test_threads_that_write_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"

    def write(number: int) -> None:
        for _ in range(20):
            write_file(path, str(number) * 50_000)
            text = path.read_text()
            assert text == text[0] * 50_000

    at_once(write)
    assert list(path.parent.iterdir()) == [path]


def test_processes_with_equal_ids_have_other_names(tmp_path: Path) -> None:
    """Two containers that share a folder may both be process 7."""
    code = """
import os, sys
os.getpid = lambda: 7
from pathlib import Path
from edgewright.base.files import replacing, unique_name
with replacing(Path(sys.argv[1])) as aside:
    print(aside.name, unique_name("edgewright-build"))
    aside.touch()
"""
    argv = [sys.executable, "-c", code, str(tmp_path / "out")]
    first, second = (subprocess.check_output(argv, text=True).split() for _ in range(2))

    assert set(first) & set(second) == set()


def test_names_of_containers_do_not_meet() -> None:
    names = at_once(lambda _: [unique_name("edgewright-build") for _ in range(1000)])

    assert len({name for part in names for name in part}) == 8000  # type: ignore[attr-defined]


def test_threads_that_fill_one_cached_folder_all_end_well(tmp_path: Path) -> None:
    out = tmp_path / "cache" / "key"

    def fill_cache(number: int) -> None:
        with cached_folder(out) as folder:
            (folder / "file").write_text("content")

    at_once(fill_cache)
    assert (out / "file").read_text() == "content"
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize("fault", [OSError(28, "full"), KeyboardInterrupt()])
def test_a_file_that_is_not_finished_leaves_the_former(
    fault: BaseException, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    write_file(path, "former")

    def write_half() -> None:
        with replacing(path) as aside:
            aside.write_text("ha")
            raise fault

    with pytest.raises(type(fault)):
        write_half()
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_aside_keeps_the_suffix_and_is_hidden(tmp_path: Path) -> None:
    with replacing(tmp_path / "curve.svg") as aside:
        aside.touch()

    assert aside.name.startswith(".curve.")
    assert aside.suffix == ".svg"


def test_the_umask_decides_unless_a_mode_does(tmp_path: Path) -> None:
    former = os.umask(0o077)
    try:
        write_file(tmp_path / "private", "")
        write_file(tmp_path / "public", "", mode=0o644)
    finally:
        os.umask(former)

    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"private": 0o600, "public": 0o644}


def test_durable_files_reach_the_disk_before_their_name_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "file", []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append((os.fstat(handle).st_ino, path.exists()))
    )
    write_file(path, "content", durable=True)

    assert synced == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def test_a_new_file_is_never_put_over_another(tmp_path: Path) -> None:
    path = tmp_path / "key"

    def make(number: int) -> bool:
        try:
            write_new_file(path, str(number), mode=0o600)
        except FileExistsError:
            return False
        return True

    assert at_once(make).count(True) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_equal_is_left_alone(tmp_path: Path) -> None:
    path, target = tmp_path / "file", tmp_path / "copy"
    assert update_file(path, "text")
    copy_file(path, target)
    before = path.stat(), target.stat()

    assert not update_file(path, b"text")
    copy_file(path, target)
    assert (path.stat(), target.stat()) == before

    assert update_file(path, "other")
    copy_file(path, target)
    assert target.read_text() == "other"


def test_a_lock_excludes_threads_of_the_same_process(tmp_path: Path) -> None:
    path, holders = tmp_path / "deep" / "lock", []

    def hold(number: int) -> None:
        with locked(path):
            holders.append(number)
            time.sleep(0.005)
            assert holders[-1] == number

    at_once(hold)
    assert len(holders) == 8


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_on_the_new_one(tmp_path: Path) -> None:
    path, opened = tmp_path / "lock", threading.Event()

    def hold() -> bool:
        with locked(path, on_busy=opened.set):
            return path.exists()

    with ThreadPoolExecutor(1) as pool:
        with locked(path):
            waiting = pool.submit(hold)
            assert opened.wait(10)
            path.unlink()
        assert waiting.result(10)


def test_whoever_finds_a_lock_held_may_say_so_and_wait_or_give_up(tmp_path: Path) -> None:
    path, lines = tmp_path / "lock", []

    def refuse() -> None:
        raise UserError("board", "is in use")

    def wait() -> None:
        lines.append("waiting")
        release.set()

    release = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with locked(path):
            with pytest.raises(UserError, match="board: is in use"), locked(path, on_busy=refuse):
                pytest.fail("two hold one lock")
            waiting = pool.submit(lambda: locked(path, on_busy=wait).__enter__())
            assert release.wait(10)
            assert not waiting.done()
        waiting.result(10)

    assert lines == ["waiting"]


def test_memory_that_is_there_is_enough(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       2048 kB\nMemAvailable:   1024 kB\n")
    assert available(meminfo) == 1 << 20
    require_memory("net", 1 << 20, meminfo)
    with pytest.raises(UserError) as caught:
        require_memory("net", 3 << 20, meminfo)
    assert "net: there is too little memory for it\n  needs about 3 MiB\n  available: 1 MiB" in str(
        caught.value
    )


def test_where_the_kernel_tells_nothing_nothing_is_refused(tmp_path: Path) -> None:
    require_memory("net", 1 << 60, tmp_path / "absent")


# Reading what others wrote


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder beside a secret, with every way to it that a name or a link can be."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text("content")
    (folder / "link").symlink_to("../secret")
    (folder / "absolute").symlink_to(tmp_path / "secret")
    (folder / "inside").symlink_to("inner/file")
    (folder / "up").symlink_to("..")
    (folder / "zero").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    return folder


def test_a_file_inside_a_folder_is_read(folder: Path) -> None:
    assert read_inside(folder, "inner/file", limit=7) == b"content"


@pytest.mark.parametrize(
    "name",
    ["../secret", "inner/../../secret", "/etc/passwd", "", ".", "inner/", "a\0b", "\x1b]0;t\x07"],
)
def test_a_name_that_leads_elsewhere_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(UserError, match="is not the name of a file inside it") as refused:
        read_inside(folder, name, limit=99)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize("name", ["link", "absolute", "inside", "up/secret", "zero"])
def test_a_link_is_not_followed(folder: Path, name: str) -> None:
    with pytest.raises(UserError, match="is a link or behind one, expected a file of this folder"):
        read_inside(folder, name, limit=99)


@pytest.mark.parametrize("name", ["pipe", "inner"])
def test_what_has_no_end_is_refused_at_once(folder: Path, name: str) -> None:
    with pytest.raises(UserError, match="is no regular file"):
        read_inside(folder, name, limit=99)


def test_a_file_that_the_user_names_may_be_a_link_but_no_device(folder: Path) -> None:
    assert read_file(folder / "inside", limit=99) == b"content"
    with pytest.raises(UserError, match="is no regular file"):
        read_file(folder / "zero", limit=99)


def test_no_more_than_the_limit_is_read(folder: Path) -> None:
    with (folder / "large").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(UserError, match="is too large\n  expected: at most 99 bytes"):
        read_inside(folder, "large", limit=99)
    with pytest.raises(UserError, match="is too large"):
        read_file(folder / "large", limit=99)


def test_a_mistyped_file_is_told_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "token.pub").touch()

    with pytest.raises(UserError, match=r"/tokn\.pub: no such file; did you mean 'token\.pub'\?"):
        read_file(tmp_path / "tokn.pub", limit=10)
    with pytest.raises(UserError, match=r"/tokn\.pub: no such file$"):
        read_inside(tmp_path, "tokn.pub", limit=10)  # what others wrote


def test_a_tree_is_removed_whole_and_what_its_links_lead_to_stays_as_it_is(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (elsewhere / "file").touch()
    (out / "deep").mkdir(parents=True)
    (out / "deep" / "file").touch()
    (out / "deep" / "link").symlink_to(elsewhere)
    (out / "deep").chmod(0o500)
    (out).chmod(0o500)
    remove_tree(out)
    remove_tree(out)
    os.mkfifo(out)
    remove_tree(out)
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert (elsewhere / "file").exists()
    assert elsewhere.stat().st_mode & 0o777 == 0o755


def test_where_a_link_to_a_folder_leads_counts_in_the_hash_of_a_tree(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("one", "two"):
        (tree / name).mkdir(parents=True)
        (tree / name / "file").touch()
    link = tree / "current"
    link.symlink_to("one")
    first = digest.tree_sha256(tree)
    link.unlink()
    link.symlink_to("two")
    assert digest.tree_sha256(tree) != first
