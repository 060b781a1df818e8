"""Makes a frame from two frames and a `FrameMotion`, plane by plane, in the format the video has.

    planes of frame 0 ──► warp by flow_t0 ──► a ─┬─► w a + (1 − w) b ─► m ─┬──────────────► + ──► planes of frame t
                 flow_t0, flow_t1, w             │                         └─► blur − m ─► · s      (+ colours)
    planes of frame 1 ──► warp by flow_t1 ──► b ─┴─► how far a and b disagree, against the detail of m ──► s

Where a motion has another beside it, m is share · m + (1 − share) · the m of the other.

No colour is converted, nor any depth: a 10-bit plane stays one, subsampled chroma is warped at its own size,
interleaved samples (NV12's UV, packed RGB) move together, alpha is a plane like the others.

Shapes: planes (h, w) or (h, w, c), uint8, uint16 or float32, with h = ceil(H / sy) and w = ceil(W / sx) for a frame of
(H, W). The maps of the motion may be coarser than the frame; they are brought to the size of the planes in bands of
rows, so that no map as large as an 8K frame is ever made.

Interpolation is bicubic: bilinear takes the fine detail away at half a pixel. That blur has a use, too, in that it
hides detail which the motion did not place right. So where the two warped frames disagree by as much as the detail of
their blend amounts to, and both take part in it, that detail is not to be believed and the blend is softened (as a
Wiener filter would, by the ratio of the two). The ratio knows no unit: bit depth and range do not matter. A difference
of one sign all over the plane, as in a fade, does not count. A motion that brings its own softness and colours is
followed instead.

Values: bicubic overshoots, so samples are clipped to the range that the same plane has in the two frames: a source of
limited range gives no illegal code value. Where both frames agree and the flow is zero, the result is the source, bit
by bit.

Chroma samples read the flow at the centre of the luma samples that they cover. Where the format sites them at the left
edge this is half a luma pixel off, in a map that is coarser than that.
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

__all__ = ["Plane", "synthesize_planes"]

Plane = NDArray[Any]
"""One plane of a frame: (h, w) or (h, w, c), uint8, uint16 (either byte order) or float32."""

_BAND = 1 << 16
"""Samples of a band. Its maps and warps stay in a core's cache from one step to the next."""

_CELL = 4
"""Disagreement and detail are averaged over cells of this many samples a side, and five cells each way."""

_SOFT = 2.0
"""Standard deviation of the blur, in pixels of the frame."""

_LARGE = 1 << 24
"""Samples of planes of one size from which they are warped as they are. Below, they become float32 first, which OpenCV
warps in two thirds of the time that it takes for integers, and without rounding, but which needs four times the memory
of 8 bit."""

_WIDE = 2.5
"""A blur of so many samples and more is done at half the size."""

_DISBELIEF = 0.15, 2.4
"""Disagreement over detail at which softening begins and at which it is complete."""

_Map = NDArray[Any]
"""A map over the plane or over a coarser grid: float32."""


