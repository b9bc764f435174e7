"""Crash files of a board's deploy root, by its own shell."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import TargetError
from edgewright.observe.crash.fetch import MOST_FILES, fetch_crashes, parse_fetched
from tests.boards import LocalBoard
from tests.unit.observe.crash.crash_files import TEXT


@pytest.fixture
def crashes(tmp_path: Path) -> Path:
    folder = tmp_path / "crashes"
    folder.mkdir()
    return folder


def test_files_are_fetched_in_order_and_half_of_one_is_told(tmp_path: Path, crashes: Path) -> None:
    (crashes / "000000012.crash").write_text(TEXT)
    (crashes / "000000011.crash").write_text(TEXT[:300])
    (crashes / "notes.txt").write_text("somebody's")

    half, complete = fetch_crashes(LocalBoard(), str(tmp_path))

    assert (half.name, half.crash) == ("000000011.crash", None)
    assert half.problem is not None
    assert "expected registers" in half.problem
    assert complete.name == "000000012.crash"
    assert complete.crash is not None
    assert complete.crash.command == "watch"
    assert complete.text.rstrip("\n") == TEXT.rstrip("\n")


def test_a_board_without_crashes_has_none(tmp_path: Path, crashes: Path) -> None:
    assert fetch_crashes(LocalBoard(), str(tmp_path)) == []
    assert fetch_crashes(LocalBoard(), str(tmp_path / "nowhere")) == []


def test_what_is_no_file_there_is_not_read(tmp_path: Path, crashes: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(TEXT)
    (crashes / "000000001.crash").symlink_to(secret)
    os.mkfifo(crashes / "000000002.crash")
    (crashes / "000000003.crash").mkdir()

    assert fetch_crashes(LocalBoard(), str(tmp_path)) == []


def test_the_newest_files_are_read_and_none_to_its_end(tmp_path: Path, crashes: Path) -> None:
    for number in range(20):
        (crashes / f"{number:09}.crash").write_text("x" * 10)
    with (crashes / "000000019.crash").open("w") as endless:
        endless.truncate(1 << 34)

    files = fetch_crashes(LocalBoard(), str(tmp_path))

    assert [file.name for file in files] == [f"{n:09}.crash" for n in range(8, 20)]
    assert all(file.crash is None for file in files)


def test_a_folder_that_may_not_be_read_is_told() -> None:
    class Denying(LocalBoard):
        def answer(self, argv, data):  # type: ignore[no-untyped-def]
            return self._run(["echo", "denied"], data, kill=False)

    with pytest.raises(TargetError, match="is not for this login to read"):
        fetch_crashes(Denying(), "/opt/edgewright")


@given(st.lists(st.sampled_from(["file 000000001.crash", "file ../../x", "", "end", "x\x00"])))
def test_any_answer_is_a_few_files(lines: list[str]) -> None:
    files = parse_fetched("\n".join(lines))

    assert len(files) <= MOST_FILES
    assert {name for name, _ in files} <= {"000000001.crash"}
