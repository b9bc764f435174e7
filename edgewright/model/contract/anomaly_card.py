"""The card of a network that tells what is unlike the images it was made of."""

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import FiniteFloat

from edgewright.base.schema import Part
from edgewright.model.contract.card import ImageCard, merge_problems
from edgewright.model.contract.task_base import (
    TaskCardBase,
    expect_plane,
    expect_value,
    role_problems,
)


class ScoreRange(Part):
    """Scores that anomalib's min-max normalization makes one apart, with the threshold at 0.5."""

    min: FiniteFloat
    max: FiniteFloat


class AnomalySettings(Part):
    """In units of the score and of the map, after their activation and before normalization."""

    threshold: FiniteFloat  # of the score; what reaches it is anomalous
    map_threshold: FiniteFloat | None = None  # of the map; none: that of the score
    normalization: ScoreRange | None = None

    @property
    def of_map(self) -> float:
        return self.threshold if self.map_threshold is None else self.map_threshold


class AnomalyCard(ImageCard, TaskCardBase):
    """A score, a map, or both: how unlike an image is, and where."""

    task: Literal["anomaly"]
    labels: tuple[str, str]  # what is normal, then what is anomalous
    anomaly: AnomalySettings

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        yield from merge_problems(self.tiling)
        yield from role_problems(self.outputs, {"score": expect_value, "map": expect_plane})
        if any(output.activation == "softmax" for output in self.outputs):
            yield "activation softmax has no meaning for a score or a map: none or sigmoid"
        span = self.anomaly.normalization
        if span is not None and not span.min < span.max:
            yield "anomaly.normalization: min is not below max"

    @property
    def by_role(self) -> Mapping[str, int]:
        """Where among the outputs each role is."""
        return {output.role: place for place, output in enumerate(self.outputs)}
