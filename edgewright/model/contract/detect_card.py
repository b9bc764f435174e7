"""The card of a detector: which outputs hold its boxes and scores, and in which form."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from edgewright.base.schema import Part
from edgewright.model.contract.card import ImageCard, Size
from edgewright.model.contract.task_base import TaskCardBase, TaskOutput, repeated

MAX_DETECTIONS = 1000  # of an image, as edge-infer has it
MAX_ANCHORS = 16  # of a cell
MAX_COEFFICIENTS = 256  # of a mask, as edge-infer has it

Share = Annotated[float, Field(gt=0, lt=1)]
Pixels = Annotated[float, Field(gt=0)]
# Which axis holds the numbers of one candidate; the other one counts candidates.
Channels = Literal["first", "last"]


class DetectOutputBase(TaskOutput):
    """An output of a detector."""

    @abstractmethod
    def sizes(self, labels: int, *, has_classes: bool, coefficients: int) -> tuple[int, ...]:
        """The shape behind the batch for so many labels, -1: any size.

        `has_classes`: the network has an output of classes. `coefficients`: of a mask; 0 without
        prototypes.
        """


class Predictions(DetectOutputBase):
    """cx, cy, width, height in pixels of the input, then the scores: YOLOv5, v8, v11.

    Behind the scores the coefficients of the mask, where there are prototypes; so in `detections`
    and in `anchored`.
    """

    role: Literal["predictions"]
    channels: Channels
    objectness: bool = False  # a fifth number, by which every score is multiplied
    activation: Literal["sigmoid", "none"] = "none"  # of objectness and scores

    def sizes(self, labels: int, *, has_classes: bool, coefficients: int) -> tuple[int, ...]:
        return _table(4 + self.objectness + labels + coefficients, self.channels)


class Detections(DetectOutputBase):
    """x1, y1, x2, y2 in pixels of the input, score, class: YOLOv10, and NMS in the network."""

    role: Literal["detections"]
    activation: Literal["none"] = "none"

    def sizes(self, labels: int, *, has_classes: bool, coefficients: int) -> tuple[int, ...]:
        return -1, 6 + coefficients


class Boxes(DetectOutputBase):
    """Four numbers of each candidate: corners, or centre and size."""

    role: Literal["boxes"]
    channels: Channels = "last"
    form: Literal["xyxy", "cxcywh", "yxyx"]
    unit: Literal["pixels", "fraction"]  # of the input
    activation: Literal["none"] = "none"

    def sizes(self, labels: int, *, has_classes: bool, coefficients: int) -> tuple[int, ...]:
        return _table(4, self.channels)


class Scores(DetectOutputBase):
    """A score for each class of each candidate; one of each, where `classes` says of which."""

    role: Literal["scores"]
    channels: Channels = "last"
    background: Literal["first", "last", "none"] = "none"  # a class that is no label

    def sizes(self, labels: int, *, has_classes: bool, coefficients: int) -> tuple[int, ...]:
        if has_classes:
            return (-1,)
        return _table(labels + (self.background != "none"), self.channels)


class Classes(DetectOutputBase):
    """The class of each candidate, which the network chose itself."""

    role: Literal["classes"]
    background: Literal["first", "none"] = "none"  # first: class 0 is no label
    activation: Literal["none"] = "none"

    def sizes(self, labels: int, *, has_classes: bool, coefficients: int) -> tuple[int, ...]:
        return (-1,)


class BoxDistances(DetectOutputBase):
    """The last convolution of YOLOv8's boxes: bins of the distances to left, top, right, bottom."""

    role: Literal["box_distances"]
    stride: Size
    activation: Literal["softmax"] = "softmax"  # over the bins of a distance

    def sizes(self, labels: int, *, has_classes: bool, coefficients: int) -> tuple[int, ...]:
        return -1, -1, -1


class ClassScores(DetectOutputBase):
    """The last convolution of YOLOv8's scores, beside the distances of the same stride."""

    role: Literal["class_scores"]
    stride: Size
    activation: Literal["sigmoid"] = "sigmoid"

    def sizes(self, labels: int, *, has_classes: bool, coefficients: int) -> tuple[int, ...]:
        return labels, -1, -1


class Anchored(DetectOutputBase):
    """The last convolution of YOLOv5: of each anchor x, y, width, height, objectness, scores."""

    role: Literal["anchored"]
    stride: Size
    # Width, height, width, ... in pixels of the input.
    anchors: tuple[Pixels, ...] = Field(min_length=2, max_length=2 * MAX_ANCHORS)
    activation: Literal["sigmoid"] = "sigmoid"

    def sizes(self, labels: int, *, has_classes: bool, coefficients: int) -> tuple[int, ...]:
        return len(self.anchors) // 2 * (5 + labels + coefficients), -1, -1


class MaskCoefficients(DetectOutputBase):
    """The last convolution of YOLOv8's mask coefficients, beside the distances of that stride."""

    role: Literal["mask_coefficients"]
    stride: Size
    activation: Literal["none"] = "none"

    def sizes(self, labels: int, *, has_classes: bool, coefficients: int) -> tuple[int, ...]:
        return coefficients, -1, -1


class Prototypes(DetectOutputBase):
    """Maps of which each thing's mask is a weighted sum, above 0: YOLO's segmentation networks."""

    role: Literal["prototypes"]
    activation: Literal["none"] = "none"

    def sizes(self, labels: int, *, has_classes: bool, coefficients: int) -> tuple[int, ...]:
        return coefficients, -1, -1


