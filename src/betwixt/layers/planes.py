"""Make a frame from two frames and a `FrameMotion`, plane by plane, in the video's own pixel format.

    planes of frame 0 ──► warp by flow_t0 ──► a ─┬─► w a + (1 − w) b ─► m ─┬──────────────► + ──► planes of frame t
                 flow_t0, flow_t1, w             │                         └─► blur − m ─► · s      (+ residual)
    planes of frame 1 ──► warp by flow_t1 ──► b ─┘

For a motion with an `other` one beside it, m is share · m + (1 − share) · (m of the other).

Neither colours nor bit depths are converted: a 10-bit plane stays one, subsampled chroma is warped at its own size,
interleaved samples (NV12's UV, packed RGB) move together, alpha is a plane like the others.

Shapes: planes (h, w) or (h, w, c), uint8, uint16 or float32, with h = ceil(H / sy) and w = ceil(W / sx) for a frame of
(H, W). The maps of the motion may be coarser than the frame. They are resized to the planes in bands of rows, so that
no full map of an 8K frame is ever in memory.

Interpolation is bicubic: bilinear loses fine detail at half a pixel. Detail on which the two frames do not agree is
kept, unless the motion has `softness`: blurring it would raise the PSNR, but things that move would look smeared.

Values: bicubic interpolation overshoots, so samples are clipped to the range that the same plane has in the two frames:
a source of limited range yields no illegal code value. Where both frames agree and the flow is zero, the result is the
source, bit by bit.

Chroma samples read the flow at the centre of the luma samples that they cover. Where the format sites them at the left
edge, this is half a luma pixel off, in a map that is coarser than that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.layers.motion import FrameMotion

Plane = NDArray[Any]
"""One plane of a frame: (h, w) or (h, w, c), uint8, uint16 (either byte order) or float32."""

_BAND = 1 << 16
"""Samples of a band: its maps and warps fit into a core's cache."""

_LARGE = 1 << 24
"""Samples of planes of one size from which they are warped as integers. Smaller ones are converted to float32 first,
which OpenCV warps in two thirds of the time and without rounding, but in four times the memory of 8 bits."""

_WIDE_BLUR = 2.5
"""Standard deviation, in samples, from which a blur runs at half the size."""

_Map = NDArray[Any]
"""A float32 map over the plane or over a coarser grid."""


def synthesize_planes(
    first: Sequence[Plane],
    second: Sequence[Plane],
    motion: FrameMotion,
    size: tuple[int, int],
    residuals: Sequence[_Map | None] | None = None,
) -> list[Plane]:
    """Make the planes of the frame that `motion` describes.

    Args:
        first: The planes of the frame at time 0.
        second: The planes of the frame at time 1, of the same shapes and types.
        motion: Flows in pixels of the full frame, the weight of the first frame, and how the blend is corrected.
        size: (H, W) of the full frame, which is the size of luma; smaller planes are subsampled.
        residuals: What to add to the blend of each plane, in its code values, on a map of any coarser size:
            `motion.colour_residual` converted to the planes' format.

    Returns:
        New planes, of the shapes and types of `first`.

    Raises:
        UsageError: if the planes of the two frames differ in number, shape or type.
    """
    if [(p.shape, p.dtype) for p in first] != [(p.shape, p.dtype) for p in second]:
        raise UsageError("The two frames differ in size or pixel format: convert one to the other's first.")
    result: dict[int, Plane] = {}
    groups: dict[tuple[int, ...], list[int]] = {}  # planes of one size share the resized maps
    for number, plane in enumerate(first):
        groups.setdefault(plane.shape[:2], []).append(number)
    # Two maps of one channel are resized in a third of the time of one map of two channels.
    motions = [motion] if motion.other is None else [motion, motion.other]
    flows = [list(cv2.split(flow)) for m in motions for flow in (m.flow_t0, m.flow_t1)]
    for numbers in groups.values():
        group = [_Blend(first[n], second[n], None if residuals is None else residuals[n]) for n in numbers]
        _synthesize(group, motion, flows, size)
        result.update((n, blend.out) for n, blend in zip(numbers, group, strict=True))
    return [result[n] for n in range(len(first))]


class _Blend:
    """A plane that is being made: its two sources, ready for OpenCV, its residual and its result."""

    def __init__(self, first: Plane, second: Plane, residual: _Map | None) -> None:
        self.residual = None if residual is None else _resize_rows(residual.astype(np.float32, copy=False), len(first))
        self.sources = _for_opencv(first), _for_opencv(second)
        self.out: Plane = np.empty(first.shape, first.dtype)
        self.low = np.float32(min(first.min(), second.min()))
        self.high = np.float32(max(first.max(), second.max()))

    def write(self, top: int, values: _Map) -> None:
        """Store rows from `top` on, rounded to the nearest code value; modifies `values`."""
        np.clip(values, self.low, self.high, out=values)
        if self.out.dtype.kind != "f":
            values += np.float32(0.5)  # the conversion to integers truncates
        self.out[top : top + len(values)] = values


