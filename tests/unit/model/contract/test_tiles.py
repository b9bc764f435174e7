"""The planner of tiles, and what cards may say of it."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Region, TileMerge, Tiling, write_card
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.contract.tiles import MAX_TILES, plan_tiles
from tests.unit.model.conftest import make_card


@given(
    length=st.integers(1, 400),
    size=st.integers(16, 200),
    share=st.floats(0, 0.5),
    start=st.integers(0, 50),
)
def test_tiles_cover_a_region_with_no_less_than_the_overlap(
    length: int, size: int, share: float, start: int
) -> None:
    tiling = Tiling(size=(16, size), overlap=int(min(size, 16) * share))
    region = Region(x=start, y=3, width=length, height=16)
    tiles = plan_tiles(region, tiling).tiles
    assert {(tile.y, tile.height, tile.width) for tile in tiles} == {(3, 16, min(size, length))}
    assert (tiles[0].x, tiles[-1].x + tiles[-1].width) == (start, start + length)
    steps = [b.x - a.x for a, b in itertools.pairwise(tiles)]
    assert all(0 < step <= size - tiling.overlap for step in steps)
    assert all(step == size - tiling.overlap for step in steps[:-1])


def test_tiles_go_row_by_row() -> None:
    plan = plan_tiles(Region(x=0, y=0, width=40, height=33), Tiling(size=(32, 20)))
    assert [(tile.x, tile.y) for tile in plan.tiles] == [(0, 0), (20, 0), (0, 1), (20, 1)]
    assert plan.middle == 2


def test_an_image_of_more_tiles_than_a_board_has_time_for_is_refused() -> None:
    full = Region(x=0, y=0, width=16384, height=16384)
    with pytest.raises(ValueError, match=f"is cut into 4190209 tiles, at most {MAX_TILES}"):
        plan_tiles(full, Tiling(size=(16, 16), overlap=8))


def detector(folder: Path, **parts: Any) -> Path:
    content = {
        "schema": 2,
        "task": "detect",
        "name": "cells",
        "labels": ["crack"],
        "input": {"name": "image", "shape": [1, 1, 64, 64]},
        "outputs": [{"name": "a", "shape": [1, -1, 6], "role": "detections"}],
        "file": {"name": "model.onnx", "sha256": "0" * 64, "bytes": 1},
    }
    (folder / "card.json").write_text(json.dumps(content | parts))
    return folder / "card.json"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"tiling": {"size": [64, 40], "overlap": 21}}, "tiling.overlap is 21, at most half"),
        ({"tiling": {"size": [15, 40]}}, "tiling.size.0: expected at least 16"),
        (
            {
                "tiling": {"size": [64, 64]},
                "preprocess": {"fit": {"kind": "center_crop", "resize_shorter": 64}},
            },
            "tiling needs a preprocess.fit that shows all of a tile: stretch or letterbox",
        ),
        (
            {
                "preprocess": {
                    "roi": {"unit": "fraction", "x": 0.5, "y": 0, "width": 0.6, "height": 1}
                }
            },
            "preprocess.roi.fraction: reaches beyond the image",
        ),
        (
            {"preprocess": {"roi": {"unit": "inch", "x": 0, "y": 0, "width": 1, "height": 1}}},
            "preprocess.roi: expected the unit fraction, or none for pixels",
        ),
    ],
)
def test_a_contradiction_is_named(parts: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        read_any_card(detector(tmp_path, **parts))
    assert words in str(refused.value)


def test_a_classifier_has_no_tiles_since_nothing_says_which_of_them_counts(
    tmp_path: Path,
) -> None:
    write_card(make_card(), tmp_path / "card.json")
    content = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(content | {"tiling": {"size": [64, 64]}}))
    with pytest.raises(UserError, match="tiling is not known to the task classify"):
        read_any_card(tmp_path / "card.json")


def test_a_card_without_tiles_is_written_without_the_key(tmp_path: Path) -> None:
    path = detector(tmp_path)
    write_card(read_any_card(path), path)
    assert "tiling" not in json.loads(path.read_text())
    card = read_any_card(detector(tmp_path, tiling={"size": [64, 64], "merge": {"by": "union"}}))
    write_card(card, path)
    merge = TileMerge(by="union", threshold=0.5)
    assert json.loads(path.read_text())["tiling"]["merge"] == merge.model_dump()
