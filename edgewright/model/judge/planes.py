"""Quality of anomaly scores, heat maps and segmentations."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgewright.base.errors import UserError
from edgewright.base.schema import Document, Part
from edgewright.model.contract.anomaly_card import AnomalyCard
from edgewright.model.contract.segment_card import SegmentCard
from edgewright.model.judge.evaluate import (
    Interval,
    Prices,
    Scores,
    Threshold,
    bootstrap_auc,
    cheapest,
    thresholds,
)
from edgewright.model.judge.masked import (
    load_anomalies,
    load_segmentations,
    read_defect,
    read_labels,
    regions_of,
)
from edgewright.model.tasks.anomaly import AnomalyReading
from edgewright.model.tasks.inference import Engine
from edgewright.model.tasks.segment import SegmentReading

PRO_LIMIT = 0.3  # false positive rate up to which regions are counted


class AnomalyQuality(Document):
    """`model.evaluate --json` of an anomaly model."""

    version: Literal[1] = 1
    task: Literal["anomaly"] = "anomaly"
    images: str
    labels: tuple[str, str]
    normal: int  # images
    anomalous: int
    auroc: Interval
    pro: float | None  # null: no map, or no masks
    masks: int  # images that have one
    prices: Prices
    of_card: Threshold  # the card's threshold on these images
    cheapest: Threshold


class LabelQuality(Part):
    label: str
    iou: float | None  # null: it occurs neither in a mask nor in an answer
    share: float  # of all pixels that have a label


class SegmentQuality(Document):
    """`model.evaluate --json` of a segmentation."""

    version: Literal[1] = 1
    task: Literal["segment"] = "segment"
    images: str
    count: int
    mean_iou: float  # over the labels that occur
    per_label: tuple[LabelQuality, ...]


@dataclass(frozen=True, kw_only=True)
class JudgedHeat:
    """A heat map at the size of what the network sees of an image, and where the defects are."""

    values: Scores  # (H, W)
    defect: NDArray[np.bool_]  # (H, W)


def evaluate_anomalies(
    model: Path, card: AnomalyCard, images: str, prices: Prices, part: str = "test"
) -> AnomalyQuality:
    """Judge scores by the folders that images lie in, maps by their masks.

    `part` is that of ELPV, where that is the name of the images.
    """
    samples = load_anomalies(images, card.labels[0], part)
    engine = Engine(model, card)
    scores: list[float] = []
    heats: list[JudgedHeat] = []
    for sample in samples:
        result = engine.infer([sample.path])
        reading: AnomalyReading = result.reading
        scores.append(reading.score)
        defect = read_defect(sample, (result.placement.height, result.placement.width))
        if (heat := reading.heat) is not None and defect is not None:
            values = heat.window.spread(heat.values)
            heats.append(JudgedHeat(values=values, defect=defect[heat.window.pixels]))
    truth = np.array([sample.is_anomalous for sample in samples], np.int64)
    ranked = np.array(scores)
    has_masks = any(heat.defect.any() for heat in heats)
    highest = float(np.nextafter(ranked.max(), np.inf))
    cuts = thresholds(ranked, truth, prices, highest=highest)
    return AnomalyQuality(
        images=images,
        labels=card.labels,
        normal=int((truth == 0).sum()),
        anomalous=int(truth.sum()),
        auroc=bootstrap_auc(truth, ranked),
        pro=per_region_overlap(heats) if has_masks else None,
        masks=sum(sample.mask is not None for sample in samples),
        prices=prices,
        of_card=_at(card.anomaly.threshold, ranked, truth, prices),
        cheapest=cheapest(cuts, near=card.anomaly.threshold),
    )


def _at(value: float, scores: Scores, truth: NDArray[np.int64], prices: Prices) -> Threshold:
    misses = int(((scores < value) & (truth == 1)).sum())
    alarms = int(((scores >= value) & (truth == 0)).sum())
    cost = misses * prices.miss + alarms * prices.false_alarm
    return Threshold(value=value, misses=misses, false_alarms=alarms, cost=cost)


def per_region_overlap(heats: Sequence[JudgedHeat], limit: float = PRO_LIMIT) -> float:
    """Area under the curve of per-region overlap against false positive rate, up to `limit`.

    Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129 (2021), section 5: at each
    threshold the overlap is the share of a region's pixels that reach it, averaged over all
    regions (pixels that touch, corners too) of all images; the rate is the share of the pixels
    without a defect that reach it. The area is divided by `limit`: 1 is perfect.
    """
    scores, weights, sound = [], [], []
    regions = 0
    for heat in heats:
        weight = np.zeros(heat.values.size)
        for places in regions_of(heat.defect):
            weight[places] = 1 / len(places)
            regions += 1
        scores.append(heat.values.ravel())
        weights.append(weight)
        sound.append(~heat.defect.ravel())
    ranked = np.concatenate(scores)
    order = np.argsort(-ranked, kind="stable")
    overlap = np.cumsum(np.concatenate(weights)[order]) / regions
    without = np.concatenate(sound)[order]
    rate = np.cumsum(without) / max(int(without.sum()), 1)
    # Pixels of one value reach a threshold together.
    last = np.flatnonzero(np.append(ranked[order][1:] != ranked[order][:-1], True))
    rates, overlaps = np.append(0, rate[last]), np.append(0, overlap[last])
    inside = rates <= limit
    x = np.append(rates[inside], limit)
    y = np.append(overlaps[inside], np.interp(limit, rates, overlaps))
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / limit)


def evaluate_segments(model: Path, card: SegmentCard, images: str) -> SegmentQuality:
    """Judge masks by those of the images, pixel by pixel of the image."""
    samples = load_segmentations(Path(images))
    engine = Engine(model, card)
    labels = np.arange(len(card.labels)).reshape(-1, 1, 1)
    common, union, total, pixel_count = (np.zeros(len(card.labels), np.int64) for _ in range(4))
    for sample in samples:
        result = engine.infer([sample.path])
        size = (result.placement.height, result.placement.width)
        reading: SegmentReading = result.reading
        answer = reading.window.spread(reading.masks)
        labelled = read_labels(sample, size, len(card.labels))[reading.window.pixels]
        # Of a single label, what is not it is known too.
        labelled_pixels = (labelled >= 0) | (len(card.labels) == 1)
        truth = labelled == labels
        common += (answer & truth).sum(axis=(1, 2))
        union += ((answer | truth) & labelled_pixels).sum(axis=(1, 2))
        total += truth.sum(axis=(1, 2))
        pixel_count += labelled_pixels.sum()
    ious = common / np.where(union > 0, union, 1)
    if not union.any():
        raise UserError(images, "has no pixel with a label, and none was answered")
    return SegmentQuality(
        images=images,
        count=len(samples),
        mean_iou=round(float(ious[union > 0].mean()), 4),
        per_label=tuple(
            LabelQuality(
                label=label,
                iou=round(float(ious[place]), 4) if union[place] else None,
                share=round(float(total[place] / pixel_count[place]), 6),
            )
            for place, label in enumerate(card.labels)
        ),
    )
