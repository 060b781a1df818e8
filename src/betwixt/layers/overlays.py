"""Keep an overlay in place: take it off the two frames, and put it onto the frame between them.

    planes of frame 0 ──► fill ──┐                               ┌── (1 − t) frame 0 + t frame 1
                                 ├─► motion, synthesis ──► m·● + (1 − m)·●
    planes of frame 1 ──► fill ──┘                               m: the overlay's mask

Behind the overlay each frame is filled from around it, so that the motion found there is that of the picture, and no
part of the overlay is moved with it.

Planes are those of `layers.planes`: (h, w) or (h, w, c), of any type and subsampling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]
"""One plane of a frame: (h, w) or (h, w, c)."""

_MARGIN = 16
"""Samples around an overlay from which it is filled."""


class Overlay:
    """The overlay of two frames.

    Args:
        mask: (h, w) uint8, 255 in the overlay, falling to 0 around it; of the frames' size or smaller.
    """

    def __init__(self, mask: NDArray[np.uint8]) -> None:
        self._masks = {mask.shape: mask}
        self._mask = mask

    def fill(self, planes: Sequence[Plane]) -> list[Plane]:
        """New planes in which the overlay is replaced by what is around it."""
        result = []
        for plane in planes:
            filled = plane.copy()
            holes = self._hole(*plane.shape[:2])
            for rows, columns in _regions(holes, _MARGIN):
                area = filled[rows, columns]
                hole = holes[rows, columns]
                values = _fill(area.astype(np.float32), 1 - hole.astype(np.float32))
                area[hole] = values[hole] if plane.dtype.kind == "f" else np.rint(values[hole])
            result.append(filled)
        return result

    def restore(self, planes: Sequence[Plane], first: Sequence[Plane], second: Sequence[Plane], t: float) -> None:
        """Put the overlay back onto the planes of the frame at time `t`, in place.

        Args:
            planes: The synthesized planes.
            first: The planes of the frame at time 0, with the overlay. Where they equal those of the second frame and
                the mask is 255, the result is that sample.
            second: The planes of the frame at time 1.
            t: The time, 0 < t <= 1; 1 also for a frame after the second.
        """
        for plane, a, b in zip(planes, first, second, strict=True):
            mask = self._at(*plane.shape[:2])
            for area in _regions(mask, 0):
                opacity = mask[area].astype(np.float32) / np.float32(255)
                opacity = opacity.reshape(opacity.shape + (1,) * (plane.ndim - 2))
                start = a[area].astype(np.float32)
                still = start + np.float32(t) * (b[area].astype(np.float32) - start)
                moved = plane[area].astype(np.float32)
                still = moved + opacity * (still - moved)
                plane[area] = still if plane.dtype.kind == "f" else np.rint(still)

    def _hole(self, height: int, width: int) -> NDArray[np.bool_]:
        """Where a plane is filled: not in the soft edge, most of which is the picture's."""
        return self._at(height, width) >= 128

    def _at(self, height: int, width: int) -> NDArray[np.uint8]:
        """The mask at a plane's size."""
        mask = self._masks.get((height, width))
        if mask is None:
            larger = height > self._mask.shape[0]
            method = cv2.INTER_LINEAR if larger else cv2.INTER_AREA
            mask = np.asarray(cv2.resize(self._mask, (width, height), interpolation=method), np.uint8)
            self._masks[height, width] = mask
        return mask


def _regions(mask: NDArray[Any], margin: int) -> Iterator[tuple[slice, slice]]:
    """Bands of rows, each as wide as the mask is there, that hold all of the mask, and `margin` samples around."""
    height, width = mask.shape
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return
    for band in np.split(rows, np.flatnonzero(np.diff(rows) > 1 + 2 * margin) + 1):
        columns = np.flatnonzero(mask[band[0] : band[-1] + 1].any(axis=0))
        yield (
            slice(max(0, int(band[0]) - margin), min(height, int(band[-1]) + 1 + margin)),
            slice(max(0, int(columns[0]) - margin), min(width, int(columns[-1]) + 1 + margin)),
        )


def _fill(values: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fill unknown samples from the nearest known ones, coarse to fine.

    Args:
        values: (h, w) or (h, w, c).
        known: (h, w), 1 where values are known and 0 elsewhere.
    """
    weights = known.reshape(known.shape + (1,) * (values.ndim - 2))
    height, width = known.shape
    if known.all() or not known.any() or min(height, width) < 2:
        return values
    half = -(-width // 2), -(-height // 2)
    coarse_known = np.asarray(cv2.resize(known, half, interpolation=cv2.INTER_AREA), np.float32)
    sums: NDArray[np.float32] = np.asarray(cv2.resize(values * weights, half, interpolation=cv2.INTER_AREA), np.float32)
    divisors = np.maximum(coarse_known, np.float32(1e-6)).reshape(coarse_known.shape + (1,) * (values.ndim - 2))
    sums = sums.reshape(*half[::-1], *values.shape[2:])
    sums /= divisors
    coarse = _fill(sums, (coarse_known > 0).astype(np.float32))
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(values.shape)
    return np.where(weights > 0, values, fine)
