"""From a detector's outputs to boxes: the reference of docs/formats.md.

`edge-infer` does the same in C++, in the same order of candidates, so that ties end alike.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from edgewright.base.errors import UserError
from edgewright.base.schema import Part
from edgewright.model.contract.card import Activation, TileMerge
from edgewright.model.contract.detect_card import (
    Anchored,
    BoxDistances,
    Boxes,
    Classes,
    ClassScores,
    DetectCard,
    DetectOutput,
    DetectSettings,
    MaskCoefficients,
    Predictions,
    Scores,
    without_batch,
)
from edgewright.model.contract.placement import Placement
from edgewright.model.contract.preprocess import Floats
from edgewright.model.contract.tiles import TilePlan
from edgewright.model.tasks.drawing import colour_of, draw_box, draw_mask
from edgewright.model.tasks.masks import (
    FORGIVEN,
    MapRegion,
    Mask,
    MaskPart,
    Window,
    decode,
    encode,
    overlap,
    part_of,
)
from edgewright.model.tasks.stitching import Stitching
from edgewright.model.tasks.task import Agreement, Task

MAX_MASK_RUNS = 1 << 22  # of the masks of all tiles, as edge-infer has it
_LEAST_AREA = 1e-12  # square pixels: two empty boxes have no intersection over union

Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]


class Detection(Part):
    """A thing and where it is."""

    class_: str
    score: float
    # x and y of the corner at left and top, width, height: pixels of the upright image.
    box: tuple[float, float, float, float]
    # Share of the pixels of what the network sees that are the thing's.
    area: float | None = Field(default=None, ge=0, le=1, exclude_if=lambda area: area is None)
    # None if it is too ragged to tell.
    mask: str | None = Field(default=None, exclude_if=lambda mask: mask is None)


class LabelArea(Part):
    """The pixels that things of one label have together."""

    class_: str
    area: float = Field(ge=0, le=1)


class ThingAreas(Part):
    """Of a network with prototypes: the size of the masks, and what things of each label cover."""

    width: int
    height: int
    region: MapRegion = None
    areas: tuple[LabelArea, ...]  # of the labels that occur, in the order of the card


class DetectAnswer(Part):
    """The best first; of equals, the one that the network names first."""

    detections: tuple[Detection, ...]
    masks: ThingAreas | None = Field(default=None, exclude_if=lambda masks: masks is None)

    @model_validator(mode="after")
    def _masks_are_of_this_size(self) -> Self:
        for detection in self.detections:
            if detection.mask is not None:
                if self.masks is None:
                    raise ValueError("a detection has a mask, the answer has no masks")
                decode(detection.mask, self.masks.height, self.masks.width)
        return self


@dataclass(frozen=True)
class Candidates:
    """What the network says of each place, before any is left out."""

    boxes: Doubles  # (n, 4): x1, y1, x2, y2 in pixels of the input
    scores: Doubles  # (n,)
    classes: Indices  # (n,)
    coefficients: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))  # (n, k)

    @classmethod
    def joined(cls, parts: Sequence["Candidates"]) -> "Candidates":
        """All candidates of all parts, in their order."""
        return cls(
            boxes=np.concatenate([part.boxes for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            classes=np.concatenate([part.classes for part in parts]),
            coefficients=np.concatenate([part.coefficients for part in parts]),
        )


@dataclass(frozen=True, kw_only=True)
class ThingMasks:
    """Which pixels each detection has, where the prototypes show the image."""

    parts: tuple[MaskPart, ...]
    window: Window

    @property
    def masks(self) -> Iterator[Mask]:
        """The mask of each detection (H, W): one at a time, as a map over many tiles is large."""
        return (part.within(self.window.size) for part in self.parts)

    def stitched(self, stitching: Stitching, place: int) -> tuple[MaskPart, ...]:
        """These masks of the tile `place` on the map over all tiles."""
        covered = stitching.covered(place)
        points = stitching.points(covered)
        return tuple(MaskPart(self.window.at(mask, *points), *covered) for mask in self.masks)

    def share_of(self, chosen: NDArray[np.bool_]) -> float:
        """Share of the map's pixels that the chosen detections (n,) have together."""
        union = np.zeros(self.window.size, bool)
        for part in (part for part, is_chosen in zip(self.parts, chosen, strict=True) if is_chosen):
            union[part.rows, part.columns] |= part.mask
        return float(union.mean())


@dataclass(frozen=True, kw_only=True)
class DetectReading:
    best: Candidates  # boxes in pixels of the upright image
    masks: ThingMasks | None = None  # none: the network has no prototypes


