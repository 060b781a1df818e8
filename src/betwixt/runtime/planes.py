"""Makes a frame from two frames and a `Motion`, plane by plane, in the format the video has.

    planes of frame 0 ──► warp by flow_t0 ──► · w ───────┐
                 flow_t0, flow_t1, w                     + ──► soften where in doubt ──► planes of frame t
    planes of frame 1 ──► warp by flow_t1 ──► · (1 − w) ─┘

Nothing is converted: a 10-bit plane stays one, subsampled chroma is warped at its own size, interleaved samples
(NV12's UV, packed RGB) move together, alpha is a plane like the others.

Shapes: planes (h, w) or (h, w, c), uint8, uint16 or float32, with h = ceil(H / sy) and w = ceil(W / sx) for a frame of
(H, W). The maps of the motion may be coarser than the frame and are brought to the size of the planes in bands of
rows: the memory needed beside the result does not grow with the frame.

Interpolation: bicubic. Bilinear takes most of the fine detail away at half a pixel, which costs 0.8 dB where motion is
well known; where it is not, that blur hides false detail, so there the frame is softened on purpose, by as much as the
motion's `doubt` says.

Values: bicubic overshoots, so samples are clipped to the range that the same plane has in the two frames: a limited-range
source gives no illegal code value. Where both frames agree, the flow is zero and nothing is in doubt, the result is
the source, bit by bit.

Chroma samples read the flow at the centre of the luma samples that they cover. Where the format sites them at the left
edge this is half a luma pixel off, in a map that is coarser than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.models.base import Motion
from betwixt.models.dis import DoubtfulMotion

__all__ = ["Plane", "synthesize_planes"]

Plane = NDArray[Any]
"""One plane of a frame: (h, w) or (h, w, c), uint8, uint16 (either byte order) or float32."""

_BAND = 1 << 16
"""Samples of a band. Its maps and warps stay in a core's cache from one step to the next."""

_SOFT = 1.25
"""Standard deviation, in samples, of the blur where the motion is in full doubt."""

_Map = NDArray[np.float32]


def synthesize_planes(
    first: Sequence[Plane], second: Sequence[Plane], motion: Motion, size: tuple[int, int]
) -> list[Plane]:
    """Make the planes of the frame that `motion` describes.

    Args:
        first: The planes of the frame at time 0.
        second: The planes of the frame at time 1, of the same shapes and types.
        motion: Flows in pixels of the full frame, and the weight of the first frame.
        size: (H, W) of the full frame, which is the size of luma; smaller planes are subsampled.

    Returns:
        New planes, of the shapes and types of `first`.

    Raises:
        UsageError: if the planes of the two frames differ in number, shape or type.
    """
    if [(p.shape, p.dtype) for p in first] != [(p.shape, p.dtype) for p in second]:
        raise UsageError("The two frames differ in size or pixel format: convert one to the other's first.")
    made: dict[int, Plane] = {}
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, plane in enumerate(first):
        groups.setdefault(plane.shape[:2], []).append(number)
    for numbers in groups.values():
        group = [_Blend(first[n], second[n]) for n in numbers]
        _synthesize(group, motion, size)
        made.update((n, blend.out) for n, blend in zip(numbers, group, strict=True))
    return [made[n] for n in range(len(first))]


class _Blend:
    """A plane in the making: its two sources, ready for OpenCV, and its result."""

    def __init__(self, first: Plane, second: Plane) -> None:
        self.sources = _for_opencv(first), _for_opencv(second)
        self.out = np.empty(first.shape, first.dtype)
        self.low = np.float32(min(first.min(), second.min()))
        self.high = np.float32(max(first.max(), second.max()))

    def write(self, top: int, values: _Map) -> None:
        """Store rows from `top` on, rounded to the nearest code value; changes `values`."""
        np.clip(values, self.low, self.high, out=values)
        if self.out.dtype.kind != "f":
            values += np.float32(0.5)  # the conversion cuts off
        self.out[top : top + len(values)] = values


