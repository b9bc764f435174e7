"""mAP of a detector on images whose boxes are known."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgewright.base.errors import UserError
from edgewright.model.judge.boxed import load_boxes
from edgewright.model.judge.boxes import evaluate_boxes
from edgewright.model.judge.task_judge import judge_of
from edgewright.model.tasks.masks import encode, runs_of
from tests.unit.model.detectors import LABELS, SIDE, card_of, write_constant

CARD = card_of(
    [{"name": "a", "shape": [1, 2, 7], "role": "predictions", "channels": "last"}],
    preprocess={"color": "rgb"},
)
# It answers every image alike: a crack with 0.9, a finger with 0.6.
ANSWERS = np.array([[[16, 16, 16, 16, 0.9, 0, 0], [48, 48, 16, 16, 0, 0.6, 0]]], np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_constant(CARD, [ANSWERS], tmp_path_factory.mktemp("detector") / "net")


def write_image(folder: Path, name: str, text: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Twice as wide as the input, which the image is stretched to.
    Image.fromarray(np.zeros((SIDE, 2 * SIDE, 3), np.uint8)).save(folder / name)
    if text is not None:
        (folder / name).with_suffix(".txt").write_text(text)


def test_boxes_that_are_right_count_and_those_too_many_cost(model: Path, tmp_path: Path) -> None:
    write_image(tmp_path, "a.png", "0 0.25 0.25 0.25 0.25\n1 0.75 0.75 0.25 0.25\n")
    write_image(tmp_path, "b.png", "0 0.25 0.25 0.25 0.25\n")
    quality = evaluate_boxes(model, CARD, str(tmp_path))
    crack, finger, shadow = quality.per_label
    assert (crack.things, crack.ap50, crack.ap50_95) == (2, 1.0, 1.0)
    # Of two equal scores one is right: precision is 1, or 1/2, whichever comes first.
    assert finger.things == 1
    assert finger.ap50 in (0.5, 1.0)
    assert (shadow.things, shadow.ap50) == (0, None)
    assert quality.map50 == pytest.approx((1 + (finger.ap50 or 0)) / 2, abs=1e-4)


def test_an_overlap_of_two_thirds_counts_at_50_and_less_at_95(model: Path, tmp_path: Path) -> None:
    write_image(tmp_path, "a.png", "0 0.25 0.25 0.25 0.375\n")
    quality = evaluate_boxes(model, CARD, str(tmp_path))
    assert (quality.map50, quality.map50_95) == (1.0, 0.4)  # 0.5, 0.55, 0.6 and 0.65


def test_the_threshold_of_the_card_does_not_cut_the_curve(model: Path, tmp_path: Path) -> None:
    write_image(tmp_path, "a.png", "1 0.75 0.75 0.25 0.25\n")
    strict = CARD.model_copy(
        update={"detect": CARD.detect.model_copy(update={"score_threshold": 0.8})}
    )
    assert evaluate_boxes(model, strict, str(tmp_path)).map50 == 1.0


def coco(folder: Path, category: str) -> Path:
    write_image(folder / "images", "a.png")
    content = {
        "info": {"year": 2020},
        "images": [{"id": 7, "file_name": "a.png", "width": 2 * SIDE, "height": SIDE}],
        "categories": [{"id": 3, "name": category}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [80, 40, 32, 16], "area": 512}
        ],
    }
    (folder / "set.json").write_text(json.dumps(content))
    return folder / "set.json"


def test_cocos_categories_are_labels_by_name(model: Path, tmp_path: Path) -> None:
    quality = evaluate_boxes(model, CARD, str(coco(tmp_path, "finger")))
    assert [label.ap50 for label in quality.per_label] == [None, 1.0, None]


def test_yolos_text_may_lie_in_a_folder_of_its_own(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "val", "a.png")
    labels = tmp_path / "labels" / "val"
    labels.mkdir(parents=True)
    (labels / "a.txt").write_text("2 0.5 0.5 0.25 0.5\n")
    (image,) = load_boxes(tmp_path / "images", LABELS)
    (instance,) = image.instances
    assert (instance.label, instance.box) == (2, (48, 16, 32, 32))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 0.5 0.5\n", "a.txt:1: is no box and no polygon of YOLO's"),
        ("0 0.1 0.1 0.5 0.1 0.5\n", "a.txt:1: is no box and no polygon of YOLO's"),
        ("9 0.5 0.5 0.1 0.1\n", "has boxes of the class '9', which the card does not have"),
        ("", "has no images with boxes"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, words: str) -> None:
    write_image(tmp_path, "a.png", text)
    with pytest.raises(UserError) as refused:
        load_boxes(tmp_path, LABELS)
    assert words in str(refused.value)


def test_a_category_without_a_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has boxes of the class 'dust'"):
        load_boxes(coco(tmp_path, "dust"), LABELS)


MASKED = card_of(
    [
        {"name": "a", "shape": [1, 1, 8], "role": "predictions", "channels": "last"},
        {"name": "p", "shape": [1, 1, 16, 16], "role": "prototypes"},
    ],
    preprocess={"color": "rgb", "fit": {"kind": "stretch"}},
)
# A crack in the box (16, 16) to (48, 48) of the input, whose mask is its left half.
CRACK = np.array([[[32, 32, 32, 32, 0.9, 0, 0, 1]]], np.float32)
LEFT = np.where(np.arange(16) < 8, 1, -1).astype(np.float32) * np.ones((1, 1, 16, 1), np.float32)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_constant(MASKED, [CRACK, LEFT], tmp_path_factory.mktemp("masks") / "net")


def outlined(folder: Path, *, width: float) -> Path:
    """A crack from x = 0.25 on, as a polygon of YOLO's."""
    end = 0.25 + width
    corners = f"0.25 0.25 {end} 0.25 {end} 0.75 0.25 0.75"
    write_image(folder, "a.png", f"0 {corners}\n")
    return folder