class DetectTask(Task[DetectReading, DetectAnswer]):
    answer_type = DetectAnswer

    def __init__(self, card: DetectCard) -> None:
        self._card = card

    def read(self, outputs: Sequence[Floats], placement: Placement) -> DetectReading:
        """The detections; raises UserError for an output that has not the shape of its role."""
        best = detect(read_candidates(self._card, outputs), self._card.detect, placement)
        labels = self._card.labels
        if len(best.classes) and not 0 <= best.classes.min() <= best.classes.max() < len(labels):
            raise UserError(
                self._card.name,
                f"answers with class {best.classes.max()}, its card has {len(labels)} labels",
                next="write all labels into the card, in the network's order",
            )
        place = self._card.prototypes
        if place is None:
            return DetectReading(best=best)
        rows, columns = outputs[place].shape[-2:]
        window = Window.of((rows, columns), self._card.input.shape[2:], placement)
        prototypes = outputs[place].reshape(-1, rows, columns)
        everything = slice(0, window.size[0]), slice(0, window.size[1])
        masks = masks_of(best, window.cut(prototypes), window)
        parts = tuple(MaskPart(mask, *everything) for mask in masks)
        return DetectReading(best=best, masks=ThingMasks(parts=parts, window=window))

    def merge(self, readings: Iterable[DetectReading], plan: TilePlan) -> DetectReading:
        """Raises UserError if the masks of all tiles are too ragged for a board's memory."""
        tiling = self._card.tiling
        rule = (tiling and tiling.merge) or TileMerge()
        tiles: list[Candidates] = []
        parts: list[MaskPart] = []
        stitching: Stitching | None = None
        runs = 0
        for place, reading in enumerate(readings):
            tiles.append(reading.best)
            if reading.masks is None:
                continue
            stitching = stitching or Stitching.of(plan, reading.masks.window.size)
            of_tile = reading.masks.stitched(stitching, place)
            runs += sum(part.count_runs(stitching.window.size) for part in of_tile)
            if runs > MAX_MASK_RUNS:
                raise UserError(
                    f"{plan.region.width} x {plan.region.height} pixels",
                    f"has masks of more than {MAX_MASK_RUNS} runs over all tiles",
                    next="raise detect.score_threshold in the card, or state larger tiles",
                )
            parts += of_tile
        best, places = merge_tiles(tiles, self._card.detect, rule)
        if stitching is None:
            return DetectReading(best=best)
        survivors = tuple(parts[place] for place in places)
        return DetectReading(best=best, masks=ThingMasks(parts=survivors, window=stitching.window))

    def summary(self, reading: DetectReading) -> DetectAnswer:
        labels, best = self._card.labels, reading.best
        sizes = best.boxes[:, 2:] - best.boxes[:, :2]
        rows = np.round(np.hstack([best.boxes[:, :2], sizes]), 3).tolist()
        detections = [
            Detection(class_=labels[index], score=round(score, 6), box=tuple(row))
            for index, score, row in zip(best.classes, best.scores.tolist(), rows, strict=True)
        ]
        if reading.masks is None:
            return DetectAnswer(detections=tuple(detections))
        things, window = reading.masks, reading.masks.window
        height, width = window.size
        detections = [
            detection.model_copy(
                update={"area": round(float(mask.mean()), 6), "mask": encode(mask)}
            )
            for detection, mask in zip(detections, things.masks, strict=True)
        ]
        areas = tuple(
            LabelArea(class_=label, area=round(things.share_of(best.classes == place), 6))
            for place, label in enumerate(labels)
            if (best.classes == place).any()
        )
        region = part_of(self._card, window)
        return DetectAnswer(
            detections=tuple(detections),
            masks=ThingAreas(width=width, height=height, region=region, areas=areas),
        )

    def draw(self, answer: DetectAnswer, image: Image.Image) -> str:
        for detection in answer.detections:
            colour = colour_of(self._card.labels.index(detection.class_))
            if detection.mask is not None and answer.masks is not None:
                mask = decode(detection.mask, answer.masks.height, answer.masks.width)
                draw_mask(image, mask, colour, answer.masks.region)
            draw_box(image, detection.box, colour, f"{detection.class_} {detection.score:.2f}")
        counts = Counter(detection.class_ for detection in answer.detections)
        return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"

    def problems(
        self, expected: DetectAnswer, answer: DetectAnswer, agreement: Agreement
    ) -> list[str]:
        return list(_disagreements(expected, answer, self._card.detect, agreement))


