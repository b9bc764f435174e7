"""How well a network does, in one figure of its task: what quantization may lose of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgewright.model.contract.anomaly_card import AnomalyCard
from edgewright.model.contract.detect_card import DetectCard
from edgewright.model.contract.segment_card import SegmentCard
from edgewright.model.judge.boxed import load_boxes
from edgewright.model.judge.boxes import evaluate_boxes, has_masks
from edgewright.model.judge.evaluate import Prices
from edgewright.model.judge.masked import load_anomalies, load_segmentations
from edgewright.model.judge.planes import evaluate_anomalies, evaluate_segments

JudgedCard = AnomalyCard | DetectCard | SegmentCard
Metric = Literal["AUROC", "mAP@50:95", "mask mAP@50:95", "mean IoU"]


@dataclass(frozen=True, kw_only=True)
class TaskJudge:
    """One set of labelled images, and the figure (0 to 1) of a network on them."""

    metric: Metric
    images: tuple[Path, ...]
    measure: Callable[[Path], float]


def judge_of(card: JudgedCard, images: str) -> TaskJudge:
    """Images as `model.evaluate` takes them; of ELPV it is the validation part.

    Raises UserError for images that cannot be read or do not suffice.
    """
    if isinstance(card, AnomalyCard):
        part = "validation"
        return TaskJudge(
            metric="AUROC",
            images=tuple(sample.path for sample in load_anomalies(images, card.labels[0], part)),
            measure=lambda model: (
                evaluate_anomalies(model, card, images, Prices(), part).auroc.value
            ),
        )
    if isinstance(card, SegmentCard):
        return TaskJudge(
            metric="mean IoU",
            images=tuple(sample.path for sample in load_segmentations(Path(images))),
            measure=lambda model: evaluate_segments(model, card, images).mean_iou,
        )
    boxed = load_boxes(Path(images), card.labels)
    with_masks = has_masks(card, boxed)

    def measure(model: Path) -> float:
        quality = evaluate_boxes(model, card, images)
        return quality.masks.ap50_95 if quality.masks is not None else quality.map50_95

    return TaskJudge(
        metric="mask mAP@50:95" if with_masks else "mAP@50:95",
        images=tuple(image.path for image in boxed),
        measure=measure,
    )