def synthesize_planes(
    first: Sequence[Plane],
    second: Sequence[Plane],
    motion: FrameMotion,
    size: tuple[int, int],
    changes: Sequence[_Map | None] | None = None,
) -> list[Plane]:
    """Make the planes of the frame that `motion` describes.

    Args:
        first: The planes of the frame at time 0.
        second: The planes of the frame at time 1, of the same shapes and types.
        motion: Flows in pixels of the full frame, and the weight of the first frame.
        size: (H, W) of the full frame, which is the size of luma; smaller planes are subsampled.
        changes: For each plane what is added to its blend, in its code values, on any coarser map: the motion's colours
            as the planes hold them.

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
    # Two maps of one channel are enlarged in a third of the time of one map of two.
    motions = [motion] if motion.other is None else [motion, motion.other]
    flows = [list(cv2.split(flow)) for m in motions for flow in (m.flow_t0, m.flow_t1)]
    for numbers in groups.values():
        group = [_Blend(first[n], second[n], None if changes is None else changes[n]) for n in numbers]
        _synthesize(group, motion, flows, size)
        made.update((n, blend.out) for n, blend in zip(numbers, group, strict=True))
    return [made[n] for n in range(len(first))]


class _Blend:
    """A plane in the making: its two sources, ready for OpenCV, and its result."""

    def __init__(self, first: Plane, second: Plane, change: _Map | None) -> None:
        self.change = None if change is None else _tall(change.astype(np.float32, copy=False), len(first))
        self.sources = _for_opencv(first), _for_opencv(second)
        self.out: Plane = np.empty(first.shape, first.dtype)
        self.low = np.float32(min(first.min(), second.min()))
        self.high = np.float32(max(first.max(), second.max()))
        self.disagreement: list[_Map] = []
        self.offset: list[_Map] = []

    def write(self, top: int, values: _Map) -> None:
        """Store rows from `top` on, rounded to the nearest code value; changes `values`."""
        np.clip(values, self.low, self.high, out=values)
        if self.out.dtype.kind != "f":
            values += np.float32(0.5)  # the conversion cuts off
        self.out[top : top + len(values)] = values


def _synthesize(group: list[_Blend], motion: FrameMotion, flows: list[list[_Map]], size: tuple[int, int]) -> None:
    """Fill the planes of `group`, which have one size and so share the maps.

    `flows` are the motion's, and those of the other beside it, each (x, y).
    """
    height, width = group[0].out.shape[:2]
    step_y, step_x = _subsampling(size[0], height), _subsampling(size[1], width)
    rows = max(_CELL, _BAND // width // _CELL * _CELL)
    bands = [(top, min(top + rows, height)) for top in range(0, height, rows)]
    columns = np.arange(width, dtype=np.float32)
    steps = step_x, step_y
    enlarged = [
        [
            _tall(part if step == 1 else part * np.float32(1 / step), height)
            for part, step in zip(flow, steps, strict=True)
        ]
        for flow in flows
    ]
    weights = _tall(motion.weight, height)
    other = None
    if motion.other is not None and motion.share is not None:
        other = _tall(motion.other.weight, height), _tall(motion.share, height)
    small = sum(blend.out.size for blend in group) < _LARGE
    warpable = [
        [source.astype(np.float32, copy=False) if small else source for source in blend.sources] for blend in group
    ]
    for top, bottom in bands:
        lines = np.arange(top, bottom, dtype=np.float32)[:, None]
        places = []
        for flow in enlarged:
            x, y = (_wide(part[top:bottom], width) for part in flow)
            x += columns
            y += lines
            places.append((x, y))
        weight = _wide(weights[top:bottom], width)
        for blend, sources in zip(group, warpable, strict=True):
            a, b = (_warped(source, place) for source, place in zip(sources, places[:2], strict=True))
            # w a + (1 - w) b, written so that two equal samples give that sample exactly.
            a -= b
            if motion.softness is None:
                blend.disagreement.append(_cells(np.abs(a)))
                blend.offset.append(_cells(a))
            a *= _beside(weight, a)
            a += b
            if other is not None:
                c, d = (_warped(source, place) for source, place in zip(sources, places[2:], strict=True))
                other_weight, share = (_wide(map_[top:bottom], width) for map_ in other)
                c -= d
                c *= _beside(other_weight, c)
                c += d
                a -= c
                a *= _beside(share, a)
                a += c
            blend.write(top, a)
    for blend in group:
        if motion.softness is None:
            _soften(blend, motion.weight, bands, (_SOFT / step_x, _SOFT / step_y))
            if blend.change is not None:
                _change(blend, (), bands, steps)
        elif motion.softness or blend.change is not None:
            _change(blend, motion.softness, bands, steps)


def _soften(blend: _Blend, weight: _Map, bands: list[tuple[int, int]], sigma: tuple[float, float]) -> None:
    """Move detail on which the two warped frames do not agree towards its surroundings' average."""
    disagreement = np.concatenate(blend.disagreement)
    if not disagreement.any():
        return
    height, width = blend.out.shape[:2]
    sharp = _for_opencv(blend.out)
    # OpenCV drops the last axis of an array with one channel.
    soft = cv2.GaussianBlur(sharp, (0, 0), sigma[0], sigmaY=sigma[1], borderType=cv2.BORDER_REPLICATE)
    soft = soft.reshape(sharp.shape)
    detail = np.concatenate([_cells(np.abs(_difference(soft, sharp, band))) for band in bands])
    # A frame without weight cannot spoil the blend: 1 where both have half, 0 where one has all.
    share = cv2.resize(weight, disagreement.shape[::-1], interpolation=cv2.INTER_LINEAR)
    agreed = disagreement == 0
    # In a fade or a flash the frames differ everywhere and in one direction: that says nothing against the detail.
    offset = np.concatenate(blend.offset)
    fading = abs(float(offset.mean())) / float(disagreement.mean())
    disagreement = np.maximum(_around(disagreement) - fading**2 * np.abs(_around(offset)), 0)
    disagreement *= 4 * share * (1 - share)
    floor = max(float(blend.high - blend.low) / 255, 1e-6)
    start, full = _DISBELIEF
    amount = disagreement / (_around(detail) + np.float32(floor))
    amount = np.clip((amount - np.float32(start)) / np.float32(full - start), 0, 1)
    amount[agreed] = 0  # what is equal stays, however its surroundings fare
    if not amount.any():
        return
    amounts = _tall(amount, height)
    for top, bottom in bands:
        if not amounts[top:bottom].any():
            continue
        change = _difference(soft, sharp, (top, bottom))
        change *= _beside(_wide(amounts[top:bottom], width), change)
        change += sharp[top:bottom]
        blend.write(top, change)


