"""Motion that every machine finds alike, for what probabilities depend on.

The contexts of TCM are warped by the compressed flows, but these flows come from networks in floating point, and a
range decoder reads nothing if one probability differs. So entropy models see frames that are warped by a motion of
their own, which the decoder can compute, too, and which is made of integers alone:

    luma of frames 0, 1 ──► 1/8 ─► 1/4 ─► 1/2: search of the displacement v of every pixel of frame t
    coded residual motion ──► taken where the frames then match better
    frame 0 at x - t v, frame 1 at x + (1 - t) v ──► warped luma

Everything is an integer of less than 2^24, so that single and double precision hold it exactly, in sums of any order.
Where two displacements cost the same, the first in a fixed order is taken.

Reference: Li, Li, Lu: Deep contextual video compression, NeurIPS 2021; Sheng et al.: Temporal context mining for
learned video compression, 2021 (contexts warped by the compressed motion).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_LEVELS = (8, 4, 2)
_REACH = 6
"""The largest displacement at 1/8, in pixels there: 48 in the frame."""

_WINDOW = 5
"""Sides of the windows in which frames are compared, at every level."""

_CROSS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
_SPREAD = (2, 5)
"""Distances of neighbours whose displacement is tried, in pixels, at every level."""


@dataclass(frozen=True)
class ExactMotion:
    """Where each pixel of frame t is in frames 0 and 1."""

    offset0: Tensor  # (N, 2, H, W), whole pixels, x and y: from frame t to frame 0
    offset1: Tensor  # (N, 2, H, W), to frame 1


def search_exact_motion(luma: Tensor, t: Tensor) -> ExactMotion:
    """Find the motion between two frames, as frame t sees it.

    Args:
        luma: (N, 2, H, W), frames 0 and 1, multiples of 1/256 in [-1/2, 1/2]; sides are multiples of 8.
        t: (N, 1, 1, 1), the time of frame t in (0, 1), in the type of `luma`.
    """
    codes = (luma + 0.5) * 256.0
    reach = range(-_REACH, _REACH + 1)
    changes: Iterable[tuple[int, int]] = sorted(
        ((x, y) for x in reach for y in reach), key=lambda c: (c[0] ** 2 + c[1] ** 2, c)
    )
    found: Tensor | None = None
    for level in _LEVELS:
        frames = F.avg_pool2d(codes, level, divisor_override=1) if level > 1 else codes
        base = luma.new_zeros(len(luma), 2, *frames.shape[-2:]) if found is None else 2.0 * _enlarge(found, 2)
        best = _Best(frames, t, base)
        for change in changes:
            best.try_out(base + base.new_tensor(change).reshape(1, 2, 1, 1))
        # What a pixel's neighbours found: from near ones to far ones, so that right displacements spread.
        for distance in _SPREAD:
            for x, y in _CROSS[1:]:
                best.try_out(_shift(best.found, x * distance, y * distance))
        found, changes = best.found, _CROSS
    assert found is not None
    return _split(_LEVELS[-1] * _enlarge(found, _LEVELS[-1]), t)


class _Best:
    """The best displacement found so far for every pixel.

    Args:
        frames: (N, 2, h, w), the frames at some level.
        t: As in `search_exact_motion`.
        base: (N, 2, h, w), a displacement to begin with.
    """

    def __init__(self, frames: Tensor, t: Tensor, base: Tensor) -> None:
        self._frames, self._t = frames, t
        self.found, self._lowest = base, torch.full_like(base[:, :1], torch.inf)

    def try_out(self, candidate: Tensor) -> None:
        """Take a displacement (N, 2, h, w) where frames match better with it."""
        cost = _matching_cost(self._frames, _split(candidate, self._t))
        better = cost < self._lowest
        self.found = torch.where(better, candidate, self.found)
        self._lowest = torch.where(better, cost, self._lowest)


def add_exact_residual(luma: Tensor, motion: ExactMotion, residual: Tensor) -> ExactMotion:
    """Add the coded residual motion where the two frames then match better.

    The residual refers to the network's own prediction, which may be wrong where this motion is right.

    Args:
        luma: As in `search_exact_motion`.
        motion: Its result.
        residual: (N, 4, H/8, W/8), of the flows to frames 0 and 1, in pixels; it is rounded to whole ones.
    """
    if not bool(residual.any()):
        return motion
    whole = _enlarge(torch.round(residual.clamp(-256, 256)), 8)
    changed = ExactMotion(motion.offset0 + whole[:, :2], motion.offset1 + whole[:, 2:])
    better = _matching_cost(luma * 256.0, changed) < _matching_cost(luma * 256.0, motion)
    return ExactMotion(
        torch.where(better, changed.offset0, motion.offset0), torch.where(better, changed.offset1, motion.offset1)
    )


def warp_exactly(frames: Tensor, motion: ExactMotion) -> Tensor:
    """Frames 0 and 1 (N, 2, H, W) as frame t sees them, (N, 2, H, W); beyond a border its pixels repeat."""
    return torch.cat((_sample(frames[:, :1], motion.offset0), _sample(frames[:, 1:], motion.offset1)), dim=1)


def _split(displacement: Tensor, t: Tensor) -> ExactMotion:
    """The two parts of the displacement from frame 0 to frame 1, (N, 2, H, W)."""
    before = torch.floor(displacement * t + 0.5)
    return ExactMotion(-before, displacement - before)


def _matching_cost(frames: Tensor, motion: ExactMotion) -> Tensor:
    """The sum of absolute differences of the warped frames in a window around each pixel, (N, 1, H, W)."""
    warped = warp_exactly(frames, motion)
    difference = (warped[:, :1] - warped[:, 1:]).abs()
    margin = _WINDOW // 2
    padded = F.pad(difference, (margin, margin, margin, margin), mode="replicate")
    return F.avg_pool2d(padded, _WINDOW, 1, divisor_override=1)


def _sample(frame: Tensor, offset: Tensor) -> Tensor:
    """A frame (N, 1, H, W) at every pixel + offset (N, 2, H, W)."""
    height, width = frame.shape[-2:]
    x = torch.arange(width, device=frame.device) + offset[:, 0].long()
    y = torch.arange(height, device=frame.device)[:, None] + offset[:, 1].long()
    index = y.clamp_(0, height - 1) * width + x.clamp_(0, width - 1)
    return frame.flatten(1).gather(1, index.flatten(1)).reshape(frame.shape)


def _shift(maps: Tensor, x: int, y: int) -> Tensor:
    """Maps (N, C, h, w) whose values come from x pixels to the right and y below; beyond the border they repeat."""
    height, width = maps.shape[-2:]
    columns = (torch.arange(width, device=maps.device) + x).clamp(0, width - 1)
    rows = (torch.arange(height, device=maps.device) + y).clamp(0, height - 1)
    return maps[..., rows, :][..., columns]


def _enlarge(maps: Tensor, factor: int) -> Tensor:
    """Every value of maps (N, C, H, W) repeated in a square of this many pixels a side."""
    return maps.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
