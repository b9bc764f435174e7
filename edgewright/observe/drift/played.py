"""Changes of a line, played on images: its light, its camera, its material."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageFilter

from edgewright.model.contract.pixels import decode

DEGREES = 4
TILT = 0.08  # of the height, by which one side of the image is longer than it was
GRAIN = 0.08  # of the brightness, standard deviation


@dataclass(frozen=True, kw_only=True)
class Change:
    """One that is played."""

    name: str
    words: str
    apply: Callable[[Image.Image], Image.Image]


def _brighter_by(share: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.point(lambda value: min(255, int(value * (1 + share))))


def _blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(1.5))


def _turned(image: Image.Image) -> Image.Image:
    return image.rotate(DEGREES, Image.Resampling.BILINEAR)


def _tilted(image: Image.Image) -> Image.Image:
    """As a camera sees it that is not square to it."""
    width, height = image.size
    more = TILT * height
    corners = (0, 0, 0, height, width, height + more, width, -more)
    return image.transform(image.size, Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)


def _grained(image: Image.Image) -> Image.Image:
    """A rougher surface: grains of two pixels, the same in each image of a size."""
    width, height = image.size
    noise = np.random.default_rng(0).normal(0, GRAIN, (height // 2 + 1, width // 2 + 1))
    grains = Image.fromarray(noise.astype(np.float32)).resize(image.size)
    shares = 1 + np.asarray(grains)
    pixels = np.asarray(image, np.float32)
    pixels = pixels * (shares if pixels.ndim == 2 else shares[:, :, np.newaxis])
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


CHANGES = (
    Change(name="darker", words="a quarter less light", apply=_brighter_by(-0.25)),
    Change(name="brighter", words="a quarter more light", apply=_brighter_by(0.25)),
    Change(name="blurred", words="out of focus", apply=_blurred),
    Change(name="turned", words=f"turned by {DEGREES}°", apply=_turned),
    Change(name="tilted", words="the camera at an angle", apply=_tilted),
    Change(name="grained", words="a rougher surface", apply=_grained),
)


@contextmanager
def played(change: Change, images: Sequence[Path]) -> Iterator[list[Path]]:
    """Copies of these images, changed. Raises UserError for one that cannot be read."""
    with TemporaryDirectory(prefix="edgewright-played-") as folder:
        paths = [Path(folder) / f"{number:06}.png" for number in range(len(images))]
        for image, path in zip(images, paths, strict=True):
            change.apply(Image.fromarray(decode(image, 16))).save(path)
        yield paths
