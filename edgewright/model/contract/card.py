"""The model card: what the network is and how its input is made (docs/formats.md)."""

import math
from collections.abc import Iterator
from math import floor
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from edgewright.base.errors import UserError, near_miss
from edgewright.base.files import read_inside
from edgewright.base.schema import Excerpt, Part, parse_json
from edgewright.model.contract.network_file import network_bytes, network_sha256

CARD_BYTES = 1 << 20
NO_CARD = "is not a model card"
Facts = dict[str, JsonValue]
Size = Annotated[int, Field(gt=0)]
Side = Annotated[int, Field(gt=0, le=4096)]  # pixels of what a board resizes to


class PerImage(Part):
    """Standardise each image by its own mean and standard deviation."""

    kind: Literal["per_image"] = "per_image"
    epsilon: float = Field(default=1e-5, gt=0, allow_inf_nan=False)


class MeanStd(Part):
    """Standardise by constants, one per channel, in units of 0 to 1."""

    kind: Literal["mean_std"] = "mean_std"
    mean: tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
    std: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]


class Scale(Part):
    """Multiply by a constant: 1 leaves 0 to 255, as networks that normalise themselves take it."""

    kind: Literal["scale"] = "scale"
    factor: float = Field(gt=0, allow_inf_nan=False)


class Stretch(Part):
    """Both sides to their size, whatever becomes of the proportions."""

    kind: Literal["stretch"] = "stretch"
    # Height and width of which the middle is kept; None: the input's.
    size: tuple[Side, Side] | None = None


class CenterCrop(Part):
    """The shorter side to a size, the proportions as they are, of which the middle is kept."""

    kind: Literal["center_crop"] = "center_crop"
    resize_shorter: Side


class Letterbox(Part):
    """As large as fits in, the proportions as they are, with a border around it."""

    kind: Literal["letterbox"] = "letterbox"
    pad_value: int = Field(default=114, ge=0, le=255)


Fit = Annotated[Stretch | CenterCrop | Letterbox, Field(discriminator="kind")]
Normalize = Annotated[PerImage | MeanStd | Scale, Field(discriminator="kind")]
Color = Literal["gray", "rgb", "bgr"]
# Pillow's BILINEAR and BICUBIC, which are antialiased; OpenCV's INTER_LINEAR, which is not.
Filter = Literal["triangle", "bicubic", "bilinear"]
JpegDecoding = Literal["full", "scaled"]


class Region(Part):
    """A part of the upright image, in pixels."""

    x: int = Field(ge=0, lt=16384)
    y: int = Field(ge=0, lt=16384)
    width: int = Field(gt=0, le=16384)
    height: int = Field(gt=0, le=16384)

    def of(self, width: int, height: int) -> "Region":
        """In pixels of an upright image of this size."""
        return self


Share = Annotated[float, Field(ge=0, le=1)]