def read_candidates(card: DetectCard, outputs: Sequence[Floats]) -> Candidates:
    """Every candidate of the outputs, in their order.

    Raises UserError for an output that has not the shape of its role.
    """
    cores = []
    for output, values in zip(card.outputs, outputs, strict=True):
        for problem in card.shape_problems(output, values.shape):
            raise UserError(card.name, problem, next="compare the card with the network")
        rank = len(
            output.sizes(
                len(card.labels), has_classes=card.has_classes, coefficients=card.coefficients
            )
        )
        core = values.reshape(without_batch(values.shape, rank))
        is_table = rank == 2 and getattr(output, "channels", "last") == "first"
        cores.append((output, core.T if is_table else core))
    parts = list(_parts(card, cores))
    sizes = [(len(part.boxes), len(part.scores), len(part.classes)) for part in parts]
    if card.prototypes is not None:
        sizes += [(len(part.boxes), len(part.coefficients), len(part.boxes)) for part in parts]
    if any(len(set(counts)) > 1 for counts in sizes):
        raise UserError(
            card.name,
            "its outputs have different numbers of candidates",
            facts=[f"{output.name}: {list(core.shape)}" for output, core in cores],
            next="compare the card with the network",
        )
    return Candidates.joined(parts)


Cores = Sequence[tuple[DetectOutput, Floats]]  # outputs without batch, one row for a candidate


def _parts(card: DetectCard, cores: Cores) -> Iterator[Candidates]:
    for output, core in cores:
        if isinstance(output, Predictions):
            first = 4 + output.objectness
            end = first + len(card.labels)
            scores, classes = _scored(core[:, first:end], output.activation)
            if output.objectness:
                objectness = _activated(core[:, 4], output.activation)
                # It must reach the threshold itself, so that a board reads no more of most.
                may_count = objectness >= card.detect.score_threshold
                scores = np.where(may_count, objectness * scores, 0)
            yield Candidates(_corners(core[:, :4], "cxcywh"), scores, classes, core[:, end:])
        elif output.role == "detections":
            exact = core.astype(np.float64)
            yield Candidates(exact[:, :4], exact[:, 4], _rounded(exact[:, 5]), core[:, 6:])
        elif isinstance(output, Boxes):
            _, _, height, width = card.input.shape
            corners = _corners(core, output.form)
            if output.unit == "fraction":
                corners = corners * np.array([width, height, width, height])
            yield Candidates(corners, *_table_of_scores(cores))
        elif isinstance(output, BoxDistances):
            (scores_core,) = [
                other
                for head, other in cores
                if isinstance(head, ClassScores) and head.stride == output.stride
            ]
            rows = scores_core.reshape(len(card.labels), -1).T
            yield Candidates(
                _from_distances(core, output.stride),
                *_scored(rows, "sigmoid"),
                _coefficients_of(cores, output.stride),
            )
        elif isinstance(output, Anchored):
            yield _from_anchors(core, output, len(card.labels))


def _coefficients_of(cores: Cores, stride: int) -> Floats:
    for output, core in cores:
        if isinstance(output, MaskCoefficients) and output.stride == stride:
            return core.reshape(len(core), -1).T
    return np.zeros((0, 0), np.float32)


def _table_of_scores(cores: Cores) -> tuple[Doubles, Indices]:
    """Score and class of each candidate of a network with boxes apart."""
    ((head, core),) = [(head, core) for head, core in cores if isinstance(head, Scores)]
    for other, classes in cores:
        if isinstance(other, Classes):
            return _activated(core, head.activation), _rounded(classes) - (
                other.background == "first"
            )
    first = head.background == "first"
    labels = (
        slice(1, None) if first else slice(None, -1) if head.background == "last" else slice(None)
    )
    return _scored(core, head.activation, labels)


def _scored(
    rows: Floats, activation: Activation, labels: slice = slice(None)
) -> tuple[Doubles, Indices]:
    """Score and class of each row (n, classes): its best label, the first of equals."""
    classes = rows[:, labels].argmax(axis=1) if len(rows) else np.zeros(0, np.int64)
    best = np.take_along_axis(rows[:, labels], classes[:, np.newaxis], axis=1)[:, 0]
    if activation != "softmax":
        return _activated(best, activation), classes
    exact = rows.astype(np.float64)
    most = exact.max(axis=1, keepdims=True)
    return np.exp(best - most[:, 0]) / np.exp(exact - most).sum(axis=1), classes


def _activated(values: Floats, activation: Activation) -> Doubles:
    exact = values.astype(np.float64)
    return exact if activation == "none" else _sigmoid(exact)


def _sigmoid(values: Doubles) -> Doubles:
    with np.errstate(over="ignore"):  # exp of a large value: the quotient is 0
        quotient: Doubles = 1 / (1 + np.exp(-values))
    return quotient


