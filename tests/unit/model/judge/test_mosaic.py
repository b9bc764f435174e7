"""Mosaics of cells, with boxes of the defective ones."""

from collections import Counter
from pathlib import Path

import numpy as np

from edgewright.model.contract.pixels import decode
from edgewright.model.judge.boxed import load_boxes, read_labels
from edgewright.model.judge.data import Sample, split
from edgewright.model.judge.mosaic import PARTS, SIDE, draw_mosaics, write_mosaics


def test_a_box_lies_around_each_defective_cell_and_nowhere_else(
    samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    parts = split(samples)
    counts = write_mosaics(parts, tmp_path, passes=2)
    for part in PARTS:
        images = load_boxes(tmp_path / f"{part}.json", read_labels(tmp_path / f"{part}.json"))
        assert len(images) == counts[part] == len(list((tmp_path / part).glob("*.png")))
        passes = 2 if part == "train" else 1
        defective = sum(sample.label for sample in getattr(parts, part))
        assert sum(len(image.instances) for image in images) == passes * defective
        for image in images:
            pixels = decode(image.path)
            assert pixels.shape == (SIDE, SIDE)
            for instance in image.instances:
                x, y, width, height = map(round, instance.box)
                cell = pixels[y : y + height, x : x + width]
                # As the synthetic cells are drawn: the crack is in their middle columns.
                dark = cell[:, round(width * 0.45) : round(width * 0.5)].mean()
                assert dark < cell.mean() - 30


def test_the_same_cells_make_the_same_mosaics_of_one_type_each(
    samples: tuple[Sample, ...],
) -> None:
    first, second = (list(draw_mosaics(samples, "seed")) for _ in range(2))
    other = list(draw_mosaics(samples, "another"))
    assert [m.boxes for m in first] == [m.boxes for m in second]
    assert all((a.pixels == b.pixels).all() for a, b in zip(first, second, strict=True))
    assert [m.boxes for m in first] != [m.boxes for m in other]
    by_type = Counter(sample.cell_type for sample in samples)
    for cell_type, count in by_type.items():
        alone = list(draw_mosaics([s for s in samples if s.cell_type == cell_type], "seed"))
        assert 4 * len(alone) >= count / 2.25, "four cells of a picture, or nine"


def test_no_cell_is_in_two_parts(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    """Cells of the same pixels would make the judgement too good."""
    write_mosaics(split(samples), tmp_path, passes=1)
    # A cell of 191 or 127 pixels begins in the corner of each mosaic: these are all different.
    corners = {
        part: {
            np.ascontiguousarray(decode(path)[:100, :100]).tobytes()
            for path in (tmp_path / part).glob("*.png")
        }
        for part in PARTS
    }
    assert not corners["train"] & corners["test"]
    assert not corners["train"] & corners["validation"]
    assert not corners["validation"] & corners["test"]