def test_masks_are_judged_where_the_images_have_outlines(masked: Path, tmp_path: Path) -> None:
    """Each answers for itself: this box is half too wide, the mask in it is right."""
    quality = evaluate_boxes(masked, MASKED, str(outlined(tmp_path, width=0.25)))
    assert quality.masks is not None
    assert (quality.masks.ap50, quality.masks.ap50_95) == (1.0, 1.0)
    assert quality.map50_95 == 0.1  # an overlap of one half
    crack, finger, _ = quality.per_label
    assert crack.masks == quality.masks
    assert finger.masks is None

    wide = evaluate_boxes(masked, MASKED, str(outlined(tmp_path, width=0.5)))
    assert wide.masks is not None
    assert (wide.map50_95, wide.masks.ap50_95) == (1.0, 0.1)


def test_of_boxes_alone_no_mask_is_judged(masked: Path, tmp_path: Path) -> None:
    write_image(tmp_path, "a.png", "0 0.5 0.5 0.5 0.5\n")
    quality = evaluate_boxes(masked, MASKED, str(tmp_path))
    assert quality.map50 == 1.0
    assert "masks" not in quality.model_dump_json()


def of_coco(folder: Path, segmentation: object) -> Path:
    path = coco(folder, "crack")
    content = json.loads(path.read_text())
    content["annotations"][0] |= {"bbox": [32, 16, 32, 32], "segmentation": segmentation}
    path.write_text(json.dumps(content))
    return path


LEFT_HALF = np.zeros((SIDE, 2 * SIDE), bool)
LEFT_HALF[16:48, 32:64] = True


@pytest.mark.parametrize(
    "segmentation",
    [
        [[32, 16, 64, 16, 64, 48, 32, 48]],
        {"size": [SIDE, 2 * SIDE], "counts": runs_of(LEFT_HALF)},
        {"size": [SIDE, 2 * SIDE], "counts": encode(LEFT_HALF)},
    ],
    ids=["polygon", "numbers", "text"],
)
def test_cocos_forms_of_a_mask_are_all_read(
    masked: Path, tmp_path: Path, segmentation: object
) -> None:
    quality = evaluate_boxes(masked, MASKED, str(of_coco(tmp_path, segmentation)))
    assert quality.masks is not None
    assert quality.masks.ap50_95 == 1.0


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ({"size": [SIDE, SIDE], "counts": [SIDE * SIDE]}, "is of 64 x 64 pixels"),
        ({"size": [SIDE, 2 * SIDE], "counts": [3, -3]}, "has runs of another number of pixels"),
        ({"size": [SIDE, 2 * SIDE], "counts": "~"}, "is no mask"),
        ([[1, 2, 3, 4]], "is no COCO file"),
    ],
)
def test_masks_that_are_no_masks_of_their_image_are_refused(
    masked: Path, tmp_path: Path, segmentation: object, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        evaluate_boxes(masked, MASKED, str(of_coco(tmp_path, segmentation)))


def test_quantization_of_a_network_with_masks_is_judged_by_them(
    masked: Path, tmp_path: Path
) -> None:
    judge = judge_of(MASKED, str(outlined(tmp_path, width=0.25)))
    assert (judge.metric, judge.measure(masked)) == ("mask mAP@50:95", 1.0)
