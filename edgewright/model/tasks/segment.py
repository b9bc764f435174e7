"""Which pixels of an image have which label."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from typing import Self

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from edgewright.base.schema import Part
from edgewright.model.contract.placement import Placement
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.segment_card import SegmentCard
from edgewright.model.contract.task_base import MAX_VALUES
from edgewright.model.contract.tiles import TilePlan
from edgewright.model.tasks.drawing import colour_of, draw_box, draw_mask
from edgewright.model.tasks.masks import (
    FORGIVEN,
    MapRegion,
    Mask,
    Window,
    decode,
    encode,
    overlap,
    part_of,
)
from edgewright.model.tasks.stitching import Stitching
from edgewright.model.tasks.task import Agreement, Task


class Segment(Part):
    """The pixels of one label."""

    class_: str
    area: float = Field(ge=0, le=1)  # share of the part of the map that shows the image
    # x and y of the corner at left and top, width, height: pixels of the upright image.
    box: tuple[float, float, float, float]
    mask: str | None = None  # none if it is too ragged to tell


class SegmentAnswer(Part):
    """Labels that no pixel has do not occur, nor does the background."""

    width: int  # of the masks
    height: int
    region: MapRegion = None
    segments: tuple[Segment, ...]  # in the order of the card's labels

    @model_validator(mode="after")
    def _masks_are_of_this_size(self) -> Self:
        if min(self.width, self.height) < 1 or self.width * self.height > MAX_VALUES:
            raise ValueError(f"masks of {self.width} x {self.height} pixels")
        for segment in self.segments:
            if segment.mask is not None:
                decode(segment.mask, self.height, self.width)
        return self


@dataclass(frozen=True, kw_only=True)
class SegmentReading:
    """For each label the pixels that have it, where the map shows the image."""

    masks: Mask  # (labels, H, W)
    window: Window


@dataclass(frozen=True)
class SegmentTask(Task[SegmentReading, SegmentAnswer]):
    card: SegmentCard
    answer_type = SegmentAnswer

    def merge(self, readings: Iterable[SegmentReading], plan: TilePlan) -> SegmentReading:
        """Where tiles overlap, each decides on the half that is nearer to it."""
        stitched: tuple[Stitching, Mask] | None = None
        for place, reading in enumerate(readings):
            if stitched is None:
                labels = len(reading.masks)
                stitching = Stitching.of(plan, reading.window.size)
                stitched = stitching, np.zeros((labels, *stitching.window.size), bool)
            stitching, masks = stitched
            part = stitching.owned(place)
            masks[:, *part] = reading.window.at(reading.masks, *stitching.points(part))
        assert stitched is not None, "an image has a tile"
        stitching, masks = stitched
        return SegmentReading(masks=masks, window=stitching.window)

    def summary(self, reading: SegmentReading) -> SegmentAnswer:
        masks, window = reading.masks, reading.window
        height, width = masks.shape[1:]
        segments = [
            Segment(
                class_=label,
                area=round(float(mask.mean()), 6),
                box=window.box(mask),
                mask=encode(mask),
            )
            for label, mask in zip(self.card.labels, masks, strict=True)
            if mask.any() and label != self.card.segment.background
        ]
        return SegmentAnswer(
            width=width,
            height=height,
            region=part_of(self.card, window),
            segments=tuple(segments),
        )

    def problems(
        self, expected: SegmentAnswer, answer: SegmentAnswer, agreement: Agreement
    ) -> list[str]:
        if (expected.width, expected.height) != (answer.width, answer.height):
            return [
                f"masks of {answer.width} x {answer.height} pixels, "
                f"expected {expected.width} x {expected.height}"
            ]
        words = []
        for label in self.card.labels:
            first, second = _mask_of(label, expected), _mask_of(label, answer)
            if first is None or second is None:
                words.append(f"{label}: the mask is too ragged to compare")
                continue
            common = overlap(first, second)
            if common < agreement.overlap and (first ^ second).mean() > FORGIVEN:
                words.append(f"{label}: overlap {common:.3f}, expected {agreement.overlap:g}")
        return words

    def draw(self, answer: SegmentAnswer, image: Image.Image) -> str:
        for place, segment in enumerate(answer.segments):
            colour = colour_of(place)
            if segment.mask is not None:
                mask = decode(segment.mask, answer.height, answer.width)
                draw_mask(image, mask, colour, answer.region)
            draw_box(image, segment.box, colour, segment.class_)
        areas = [f"{segment.class_} {segment.area:.1%}" for segment in answer.segments]
        return ", ".join(areas) or "nothing but background"

    def read(self, outputs: Sequence[Floats], placement: Placement) -> SegmentReading:
        (values,) = outputs
        window = Window.of(
            (values.shape[-2], values.shape[-1]), self.card.input.shape[2:], placement
        )
        return SegmentReading(masks=self._masks(window.cut(values)), window=window)

    def _masks(self, part: Floats) -> Mask:
        output, threshold = self.card.outputs[0], self.card.segment.threshold
        labels = np.arange(len(self.card.labels)).reshape(-1, 1, 1)
        masks: Mask
        if output.role == "classes":  # of the network: what is no label is none
            masks = part.reshape(part.shape[-2:]) == labels
        elif threshold is None:
            masks = part[0].argmax(axis=0) == labels
        else:
            is_sigmoid = output.activation == "sigmoid"
            # In double, so that C++ and Python compare the same two numbers.
            border = log(threshold / (1 - threshold)) if is_sigmoid else threshold
            masks = part[0].astype(np.float64) >= border
        return masks


def _mask_of(label: str, answer: SegmentAnswer) -> Mask | None:
    """Empty if the label does not occur; none if its mask is not told."""
    for segment in answer.segments:
        if segment.class_ == label:
            return (
                None if segment.mask is None else decode(segment.mask, answer.height, answer.width)
            )
    return np.zeros((answer.height, answer.width), bool)
