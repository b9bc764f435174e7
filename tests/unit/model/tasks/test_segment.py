import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from edgewright.base.errors import UserError
from edgewright.model.contract.card import Input, ModelFile, Region
from edgewright.model.contract.geometry import region_of
from edgewright.model.contract.pixels import Picture
from edgewright.model.contract.placement import Placement
from edgewright.model.contract.preprocess import place
from edgewright.model.contract.segment_card import SegmentCard, SegmentSettings
from edgewright.model.contract.task_base import TaskOutput
from edgewright.model.contract.task_cards import read_any_card
from edgewright.model.tasks.inference import task_of
from edgewright.model.tasks.masks import encode
from edgewright.model.tasks.segment import Segment, SegmentAnswer, SegmentTask
from edgewright.model.tasks.task import Agreement

STRETCHED = Placement(width=16, height=8, scale_x=0.5, scale_y=1.0)
LABELS = ("cell", "crack", "dust")


def output(**parts: Any) -> TaskOutput:
    logits: dict[str, Any] = {"name": "out", "shape": (1, 3, 2, 2), "role": "logits"}
    return TaskOutput(**logits | parts)


def segment_card(out: TaskOutput, labels: tuple[str, ...] = LABELS, **settings: Any) -> SegmentCard:
    return SegmentCard(
        task="segment",
        name="cells",
        labels=labels,
        input=Input(shape=(1, 1, 8, 8)),
        outputs=(out,),
        segment=SegmentSettings(**settings),
        file=ModelFile(name="model.onnx", sha256="0" * 64, bytes=1),
    )


def masks_of(card: SegmentCard, values: object) -> dict[str, Any]:
    """The pixels of each label that has any."""
    shape = card.outputs[0].shape
    outputs = [np.array(values, np.float32).reshape(shape)]
    masks = SegmentTask(card).read(outputs, STRETCHED).masks
    return {label: mask.tolist() for label, mask in zip(card.labels, masks, strict=True)}


def test_a_pixel_has_its_likeliest_label_the_first_of_equals() -> None:
    card = segment_card(output(activation="softmax"))
    masks = masks_of(card, [5, 1, 2, 2, 0, 3, 2, 1, 0, 3, 4, 2])
    assert masks == {
        "cell": [[True, False], [False, True]],
        "crack": [[False, True], [False, False]],
        "dust": [[False, False], [True, False]],
    }


def test_with_a_threshold_a_pixel_may_have_several_labels_or_none() -> None:
    probabilities = output(activation="none")
    card = segment_card(probabilities, threshold=0.5)
    masks = masks_of(card, [0.5, 0.4, 0, 0, 0.9, 0.1, 0, 0, 0, 0, 0, 0])
    assert masks["cell"] == [[True, False], [False, False]]
    assert masks["crack"] == [[True, False], [False, False]]
    assert not np.any(masks["dust"])
    scores = segment_card(output(activation="sigmoid"), threshold=0.5)
    assert masks_of(scores, [0, -1, 9, 0, *[-9] * 8])["cell"] == [[True, False], [True, True]]


def test_labels_of_the_network_are_taken_as_they_are() -> None:
    card = segment_card(output(shape=(1, 2, 2), role="classes"))
    masks = masks_of(card, [1, -1, 3, 1.5])
    assert masks["crack"] == [[True, False], [False, False]]
    assert not np.any(masks["cell"])
    assert not np.any(masks["dust"])


def test_an_answer_tells_of_labels_that_occur_but_the_background() -> None:
    card = segment_card(output(shape=(1, 2, 2), role="classes"), background="cell")
    answer = SegmentTask(card).answer([np.array([[[0, 2], [0, 0]]], np.float32)], STRETCHED)
    (segment,) = answer.segments
    assert (segment.class_, segment.area, segment.box) == ("dust", 0.25, (8, 0, 8, 4))


def answer(width: int, height: int, pixels: int) -> SegmentAnswer:
    """A crack of so many pixels along the first columns."""
    mask = (np.arange(width * height) < pixels).reshape((height, width), order="F")
    box = (0.0, 0.0, 1.0, 1.0)
    part = Segment.model_validate({"class": "crack", "area": 0.5, "box": box, "mask": encode(mask)})
    return SegmentAnswer(width=width, height=height, segments=(part,) if pixels else ())


