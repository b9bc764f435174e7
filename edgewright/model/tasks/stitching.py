"""A map over all tiles of an image, as docs/formats.md has it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgewright.base.errors import UserError
from edgewright.model.contract.tiles import TilePlan
from edgewright.model.tasks.masks import Axis, Window

MAX_MAP_PIXELS = 1 << 24  # of a stitched map, as edge-infer has it

Exact = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Stitching:
    """Where the maps of an image's tiles lie in one that covers them all."""

    plan: TilePlan
    window: Window  # of the stitched map

    @classmethod
    def of(cls, plan: TilePlan, size: tuple[int, int]) -> "Stitching":
        """For parts of this height and width that show a tile each.

        Raises UserError if the stitched map has more than `MAX_MAP_PIXELS`.
        """
        region, tile = plan.region, plan.tiles[0]
        window = Window(
            rows=Axis.stitched(region.y, region.height, tile.height, size[0]),
            columns=Axis.stitched(region.x, region.width, tile.width, size[1]),
        )
        if (count := window.rows.end * window.columns.end) > MAX_MAP_PIXELS:
            raise UserError(
                f"{region.width} x {region.height} pixels",
                f"has a map of {count} pixels over all tiles, at most {MAX_MAP_PIXELS} are taken",
                next="state larger tiles in the card",
            )
        return cls(plan=plan, window=window)

    def covered(self, place: int) -> tuple[slice, slice]:
        """Rows and columns of the map whose centres lie in a tile."""
        tile = self.plan.tiles[place]
        return (
            _between(self.window.rows.centres, tile.y, tile.y + tile.height),
            _between(self.window.columns.centres, tile.x, tile.x + tile.width),
        )

    def owned(self, place: int) -> tuple[slice, slice]:
        """Rows and columns that a tile alone decides on: to the middle of each overlap."""
        tile, tiles = self.plan.tiles[place], self.plan.tiles
        region = self.plan.region
        return (
            _between(
                self.window.rows.centres,
                *_seams(tile.y, tile.height, {t.y for t in tiles}, region.y, region.height),
            ),
            _between(
                self.window.columns.centres,
                *_seams(tile.x, tile.width, {t.x for t in tiles}, region.x, region.width),
            ),
        )

    def points(self, part: tuple[slice, slice]) -> tuple[Exact, Exact]:
        """Centres of a part's rows and columns, in pixels of the image."""
        return self.window.rows.centres[part[0]], self.window.columns.centres[part[1]]


def _between(centres: Exact, low: float, high: float) -> slice:
    first, end = np.searchsorted(centres, [low, high])
    return slice(int(first), int(end))


def _seams(start: int, size: int, starts: set[int], first: int, length: int) -> tuple[float, float]:
    """The middles of a tile's overlaps with its neighbours on one axis; the region's edges."""
    before = [other for other in starts if other < start]
    behind = [other for other in starts if other > start]
    low = (max(before) + size + start) / 2 if before else first
    high = (start + size + min(behind)) / 2 if behind else first + length
    return low, high
