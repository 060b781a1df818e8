"""Motion carried on past the last frame: where each pixel of a frame after the second is found in the two frames.

    u, trust on frame 1 ──► laid down at x + s u, nearer surfaces on top ──► U, covered ──► holes filled ──► median ─┐
                                                                                                                     │
                     F_{t->1} = -s U,  F_{t->0} = -(1 + s) U,  t = 1 + s,  weight of frame 0 from trust  ◄───────────┘

Paths are taken for straight and speeds for constant: with two frames nothing else can be known (NCM's dF_01 = 0).

1. Laying down. A pixel that stands at x in frame 1 stands at x + s u(x) after s more intervals. Its motion is laid on
   the four pixels around that place. Carrying the motion forwards, instead of reading it where it will be needed, is
   what keeps a moving thing from leaving a second copy of itself behind.
2. What hides what. Where several pixels arrive, the one counts more whose motion the two frames agree on, and which
   moves less like the whole picture: in most shots the background fills most of it, and is what gets hidden.
3. Holes. What a thing uncovers nobody has seen. The motion there is interpolated from around the hole, which
   stretches the hole's rim across it; so does what enters at the picture's border.
4. Frame 0. Where frame 0 shows the same point, it has a share in the blend, so that grain is averaged, and detail on
   which the two frames disagree is softened as between two frames (`layers.planes`). What stands still is frame 1
   alone, bit by bit.

Shapes: u (h, w, 2) float32, pixels of the frame a frame interval, on a map that may be coarser than the frame; trust
(h, w) float32 in [0, 1]. Steps 1 to 4 are not of a paper; forward warping and its weighing follow S. Niklaus, F. Liu,
"Softmax Splatting for Video Frame Interpolation", CVPR 2020; the filling of holes is the pull-push of S. Gortler et
al., "The Lumigraph", SIGGRAPH 1996.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.layers.motion import FrameMotion

__all__ = ["extrapolate_motion"]

_Map = NDArray[Any]

_PRECEDENCE = 0.5
"""How much a pixel of the map, by which motion differs from the whole picture's, counts in favour of a surface."""

_SHARE = 0.35
"""The weight of frame 0 where it shows the same."""

_STILL = 0.25
"""Motion, in pixels of the frame an interval, below which the last frame alone is shown."""

_COVERED = 0.25, 0.75
"""Coverage from which a pixel is not all hole, and from which it is none."""


def extrapolate_motion(u: _Map, trust: _Map, s: float, scale: tuple[float, float]) -> FrameMotion:
    """The motion `s` intervals after frame 1, in the form in which a frame is made of it.

    Args:
        u: (h, w, 2) float32, the motion from frame 0 to frame 1 of what is seen in frame 1, in pixels of the frame.
        trust: (h, w) float32 in [0, 1]: whether frame 0 shows the same point.
        s: How far after frame 1, in intervals; > 0.
        scale: How many pixels of the frame a pixel of the map is, (x, y).
    """
    size = np.array(scale, np.float32)
    local = u / size
    if not local.any():
        zero = np.zeros_like(u)
        return FrameMotion(zero, zero, np.zeros(u.shape[:2], np.float32))
    usual = np.median(local.reshape(-1, 2)[::7], axis=0).astype(np.float32)
    apart = cv2.magnitude(*cv2.split(local - usual))
    precedence = np.exp(np.clip(_PRECEDENCE * apart, 0, 12)) * np.maximum(trust, 1e-3)
    carried, covered = _laid_down(np.dstack([local, trust]), local * np.float32(s), precedence)
    low, high = _COVERED
    filled = _filled(carried, np.clip((covered - low) / (high - low), 0, 1))
    parts = [cv2.medianBlur(np.ascontiguousarray(filled[..., i]), 5) for i in range(3)]
    motion = np.dstack(parts[:2]) * size
    # a median and a mean of zeros are zeros: what stands still stays exactly where it is
    moving = cv2.magnitude(*cv2.split(motion)) >= _STILL
    motion *= moving[..., None]
    shown = cv2.blur(parts[2], (3, 3), borderType=cv2.BORDER_REPLICATE) * np.minimum(covered, 1) * moving
    weight = (np.float32(_SHARE) * np.clip(shown, 0, 1)).astype(np.float32)
    return FrameMotion(motion * np.float32(-(1 + s)), motion * np.float32(-s), weight)


def _laid_down(values: _Map, flow: _Map, precedence: _Map) -> tuple[_Map, _Map]:
    """`values` (h, w, c) at x + flow, weighed by `precedence` where they meet, and how much arrives at each pixel."""
    h, w, channels = values.shape
    columns = w + 2
    # a border of one pixel around the canvas takes what leaves it
    x = np.clip(np.arange(w, dtype=np.float32) + flow[..., 0], -1, w)
    y = np.clip(np.arange(h, dtype=np.float32)[:, None] + flow[..., 1], -1, h)
    left, top = np.floor(x), np.floor(y)
    right_share, low_share = x - left, y - top
    corner = (top.astype(np.int64) + 1) * columns + left.astype(np.int64) + 1
    length = (h + 2) * columns + columns + 2
    sums = np.zeros((channels + 2, length))
    for down, share_y in ((0, 1 - low_share), (1, low_share)):
        for right, share_x in ((0, 1 - right_share), (1, right_share)):
            index = (corner + (down * columns + right)).ravel()
            share = share_y * share_x
            weight = (share * precedence).ravel()
            sums[-1] += np.bincount(index, share.ravel(), length)
            sums[-2] += np.bincount(index, weight, length)
            for channel in range(channels):
                sums[channel] += np.bincount(index, weight * values[..., channel].ravel(), length)
    inside = sums[:, : (h + 2) * columns].reshape(-1, h + 2, columns)[:, 1:-1, 1:-1]
    total = inside[-2]
    result = np.where(total > 0, inside[:channels] / np.maximum(total, 1e-30), 0).transpose(1, 2, 0)
    return result.astype(np.float32), inside[-1].astype(np.float32)


def _filled(values: _Map, known: _Map) -> _Map:
    """`values` (h, w, c) where `known` (h, w) is 1; elsewhere what their surroundings say, the near ones first."""
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
        wide = cv2.resize(result, weights.shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(sums.shape)
        share = np.clip(weights, 0, 1)[..., None]
        result = sums / np.maximum(weights, 1e-6)[..., None] * share + wide * (1 - share)
    return np.asarray(result, np.float32)
