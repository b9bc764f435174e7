"""How unlike the images it was made of an image is, and where: a score and a map."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from edgewright.base.schema import Part
from edgewright.model.contract.anomaly_card import AnomalyCard
from edgewright.model.contract.card import Activation
from edgewright.model.contract.placement import Placement
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.session import probabilities
from edgewright.model.tasks.drawing import COLOURS, draw_mask, draw_point
from edgewright.model.tasks.masks import Window, decode, encode
from edgewright.model.tasks.task import Agreement, Task


class AnomalyMap(Part):
    """Of the part of the network's map that shows the image."""

    width: int
    height: int
    peak: tuple[float, float]  # x and y of the largest value, in pixels of the image
    area: float = Field(ge=0, le=1)  # share that reaches the map's threshold
    mask: str | None = None  # what reaches it; none if it is too ragged to tell


class AnomalyAnswer(Part):
    class_: str
    score: float  # normalized, if the card has a normalization
    map: AnomalyMap | None = None


@dataclass(frozen=True)
class AnomalyTask(Task[AnomalyAnswer]):
    card: AnomalyCard
    answer_type = AnomalyAnswer

    def answer(self, outputs: Sequence[Floats], placement: Placement) -> AnomalyAnswer:
        plane = self.heat(outputs, placement)
        score = self.score(outputs, placement)
        normal, anomalous = self.card.labels
        return AnomalyAnswer(
            class_=anomalous if score >= self.card.anomaly.threshold else normal,
            score=round(self.normalized(score), 6),
            map=None if plane is None else self._summary(*plane),
        )

    def problems(
        self, expected: AnomalyAnswer, answer: AnomalyAnswer, agreement: Agreement
    ) -> list[str]:
        words = []
        # Scores without a normalization are of any size: 0.05 of 40 is nothing.
        unit = max(1.0, abs(self._border))
        if abs(expected.score - answer.score) > agreement.tolerance * unit:
            words.append(f"score {answer.score:.4f}, expected {expected.score:.4f}")
        is_near = abs(expected.score - self._border) <= agreement.tolerance * unit
        if expected.class_ != answer.class_ and not is_near:
            words.append(f"expected {expected.class_}, found {answer.class_}")
        if expected.map is not None and answer.map is not None:
            difference = abs(expected.map.area - answer.map.area)
            if difference > agreement.tolerance:
                words.append(f"anomalous areas differ by {difference:.4f}")
        return words

    def draw(self, answer: AnomalyAnswer, image: Image.Image) -> str:
        if answer.map is not None:
            if answer.map.mask is not None:
                mask = decode(answer.map.mask, answer.map.height, answer.map.width)
                draw_mask(image, mask, COLOURS[0])
            draw_point(image, *answer.map.peak, COLOURS[0])
        return f"{answer.class_}, score {answer.score:.4g}"

    def heat(
        self, outputs: Sequence[Floats], placement: Placement
    ) -> tuple[NDArray[np.float64], Window] | None:
        """The map where it shows the image (H, W), not normalized; none if there is none."""
        place = self.card.by_role.get("map")
        if place is None:
            return None
        rows, columns = outputs[place].shape[-2:]
        window = Window.of((rows, columns), self.card.input.shape[2:], placement)
        values = outputs[place].reshape(rows, columns)
        return activated(window.cut(values), self.card.outputs[place].activation), window

    def score(self, outputs: Sequence[Floats], placement: Placement) -> float:
        """Of the whole image, not normalized: without a score the map's largest value."""
        place = self.card.by_role.get("score")
        if place is not None:
            return float(activated(outputs[place], self.card.outputs[place].activation).item())
        plane = self.heat(outputs, placement)
        assert plane is not None, "a card has a score or a map"
        return float(plane[0].max())

    def normalized(self, score: float) -> float:
        """0 to 1, with the threshold at 0.5, if the card has a normalization."""
        if (span := self.card.anomaly.normalization) is None:
            return score
        above = (score - self.card.anomaly.threshold) / (span.max - span.min)
        return min(max(above + 0.5, 0.0), 1.0)

    @property
    def _border(self) -> float:
        """The threshold in units of an answer's score."""
        return self.normalized(self.card.anomaly.threshold)

    def _summary(self, plane: NDArray[np.float64], window: Window) -> AnomalyMap:
        height, width = plane.shape
        row, column = np.unravel_index(plane.argmax(), plane.shape)
        mask = plane >= self.card.anomaly.of_map
        return AnomalyMap(
            width=width,
            height=height,
            peak=(
                window.columns.to_image(int(column) + 0.5),
                window.rows.to_image(int(row) + 0.5),
            ),
            area=round(float(mask.mean()), 6),
            mask=encode(mask),
        )


def activated(values: Floats, activation: Activation) -> NDArray[np.float64]:
    """Values of a score or a map, after the activation that its card states."""
    return probabilities(values, "sigmoid" if activation == "sigmoid" else "none")
