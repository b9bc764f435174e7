"""What a board says of its images, by its own shell, and what it must not say."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import TargetError
from edgewright.observe.drift.board_file import (
    MOST_WINDOWS,
    fetch_card,
    fetch_reference,
    fetch_windows,
    list_unsure,
    parse_unsure,
)
from tests.boards import LocalBoard

RELEASE = "0123456789abcdef"
HISTOGRAM = {"sum": 30.0, "squares": 500.0, "counts": [0, 0, 1, 0, 1] + [0] * 59}


def window(**other: Any) -> dict[str, Any]:
    plain = {
        "version": 1,
        "command": "watch",
        "release": RELEASE,
        "start": 5,
        "end": 6,
        "images": 2,
    }
    return plain | {"statistics": {"brightness": HISTOGRAM}} | other


def with_file(root: Path, *windows: dict[str, Any]) -> str:
    (root / "drift").mkdir(exist_ok=True)
    lines = "".join(json.dumps(window) + "\n" for window in windows)
    (root / "drift" / "histograms.jsonl").write_text(lines)
    return str(root)


def test_the_windows_of_a_board_are_read(tmp_path: Path) -> None:
    (read,) = fetch_windows(LocalBoard(), with_file(tmp_path, window()))
    assert (read.release, read.start, read.images) == (RELEASE, 5, 2)
    brightness = read.statistics.of("brightness")
    assert brightness is not None
    assert brightness.counts[2:5] == (1, 0, 1)
    assert read.statistics.of("class") is None


def test_a_board_that_keeps_nothing_has_no_windows(tmp_path: Path) -> None:
    board = LocalBoard()
    assert fetch_windows(board, str(tmp_path)) == ()
    assert fetch_windows(board, str(tmp_path / "nowhere")) == ()
    assert fetch_reference(board, str(tmp_path), RELEASE) is None
    assert list_unsure(board, str(tmp_path)) == []


def test_a_newer_board_may_say_more(tmp_path: Path) -> None:
    later = window(note="x", statistics={"brightness": HISTOGRAM, "warmth": HISTOGRAM})
    assert len(fetch_windows(LocalBoard(), with_file(tmp_path, later))) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"release": "../../etc"}, "release: expected a match of"),
        ({"images": 0}, "images: expected at least 1"),
        ({"start": -1}, "start: expected at least 0"),
        ({"statistics": {"brightness": HISTOGRAM | {"counts": [1, 2]}}}, "at least 64 items"),
        ({"statistics": {"brightness": HISTOGRAM | {"counts": [-1] * 64}}}, "expected at least 0"),
        ({"statistics": {"brightness": HISTOGRAM | {"sum": "9"}}}, "expected a number"),
    ],
)
def test_what_edge_infer_does_not_write_is_refused(
    tmp_path: Path, wrong: dict[str, Any], words: str
) -> None:
    with pytest.raises(TargetError, match="is no line of edge-infer's histograms") as refused:
        fetch_windows(LocalBoard(), with_file(tmp_path, window(**wrong)))
    assert words in "\n".join(refused.value.facts)


def test_more_windows_or_bytes_than_a_board_keeps_are_refused(tmp_path: Path) -> None:
    board = LocalBoard()
    with pytest.raises(TargetError, match="has more than 72 lines"):
        fetch_windows(board, with_file(tmp_path, *[window()] * (MOST_WINDOWS + 1)))
    with (tmp_path / "drift" / "histograms.jsonl").open("w") as endless:
        endless.truncate(1 << 34)
    with pytest.raises(TargetError, match="has more than 72 lines"):
        fetch_windows(board, str(tmp_path))


def test_links_and_pipes_of_the_board_are_not_read(tmp_path: Path) -> None:
    root = with_file(tmp_path, window())
    file = tmp_path / "drift" / "histograms.jsonl"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert fetch_windows(LocalBoard(), root) == ()
    file.unlink()
    os.mkfifo(file)
    assert fetch_windows(LocalBoard(), root) == ()


def test_reference_and_labels_are_those_of_the_release(tmp_path: Path) -> None:
    folder = tmp_path / "releases" / RELEASE / "model"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(json.dumps({"labels": ["ok", "defective"], "name": "x"}))
    reference = {"schema": 1, "images": 2, "statistics": {"class": HISTOGRAM}}
    (folder / "reference.json").write_text(json.dumps(reference))
    board = LocalBoard()
    assert fetch_card(board, str(tmp_path), RELEASE).labels == ("ok", "defective")
    read = fetch_reference(board, str(tmp_path), RELEASE)
    assert read is not None
    assert read.images == 2
    (folder / "reference.json").write_text("{}")
    with pytest.raises(TargetError, match="is no reference of a model"):
        fetch_reference(board, str(tmp_path), RELEASE)


def test_the_least_certain_image_is_listed_first_and_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "unsure").mkdir()
    for name in ("0250000-1795964400-b.png", "0000007-1795964401-a.png", "notes", ".hidden"):
        (tmp_path / "unsure" / name).write_text("x")
    images = list_unsure(LocalBoard(), str(tmp_path))
    assert [image.name for image in images] == [
        "0000007-1795964401-a.png",
        "0250000-1795964400-b.png",
    ]
    assert (images[1].margin, images[1].unix_s) == (0.25, 1795964400)


@given(st.lists(st.text(), max_size=5))
def test_no_name_of_a_board_leads_out_of_a_folder(names: list[str]) -> None:
    for image in parse_unsure([*names, "0000000-1-..", "0000000-1-a/../b"]):
        assert "/" not in image.name
        assert not image.name.startswith(".")
