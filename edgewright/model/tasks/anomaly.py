"""How unlike the images it was made of an image is, and where: a score and a map."""

from collections.abc import Iterable, Sequence
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
from edgewright.model.contract.tiles import TilePlan
from edgewright.model.tasks.drawing import COLOURS, draw_mask, draw_point
from edgewright.model.tasks.masks import MapRegion, Window, decode, encode, part_of
from edgewright.model.tasks.stitching import Stitching
from edgewright.model.tasks.task import Agreement, Task


class AnomalyMap(Part):
    """Of the part of the network's map that shows the image."""

    width: int
    height: int
    region: MapRegion = None
    peak: tuple[float, float]  # x and y of the largest value, in pixels of the image
    area: float = Field(ge=0, le=1)  # share that reaches the map's threshold
    mask: str | None = None  # what reaches it; none if it is too ragged to tell


class AnomalyAnswer(Part):
    class_: str
    score: float  # normalized, if the card has a normalization
    map: AnomalyMap | None = None


@dataclass(frozen=True, kw_only=True)
class Heat:
    """A heat map, where it shows the image."""

    values: NDArray[np.float64]  # (H, W), not normalized
    window: Window
    highest: float  # of the values; of a tile's map, though its place may not be among `values`
    peak: tuple[float, float]  # x and y of it, in pixels of the image


@dataclass(frozen=True, kw_only=True)
class AnomalyReading:
    score: float  # of the whole image, not normalized
    heat: Heat | None  # none: the network has no map


@dataclass(frozen=True)
class AnomalyTask(Task[AnomalyReading, AnomalyAnswer]):
    card: AnomalyCard
    answer_type = AnomalyAnswer

    def read(self, outputs: Sequence[Floats], placement: Placement) -> AnomalyReading:
        """Without a score the map's largest value is it."""
        heat = self._heat(outputs, placement)
        place = self.card.by_role.get("score")
        if place is not None:
            score = activated(outputs[place], self.card.outputs[place].activation).item()
            return AnomalyReading(score=float(score), heat=heat)
        assert heat is not None, "a card has a score or a map"
        return AnomalyReading(score=heat.highest, heat=heat)

    def merge(self, readings: Iterable[AnomalyReading], plan: TilePlan) -> AnomalyReading:
        """The largest score, and of each place the largest value of the tiles that show it."""
        scores: list[float] = []
        stitched: tuple[Stitching, NDArray[np.float64]] | None = None
        best: Heat | None = None
        for place, reading in enumerate(readings):
            scores.append(reading.score)
            if (heat := reading.heat) is None:
                continue
            if stitched is None:
                stitching = Stitching.of(plan, heat.window.size)
                stitched = stitching, np.full(stitching.window.size, -np.inf)
            if best is None or heat.highest > best.highest:
                best = heat
            stitching, values = stitched
            part = stitching.covered(place)
            heat_there = heat.window.at(heat.values, *stitching.points(part))
            values[part] = np.maximum(values[part], heat_there)
        if stitched is None or best is None:
            return AnomalyReading(score=max(scores), heat=None)
        stitching, values = stitched
        heat = Heat(values=values, window=stitching.window, highest=best.highest, peak=best.peak)
        return AnomalyReading(score=max(scores), heat=heat)

    def summary(self, reading: AnomalyReading) -> AnomalyAnswer:
        normal, anomalous = self.card.labels
        return AnomalyAnswer(
            class_=anomalous if reading.score >= self.card.anomaly.threshold else normal,
            score=round(self.normalized(reading.score), 6),
            map=None if reading.heat is None else self._map(reading.heat),
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
                draw_mask(image, mask, COLOURS[0], answer.map.region)
            draw_point(image, *answer.map.peak, COLOURS[0])
        return f"{answer.class_}, score {answer.score:.4g}"

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

    def _heat(self, outputs: Sequence[Floats], placement: Placement) -> Heat | None:
        place = self.card.by_role.get("map")
        if place is None:
            return None
        rows, columns = outputs[place].shape[-2:]
        window = Window.of((rows, columns), self.card.input.shape[2:], placement)
        part = window.cut(outputs[place].reshape(rows, columns))
        values = activated(part, self.card.outputs[place].activation)
        # Before the activation, which makes equals of large values.
        row, column = divmod(int(part.argmax()), part.shape[1])
        peak = (window.columns.to_image(column + 0.5), window.rows.to_image(row + 0.5))
        return Heat(values=values, window=window, highest=float(values.max()), peak=peak)

    def _map(self, heat: Heat) -> AnomalyMap:
        mask = heat.values >= self.card.anomaly.of_map
        return AnomalyMap(
            width=mask.shape[1],
            height=mask.shape[0],
            region=part_of(self.card, heat.window),
            peak=heat.peak,
            area=round(float(mask.mean()), 6),
            mask=encode(mask),
        )


def activated(values: Floats, activation: Activation) -> NDArray[np.float64]:
    """Values of a score or a map, after the activation that its card states."""
    return probabilities(values, "sigmoid" if activation == "sigmoid" else "none")