class RegionShare(Part):
    """A part of the upright image, in shares of its width and height."""

    unit: Literal["fraction"]
    x: Share
    y: Share
    width: Annotated[float, Field(gt=0, le=1)]
    height: Annotated[float, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _is_within_the_image(self) -> Self:
        if max(self.x + self.width, self.y + self.height) > 1 + 1e-9:
            raise ValueError("reaches beyond the image")
        return self

    def of(self, width: int, height: int) -> Region:
        """In pixels of an upright image of this size: edges rounded, a pixel at least."""
        x, across = _pixels_of(self.x, self.width, width)
        y, down = _pixels_of(self.y, self.height, height)
        return Region(x=x, y=y, width=across, height=down)


def _pixels_of(start: float, share: float, side: int) -> tuple[int, int]:
    """The first pixel of a part of an axis, and how many there are."""
    first = min(floor(start * side + 0.5), side - 1)
    end = min(max(floor((start + share) * side + 0.5), first + 1), side)
    return first, end - first


def _unit_of(region: Any) -> str:
    unit = region.get("unit") if isinstance(region, dict) else getattr(region, "unit", None)
    return "pixels" if unit is None else str(unit)


AnyRegion = Annotated[
    Annotated[Region, Tag("pixels")] | Annotated[RegionShare, Tag("fraction")],
    Discriminator(
        _unit_of,
        custom_error_type="region_unit",
        custom_error_message="expected the unit fraction, or none for pixels",
    ),
]


class TileMerge(Part):
    """Which boxes of different tiles are of one thing: those that overlap by more than this."""

    by: Literal["smaller", "union"] = "smaller"  # what the intersection is divided by
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5


TileSide = Annotated[int, Field(ge=16, le=16384)]


class Tiling(Part):
    """The image is cut into tiles of one size, which the network sees one after the other."""

    size: tuple[TileSide, TileSide]  # height and width, in pixels of the upright image
    overlap: Annotated[int, Field(ge=0)] = 0  # pixels that neighbours share at least
    merge: TileMerge | None = Field(default=None, exclude_if=lambda merge: merge is None)


class Preprocess(Part):
    """From pixels to the network's input; docs/formats.md has the exact arithmetic."""

    color: Color = "gray"
    resize: Filter = "triangle"
    normalize: Normalize = PerImage()
    # Of samples with 16 bits, as a camera of 10 or 12 bits writes them; schema 2.
    significant_bits: Annotated[int, Field(ge=9, le=16)] | None = None
    fit: Fit = Stretch()  # schema 2
    # Whether a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, where that is no smaller than
    # what it is resized to; schema 2. A card without the key keeps its bytes.
    jpeg: JpegDecoding = Field(default="full", exclude_if=lambda decoding: decoding == "full")
    roi: AnyRegion | None = None  # all else is as if the image were this part alone; schema 2

    def words_of_schema_2(self) -> Iterator[str]:
        """What a card of schema 1 cannot say."""
        if self.significant_bits is not None:
            yield "preprocess.significant_bits is a key"
        if self.roi is not None:
            yield "preprocess.roi is a key"
        if self.fit != Stretch():
            yield "preprocess.fit is a key"
        if self.jpeg != "full":
            yield "preprocess.jpeg is a key"
        words = {"color": self.color, "resize": self.resize, "normalize": self.normalize.kind}
        yield from (
            f"preprocess.{key} {word} is a word"
            for key, word in words.items()
            if word in ("bgr", "bicubic", "bilinear", "scale")
        )


class Input(Part):
    name: str = "image"
    shape: tuple[Literal[1], Size, Size, Size]  # batch, channels, height, width
    layout: Literal["NCHW"] = "NCHW"


# What turns a network's outputs into probabilities; "none" where they are probabilities already.
Activation = Literal["softmax", "sigmoid", "none"]


class Output(Part):
    name: str = "logits"
    shape: tuple[Literal[1], Size]  # batch, labels
    activation: Activation = "softmax"  # a card of schema 1 has no word for another
    # What outputs are divided by before the activation, so that probabilities mean what they say
    # (Guo et al., ICML 2017). A card without the key keeps its bytes.
    temperature: Annotated[float, Field(ge=0.01, le=100)] = Field(
        default=1.0, exclude_if=lambda temperature: temperature == 1
    )


class Decision(Part):
    """The label that an image has from a probability on; below it the likeliest of the others."""

    label: str
    threshold: Annotated[float, Field(gt=0, lt=1)]


class ModelFile(Part):
    """The network's file with the hash of its content: a card of another network is noticed."""

    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: Size

    @classmethod
    def of(cls, path: Path) -> Self:
        return cls(name=path.name, sha256=network_sha256(path), bytes=network_bytes(path))


class CardBase(Part):
    """What the cards of all tasks have: whose they are, and what people want to know of it."""

    schema_: Literal[1, 2] = 2
    name: str
    file: ModelFile
    # For people: the board ignores these five.
    imported: Facts = Field(default_factory=dict)
    quantization: Facts = Field(default_factory=dict)
    metrics: Facts = Field(default_factory=dict)
    training: Facts = Field(default_factory=dict)
    data: Facts = Field(default_factory=dict)

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if problems := list(self._problems()):
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        """Parts that contradict each other; a task adds its own."""
        yield from ()


class ImageCard(CardBase):
    """A task that takes one image."""

    input: Input
    preprocess: Preprocess = Preprocess()
    # A card without the key keeps its bytes.
    tiling: Tiling | None = Field(default=None, exclude_if=lambda tiling: tiling is None)

    @property
    def input_bytes(self) -> int:
        """Of the input's values, which are float32."""
        return 4 * math.prod(self.input.shape)

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        yield from self._channel_problems()
        yield from fit_problems(self.preprocess.fit, *self.input.shape[2:])
        if self.tiling is not None:
            yield from self._tiling_problems(self.tiling)
        if self.preprocess.jpeg == "scaled" and (self.preprocess.roi or self.tiling):
            yield "preprocess.jpeg scaled is for images that are seen whole: no roi, no tiling"
        if self.schema_ == 1:
            words = self.preprocess.words_of_schema_2()
            yield from (f"{word} of schema 2, the card has schema 1" for word in words)

    def _tiling_problems(self, tiling: Tiling) -> Iterator[str]:
        fit = self.preprocess.fit
        if tiling.overlap > min(tiling.size) // 2:
            yield f"tiling.overlap is {tiling.overlap}, at most half a side of a tile is shared"
        if isinstance(fit, CenterCrop) or (isinstance(fit, Stretch) and fit.size):
            yield "tiling needs a preprocess.fit that shows all of a tile: stretch or letterbox"
        if self.schema_ == 1:
            yield "tiling is a key of schema 2, the card has schema 1"

    def _channel_problems(self) -> Iterator[str]:
        color, normalize = self.preprocess.color, self.preprocess.normalize
        channels = 1 if color == "gray" else 3
        if self.input.shape[1] != channels:
            yield f"input.shape has {self.input.shape[1]} channels, {color} has {channels}"
        if isinstance(normalize, MeanStd):
            counts = {"mean": len(normalize.mean), "std": len(normalize.std)}
            wrong = {name: count for name, count in counts.items() if count != channels}
            yield from (
                f"{name} has {n} values, {color} needs {channels}" for name, n in wrong.items()
            )


class Card(ImageCard):
    """`card.json` of a classifier: labels, input, output and preprocessing of one network."""

    task: Literal["classify"] = "classify"
    labels: tuple[str, ...] = Field(min_length=2)
    output: Output
    decision: Decision | None = Field(default=None, exclude_if=lambda decision: decision is None)

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if self.output.shape[1] != len(self.labels):
            yield f"output.shape has {self.output.shape[1]} values, labels has {len(self.labels)}"
        if self.schema_ == 1 and "activation" in self.output.model_fields_set:
            yield "output.activation is a key of schema 2, the card has schema 1"
        if self.schema_ == 1 and self.output.temperature != 1:
            yield "output.temperature is a key of schema 2, the card has schema 1"
        if self.output.activation == "none" and self.output.temperature != 1:
            yield "output.temperature is for logits, output.activation none is for probabilities"
        if self.decision is not None:
            yield from self._decision_problems(self.decision)
        if self.tiling is not None:
            yield (
                "tiling is not known to the task classify: tiles have a class each, and nothing "
                "says which of them is the image's"
            )

    def _decision_problems(self, decision: Decision) -> Iterator[str]:
        if self.schema_ == 1:
            yield "decision is a key of schema 2, the card has schema 1"
        if decision.label not in self.labels:
            hint = near_miss(decision.label, self.labels)
            yield f"decision.label is {decision.label}, which is no label of the card{hint}"


def merge_problems(tiling: Tiling | None) -> Iterator[str]:
    """Why a task without boxes has no rule for those of different tiles."""
    if tiling is not None and tiling.merge is not None:
        yield "tiling.merge is for the boxes of a detector"


def fit_problems(fit: Fit, height: int, width: int) -> Iterator[str]:
    """Why a part of an input of this size would be left without pixels."""
    if isinstance(fit, CenterCrop) and fit.resize_shorter < max(height, width):
        yield (
            f"preprocess.fit.resize_shorter is {fit.resize_shorter}, "
            f"the input of {width} x {height} pixels needs {max(height, width)} or more"
        )
    if isinstance(fit, Stretch) and fit.size and (fit.size[0] < height or fit.size[1] < width):
        yield (
            f"preprocess.fit.size is {fit.size[1]} x {fit.size[0]} pixels, "
            f"the input is larger: {width} x {height}"
        )


class TaskHead(Excerpt):
    """Which card it is."""

    task: str = "classify"  # a card of schema 1 has no word for another


def read_card(path: Path) -> Card:
    """The card of a classifier in a file; every problem of it is reported at once."""
    raw = read_inside(path.parent, path.name, limit=CARD_BYTES)
    task = parse_json(TaskHead, raw, str(path), NO_CARD).task
    if task != "classify":
        raise UserError(
            str(path),
            f"is a card of the task {task}, expected one of a classifier",
            next="invoke help models, which tells what each task can do",
        )
    return parse_json(Card, raw, str(path), NO_CARD)


def write_card(card: CardBase, path: Path) -> None:
    """Write a card in the newest schema, whichever it was read in: every key is written."""
    newest = card.model_copy(update={"schema_": 2})
    path.write_text(newest.model_dump_json(by_alias=True, indent=2) + "\n")