def _rounded(values: NDArray[np.floating]) -> Indices:
    integers: Indices = np.clip(np.rint(values), -1, 2.0**31).astype(np.int64)
    return integers


def _corners(rows: Floats, form: str) -> Doubles:
    """Boxes (n, 4) as x1, y1, x2, y2."""
    a, b, c, d = rows.astype(np.float64).T
    if form == "cxcywh":
        return np.stack([a - c / 2, b - d / 2, a + c / 2, b + d / 2], axis=1)
    return np.stack([b, a, d, c] if form == "yxyx" else [a, b, c, d], axis=1)


def _from_distances(core: Floats, stride: int) -> Doubles:
    """Boxes of a head (4 bins, height, width): a distance is the mean of its bins' softmax.

    Distribution focal loss, Li et al., 2020; a single bin is the distance itself.
    """
    _, height, width = core.shape
    bins = core.reshape(4, -1, height * width).astype(np.float64)
    if bins.shape[1] == 1:
        distances = bins[:, 0]
    else:
        powers = np.exp(bins - bins.max(axis=1, keepdims=True))
        places = np.arange(bins.shape[1], dtype=np.float64)[:, np.newaxis]
        distances = (powers * places).sum(axis=1) / powers.sum(axis=1)
    left, top, right, bottom = distances
    y, x = (axis.ravel() + 0.5 for axis in np.indices((height, width)))
    return np.stack([x - left, y - top, x + right, y + bottom], axis=1) * stride


def _from_anchors(core: Floats, head: Anchored, labels: int) -> Candidates:
    """Candidates of a head (anchors * (5 + labels + k), height, width), anchor by anchor."""
    anchors = np.array(head.anchors).reshape(-1, 2)
    _, height, width = core.shape
    rows = core.reshape(len(anchors), -1, height * width).transpose(0, 2, 1)
    shares = _sigmoid(rows[..., :4].astype(np.float64))
    grid = np.stack([axis.ravel() for axis in np.indices((height, width))[::-1]], axis=1)
    centres = (2 * shares[..., :2] - 0.5 + grid) * head.stride
    sizes = (2 * shares[..., 2:]) ** 2 * anchors[:, np.newaxis]
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=2).reshape(-1, 4)
    flat = rows.reshape(len(boxes), -1)
    scores, classes = _scored(flat[:, 5 : 5 + labels], "sigmoid")
    scores = _activated(flat[:, 4], "sigmoid") * scores
    return Candidates(boxes, scores, classes, flat[:, 5 + labels :])


