"""Images whose defects are known, pixel by pixel: anomalies and segmentations are judged on them.

Anomalies lie as `<class>/<name>.png`, with masks as `<class>/<name>_mask.png` beside them, or in
MVTec's layout, `test/<class>/…` and `ground_truth/<class>/<name>_mask.png`. Segmentations lie as
`<name>.png` with the mask `masks/<name>.png`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgewright.base.errors import UserError
from edgewright.model.contract.pixels import Pixels, decode
from edgewright.model.judge.data import DEFECTIVE, ELPV, SUFFIXES
from edgewright.model.judge.images import Part, load_part

GOOD = ("good", "normal", "ok")  # folders of images without a defect, or the card's first label
UNKNOWN = 255  # of a mask's pixel: nobody knows its label
_SUFFIX = "_mask"


@dataclass(frozen=True, kw_only=True)
class MaskedImage:
    path: Path
    is_anomalous: bool = False
    mask: Path | None = None


def load_anomalies(images: str, normal: str, part: Part = "test") -> tuple[MaskedImage, ...]:
    """A part of ELPV, or the images of a folder; `normal` is another name for what is good.

    Raises UserError unless there are good and bad ones.
    """
    if images == ELPV:
        dataset = load_part(ELPV, part)
        return tuple(
            MaskedImage(path=sample.path, is_anomalous=sample.label == DEFECTIVE)
            for sample in dataset.samples
        )
    folder = Path(images)
    root = folder / "test" if (folder / "test").is_dir() else folder
    if not root.is_dir():
        raise UserError(str(folder), "is no folder")
    classes = [path for path in sorted(root.iterdir()) if path.is_dir()]
    samples = tuple(
        MaskedImage(
            path=path,
            is_anomalous=inner.name not in {*GOOD, normal},
            mask=_mask_of(path, root.parent / "ground_truth" / inner.name),
        )
        for inner in classes
        if inner.name != "ground_truth"
        for path in _images(inner)
    )
    if len({sample.is_anomalous for sample in samples}) < 2:
        raise UserError(
            str(folder),
            "has not both good and bad images",
            facts=[
                f"expected: a folder {' or '.join(dict.fromkeys([normal, *GOOD]))}, others beside",
                f"found: {', '.join(inner.name for inner in classes) or 'none'}",
            ],
        )
    return samples


def load_segmentations(folder: Path) -> tuple[MaskedImage, ...]:
    """The images of a folder, each with its mask. Raises UserError if one has none."""
    images = [
        MaskedImage(path=path, mask=folder / "masks" / f"{path.stem}.png")
        for path in (_images(folder) if folder.is_dir() else [])
    ]
    missing = [image.path.name for image in images if image.mask and not image.mask.is_file()]
    if missing or not images:
        raise UserError(
            str(folder),
            f"has {len(images)} images, {len(missing)} of them without a mask",
            facts=["expected: <name>.png and masks/<name>.png", *missing[:5]],
        )
    return tuple(images)


def read_defect(image: MaskedImage, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Where the defects are, in an image of this height and width; none: nobody said so."""
    if not image.is_anomalous:
        return np.zeros(size, bool)
    return None if image.mask is None else _pixels(image.mask, size) > 0


def read_labels(image: MaskedImage, size: tuple[int, int], labels: int) -> NDArray[np.int64]:
    """Label of each pixel, -1 where it is `UNKNOWN`. Raises UserError for other values.

    A mask of 0 and 255 alone is black and white: 255 is the second label. If there is one label,
    it is what is not 0.
    """
    assert image.mask is not None, "a segmentation has a mask"
    pixels = _pixels(image.mask, size).astype(np.int64)
    if labels == 1:
        return np.where(pixels > 0, 0, -1)
    values = set(np.unique(pixels).tolist())
    if labels == 2 and values == {0, UNKNOWN}:
        return pixels // UNKNOWN
    if strange := sorted(value for value in values if labels <= value != UNKNOWN):
        raise UserError(
            str(image.mask),
            f"has values that are no labels: {', '.join(map(str, strange[:5]))}",
            facts=[f"expected: 0 to {labels - 1}, and {UNKNOWN} for what is not known"],
        )
    return np.where(pixels == UNKNOWN, -1, pixels)


def regions_of(mask: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """The places (flat indices) of each region of pixels that touch, corners too."""
    width = mask.shape[1]
    remaining = mask.copy()
    for start in np.flatnonzero(mask):
        if not remaining.flat[start]:
            continue
        remaining.flat[start] = False
        region, edge = [int(start)], [divmod(int(start), width)]
        while edge:
            row, column = edge.pop()
            rows, columns = slice(max(row - 1, 0), row + 2), slice(max(column - 1, 0), column + 2)
            around = remaining[rows, columns]
            for down, right in np.argwhere(around):
                place = (rows.start + int(down), columns.start + int(right))
                edge.append(place)
                region.append(place[0] * width + place[1])
            around[:] = False
        yield np.array(region)


def is_mask(path: Path, root: Path) -> bool:
    """Whether a picture in a folder of images is a mask, in one of the layouts."""
    parents = path.relative_to(root).parts[:-1]
    return path.stem.endswith(_SUFFIX) or not {"masks", "ground_truth"}.isdisjoint(parents)


def _images(folder: Path) -> Sequence[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.stem.endswith(_SUFFIX)
    ]


def _mask_of(image: Path, ground_truth: Path) -> Path | None:
    name = f"{image.stem}{_SUFFIX}.png"
    return next(
        (path for path in (image.with_name(name), ground_truth / name) if path.is_file()), None
    )


def _pixels(path: Path, size: tuple[int, int]) -> Pixels:
    pixels = decode(path)
    if pixels.ndim == 3:
        pixels = pixels.max(axis=2)
    if pixels.shape != size:
        raise UserError(
            str(path),
            "is not of its image's size",
            facts=[
                f"expected: {size[1]} x {size[0]}",
                f"found: {pixels.shape[1]} x {pixels.shape[0]}",
            ],
        )
    return pixels
