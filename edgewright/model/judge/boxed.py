"""Images whose instances have boxes, or outlines: COCO's JSON, or YOLO's text beside
each image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from PIL import Image, ImageOps
from pydantic import Field

from edgewright.base.errors import UserError
from edgewright.base.files import read_file
from edgewright.base.schema import Excerpt, parse_json
from edgewright.model.judge.data import SUFFIXES

_TEXT_BYTES = 1 << 20


# x and y of each corner, in pixels of the upright image: x1, y1, x2, y2, …
Polygon = Annotated[tuple[float, ...], Field(min_length=6, max_length=20_000)]


class RunLengths(Excerpt):
    """A mask as COCO writes it: runs down the columns, as numbers or as COCO's text."""

    size: tuple[int, int]  # height, width
    counts: str | tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Instance:
    label: int  # index among the card's
    box: tuple[float, float, float, float]  # x, y, width, height in pixels of the upright image
    outline: tuple[Polygon, ...] | RunLengths | None = None  # none: nobody drew it
    is_crowd: bool = False  # many in one box: what is in it is neither right nor wrong


@dataclass(frozen=True, kw_only=True)
class BoxedImage:
    path: Path
    instances: tuple[Instance, ...]


class CocoImage(Excerpt):
    id: int
    file_name: str


class CocoCategory(Excerpt):
    id: int
    name: str


class CocoAnnotation(Excerpt):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0
    segmentation: tuple[Polygon, ...] | RunLengths | None = None


class CocoFile(Excerpt):
    """What we read of COCO's `instances_….json`."""

    images: tuple[CocoImage, ...]
    categories: tuple[CocoCategory, ...]
    annotations: tuple[CocoAnnotation, ...]


def load_boxes(images: Path, labels: Sequence[str]) -> tuple[BoxedImage, ...]:
    """The images of a COCO file, or of a folder with a `.txt` of YOLO's for each image.

    COCO's categories are the card's labels by name, YOLO's numbers by place. Raises UserError for
    what cannot be read, and for a class that is no label.
    """
    boxed = _read_coco(images, labels) if images.suffix == ".json" else _read_yolo(images, labels)
    if not any(image.instances for image in boxed):
        raise UserError(
            str(images),
            "has no images with boxes",
            facts=["expected: COCO's JSON, or a folder with NAME.txt of YOLO's beside NAME.png"],
        )
    return tuple(boxed)


def read_labels(path: Path) -> tuple[str, ...]:
    """The names of a COCO file's categories, in the order of their numbers."""
    content = _parse_coco(path)
    return tuple(category.name for category in sorted(content.categories, key=lambda c: c.id))


def _parse_coco(path: Path) -> CocoFile:
    # An index of a set is longer than a document, and has more parts.
    raw = read_file(path, limit=1 << 30)
    try:
        return CocoFile.model_validate_json(raw)
    except ValueError:
        return parse_json(CocoFile, raw, str(path), "is no COCO file")


def _read_coco(path: Path, labels: Sequence[str]) -> list[BoxedImage]:
    content = _parse_coco(path)
    names = {category.id: category.name for category in content.categories}
    used = {
        names.get(annotation.category_id, str(annotation.category_id))
        for annotation in content.annotations
    }
    if unknown := used - set(labels):
        raise _unknown(path, min(unknown), labels)
    instances: dict[int, list[Instance]] = {image.id: [] for image in content.images}
    for annotation in content.annotations:
        instance = Instance(
            label=labels.index(names[annotation.category_id]),
            box=annotation.bbox,
            outline=annotation.segmentation or None,
            is_crowd=bool(annotation.iscrowd),
        )
        instances.setdefault(annotation.image_id, []).append(instance)
    return [
        BoxedImage(path=_beside(path, image.file_name), instances=tuple(instances[image.id]))
        for image in content.images
    ]


def _beside(path: Path, name: str) -> Path:
    folders = (path.parent, path.parent / "images", path.parent.parent / "images")
    files = [folder / name for folder in folders if (folder / name).is_file()]
    if not files:
        raise UserError(str(path), f"names an image that is not beside it, {name}")
    return files[0]


def _read_yolo(folder: Path, labels: Sequence[str]) -> list[BoxedImage]:
    """An image without a file of text has no instances: YOLO's sets leave it out."""
    if not folder.is_dir():
        raise UserError(str(folder), "is no folder and no COCO file")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return [BoxedImage(path=path, instances=_read_text(path, labels)) for path in paths]


def _read_text(image: Path, labels: Sequence[str]) -> tuple[Instance, ...]:
    text = image.with_suffix(".txt")
    if not text.is_file():  # images/… and labels/… are the two halves of YOLO's sets
        parts = ["labels" if part == "images" else part for part in text.parts]
        text = Path(*parts)
    if not text.is_file():
        return ()
    with Image.open(image) as picture:
        width, height = ImageOps.exif_transpose(picture).size
    instances = []
    lines = read_file(text, limit=_TEXT_BYTES).decode(errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        label, *words = line.split()
        try:
            place, values = int(label), [float(word) for word in words]
            if len(values) != 4 and (len(values) < 6 or len(values) % 2):
                raise ValueError("neither a box nor a polygon")
        except ValueError as broken:
            raise UserError(
                f"{text}:{number}",
                "is no box and no polygon of YOLO's",
                facts=[
                    "expected: class, centre x, centre y, width, height; from 0 to 1",
                    "or: class and x, y of three corners or more; from 0 to 1",
                ],
            ) from broken
        if not 0 <= place < len(labels):
            raise _unknown(text, label, labels)
        x, y = [value * width for value in values[::2]], [value * height for value in values[1::2]]
        if len(values) == 4:
            box = (x[0] - x[1] / 2, y[0] - y[1] / 2, x[1], y[1])
            instances.append(Instance(label=place, box=box))
        else:
            corners = tuple(part for corner in zip(x, y, strict=True) for part in corner)
            box = (min(x), min(y), max(x) - min(x), max(y) - min(y))
            instances.append(Instance(label=place, box=box, outline=(corners,)))
    return tuple(instances)


def _unknown(path: Path, name: str, labels: Sequence[str]) -> UserError:
    return UserError(
        str(path),
        f"has boxes of the class '{name}', which the card does not have",
        facts=[f"labels: {', '.join(labels)}"],
    )