def detect(candidates: Candidates, settings: DetectSettings, placement: Placement) -> Candidates:
    """The detections among candidates, the best first; boxes in pixels of the upright image."""
    boxes = placement.to_image(candidates.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    is_seen = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    (places,) = np.nonzero(is_seen & (candidates.scores >= settings.score_threshold))
    places = places[np.argsort(-candidates.scores[places], kind="stable")]
    boxes, scores, classes = boxes[places], candidates.scores[places], candidates.classes[places]
    has_masks = len(candidates.coefficients) > 0
    coefficients = candidates.coefficients[places] if has_masks else candidates.coefficients
    if settings.nms:
        groups = np.zeros_like(classes) if settings.class_agnostic else classes
        survivors = _suppress(boxes, groups, settings.iou_threshold, settings.max_detections)
    else:
        survivors = list(range(min(len(boxes), settings.max_detections)))
    return Candidates(
        boxes[survivors],
        scores[survivors],
        classes[survivors],
        coefficients[survivors] if has_masks else coefficients,
    )


def masks_of(best: Candidates, prototypes: Floats, window: Window) -> Mask:
    """The pixels of each detection (n, H, W): those of its box where the sum is above 0.

    `prototypes` (k, H, W) are cut to where they show the image.
    """
    planes = prototypes.astype(np.float64).reshape(len(prototypes), -1)
    rows, columns = window.rows.middles, window.columns.middles
    masks = np.zeros((len(best.boxes), *window.size), bool)
    for mask, box, weights in zip(masks, best.boxes, best.coefficients, strict=True):
        left, top, right, bottom = box
        is_within = ((rows >= top) & (rows < bottom))[:, np.newaxis] & (
            (columns >= left) & (columns < right)
        )
        mask[:] = is_within & ((weights.astype(np.float64) @ planes).reshape(mask.shape) > 0)
    return masks


def merge_tiles(
    tiles: Sequence[Candidates], settings: DetectSettings, rule: TileMerge
) -> tuple[Candidates, Indices]:
    """The detections of all tiles, without those that another tile has a better one of.

    Beside them their places among the detections of all tiles, one tile after the other.
    """
    joined = Candidates.joined(tiles)
    order = np.argsort(-joined.scores, kind="stable")
    boxes, classes = joined.boxes[order], joined.classes[order]
    origins = np.repeat(np.arange(len(tiles)), [len(tile.scores) for tile in tiles])[order]
    survivors: list[int] = []
    alive = np.ones(len(boxes), bool)
    for place in range(len(boxes)):
        if len(survivors) == settings.max_detections:
            break
        if not alive[place]:
            continue
        survivors.append(place)
        shares = overlap_shares(boxes[place], boxes, by=rule.by)
        is_same = settings.class_agnostic | (classes == classes[place])
        alive &= ~((shares > rule.threshold) & is_same & (origins != origins[place]))
    places = order[survivors]
    return Candidates(joined.boxes[places], joined.scores[places], joined.classes[places]), places


def _suppress(boxes: Doubles, groups: Indices, threshold: float, most: int) -> list[int]:
    """Greedy non-maximum suppression of sorted boxes: places of at most `most` that stay."""
    survivors: list[int] = []
    alive = np.ones(len(boxes), bool)
    for place in range(len(boxes)):
        if len(survivors) == most:
            break
        if alive[place]:
            survivors.append(place)
            overlaps = intersection_over_union(boxes[place], boxes) > threshold
            alive &= ~(overlaps & (groups == groups[place]))
    return survivors


def intersection_over_union(box: Doubles, boxes: Doubles) -> Doubles:
    """Of one box (4,) with each of (n, 4), all of them x1, y1, x2, y2."""
    return overlap_shares(box, boxes, by="union")


def overlap_shares(box: Doubles, boxes: Doubles, *, by: Literal["smaller", "union"]) -> Doubles:
    """The intersection of one box with each, divided by their union or by the smaller of them."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    area = np.prod(box[2:] - box[:2])
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    divisor = np.minimum(area, areas) if by == "smaller" else area + areas - shared
    quotient: Doubles = shared / np.maximum(divisor, _LEAST_AREA)
    return quotient


def _disagreements(
    expected: DetectAnswer, answer: DetectAnswer, settings: DetectSettings, agreement: Agreement
) -> Iterator[str]:
    """Words for each detection that has no match, unless it is near the border of being one."""
    if (expected.masks is None) != (answer.masks is None) or (
        expected.masks is not None
        and answer.masks is not None
        and (expected.masks.width, expected.masks.height)
        != (answer.masks.width, answer.masks.height)
    ):
        yield "masks are of another size than expected"
        return
    borders = [settings.score_threshold] + [
        answered.detections[-1].score
        for answered in (expected, answer)
        if len(answered.detections) == settings.max_detections  # a worse one was left out
    ]
    least = max(borders) + agreement.tolerance
    free = list(answer.detections)
    for detection in expected.detections:
        match = _match(detection, free, agreement)
        if match is not None:
            free.remove(match)
            if detection.score >= least and expected.masks is not None:
                yield from _mask_problems(detection, match, expected.masks, agreement)
        elif detection.score >= least:
            yield f"expected {_words(detection)}, not found"
    yield from (
        f"found {_words(surplus)}, not expected" for surplus in free if surplus.score >= least
    )


def _mask_problems(
    expected: Detection, actual: Detection, size: ThingAreas, agreement: Agreement
) -> Iterator[str]:
    if expected.mask is None or actual.mask is None:
        yield f"{_words(expected)}: the mask is too ragged to compare"
        return
    first, second = (decode(text, size.height, size.width) for text in (expected.mask, actual.mask))
    common = overlap(first, second)
    if common < agreement.overlap and (first ^ second).mean() > FORGIVEN:
        yield f"{_words(expected)}: overlap {common:.3f}, expected {agreement.overlap:g}"


def _match(
    expected: Detection, free: Sequence[Detection], agreement: Agreement
) -> Detection | None:
    """The one of the same class and score that overlaps most, the first of equals."""
    overlaps = [
        (_overlap(expected.box, actual.box), -place)
        for place, actual in enumerate(free)
        if actual.class_ == expected.class_
        and abs(actual.score - expected.score) <= agreement.tolerance
    ]
    most, place = max(overlaps, default=(-1.0, 0))
    return free[-place] if overlaps and most >= agreement.overlap else None


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    first, second = (np.array([x, y, x + width, y + height]) for x, y, width, height in (a, b))
    return float(intersection_over_union(first, second[np.newaxis])[0])


def _words(detection: Detection) -> str:
    box = ", ".join(f"{value:.1f}" for value in detection.box)
    return f"{detection.class_} {detection.score:.2f} at [{box}]"
