"""Motion extrapolation: the flows that make a frame after the second one out of the two.

    u, trust on frame 1 ──► forward splat to x + s u, nearer surfaces on top ──► U, coverage ──► fill holes ──► median
                                                                                                                  │
             F_{t->1} = -s U,  F_{t->0} = -(1 + s) U,  t = 1 + s,  weight of frame 0 from trust  ◄────────────────┘

Paths are assumed straight and speeds constant, since two frames do not tell more (dF_01 = 0 in NCM's terms).

1. Splatting. A pixel at x in frame 1 is at x + s u(x) after s more intervals; its motion is splatted onto the four
   pixels around that position. Reading the motion backwards at the target pixel instead would leave a second copy of a
   moving object at its old place.
2. Occlusion. Where several pixels arrive, the weight is larger for pixels on whose motion the two frames agree and that
   move less like the whole image: in most shots the background fills most of the image, and is what gets occluded.
3. Holes. Neither frame shows what a moving object uncovers. The motion there is interpolated from around the hole,
   which stretches the hole's rim across it; the same holds for what enters at the image border.
4. Frame 0. Where frame 0 shows the same point, it takes part in the blend, which averages grain and softens detail on
   which the two frames disagree, as between two frames (`layers.planes`). Static regions are frame 1 alone, bit by bit.

Shapes: u (h, w, 2) float32, in pixels of the frame per frame interval, on a map that may be coarser than the frame;
trust (h, w) float32 in [0, 1].

Steps 1 to 4 are our own. References: S. Niklaus, F. Liu, "Softmax Splatting for Video Frame Interpolation", CVPR 2020
(weighted splatting); S. Gortler et al., "The Lumigraph", SIGGRAPH 1996 (pull-push hole filling).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.layers.motion import FrameMotion

_Map = NDArray[Any]

_IMPORTANCE_RATE = 0.5
"""Gain in log splatting weight for each pixel of the map by which a motion differs from the image's median motion."""

_FRAME_0_WEIGHT = 0.35
"""Weight of frame 0 where it shows the same point."""

_STATIC = 0.25
"""Motion, in pixels of the frame per interval, below which frame 1 alone is shown."""

_COVERAGE = 0.25, 0.75
"""Coverage below which a pixel is a hole, and above which it is none; in between it is partly filled."""


def extrapolate_motion(u: _Map, trust: _Map, s: float, scale: tuple[float, float]) -> FrameMotion:
    """Describe the frame `s` intervals after frame 1.

    Args:
        u: (h, w, 2) float32, the motion of frame 1's pixels since frame 0, in pixels of the frame.
        trust: (h, w) float32 in [0, 1]: whether frame 0 shows the same point.
        s: Intervals after frame 1; > 0.
        scale: Size of a pixel of the map in pixels of the frame, (x, y).
    """
    pixel_size = np.array(scale, np.float32)
    local = u / pixel_size
    if not local.any():
        zero = np.zeros_like(u)
        return FrameMotion(zero, zero, np.zeros(u.shape[:2], np.float32))
    median = np.median(local.reshape(-1, 2)[::7], axis=0).astype(np.float32)
    deviation = cv2.magnitude(*cv2.split(local - median))
    importance = np.exp(np.clip(_IMPORTANCE_RATE * deviation, 0, 12)) * np.maximum(trust, 1e-3)
    splatted, coverage = _splat(np.dstack([local, trust]), local * np.float32(s), importance)
    low, high = _COVERAGE
    filled = _fill_holes(splatted, np.clip((coverage - low) / (high - low), 0, 1))
    x, y, trust = (cv2.medianBlur(np.ascontiguousarray(filled[..., i]), 5) for i in range(3))
    motion = np.dstack([x, y]) * pixel_size
    # The median and the mean of zeros are zero, so static regions stay exactly where they are.
    moving = cv2.magnitude(*cv2.split(motion)) >= _STATIC
    motion *= moving[..., None]
    trust = cv2.blur(trust, (3, 3), borderType=cv2.BORDER_REPLICATE) * np.minimum(coverage, 1) * moving
    weight_0 = (np.float32(_FRAME_0_WEIGHT) * np.clip(trust, 0, 1)).astype(np.float32)
    return FrameMotion(motion * np.float32(-(1 + s)), motion * np.float32(-s), weight_0)


def _splat(values: _Map, flow: _Map, importance: _Map) -> tuple[_Map, _Map]:
    """Splat `values` (h, w, c) to x + flow, averaged by `importance` (h, w) where they meet.

    Returns:
        The splatted values (h, w, c), 0 in holes, and the coverage (h, w), the sum of the bilinear weights.
    """
    h, w, channels = values.shape
    columns = w + 2
    # A border of one pixel around the canvas collects what leaves the image.
    x = np.clip(np.arange(w, dtype=np.float32) + flow[..., 0], -1, w)
    y = np.clip(np.arange(h, dtype=np.float32)[:, None] + flow[..., 1], -1, h)
    left, top = np.floor(x), np.floor(y)
    right_weight, bottom_weight = x - left, y - top
    corner = (top.astype(np.int64) + 1) * columns + left.astype(np.int64) + 1
    length = (h + 2) * columns + columns + 2
    sums = np.zeros((channels + 2, length))
    for down, weight_y in ((0, 1 - bottom_weight), (1, bottom_weight)):
        for right, weight_x in ((0, 1 - right_weight), (1, right_weight)):
            index = (corner + (down * columns + right)).ravel()
            bilinear = weight_y * weight_x
            weight = (bilinear * importance).ravel()
            sums[-1] += np.bincount(index, bilinear.ravel(), length)
            sums[-2] += np.bincount(index, weight, length)
            for channel in range(channels):
                sums[channel] += np.bincount(index, weight * values[..., channel].ravel(), length)
    inside = sums[:, : (h + 2) * columns].reshape(-1, h + 2, columns)[:, 1:-1, 1:-1]
    total = inside[-2]
    result = np.where(total > 0, inside[:channels] / np.maximum(total, 1e-30), 0).transpose(1, 2, 0)
    return result.astype(np.float32), inside[-1].astype(np.float32)


def _fill_holes(values: _Map, known: _Map) -> _Map:
    """Pull-push: `values` (h, w, c) where `known` (h, w) is 1, interpolated from their surroundings elsewhere."""
    levels = [(values * known[..., None], known)]
    while max(levels[-1][1].shape) > 1:
        size = tuple((side + 1) // 2 for side in levels[-1][1].shape[::-1])
        levels.append(
            tuple(
                cv2.resize(x, size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], *x.shape[2:]) for x in levels[-1]
            )  # type: ignore[arg-type]
        )
    sums, weights = levels[-1]
    result = sums / np.maximum(weights, 1e-6)[..., None]
    for sums, weights in reversed(levels[:-1]):
        coarser = cv2.resize(result, weights.shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(sums.shape)
        share = np.clip(weights, 0, 1)[..., None]
        result = sums / np.maximum(weights, 1e-6)[..., None] * share + coarser * (1 - share)
    return np.asarray(result, np.float32)