DetectOutput = Annotated[
    Predictions
    | Detections
    | Boxes
    | Scores
    | Classes
    | BoxDistances
    | ClassScores
    | Anchored
    | MaskCoefficients
    | Prototypes,
    Field(discriminator="role"),
]


class DetectSettings(Part):
    """From candidates to detections."""

    score_threshold: Share = 0.25  # least score
    nms: bool = True  # non-maximum suppression; false: the network leaves one box of each thing
    iou_threshold: Share = 0.45  # of a box with a better one, above which it is suppressed
    class_agnostic: bool = False  # whether boxes of other classes suppress, too
    max_detections: Annotated[int, Field(gt=0, le=MAX_DETECTIONS)] = 100


class DetectCard(TaskCardBase, ImageCard):
    """Boxes around things, each with a class and a score."""

    task: Literal["detect"]
    labels: tuple[str, ...] = Field(min_length=1)
    outputs: tuple[DetectOutput, ...] = Field(min_length=1, max_length=64)
    detect: DetectSettings = DetectSettings()

    @property
    def has_classes(self) -> bool:
        return any(output.role == "classes" for output in self.outputs)

    @property
    def prototypes(self) -> int | None:
        """Place of that output; none: things have no masks."""
        roles = [output.role for output in self.outputs]
        return roles.index("prototypes") if "prototypes" in roles else None

    @property
    def coefficients(self) -> int:
        """Of each mask; 0 without prototypes."""
        return 0 if self.prototypes is None else self.outputs[self.prototypes].shape[-3:][0]

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        yield from self._prototype_problems()
        yield from repeated(iter(self.labels))
        yield from _role_problems(self.outputs)
        for output in self.outputs:
            yield from self.shape_problems(output, output.shape)
            if isinstance(output, Anchored) and len(output.anchors) % 2:
                yield f"{output.name}: anchors are pairs of width and height"
            if output.role == "scores" and self.has_classes and output.activation == "softmax":
                yield f"{output.name}: one score of each candidate has no softmax"

    def _prototype_problems(self) -> Iterator[str]:
        if self.prototypes is None:
            return
        shape = self.outputs[self.prototypes].shape
        if not 1 <= self.coefficients <= MAX_COEFFICIENTS or -1 in shape:
            yield (
                f"prototypes have the shape {list(shape)}, expected [1, n, height, width], of "
                f"fixed sizes and n at most {MAX_COEFFICIENTS}"
            )

    def shape_problems(self, output: DetectOutput, shape: Sequence[int]) -> Iterator[str]:
        """Words where an output cannot have this shape; -1 is a size that is not known."""
        expected = output.sizes(
            len(self.labels), has_classes=self.has_classes, coefficients=self.coefficients
        )
        sizes = without_batch(shape, len(expected))
        fits = len(sizes) == len(expected) and all(
            size in (-1, wanted) or wanted == -1
            for size, wanted in zip(sizes, expected, strict=True)
        )
        if not fits or (output.role == "box_distances" and sizes[0] != -1 and sizes[0] % 4):
            words = ["4 bins" if output.role == "box_distances" else "n", "height", "width"]
            names = words if len(expected) == 3 else ["n", "n"]
            required = [
                name if size == -1 else str(size)
                for size, name in zip(expected, names, strict=False)
            ]
            yield (
                f"{output.name} has shape {list(shape)}, as {output.role} of {len(self.labels)} "
                f"labels it has [1, {', '.join(required)}]"
            )


def without_batch(shape: Sequence[int], rank: int) -> Sequence[int]:
    """The sizes behind a batch of 1; networks with NMS often have no batch."""
    return shape[1:] if len(shape) == rank + 1 and shape[0] in (1, -1) else shape


def _table(width: int, channels: Channels) -> tuple[int, ...]:
    return (width, -1) if channels == "first" else (-1, width)


def _role_problems(outputs: Sequence[DetectOutput]) -> Iterator[str]:
    roles = sorted(output.role for output in outputs)
    has_prototypes = roles.count("prototypes") == 1
    without_prototypes = (
        [role for role in roles if role != "prototypes"] if has_prototypes else roles
    )
    flat = [["predictions"], ["detections"]]
    if not has_prototypes:
        flat += [["boxes", "scores"], ["boxes", "classes", "scores"]]
    distances = sorted(output.stride for output in outputs if isinstance(output, BoxDistances))
    scores = sorted(output.stride for output in outputs if isinstance(output, ClassScores))
    masks = sorted(output.stride for output in outputs if isinstance(output, MaskCoefficients))
    anchored = sorted(output.stride for output in outputs if isinstance(output, Anchored))
    heads = distances or anchored
    is_whole = without_prototypes in flat or (
        heads
        and len(set(heads)) == len(heads)
        and len(without_prototypes) == len(distances) + len(scores) + len(masks) + len(anchored)
        and (distances == scores if distances else not scores)
        and masks == (distances if has_prototypes else [])
        and not (distances and anchored)
    )
    if not is_whole:
        yield (
            f"outputs are {', '.join(roles)}: expected predictions; detections; boxes and scores, "
            "with or without classes; box_distances and class_scores of each stride; or anchored "
            "of each stride; with prototypes also mask_coefficients beside class_scores"
        )
