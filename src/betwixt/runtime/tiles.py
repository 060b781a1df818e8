"""Large frames in overlapping tiles, which are blended where they overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from betwixt.models.base import Flow, Pair
from betwixt.models.frame_view import Image
from betwixt.models.maps import Maps

TILE_PIXELS = 4096 * 2304
"""The most pixels of a tile: frames up to 4K are made whole."""

_OVERLAP = 128
"""Pixels by which tiles overlap. Flow networks look further than that."""

Tile = tuple[slice, slice]
"""The rows and the columns of a tile."""


def split_into_tiles(height: int, width: int, budget: int) -> list[Tile]:
    """Tiles that overlap and have at most `budget` pixels, as square as possible, row by row."""
    rows, columns = _split(height, width, budget)
    return [(row, column) for row in rows for column in columns]


def prepare_in_tiles(height: int, width: int, budget: int, prepare: Callable[[Tile], Pair]) -> Pair:
    """A pair of frames (height, width), made whole if it has at most `budget` pixels, else in tiles.

    Args:
        height: Of the frames.
        width: Of the frames.
        budget: The most pixels that are made at a time.
        prepare: Prepares the frames within a tile.
    """
    if height * width <= budget:
        return prepare((slice(None), slice(None)))
    return TiledPair([(tile, prepare(tile)) for tile in split_into_tiles(height, width, budget)], (height, width))


def _split(height: int, width: int, budget: int) -> tuple[list[slice], list[slice]]:
    rows = columns = 1
    while True:
        tile_height, tile_width = _tile_side(height, rows), _tile_side(width, columns)
        # A tile that is all overlap is not worth making.
        if tile_height * tile_width <= budget or max(tile_height, tile_width) <= 3 * _OVERLAP:
            return _tile_ranges(height, rows, tile_height), _tile_ranges(width, columns, tile_width)
        rows, columns = (rows + 1, columns) if tile_height >= tile_width else (rows, columns + 1)


def _tile_side(length: int, count: int) -> int:
    """The side of `count` overlapping tiles that cover `length`."""
    return -(-(length + (count - 1) * _OVERLAP) // count)


def _tile_ranges(length: int, count: int, side: int) -> list[slice]:
    if count == 1:
        return [slice(0, length)]
    starts = [round(i * (length - side) / (count - 1)) for i in range(count)]
    return [slice(start, start + side) for start in starts]


class TiledPair(Pair):
    """A pair of frames in overlapping tiles."""

    def __init__(self, tiles: Sequence[tuple[Tile, Pair]], size: tuple[int, int]) -> None:
        self._tiles, self._size = tiles, size

    def at(self, t: float) -> Image:
        """The frame at `t`."""
        return self._blend(3, (pair.at(t) for _, pair in self._tiles))

    def displacement(self, t: float) -> Flow | None:
        """The motion of the tiles."""
        flows = [flow for _, pair in self._tiles if (flow := pair.displacement(t)) is not None]
        return self._blend(2, flows) if flows else None

    def maps(self, t: float) -> Maps:
        """The maps of the tiles, of which those that are as large as the tile are blended, and others left out."""
        of_tiles = [pair.maps(t) for _, pair in self._tiles]
        sizes = [tuple(part.stop - part.start for part in tile) for tile, _ in self._tiles]
        maps: Maps = {}
        for name, first in of_tiles[0].items():
            values = [maps[name].values for maps in of_tiles]
            # An average of labels is no label.
            if first.kind == "labels" or any(v.shape[:2] != size for v, size in zip(values, sizes, strict=True)):
                continue
            channels = first.values.shape[2] if first.values.ndim == 3 else 1
            blended = self._blend(channels, (v.reshape(*v.shape[:2], channels) for v in values))
            maps[name] = replace(first, values=blended.reshape(*self._size, *first.values.shape[2:]))
        return maps

    def _blend(self, channels: int, maps: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Maps (h, w, C) of the tiles as one; in the overlaps the weight of a tile falls towards its edge."""
        total = np.zeros((*self._size, channels), np.float32)
        weights = np.zeros((*self._size, 1), np.float32)
        for ((rows, columns), _), values in zip(self._tiles, maps, strict=True):
            vertical, horizontal = (
                _tile_weights(part.stop - part.start, part.start > 0, part.stop < length)
                for part, length in zip((rows, columns), self._size, strict=True)
            )
            weight = (vertical[:, None] * horizontal)[..., None]
            total[rows, columns] += weight * values
            weights[rows, columns] += weight
        total /= weights
        return total


def _tile_weights(length: int, has_previous: bool, has_next: bool) -> Image:
    """Weights along a side of a tile: 1, with a ramp over the overlap at an edge that has a neighbour."""
    weights = np.ones(length, np.float32)
    ramp = (np.arange(_OVERLAP, dtype=np.float32) + 0.5)[:length] / _OVERLAP
    if has_previous:
        weights[: len(ramp)] *= ramp
    if has_next:
        weights[-len(ramp) :] *= ramp[::-1]
    return weights
