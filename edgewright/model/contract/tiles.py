"""How an image is cut into tiles, as docs/formats.md has it; C++ cuts it alike."""

from dataclasses import dataclass

from edgewright.model.contract.card import Region, Tiling

MAX_TILES = 1024  # of an image, as edge-infer has it


@dataclass(frozen=True, kw_only=True)
class TilePlan:
    """The tiles of one image, row by row from the left."""

    region: Region  # of the upright image, which they cover
    tiles: tuple[Region, ...]  # in pixels of the upright image

    @property
    def middle(self) -> int:
        """Place of the tile whose input and outputs stand for all, where one is asked for."""
        return len(self.tiles) // 2


def plan_tiles(region: Region, tiling: Tiling) -> TilePlan:
    """The tiles of one size that cover a region; the last of each row and column end with it.

    Raises ValueError, in words, if there are more than `MAX_TILES`.
    """
    height, width = min(region.height, tiling.size[0]), min(region.width, tiling.size[1])
    rows = _starts(region.height, tiling.size[0], tiling.overlap)
    columns = _starts(region.width, tiling.size[1], tiling.overlap)
    if (count := len(rows) * len(columns)) > MAX_TILES:
        raise ValueError(f"is cut into {count} tiles, at most {MAX_TILES} are taken")
    return TilePlan(
        region=region,
        tiles=tuple(
            Region(x=region.x + column, y=region.y + row, width=width, height=height)
            for row in rows
            for column in columns
        ),
    )


def _starts(length: int, size: int, overlap: int) -> list[int]:
    """Where the tiles of one axis begin; an axis that is no longer than one is one."""
    if length <= size:
        return [0]
    return [*range(0, length - size, size - overlap), length - size]
