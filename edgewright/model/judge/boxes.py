"""Quality of a detector: mean average precision of boxes and of masks, as COCO defines it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgewright.base.errors import UserError
from edgewright.base.schema import Document, Part
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.contract.placement import Placement
from edgewright.model.judge.boxed import BoxedImage, Instance, RunLengths, load_boxes
from edgewright.model.tasks import masks
from edgewright.model.tasks.detect import DetectAnswer, DetectReading
from edgewright.model.tasks.inference import Engine

# COCO's curve runs to the lowest scores, whatever threshold the card has for its users.
_LEAST_SCORE = 0.001
_MOST_DETECTIONS = 100

Annotation = dict[str, Any]  # COCO's form of an instance, or of a detection


class MaskPrecision(Part):
    ap50: float
    ap50_95: float


class LabelPrecision(Part):
    label: str
    things: int  # boxes in the images
    ap50: float | None  # null: there is none of it in the images
    ap50_95: float | None
    # null: the network has no masks, or the images have boxes alone.
    masks: MaskPrecision | None = Field(default=None, exclude_if=lambda masks: masks is None)


class DetectQuality(Document):
    """`model.evaluate --json` of a detector."""

    version: Literal[1] = 1
    task: Literal["detect"] = "detect"
    images: str
    count: int
    map50: float  # mean over the labels that occur
    map50_95: float  # mean over overlaps of 0.5, 0.55, … 0.95 too
    per_label: tuple[LabelPrecision, ...]
    masks: MaskPrecision | None = Field(default=None, exclude_if=lambda masks: masks is None)


def has_masks(card: DetectCard, boxed: Sequence[BoxedImage]) -> bool:
    """Whether masks can be judged: the network has them, and so has each instance."""
    return card.prototypes is not None and all(
        instance.outline is not None for image in boxed for instance in image.instances
    )


def evaluate_boxes(model: Path, card: DetectCard, images: str) -> DetectQuality:
    """Judge boxes, and masks where `has_masks`, by those of the images, at every score.

    Raises UserError for images that cannot be read and masks of another size than their image.
    """
    boxed = load_boxes(Path(images), card.labels)
    comparison = _Comparison.of(model, card, boxed)
    boxes = comparison.average_precisions("bbox")
    areas = comparison.average_precisions("segm") if has_masks(card, boxed) else None
    counts = [
        sum(instance.label == label for image in boxed for instance in image.instances)
        for label in range(len(card.labels))
    ]
    per_label = tuple(
        LabelPrecision(
            label=label,
            things=counts[place],
            ap50=_rounded(boxes[0, place]) if counts[place] else None,
            ap50_95=_rounded(boxes[:, place]) if counts[place] else None,
            masks=_of_masks(areas[:, place]) if areas is not None and counts[place] else None,
        )
        for place, label in enumerate(card.labels)
    )
    occurs = np.array(counts) > 0
    return DetectQuality(
        images=images,
        count=len(boxed),
        map50=_rounded(boxes[0, occurs]),
        map50_95=_rounded(boxes[:, occurs]),
        per_label=per_label,
        masks=None if areas is None else _of_masks(areas[:, occurs]),
    )


def _rounded(precisions: NDArray[np.float64]) -> float:
    return round(float(precisions.mean()), 4)


def _of_masks(precisions: NDArray[np.float64]) -> MaskPrecision:
    return MaskPrecision(ap50=_rounded(precisions[0]), ap50_95=_rounded(precisions))


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """What is in the images, and what the network finds there, in COCO's form."""

    images: list[Annotation]
    labels: int
    truth: list[Annotation]
    detections: list[Annotation]

    @classmethod
    def of(cls, model: Path, card: DetectCard, boxed: Sequence[BoxedImage]) -> "_Comparison":
        """Detections of the lowest scores are among them."""
        settings = card.detect.model_copy(
            update={"score_threshold": _LEAST_SCORE, "max_detections": _MOST_DETECTIONS}
        )
        engine = Engine(model, card.model_copy(update={"detect": settings}))
        with_masks = has_masks(card, boxed)
        comparison = cls(images=[], labels=len(card.labels), truth=[], detections=[])
        for number, image in enumerate(boxed):
            result = engine.infer([image.path])
            size = result.placement
            comparison.images.append({"id": number, "height": size.height, "width": size.width})
            for instance in image.instances:
                place = len(comparison.truth) + 1  # COCO takes 0 for "no match"
                comparison.truth.append(_annotation(place, number, instance))
                if with_masks:
                    comparison.truth[-1]["segmentation"] = _outline(image.path, instance, size)
            assert isinstance(result.answer, DetectAnswer)
            detections = [
                {
                    "image_id": number,
                    "category_id": card.labels.index(detection.class_),
                    "bbox": list(detection.box),
                    "score": detection.score,
                }
                for detection in result.answer.detections
            ]
            if with_masks:
                for detection, mask in zip(detections, _masks(result.reading, size), strict=True):
                    detection["segmentation"] = mask
            comparison.detections.extend(detections)
        return comparison

    def average_precisions(self, kind: Literal["bbox", "segm"]) -> NDArray[np.float64]:
        """Of each overlap from 0.5 to 0.95 and each label: (10, labels)."""
        if not self.detections:
            return np.zeros((10, self.labels))
        from faster_coco_eval import COCO, COCOeval_faster  # of the extra `model`

        annotated = COCO(
            {
                "images": self.images,
                "categories": [{"id": label, "name": str(label)} for label in range(self.labels)],
                "annotations": self.truth,
            }
        )
        judge = COCOeval_faster(annotated, annotated.loadRes(self.detections), kind)
        judge.evaluate()
        judge.accumulate()
        # Axes: overlap, recall, label, area (all first), number of detections (100 last).
        precision: NDArray[np.float64] = judge.eval["precision"][:, :, :, 0, -1]
        return np.asarray(precision.mean(axis=1), np.float64)