def _change(
    blend: _Blend,
    softness: tuple[tuple[float, _Map], ...],
    bands: list[tuple[int, int]],
    steps: tuple[float, float],
) -> None:
    """Soften a blend where the motion says so, and add the change of its colours."""
    height, width = blend.out.shape[:2]
    sharp = _for_opencv(blend.out)
    blurs = []
    for sigma, amount in softness:
        if not amount.any():
            continue
        blurs.append((_blurred(sharp, [sigma / step for step in steps]), _tall(amount, height)))
    for top, bottom in bands:
        made = sharp[top:bottom].astype(np.float32)
        for soft, amounts in blurs:
            change = _difference(soft, sharp, (top, bottom))
            change *= _beside(_wide(amounts[top:bottom], width), change)
            made += change
        if blend.change is not None:
            made += _wide(blend.change[top:bottom], width).reshape(made.shape)
        blend.write(top, made)


def _blurred(plane: Plane, deviations: Sequence[float]) -> Plane:
    """A plane blurred by a Gaussian of so many samples, (x, y); a wide one at half the size, where it costs a fifth."""
    h, w = plane.shape[:2]
    if min(deviations) >= _WIDE and min(h, w) >= 32:
        half = cv2.resize(plane, (-(-w // 2), -(-h // 2)), interpolation=cv2.INTER_AREA)
        # Shrinking and enlarging blur, too: a box and a triangle, whose variances are 1/4 and 2/3.
        narrow = [math.sqrt(d * d - 11 / 12) / 2 for d in deviations]
        soft = cv2.resize(_blurred(half, narrow), (w, h), interpolation=cv2.INTER_LINEAR)
        return np.asarray(soft).reshape(plane.shape)
    size = [2 * math.ceil(3 * d) + 1 for d in deviations]
    soft = cv2.GaussianBlur(plane, size, deviations[0], sigmaY=deviations[1], borderType=cv2.BORDER_REPLICATE)
    return np.asarray(soft).reshape(plane.shape)


def _difference(a: Plane, b: Plane, band: tuple[int, int]) -> _Map:
    rows = slice(*band)
    return a[rows].astype(np.float32) - b[rows]


def _cells(difference: _Map) -> _Map:
    """The mean of `difference` over its channels and over cells: (ceil(h / 4), ceil(w / 4))."""
    h, w = difference.shape[:2]
    cells = cv2.resize(difference, (-(-w // _CELL), -(-h // _CELL)), interpolation=cv2.INTER_AREA)
    return cells if cells.ndim == 2 else cells.mean(2)


def _around(cells: _Map) -> _Map:
    return cv2.blur(cells, (5, 5), borderType=cv2.BORDER_REPLICATE)


def _warped(source: Plane, place: tuple[_Map, _Map]) -> _Map:
    warped = cv2.remap(source, *place, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    samples: _Map = warped.reshape(*place[0].shape, *source.shape[2:]).astype(np.float32, copy=False)
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


def _tall(coarse: _Map, height: int) -> _Map:
    """`coarse` enlarged to `height` rows: the first half of bringing a map to a plane's size."""
    return cv2.resize(coarse, (coarse.shape[1], height), interpolation=cv2.INTER_LINEAR)


def _wide(rows: _Map, width: int) -> _Map:
    """`rows` enlarged to `width`: the second half, in bands, as the full map would be large."""
    return cv2.resize(rows, (width, rows.shape[0]), interpolation=cv2.INTER_LINEAR)
