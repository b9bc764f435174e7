"""Which pixels of an image become which of the input, as docs/formats.md has it.

C++ computes the same. The image is the upright one.
"""

from dataclasses import dataclass

from edgewright.model.contract.card import CenterCrop, Fit, ImageCard, Letterbox, Region
from edgewright.model.contract.placement import Placement

REDUCTIONS = (1, 2, 4, 8)  # that libjpeg's smaller transforms make


@dataclass(frozen=True, kw_only=True)
class Span:
    """One axis: `length` pixels of the image become `resized`, of which `count` are kept."""

    start: int  # first pixel of the image that is read
    length: int
    resized: int
    first: int  # of the resized ones that are kept
    count: int
    before: int  # pixels of border before them

    @property
    def scale(self) -> float:
        return self.resized / self.length

    @property
    def offset(self) -> float:
        """Of the image's pixel 0 in the input."""
        return self.before - self.first - self.start * self.scale


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How an image of one size is brought into the network's input."""

    height: int  # pixels of the image
    width: int
    region: Region | None  # the part that the network sees; none: all of it
    y: Span
    x: Span

    @property
    def placement(self) -> Placement:
        return Placement(
            width=self.width,
            height=self.height,
            scale_x=self.x.scale,
            scale_y=self.y.scale,
            left=self.x.offset,
            top=self.y.offset,
            region=self.region,
        )


def region_of(height: int, width: int, card: ImageCard) -> Region | None:
    """The part of an upright image of this size that the card's region is; none: all of it.

    Raises ValueError, in words, if the region reaches beyond the image.
    """
    if card.preprocess.roi is None:
        return None
    part = card.preprocess.roi.of(width, height)
    if part.x + part.width > width or part.y + part.height > height:
        raise ValueError(
            f"is {width} x {height} pixels, the card's region reaches to "
            f"{part.x + part.width} x {part.y + part.height}"
        )
    return part


def geometry_of(height: int, width: int, region: Region | None, card: ImageCard) -> Geometry:
    """How the part of an upright image of this size is brought into the card's input."""
    target = (card.input.shape[2], card.input.shape[3])
    part = region or Region(x=0, y=0, width=width, height=height)
    resized = _resized((part.height, part.width), target, card.preprocess.fit)
    return Geometry(
        height=height,
        width=width,
        region=region,
        y=_span(part.y, part.height, resized[0], target[0]),
        x=_span(part.x, part.width, resized[1], target[1]),
    )


def reduction_of(height: int, width: int, card: ImageCard) -> int:
    """By how much the sides of an upright JPEG of this size are divided when it is decoded."""
    if card.preprocess.jpeg == "full":
        return 1
    target = (card.input.shape[2], card.input.shape[3])
    resized = _resized((height, width), target, card.preprocess.fit)
    least = min(height // resized[0], width // resized[1])
    return max((reduction for reduction in REDUCTIONS if reduction <= least), default=1)


def _resized(image: tuple[int, int], target: tuple[int, int], fit: Fit) -> tuple[int, int]:
    """Height and width that the whole image gets, some of which may be cut off."""
    if isinstance(fit, Letterbox):
        # In double and half to even, as Ultralytics' LetterBox.
        ratio = min(target[0] / image[0], target[1] / image[1])
        height, width = (
            min(max(round(side * ratio), 1), most) for side, most in zip(image, target, strict=True)
        )
        return height, width
    if isinstance(fit, CenterCrop):
        # The longer side rounded down, as torchvision's Resize.
        shorter = min(image)
        return fit.resize_shorter * image[0] // shorter, fit.resize_shorter * image[1] // shorter
    return fit.size or target


def _span(start: int, length: int, resized: int, target: int) -> Span:
    """Half to even where the middle is kept, as torchvision's CenterCrop; down where there is a
    border, as Ultralytics' LetterBox."""
    return Span(
        start=start,
        length=length,
        resized=resized,
        first=round(max(resized - target, 0) / 2),
        count=min(resized, target),
        before=max(target - resized, 0) // 2,
    )
