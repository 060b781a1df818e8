"""Make a frame from two frames and a `FrameMotion`, plane by plane, in the video's own pixel format.

    planes of frame 0 ──► warp by flow_t0 ──► a ─┬─► w a + (1 − w) b ─► m ─┬──────────────► + ──► planes of frame t
                 flow_t0, flow_t1, w             │                         └─► blur − m ─► · s      (+ residual)
    planes of frame 1 ──► warp by flow_t1 ──► b ─┘

For a motion with an `other` one beside it, m is share · m + (1 − share) · (m of the other).

Neither colours nor bit depths are converted: a 10-bit plane stays one, subsampled chroma is warped at its own size,
interleaved samples (NV12's UV, packed RGB) move together, alpha is a plane like the others.

Shapes: planes (h, w) or (h, w, c), uint8, uint16 or float32, with h = ceil(H / sy) and w = ceil(W / sx) for a frame of
(H, W). The maps of the motion may be coarser than the frame. They are resized to the planes in bands of rows, so that
no full map of an 8K frame is in memory (unless the rows of the frame and of a map have no common divisor).

Interpolation is bicubic: bilinear loses fine detail at half a pixel. A motion may ask for bilinear interpolation all
the same, and for `sharpening`, which puts some of that detail back in planes of full size. Detail on which the two
frames do not agree is kept, unless the motion has `softness`: blurring it would raise the PSNR, but things that move
would look smeared.

Values: bicubic interpolation overshoots, so samples are clipped to the range that the same plane has in the two frames:
a source of limited range yields no illegal code value. Where both frames agree and the flow is zero, the result is the
source, bit by bit.

Chroma samples read the flow at the centre of the luma samples that they cover. Where the format sites them at the left
edge, this is half a luma pixel off, in a map that is coarser than that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.layers.motion import FrameMotion
from betwixt.layers.scratch import Scratch

Plane = NDArray[Any]
"""One plane of a frame: (h, w) or (h, w, c), uint8, uint16 (either byte order) or float32."""

_BAND = 1 << 18
"""Samples of a band: enough that calls cost nothing beside the work, few enough for a shared cache."""

_LARGE = 1 << 24
"""Samples of planes of one size from which they are warped as integers. Smaller ones are converted to float32 first,
which OpenCV warps in two thirds of the time and without rounding, but in four times the memory of 8 bits."""

_scratch = Scratch()

_WIDE_BLUR = 2.5
"""Standard deviation, in samples, from which a blur runs at half the size."""

_INTERPOLATION = {"bicubic": cv2.INTER_CUBIC, "bilinear": cv2.INTER_LINEAR}

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
        self.residual = None if residual is None else residual.astype(np.float32, copy=False)
        self.sources = _for_opencv(first), _for_opencv(second)
        self.out: Plane = np.empty(first.shape, first.dtype)

    @cached_property
    def limits(self) -> tuple[np.float32, np.float32]:
        """The lowest and the highest sample of the two sources."""
        first, second = self.sources
        return np.float32(min(first.min(), second.min())), np.float32(max(first.max(), second.max()))

    def copies(self, top: int, bottom: int) -> bool:
        """Copy rows that are equal in the two sources; false if they are not equal."""
        rows, others = (source[top:bottom] for source in self.sources)
        if not np.array_equal(rows, others):
            return False
        self.out[top:bottom] = rows
        return True

    def write(self, top: int, values: _Map, clip: bool = True) -> None:
        """Store rows from `top` on, rounded to the nearest code value; modifies `values`."""
        if clip:
            np.clip(values, *self.limits, out=values)
        if self.out.dtype.kind != "f":
            values += np.float32(0.5)  # the conversion to integers truncates
        self.out[top : top + len(values)] = values


def _synthesize(group: list[_Blend], motion: FrameMotion, flows: list[list[_Map]], size: tuple[int, int]) -> None:
    """Fill the planes of `group`, which all have one size.

    `flows` are flow_t0 and flow_t1 of the motion, then those of its `other` motion if it has one, each as (x, y) maps.
    """
    height, width = group[0].out.shape[:2]
    steps = _subsampling(size[1], width), _subsampling(size[0], height)
    flows = [
        [part if step == 1 else part * np.float32(1 / step) for part, step in zip(flow, steps, strict=True)]
        for flow in flows
    ]
    bands = _bands(height, width, [len(motion.weight)])
    small = sum(blend.out.size for blend in group) < _LARGE
    warpable = [
        [_to_float(source, f"source {k} {n}") if small else source for k, source in enumerate(blend.sources)]
        for n, blend in enumerate(group)
    ]
    for top, bottom in bands:
        band = _Band(top, bottom, height, width)
        offsets = [band.offsets(flow, f"offsets {n}") for n, flow in enumerate(flows)]
        if not any(offsets) and all(blend.copies(top, bottom) for blend in group):
            continue
        weight = band.resize(motion.weight, "weight")
        for blend, sources in zip(group, warpable, strict=True):
            a, b = (
                band.warp(source, at, motion.sampling, name)
                for source, at, name in zip(sources, offsets[:2], ("warped 0", "warped 1"), strict=True)
            )
            # w a + (1 - w) b, written so that two equal samples give that sample exactly.
            a -= b
            a *= _like(weight, a)
            a += b
            if motion.other is not None and motion.share is not None:
                c, d = (
                    band.warp(source, at, motion.sampling, name)
                    for source, at, name in zip(sources, offsets[2:], ("warped 2", "warped 3"), strict=True)
                )
                c -= d
                c *= _like(band.resize(motion.other.weight, "other weight"), c)
                c += d
                a -= c
                a *= _like(band.resize(motion.share, "share"), a)
                a += c
            blend.write(top, a, clip=motion.sampling == "bicubic")
    for blend in group:
        if motion.sharpening and max(steps) == 1:
            _sharpen(blend, motion.sharpening, flows)
        if motion.softness or blend.residual is not None:
            _correct(blend, motion.softness, steps)


class _Band:
    """A band of rows of a plane (height, width): resizes maps to it, and warps planes to it."""

    def __init__(self, top: int, bottom: int, height: int, width: int) -> None:
        self.top, self.bottom, self.height, self.width = top, bottom, height, width

    def resize(self, map_: _Map, name: str) -> _Map:
        """The rows of a map that is resized to the plane, without resizing the others; in scratch memory."""
        part, start, lines = self._part(map_)
        resized = _scratch.array(name, (lines, self.width, *map_.shape[2:]))
        cv2.resize(part, (self.width, lines), dst=resized, interpolation=cv2.INTER_LINEAR)
        return resized[start : start + self.bottom - self.top]

    def offsets(self, flow: Sequence[_Map], name: str) -> tuple[_Map, _Map] | None:
        """Where the band's samples lie, (x, y) from their place in the band; None if nothing moves."""
        if not any(self._part(part)[0].any() for part in flow):
            return None
        x, y = (self.resize(part, f"{name} {axis}") for part, axis in zip(flow, "xy", strict=True))
        y += np.float32(self.top)
        return x, y

    def warp(self, source: Plane, offsets: tuple[_Map, _Map] | None, sampling: str, name: str) -> _Map:
        """Sample `source` at the offsets; float32, in scratch memory."""
        rows = source[self.top : self.bottom]
        warped = _scratch.array(name, rows.shape)
        if offsets is None:
            warped[...] = rows
            return warped
        flags = _INTERPOLATION[sampling] | cv2.WARP_RELATIVE_MAP
        target = warped if rows.dtype == np.float32 else _scratch.array("integers", rows.shape, rows.dtype)
        cv2.remap(source, *offsets, flags, dst=target, borderMode=cv2.BORDER_REPLICATE)
        if target is not warped:
            warped[...] = target
        return warped

    def _part(self, map_: _Map) -> tuple[_Map, int, int]:
        """The rows of a map that the band needs, where it begins in them once they are resized, and their number then.

        They begin and end at rows of the plane, and include one such part more on both sides.
        """
        parts, rows, lines = _units(len(map_), self.height)
        first = max(0, self.top // lines - 1)
        last = min(parts, -(-self.bottom // lines) + 1)
        return map_[first * rows : last * rows], self.top - first * lines, (last - first) * lines


def _units(rows: int, height: int) -> tuple[int, int, int]:
    """The largest number of equal parts of a map and a plane with whole rows, and the rows of a part in each."""
    count = math.gcd(rows, height)
    return count, rows // count, height // count


def _bands(height: int, width: int, rows: Iterable[int]) -> list[tuple[int, int]]:
    """Bands of a plane to which maps of so many rows are resized."""
    lines = max(_BAND // width, *(2 * _units(count, height)[2] for count in rows))
    return [(top, min(top + lines, height)) for top in range(0, height, lines)]


def _sharpen(blend: _Blend, amount: float, flows: list[list[_Map]]) -> None:
    """Put detail back that sampling and blending took, except where nothing moves."""
    sharp = _for_opencv(blend.out)
    soft = _scratch.array("soft", sharp.shape, sharp.dtype)
    cv2.GaussianBlur(sharp, (3, 3), 0, dst=soft, borderType=cv2.BORDER_REPLICATE)
    result = cv2.addWeighted(sharp, 1 + amount, soft, -amount, 0).reshape(sharp.shape)
    np.clip(result, *(limit.astype(result.dtype) for limit in blend.limits), out=result)
    moves = np.logical_or.reduce([part != 0 for flow in flows for part in flow])
    if not moves.all():
        still = cv2.resize((~moves).view(np.uint8), sharp.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        cv2.copyTo(sharp, still, result)
    blend.out = result.astype(blend.out.dtype, copy=False)


def _correct(
    blend: _Blend,
    softness: tuple[tuple[float, _Map], ...],
    steps: tuple[float, float],
) -> None:
    """Soften a blend by the motion's own `softness`, and add its residual."""
    height, width = blend.out.shape[:2]
    sharp = _for_opencv(blend.out)
    blurs = [(_blur(sharp, [sigma / step for step in steps]), amount) for sigma, amount in softness if amount.any()]
    maps = [amount for _, amount in blurs] + ([] if blend.residual is None else [blend.residual])
    for top, bottom in _bands(height, width, map(len, maps)):
        band = _Band(top, bottom, height, width)
        result = sharp[top:bottom].astype(np.float32)
        for soft, amount in blurs:
            rows = _subtract(soft, sharp, (top, bottom))
            rows *= _like(band.resize(amount, "amount"), rows)
            result += rows
        if blend.residual is not None:
            result += band.resize(blend.residual, "residual").reshape(result.shape)
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


def _to_float(plane: Plane, name: str) -> _Map:
    """A plane as float32, in scratch memory."""
    if plane.dtype == np.float32:
        return plane
    values = _scratch.array(name, plane.shape)
    values[...] = plane
    return values


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
