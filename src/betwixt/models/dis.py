"""DIS: classical optical flow, projected to the time of the new frame and fused by agreement and visibility.

    luma 0 ─┬─► shrink ─► DIS 0→1 ─► F01 ─► carry to t ─► u_a ─┐
            │                 │                                 ├─► choose by agreement ─► u ─► F_t0 = −t u
    luma 1 ─┴─► shrink ─► DIS 1→0 ─► F10 ─► carry to t ─► u_b ─┘   (soft, per pixel)            F_t1 = (1−t) u
                              │
                              └─► forward-backward consistency ─► visibility at t ─► weight
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.errors import UsageError
from betwixt.models.base import Image, Luma, Motion, MotionInterpolator, MotionPair

__all__ = ["DIS"]

_Map = NDArray[np.float32]


class DIS(MotionInterpolator):
    """Frames from dense inverse search flow."""

    name = "dis"

    def prepare(self, first: Image, second: Image) -> MotionPair:
        """Find the motion between two RGB pictures."""
        return _DISPair(first, second, _luma(first), _luma(second))

    def prepare_luma(self, first: Luma, second: Luma) -> MotionPair:
        """Find the motion between two grey pictures."""
        return _DISPair(_rgb(first), _rgb(second), first, second)


class _DISPair(MotionPair):
    def __init__(self, first: Image, second: Image, luma_0: Luma, luma_1: Luma) -> None:
        self._first, self._second = first, second
        if luma_0.shape != luma_1.shape:
            raise UsageError("The two frames differ in size: scale one to the other first.")
        height, width = luma_0.shape
        h, w = _working_size(height, width)
        self._scale = np.array([width / w, height / h], np.float32)
        self._luma_0, self._luma_1 = (
            cv2.resize(x, (w, h), interpolation=cv2.INTER_AREA) if (h, w) != x.shape else x for x in (luma_0, luma_1)
        )
        self._still = np.array_equal(luma_0, luma_1)
        zero = np.zeros((h, w, 2), np.float32)
        self._flow_01 = zero if self._still else _flow(self._luma_0, self._luma_1)
        self._flow_10 = zero if self._still else _flow(self._luma_1, self._luma_0)

    def motion(self, t: float) -> Motion:
        t = float(t)
        h, w = self._luma_0.shape
        if self._still:
            zero = np.zeros((h, w, 2), np.float32)
            return Motion(zero, zero, np.full((h, w), 1 - t, np.float32))
        candidates = [
            _carry(self._flow_01, t),
            -_carry(self._flow_10, 1 - t),
            self._flow_01,
            -self._flow_10,
        ]
        costs = [self._disagreement(u, t) for u in candidates]
        best = np.minimum.reduce(costs)
        total = np.zeros((h, w), np.float32)
        u = np.zeros((h, w, 2), np.float32)
        for candidate, cost in zip(candidates, costs, strict=True):
            share = np.exp((best - cost) / np.float32(3))
            total += share
            u += share[..., None] * candidate
        u /= total[..., None]
        u = np.stack([cv2.medianBlur(np.ascontiguousarray(u[..., i]), 5) for i in (0, 1)], 2)
        weight = np.full((h, w), 1 - t, np.float32)
        return Motion(u * (-t * self._scale), u * ((1 - t) * self._scale), weight)

    def _disagreement(self, u: _Map, t: float) -> _Map:
        difference = cv2.absdiff(_warp(self._luma_0, u, -t), _warp(self._luma_1, u, 1 - t))
        result: _Map = cv2.blur(difference.astype(np.float32), (9, 9), borderType=cv2.BORDER_REPLICATE)
        return result

    def at(self, t: float) -> Image:
        from betwixt.runtime.planes import synthesize_plane

        height, width = self._first.shape[:2]
        image: Image = synthesize_plane(self._first, self._second, self.motion(t), (height, width))
        return image


def _luma(image: Image) -> Luma:
    grey = cv2.cvtColor(np.ascontiguousarray(image, np.float32), cv2.COLOR_RGB2GRAY)
    return np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)


def _rgb(luma: Luma) -> Image:
    return np.repeat((luma.astype(np.float32) / np.float32(255))[..., None], 3, 2)


def _working_size(height: int, width: int) -> tuple[int, int]:
    short = min(height, width)
    ratio = min(1.0, min(max(short / 2, 360), 720) / short)
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def _flow(source: Luma, target: Luma) -> _Map:
    # One object a call: it holds the buffers of its computation.
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setPatchStride(2)
    search.setVariationalRefinementIterations(0)
    h, w = source.shape
    pad_y, pad_x = max(0, 32 - h), max(0, 32 - w)
    if pad_x or pad_y:
        source, target = (
            cv2.copyMakeBorder(x, 0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE) for x in (source, target)
        )
    flow: _Map = search.calc(source, target, None)
    return np.ascontiguousarray(flow[:h, :w])


@lru_cache(maxsize=4)
def _grid(h: int, w: int) -> _Map:
    return np.stack(np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)), 2)


def _warp(picture: NDArray[np.generic], flow: _Map, factor: float) -> NDArray[np.generic]:
    where = flow * np.float32(factor)
    where += _grid(*flow.shape[:2])
    warped: NDArray[np.generic] = cv2.remap(picture, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return warped


def _carry(flow: _Map, t: float) -> _Map:
    carried = flow
    for _ in range(2):
        carried = _warp(flow, carried, -t)
    return carried
