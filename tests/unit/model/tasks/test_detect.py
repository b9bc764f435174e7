"""From a detector's outputs to boxes, and how two answers compare."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Region, Tiling
from edgewright.model.contract.placement import Placement
from edgewright.model.contract.tiles import plan_tiles
from edgewright.model.tasks.detect import (
    DetectAnswer,
    Detection,
    DetectReading,
    DetectTask,
    read_candidates,
)
from edgewright.model.tasks.masks import Mask, decode
from edgewright.model.tasks.task import Agreement
from tests.unit.model.detectors import LAYOUTS, SIDE, Layout, card_of, random_outputs

FULL = Placement(width=SIDE, height=SIDE, scale_x=1, scale_y=1)
# The image of 128 x 64 pixels lies letterboxed in the input of 64 x 64.
LETTERBOX = Placement(width=128, height=64, scale_x=0.5, scale_y=0.5, top=16)


def predictions(rows: list[list[float]], **changes: object) -> DetectAnswer:
    """What rows of cx, cy, width, height and a score for each of three labels mean."""
    shape = [1, len(rows), 7]
    outputs = [{"name": "a", "shape": shape, "role": "predictions", "channels": "last"}]
    card = card_of(outputs, detect=changes)
    return DetectTask(card).answer([np.array([rows], np.float32)], FULL)


def test_a_box_comes_in_pixels_of_the_original_image_and_within_it() -> None:
    outputs = [{"name": "a", "shape": [1, 1, 7], "role": "predictions", "channels": "last"}]
    values = np.array([[[8, 20, 24, 8, 0.1, 0.9, 0.2]]], np.float32)
    answer = DetectTask(card_of(outputs)).answer([values], LETTERBOX)
    assert answer.detections == (Detection(class_="finger", score=0.9, box=(0, 0, 40, 16)),)


def test_what_is_in_the_border_or_below_the_threshold_or_empty_is_no_detection() -> None:
    outputs = [{"name": "a", "shape": [1, 3, 7], "role": "predictions", "channels": "last"}]
    rows = [[32, 8, 8, 8, 0.9, 0, 0], [32, 32, 8, 8, 0.2, 0, 0], [32, 32, -8, 8, 0.9, 0, 0]]
    answer = DetectTask(card_of(outputs)).answer([np.array([rows], np.float32)], LETTERBOX)
    assert answer.detections == ()


def test_of_boxes_that_overlap_the_best_of_each_class_stays() -> None:
    rows = [[20, 20, 10, 10, 0.6, 0, 0], [21, 20, 10, 10, 0.8, 0, 0], [20, 20, 10, 10, 0, 0.7, 0]]
    scores = [(detection.class_, detection.score) for detection in predictions(rows).detections]
    assert scores == [("crack", 0.8), ("finger", 0.7)]
    assert len(predictions(rows, class_agnostic=True).detections) == 1
    assert len(predictions(rows, nms=False).detections) == 3
    assert len(predictions(rows, nms=False, max_detections=2).detections) == 2


def test_equal_scores_stay_in_the_order_of_the_network() -> None:
    rows = [[x, 20, 4, 4, 0.5, 0.5, 0] for x in (40, 10, 30)]
    answer = predictions(rows)
    assert [detection.box[0] for detection in answer.detections] == [38, 8, 28]
    assert {detection.class_ for detection in answer.detections} == {"crack"}


def test_distances_are_the_mean_of_their_bins() -> None:
    card = card_of(
        [
            {"name": "a", "shape": [1, 12, 2, 2], "role": "box_distances", "stride": 32},
            {"name": "b", "shape": [1, 3, 2, 2], "role": "class_scores", "stride": 32},
        ]
    )
    distances = np.full((4, 3, 2, 2), -1e4, np.float32)
    distances[:, 1] = 0  # one cell to every side
    distances[0, 0, 1, 0] = 0  # half a cell to the left, in the second row
    scores = np.full((1, 3, 2, 2), -20, np.float32)
    scores[0, 2, 1, 0] = 3
    answer = DetectTask(card).answer([distances.reshape(1, 12, 2, 2), scores], FULL)
    assert answer.detections == (Detection(class_="shadow", score=0.952574, box=(0, 16, 48, 48)),)


def test_anchors_are_scaled_by_their_own_cell() -> None:
    outputs = [
        {
            "name": "a",
            "shape": [1, 16, 2, 2],
            "role": "anchored",
            "stride": 32,
            "anchors": [8, 4, 16, 16],
        }
    ]
    values = np.full((2, 8, 2, 2), -20, np.float32)
    values[1, :4, 0, 1] = 0  # in the middle of its cell, of the anchor's size
    values[1, 4:6, 0, 1] = 20
    answer = DetectTask(card_of(outputs)).answer([values.reshape(1, 16, 2, 2)], FULL)
    assert answer.detections == (Detection(class_="crack", score=1, box=(40, 8, 16, 16)),)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_has_candidates_with_finite_boxes(layout: Layout) -> None:
    card = card_of(layout)
    candidates = read_candidates(card, random_outputs(card, 1))
    assert len(candidates.boxes) == len(candidates.scores) == len(candidates.classes) > 0
    assert np.isfinite(candidates.boxes).all()
    assert DetectTask(card).answer(random_outputs(card, 1), FULL).detections


def test_a_class_without_a_label_is_refused() -> None:
    card = card_of([{"name": "a", "shape": [1, -1, 6], "role": "detections"}])
    with pytest.raises(UserError, match="answers with class 7, its card has 3 labels"):
        DetectTask(card).answer([np.array([[[0, 0, 9, 9, 0.9, 7]]], np.float32)], FULL)


def test_an_open_size_that_turns_out_wrong_is_refused() -> None:
    card = card_of(LAYOUTS["nms inside"])
    boxes, scores, classes = random_outputs(card, 1)
    with pytest.raises(UserError, match="different numbers of candidates"):
        DetectTask(card).answer([boxes, scores[:3], classes], FULL)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ([{"name": "a", "shape": [1, 8, 84], "role": "predictions", "channels": "first"}],
         "a has shape [1, 8, 84], as predictions of 3 labels it has [1, 7, n]"),
        ([{"name": "a", "shape": [1, 90, 3], "role": "scores"}], "outputs are scores: expected"),
        (LAYOUTS["yolov8 heads"][:3], "outputs are box_distances, box_distances, class_scores"),
        ([{"name": "a", "shape": [1, 63, 8, 8], "role": "box_distances", "stride": 8},
          LAYOUTS["yolov8 heads"][1]], "it has [1, 4 bins, height, width]"),
    ],
)  # fmt: skip
def test_a_card_whose_outputs_are_no_detector_is_refused(outputs: Layout, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        card_of(outputs)
    assert words in str(refused.value)


# --- comparison


def answer_of(*detections: tuple[str, float, tuple[float, float, float, float]]) -> DetectAnswer:
    parts = (Detection(class_=name, score=score, box=box) for name, score, box in detections)
    return DetectAnswer(detections=tuple(parts))


CRACK = ("crack", 0.9, (10, 10, 20, 20))


@pytest.mark.parametrize(
    ("answer", "problems"),
    [
        (answer_of(("crack", 0.87, (10, 10, 20, 21))), []),
        (answer_of(CRACK, ("shadow", 0.29, (0, 0, 5, 5))), []),  # hardly above the threshold
        (answer_of(CRACK, ("shadow", 0.5, (0, 0, 5, 5))), [
            "found shadow 0.50 at [0.0, 0.0, 5.0, 5.0], not expected",
        ]),
        (answer_of(("crack", 0.9, (10, 10, 20, 26))), [
            "expected crack 0.90 at [10.0, 10.0, 20.0, 20.0], not found",
            "found crack 0.90 at [10.0, 10.0, 20.0, 26.0], not expected",
        ]),
        (answer_of(), ["expected crack 0.90 at [10.0, 10.0, 20.0, 20.0], not found"]),
    ],
)  # fmt: skip
def test_detections_match_by_class_overlap_and_score(
    answer: DetectAnswer, problems: list[str]
) -> None:
    task = DetectTask(card_of(LAYOUTS["yolov8"]))
    assert task.problems(answer_of(CRACK), answer, Agreement()) == problems


def test_near_the_end_of_a_full_list_a_detection_may_be_another() -> None:
    task = DetectTask(card_of(LAYOUTS["yolov8"], detect={"max_detections": 2}))
    expected = answer_of(CRACK, ("shadow", 0.5, (0, 0, 5, 5)))
    answer = answer_of(CRACK, ("shadow", 0.5, (50, 50, 5, 5)))
    assert task.problems(expected, answer, Agreement()) == []


SEGMENTER = [
    {"name": "a", "shape": [1, 2, 12], "role": "predictions", "channels": "last"},
    {"name": "p", "shape": [1, 5, 16, 16], "role": "prototypes"},
]


def seen_things(**settings: Any) -> tuple[DetectTask, DetectAnswer]:
    """Two things, whose masks are the left half of the input, and all of it."""
    card = card_of(SEGMENTER, detect={"score_threshold": 0.3} | settings)
    rows = np.zeros((1, 2, 12), np.float32)
    rows[0, :, :4] = [[32, 32, 32, 32], [16, 16, 16, 16]]
    rows[0, 0, 4], rows[0, 1, 5] = 0.9, 0.8
    rows[0, 0, 7], rows[0, 1, 8] = 2, 3
    prototypes = np.full((1, 5, 16, 16), -1, np.float32)
    prototypes[0, 0, :, :8] = 1
    prototypes[0, 1] = 1
    task = DetectTask(card)
    return task, task.answer([rows, prototypes], FULL)


def test_a_thing_has_the_pixels_of_its_box_where_the_prototypes_say_so() -> None:
    _, answer = seen_things()
    assert answer.masks is not None
    assert (answer.masks.width, answer.masks.height) == (16, 16)
    first, second = answer.detections
    assert first.mask is not None
    assert second.mask is not None
    mask = decode(first.mask, 16, 16)
    assert mask[4:12, 4:8].all()
    assert mask.sum() == 8 * 4
    assert (first.area, second.area) == (0.125, 0.0625)
    assert [(area.class_, area.area) for area in answer.masks.areas] == [
        ("crack", 0.125),
        ("finger", 0.0625),
    ]


def test_another_mask_of_the_same_box_is_a_problem() -> None:
    task, expected = seen_things()
    first, second = expected.detections
    wrong = first.model_copy(update={"mask": second.mask})
    answer = expected.model_copy(update={"detections": (wrong, second)})
    assert task.problems(expected, expected, Agreement()) == []
    (problem,) = task.problems(expected, answer, Agreement())
    assert problem.endswith("overlap 0.091, expected 0.9")


def mask_in_tiles(detection: Detection) -> Mask:
    assert detection.mask is not None
    return decode(detection.mask, 16, 24)


def tiled_things(*boxes: Sequence[int]) -> DetectAnswer:
    """A thing in each of two tiles, which fills a box (cx, cy, width, height) of its input."""
    tiling = Tiling(size=(64, 64), overlap=32)
    plan = plan_tiles(Region(x=0, y=0, width=96, height=64), tiling)
    task = DetectTask(card_of(SEGMENTER, tiling=tiling))
    readings: list[DetectReading] = []
    for tile, box in zip(plan.tiles, boxes, strict=True):
        rows = np.zeros((1, 2, 12), np.float32)
        rows[0, 0, :4], rows[0, 0, 4], rows[0, 0, 7] = box, 0.9 - 0.1 * len(readings), 1
        placement = Placement(
            width=96, height=64, scale_x=1, scale_y=1, left=-float(tile.x), region=tile
        )
        readings.append(task.read([rows, np.ones((1, 5, 16, 16), np.float32)], placement))
    return task.summary(task.merge(readings, plan))


def test_masks_of_tiles_lie_on_one_map_of_the_image() -> None:
    # The first is in the left tile alone; the second at the right edge of the right one.
    answer = tiled_things([8, 32, 16, 64], [60, 4, 8, 8])
    assert answer.masks is not None
    assert (answer.masks.width, answer.masks.height) == (24, 16)
    assert [(area.class_, area.area) for area in answer.masks.areas] == [
        ("crack", round((4 * 16 + 2 * 2) / (24 * 16), 6))
    ]
    left, right = map(mask_in_tiles, answer.detections)
    assert left[:, :4].all()
    assert left.sum() == 64
    assert right[:2, 22:].all()
    assert right.sum() == 4


def test_a_thing_in_two_tiles_has_the_mask_of_its_best() -> None:
    answer = tiled_things([48, 32, 32, 16], [16, 32, 30, 16])
    (detection,) = answer.detections
    assert detection.box == (32, 24, 32, 16)
    mask = mask_in_tiles(detection)
    assert mask[6:10, 8:16].all()
    assert mask.sum() == 32


def test_masks_that_a_board_has_no_memory_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [[8, 32, 16, 64], [60, 4, 8, 8]]  # of 3 and 5 runs: 0, 64, 320; 352, 2, 14, 2, 14
    monkeypatch.setattr("edgewright.model.tasks.detect.MAX_MASK_RUNS", 8)
    tiled_things(*boxes)
    monkeypatch.setattr("edgewright.model.tasks.detect.MAX_MASK_RUNS", 7)
    with pytest.raises(UserError, match="96 x 64 pixels: has masks of more than 7 runs"):
        tiled_things(*boxes)


@pytest.mark.parametrize(
    ("outputs", "parts", "words"),
    [
        (SEGMENTER[1:], {}, "outputs are prototypes: expected predictions"),
        (
            [SEGMENTER[0] | {"shape": [1, 2, 7]}, SEGMENTER[1]],
            {},
            r"a has shape \[1, 2, 7\], as predictions of 3 labels it has \[1, n, 12\]",
        ),
        (
            [SEGMENTER[0], SEGMENTER[1] | {"shape": [1, 5, -1, 16]}],
            {},
            "expected \\[1, n, height, width\\], of fixed sizes",
        ),
    ],
)
def test_prototypes_that_fit_nothing_are_refused(
    outputs: Layout, parts: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        card_of(outputs, **parts)