@pytest.mark.parametrize(
    ("expected", "actual", "problem"),
    [
        ((10, 10, 50), (10, 10, 46), None),
        ((10, 10, 50), (10, 10, 44), "crack: overlap 0.880, expected 0.9"),
        ((10, 10, 50), (10, 10, 0), "crack: overlap 0.000, expected 0.9"),
        ((100, 100, 5), (100, 100, 15), None),  # 0.1 % of the pixels
        ((100, 100, 5), (100, 100, 16), "crack: overlap 0.312, expected 0.9"),
        ((10, 10, 50), (10, 11, 50), "masks of 10 x 11 pixels, expected 10 x 10"),
    ],
)
def test_masks_agree_where_they_overlap_or_hardly_differ(
    expected: tuple[int, int, int], actual: tuple[int, int, int], problem: str | None
) -> None:
    task = SegmentTask(segment_card(output()))
    problems = task.problems(answer(*expected), answer(*actual), Agreement(overlap=0.9))
    assert problems == ([problem] if problem else [])


def test_a_card_comes_back_with_its_task(tmp_path: Path) -> None:
    card = segment_card(output(activation="sigmoid"), threshold=0.4, background="cell")
    (tmp_path / "card.json").write_text(card.model_dump_json(by_alias=True))
    assert read_any_card(tmp_path / "card.json") == card
    assert isinstance(task_of(card), SegmentTask)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": ["a", "b"]}, "the role logits has [1, 2 for the labels, height, width]"),
        ({"segment": {"background": "sky"}}, "segment.background is no label: sky"),
        ({"segment": {"threshold": 1}}, "segment.threshold: "),
        ({"outputs": [{"name": "o", "shape": [1, 3, -1, 2], "role": "logits"}]}, "has [1, 3 for"),
        ({"outputs": [{"name": "o", "shape": [1, 3, 2], "role": "mask"}]}, "logits, classes"),
        (
            {
                "outputs": [
                    {"name": "o", "shape": [1, 3, 2, 2], "role": "logits", "activation": "sigmoid"}
                ]
            },
            "activation sigmoid needs segment.threshold",
        ),
        (
            {"labels": ["a"], "outputs": [{"name": "o", "shape": [1, 1, 2, 2], "role": "logits"}]},
            "one label needs segment.threshold",
        ),
    ],
)
def test_contradictions_are_refused(change: dict[str, object], words: str, tmp_path: Path) -> None:
    content = json.loads(segment_card(output()).model_dump_json(by_alias=True)) | change
    (tmp_path / "card.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as refused:
        read_any_card(tmp_path / "card.json")
    assert words in str(refused.value)


def test_of_a_region_masks_and_boxes_are_within_it() -> None:
    card = segment_card(output(activation="softmax"))
    rules = card.preprocess.model_copy(update={"roi": Region(x=4, y=2, width=8, height=4)})
    card = card.model_copy(update={"preprocess": rules})
    picture = Picture.of(np.zeros((8, 16), np.uint8))
    _, placement = place(picture, region_of(8, 16, card), card)
    values = np.array([5, 1, 2, 2, 0, 3, 2, 1, 0, 3, 4, 2], np.float32)
    answer = SegmentTask(card).answer([values.reshape(card.outputs[0].shape)], placement)
    assert answer.region == (4, 2, 8, 4)
    boxes = {segment.class_: segment.box for segment in answer.segments}
    assert boxes == {"cell": (4, 2, 8, 4), "crack": (8, 2, 4, 2), "dust": (4, 4, 4, 2)}


@pytest.mark.parametrize(
    ("size", "mask", "words"),
    [
        ((2, 2), "164K", "is no mask of 2 x 2 pixels"),
        ((2, 2), "no mask!", "is no mask"),
        ((1 << 20, 1 << 20), "0", "masks of 1048576 x 1048576 pixels"),
    ],
)
def test_a_mask_that_does_not_fit_is_no_answer(
    size: tuple[int, int], mask: str, words: str
) -> None:
    part = {"class": "crack", "area": 0.5, "box": [0, 0, 1, 1], "mask": mask}
    content = {"width": size[0], "height": size[1], "segments": [part]}
    with pytest.raises(ValidationError, match=words):
        SegmentAnswer.model_validate(content)
