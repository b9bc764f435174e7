"""Quality of a detector: mean average precision, as COCO defines it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgewright.base.schema import Document, Part
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.judge.boxed import BoxedImage, Thing, load_boxes
from edgewright.model.tasks.detect import DetectAnswer
from edgewright.model.tasks.inference import Engine

# COCO's curve runs to the lowest scores, whatever threshold the card has for its users.
_LEAST_SCORE = 0.001
_MOST_DETECTIONS = 100


class LabelPrecision(Part):
    label: str
    things: int  # boxes in the images
    ap50: float | None  # null: there is none of it in the images
    ap50_95: float | None


class DetectQuality(Document):
    """`model.evaluate --json` of a detector."""

    version: Literal[1] = 1
    task: Literal["detect"] = "detect"
    images: str
    count: int
    map50: float  # mean over the labels that occur
    map50_95: float  # mean over overlaps of 0.5, 0.55, … 0.95 too
    per_label: tuple[LabelPrecision, ...]


def evaluate_boxes(model: Path, card: DetectCard, images: str) -> DetectQuality:
    """Judge boxes by those of the images, at every score."""
    boxed = load_boxes(Path(images), card.labels)
    boxes = [(number, thing) for number, image in enumerate(boxed) for thing in image.things]
    truth = [_annotation(place + 1, *box) for place, box in enumerate(boxes)]
    precisions = _average_precisions(
        len(boxed), len(card.labels), truth, _detections(model, card, boxed)
    )
    counts = [
        sum(annotation["category_id"] == label for annotation in truth)
        for label in range(len(card.labels))
    ]
    per_label = tuple(
        LabelPrecision(
            label=label,
            things=counts[place],
            ap50=round(float(precisions[0, place]), 4) if counts[place] else None,
            ap50_95=round(float(precisions[:, place].mean()), 4) if counts[place] else None,
        )
        for place, label in enumerate(card.labels)
    )
    of_labels_that_occur = precisions[:, np.array(counts) > 0]
    return DetectQuality(
        images=images,
        count=len(boxed),
        map50=round(float(of_labels_that_occur[0].mean()), 4),
        map50_95=round(float(of_labels_that_occur.mean()), 4),
        per_label=per_label,
    )


def _annotation(number: int, image: int, thing: Thing) -> dict[str, Any]:
    """COCO's form of a box that is right."""
    _, _, width, height = thing.box
    return {
        "id": number,
        "image_id": image,
        "category_id": thing.label,
        "bbox": list(thing.box),
        "area": width * height,
        "iscrowd": int(thing.is_crowd),
    }


def _detections(model: Path, card: DetectCard, boxed: Sequence[BoxedImage]) -> list[dict[str, Any]]:
    """COCO's form of the network's boxes, those of the lowest scores too."""
    settings = card.detect.model_copy(
        update={"score_threshold": _LEAST_SCORE, "max_detections": _MOST_DETECTIONS}
    )
    engine = Engine(model, card.model_copy(update={"detect": settings}))
    detections: list[dict[str, Any]] = []
    for number, image in enumerate(boxed):
        answer = engine.infer([image.path]).answer
        assert isinstance(answer, DetectAnswer)
        detections += [
            {
                "image_id": number,
                "category_id": card.labels.index(detection.class_),
                "bbox": list(detection.box),
                "score": detection.score,
            }
            for detection in answer.detections
        ]
    return detections


def _average_precisions(
    images: int, labels: int, truth: list[dict[str, Any]], answers: list[dict[str, Any]]
) -> NDArray[np.float64]:
    """Of each overlap from 0.5 to 0.95 and each label: (10, labels)."""
    if not answers:
        return np.zeros((10, labels))
    from faster_coco_eval import COCO, COCOeval_faster  # of the extra `model`

    annotated = COCO(
        {
            "images": [{"id": number} for number in range(images)],
            "categories": [{"id": label, "name": str(label)} for label in range(labels)],
            "annotations": truth,
        }
    )
    judge = COCOeval_faster(annotated, annotated.loadRes(answers), "bbox")
    judge.evaluate()
    judge.accumulate()
    # Axes: overlap, recall, label, area of things (all of them first), detections (100 last).
    precision: NDArray[np.float64] = judge.eval["precision"][:, :, :, 0, -1]
    return np.asarray(precision.mean(axis=1), np.float64)
