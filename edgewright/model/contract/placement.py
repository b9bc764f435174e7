"""Where an image lies in the network's input."""

from dataclasses import dataclass


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