def _synthesize(group: list[_Blend], motion: Motion, size: tuple[int, int]) -> None:
    """Fill the planes of `group`, which have one size and so share the maps."""
    height, width = group[0].out.shape[:2]
    shrink = np.array([1 / _subsampling(size[1], width), 1 / _subsampling(size[0], height)], np.float32)
    rows = max(1, min(height, _BAND // width))
    bands = [(top, min(top + rows, height)) for top in range(0, height, rows)]
    columns = np.arange(width, dtype=np.float32)
    for top, bottom in bands:
        grid = np.empty((bottom - top, width, 2), np.float32)
        grid[..., 0] = columns
        grid[..., 1] = np.arange(top, bottom, dtype=np.float32)[:, None]
        places = []
        for flow in (motion.flow_t0, motion.flow_t1):
            place = _enlarged(flow, top, bottom, height, width, shrink)
            place += grid
            places.append(place)
        weight = _enlarged(motion.weight, top, bottom, height, width)
        for blend in group:
            a, b = (_warped(source, place) for source, place in zip(blend.sources, places, strict=True))
            # w a + (1 - w) b, written so that two equal samples give that sample exactly.
            a -= b
            a *= _beside(weight, a)
            a += b
            blend.write(top, a)
    if isinstance(motion, DoubtfulMotion) and motion.doubt.any():
        for blend in group:
            _soften(blend, motion.doubt, bands)


def _soften(blend: _Blend, doubt: _Map, bands: list[tuple[int, int]]) -> None:
    """Move what is in doubt towards its surroundings' average."""
    height, width = blend.out.shape[:2]
    sharp = _for_opencv(blend.out)
    # Narrow planes come back from OpenCV without their last axis.
    soft = cv2.GaussianBlur(sharp, (0, 0), _SOFT, borderType=cv2.BORDER_REPLICATE).reshape(sharp.shape)
    for top, bottom in bands:
        amount = _enlarged(doubt, top, bottom, height, width)
        if not amount.any():
            continue
        values = sharp[top:bottom].astype(np.float32)
        change = soft[top:bottom].astype(np.float32)
        change -= values
        change *= _beside(amount, change)
        values += change
        blend.write(top, values)


def _warped(source: Plane, place: _Map) -> _Map:
    warped = cv2.remap(source, place, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    samples: _Map = warped.reshape(*place.shape[:2], *source.shape[2:]).astype(np.float32, copy=False)
    return samples


def _beside(factor: _Map, values: _Map) -> _Map:
    return factor if values.ndim == 2 else factor[..., None]


def _subsampling(full: int, part: int) -> float:
    """By how much a plane of `part` samples is coarser than a frame of `full`: odd sizes are rounded up."""
    return next((float(s) for s in (1, 2, 4) if -(-full // s) == part), full / part)


def _for_opencv(plane: Plane) -> Plane:
    """`plane` in the machine's byte order, its rows whole and in order; copied only if it is not so already."""
    native = plane.astype(plane.dtype.newbyteorder("="), copy=False)
    whole = native[0].flags.c_contiguous and native.strides[0] >= native[0].nbytes
    return native if whole else np.ascontiguousarray(native)


def _enlarged(coarse: _Map, top: int, bottom: int, height: int, width: int, factor: _Map | None = None) -> _Map:
    """Rows `top` to `bottom` of `coarse` enlarged bilinearly to (height, width), times `factor`; always a new array."""
    map_h, map_w = coarse.shape[:2]
    if map_h == height:
        band = coarse[top:bottom].copy()
    else:
        y = np.clip((np.arange(top, bottom) + 0.5) * (map_h / height) - 0.5, 0, map_h - 1)
        above = y.astype(np.intp)
        part = (y - above).astype(np.float32).reshape(-1, *(1,) * (coarse.ndim - 1))
        band = coarse[above]
        below = coarse[np.minimum(above + 1, map_h - 1)]
        below -= band
        below *= part
        band += below
    if factor is not None:
        band *= factor
    if map_w != width:
        band = cv2.resize(band, (width, bottom - top), interpolation=cv2.INTER_LINEAR)
    return band