def _synthesize(group: list[_Blend], motion: FrameMotion, flows: list[list[_Map]], size: tuple[int, int]) -> None:
    """Fill the planes of `group`, which all have one size.

    `flows` are flow_t0 and flow_t1 of the motion, then those of its `other` motion if it has one, each as (x, y) maps.
    """
    height, width = group[0].out.shape[:2]
    step_y, step_x = _subsampling(size[0], height), _subsampling(size[1], width)
    rows = max(1, _BAND // width)
    bands = [(top, min(top + rows, height)) for top in range(0, height, rows)]
    columns = np.arange(width, dtype=np.float32)
    steps = step_x, step_y
    tall_flows = [
        [
            _resize_rows(part if step == 1 else part * np.float32(1 / step), height)
            for part, step in zip(flow, steps, strict=True)
        ]
        for flow in flows
    ]
    weights = _resize_rows(motion.weight, height)
    other = None
    if motion.other is not None and motion.share is not None:
        other = _resize_rows(motion.other.weight, height), _resize_rows(motion.share, height)
    small = sum(blend.out.size for blend in group) < _LARGE
    warpable = [
        [source.astype(np.float32, copy=False) if small else source for source in blend.sources] for blend in group
    ]
    for top, bottom in bands:
        lines = np.arange(top, bottom, dtype=np.float32)[:, None]
        coordinates = []
        for flow in tall_flows:
            x, y = (_resize_columns(part[top:bottom], width) for part in flow)
            x += columns
            y += lines
            coordinates.append((x, y))
        weight = _resize_columns(weights[top:bottom], width)
        for blend, sources in zip(group, warpable, strict=True):
            a, b = (_warp(source, at) for source, at in zip(sources, coordinates[:2], strict=True))
            # w a + (1 - w) b, written so that two equal samples give that sample exactly.
            a -= b
            a *= _like(weight, a)
            a += b
            if other is not None:
                c, d = (_warp(source, at) for source, at in zip(sources, coordinates[2:], strict=True))
                other_weight, share = (_resize_columns(map_[top:bottom], width) for map_ in other)
                c -= d
                c *= _like(other_weight, c)
                c += d
                a -= c
                a *= _like(share, a)
                a += c
            blend.write(top, a)
    for blend in group:
        if motion.softness or blend.residual is not None:
            _correct(blend, motion.softness, bands, steps)


def _correct(
    blend: _Blend,
    softness: tuple[tuple[float, _Map], ...],
    bands: list[tuple[int, int]],
    steps: tuple[float, float],
) -> None:
    """Soften a blend by the motion's own `softness`, and add its residual."""
    height, width = blend.out.shape[:2]
    sharp = _for_opencv(blend.out)
    blurs = []
    for sigma, amount in softness:
        if not amount.any():
            continue
        blurs.append((_blur(sharp, [sigma / step for step in steps]), _resize_rows(amount, height)))
    for top, bottom in bands:
        result = sharp[top:bottom].astype(np.float32)
        for soft, amounts in blurs:
            rows = _subtract(soft, sharp, (top, bottom))
            rows *= _like(_resize_columns(amounts[top:bottom], width), rows)
            result += rows
        if blend.residual is not None:
            result += _resize_columns(blend.residual[top:bottom], width).reshape(result.shape)
        blend.write(top, result)


def _blur(plane: Plane, sigmas: Sequence[float]) -> Plane:
    """Gaussian blur by standard deviations (x, y) in samples; a wide one at half the size, at a fifth of the cost."""
    h, w = plane.shape[:2]
    if min(sigmas) >= _WIDE_BLUR and min(h, w) >= 32:
        half = cv2.resize(plane, (-(-w // 2), -(-h // 2)), interpolation=cv2.INTER_AREA)
        # Downsampling and upsampling blur, too: a box and a triangle, whose variances are 1/4 and 2/3.
        half_sigmas = [math.sqrt(sigma * sigma - 11 / 12) / 2 for sigma in sigmas]
        soft = cv2.resize(_blur(half, half_sigmas), (w, h), interpolation=cv2.INTER_LINEAR)
        return np.asarray(soft).reshape(plane.shape)
    size = [2 * math.ceil(3 * sigma) + 1 for sigma in sigmas]
    soft = cv2.GaussianBlur(plane, size, sigmas[0], sigmaY=sigmas[1], borderType=cv2.BORDER_REPLICATE)
    return np.asarray(soft).reshape(plane.shape)


def _subtract(a: Plane, b: Plane, band: tuple[int, int]) -> _Map:
    """a - b in a band of rows, float32."""
    rows = slice(*band)
    return a[rows].astype(np.float32) - b[rows]


def _warp(source: Plane, coordinates: tuple[_Map, _Map]) -> _Map:
    """Sample `source` at the coordinates (x, y), bicubically; float32."""
    warped = cv2.remap(source, *coordinates, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    samples: _Map = warped.reshape(*coordinates[0].shape, *source.shape[2:]).astype(np.float32, copy=False)
    return samples


def _like(factor: _Map, values: _Map) -> _Map:
    """`factor` (h, w) in a shape that multiplies `values`, (h, w) or (h, w, c)."""
    return factor if values.ndim == 2 else factor[..., None]


def _subsampling(full: int, part: int) -> float:
    """The subsampling factor of a plane with `part` samples in a frame of `full`; odd sizes are rounded up."""
    return next((float(s) for s in (1, 2, 4) if -(-full // s) == part), full / part)


def _for_opencv(plane: Plane) -> Plane:
    """`plane` in native byte order with contiguous rows in order; copied only if it is not so already."""
    native = plane.astype(plane.dtype.newbyteorder("="), copy=False)
    contiguous = native[0].flags.c_contiguous and native.strides[0] >= native[0].nbytes
    return native if contiguous else np.ascontiguousarray(native)


def _resize_rows(map_: _Map, height: int) -> _Map:
    """Resize a map to `height` rows: the first half of resizing it to a plane."""
    return cv2.resize(map_, (map_.shape[1], height), interpolation=cv2.INTER_LINEAR)


def _resize_columns(band: _Map, width: int) -> _Map:
    """Resize a band of rows to `width` columns: the second half, in bands, as the full map would be large."""
    return cv2.resize(band, (width, band.shape[0]), interpolation=cv2.INTER_LINEAR)
