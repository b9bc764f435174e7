"""The card of a network that says of each pixel which label it has."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from edgewright.base.schema import Part
from edgewright.model.contract.card import ImageCard, merge_problems
from edgewright.model.contract.task_base import (
    OpenShape,
    TaskCardBase,
    expect_plane,
    role_problems,
)


class SegmentSettings(Part):
    # Probability from which a pixel has a label, each label by itself; none: the likeliest has it.
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    background: str | None = None  # a label that no answer tells of


class SegmentCard(ImageCard, TaskCardBase):
    """Values for each label and pixel, or the pixels' labels themselves."""

    task: Literal["segment"]
    labels: tuple[str, ...] = Field(min_length=1)
    segment: SegmentSettings = SegmentSettings()

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        yield from merge_problems(self.tiling)
        if len(self.outputs) > 1:
            yield f"outputs has {len(self.outputs)}, a segmentation has one"
        yield from role_problems(
            self.outputs, {"logits": self._expect_logits, "classes": expect_plane}
        )
        yield from self._threshold_problems()
        background = self.segment.background
        if background is not None and background not in self.labels:
            yield f"segment.background is no label: {background}"

    def _expect_logits(self, shape: OpenShape) -> str:
        fits = len(shape) == 4 and shape[:2] == (1, len(self.labels)) and -1 not in shape
        return "" if fits else f"[1, {len(self.labels)} for the labels, height, width]"

    def _threshold_problems(self) -> Iterator[str]:
        output, threshold = self.outputs[0], self.segment.threshold
        if output.role == "classes":
            if threshold is not None or output.activation != "none":
                yield "the role classes has no activation and no segment.threshold"
        elif output.activation == "sigmoid" and threshold is None:
            yield "activation sigmoid needs segment.threshold"
        elif output.activation == "softmax" and threshold is not None:
            yield "activation softmax has no segment.threshold: the likeliest label has the pixel"
        elif threshold is None and len(self.labels) < 2:
            yield "one label needs segment.threshold"