def _annotation(number: int, image: int, instance: Instance) -> Annotation:
    _, _, width, height = instance.box
    return {
        "id": number,
        "image_id": image,
        "category_id": instance.label,
        "bbox": list(instance.box),
        "area": width * height,
        "iscrowd": int(instance.is_crowd),
    }


def _outline(path: Path, instance: Instance, size: Placement) -> list[list[float]] | Annotation:
    """COCO's form of an instance's outline. Raises UserError for one of another image."""
    outline = instance.outline
    assert outline is not None, "every instance has its outline"
    if not isinstance(outline, RunLengths):
        return [list(polygon) for polygon in outline]
    counts = outline.counts
    try:
        if outline.size != (size.height, size.width):
            raise ValueError(f"is of {outline.size[1]} x {outline.size[0]} pixels")
        if isinstance(counts, str):
            masks.decode(counts, *outline.size)
        elif min(counts, default=0) < 0 or sum(counts) != size.height * size.width:
            raise ValueError("has runs of another number of pixels")
    except ValueError as broken:
        raise UserError(
            str(path),
            f"has a mask that is not its own: {broken}",
            facts=[f"expected: run lengths of {size.width} x {size.height} pixels"],
        ) from broken
    text = counts if isinstance(counts, str) else list(counts)
    return {"size": list(outline.size), "counts": text}


def _masks(reading: DetectReading, size: Placement) -> list[Annotation]:
    """COCO's form of what each detection covers of the upright image."""
    from faster_coco_eval.core import mask as coco_masks  # of the extra `model`

    detected = reading.masks
    assert detected is not None, "a network with prototypes has masks"
    encoded = []
    for mask in detected.masks:
        pixels = np.zeros((size.height, size.width), np.uint8, order="F")
        pixels[detected.window.pixels] = detected.window.spread(mask)
        encoded.append(coco_masks.encode(pixels))
    return encoded
