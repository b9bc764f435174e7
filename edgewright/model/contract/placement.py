"""Where an image lies in the network's input."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgewright.model.contract.card import Region


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The upright image of `width` x `height` pixels in the input: x_in = x * scale_x + left.

    Coordinates are those of corners: the first pixel reaches from 0 to 1.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float
    left: float = 0.0  # of the image's corner, in pixels of the input
    top: float = 0.0
    region: Region | None = None  # the part of the image that the network sees; none: all of it

    @property
    def part(self) -> Region:
        """The part of the image that the network sees."""
        return self.region or Region(x=0, y=0, width=self.width, height=self.height)

    def enlarged(
        self, reduction: int, size: tuple[int, int], margin: tuple[int, int]
    ) -> "Placement":
        """The same of the image itself, of which this one is the picture reduced in size.

        `size` is its height and width, `margin` how many of its pixels fit into the reduced
        picture before its first row and column.
        """
        scale_y, scale_x = self.scale_y / reduction, self.scale_x / reduction
        return replace(
            self,
            height=size[0],
            width=size[1],
            scale_y=scale_y,
            scale_x=scale_x,
            top=self.top + margin[0] * scale_y,
            left=self.left + margin[1] * scale_x,
        )

    def to_image(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points (…, 2), x and y in pixels of the input -> in pixels of the image, within it."""
        places: NDArray[np.float64] = np.clip(
            (points - np.array([self.left, self.top])) / np.array([self.scale_x, self.scale_y]),
            0,
            [self.width, self.height],
        )
        return places
