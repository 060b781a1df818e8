"""dis-psnr: `dis` with unreliable detail blurred, for a higher PSNR in benchmarks.

    luma 0 ──► warp by F_t0 ──► a ─┬─► w a + (1 - w) b ─► m ─► detail of m ─┐
    luma 1 ──► warp by F_t1 ──► b ─┴─► difference of a and b ───────────────┴─► ratio ─► softness

Where the two warped frames differ by as much as the detail of their blend, and both take part in it, that detail is
likely to be in the wrong place. A blur has a smaller squared error there, and looks worse: see docs/eye.md. The ratio
has no unit, so bit depth does not matter. A difference of one sign over the whole frame, as in a fade, does not count.

Shapes: luma and maps at the search size (h, w), as in `models.dis.interpolator`.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.layers.motion import FrameMotion
from betwixt.models.dis.interpolator import DIS, DISPair
from betwixt.models.frame_view import FrameView

_SIGMA = 2.0
"""The standard deviation of the blur, in pixels of the frame."""

_WINDOW = 21
"""The side of the window over which difference and detail are averaged, in pixels."""

_RATIO = 0.15, 2.4
"""The ratio of difference to detail at which softening begins, and at which it is complete."""

_Map = NDArray[np.float32]


class SoftenedDIS(DIS):
    """Interpolation by `dis` with unreliable detail blurred. It has no weights and needs no PyTorch."""

    name = "dis-psnr"

    def prepare_views(self, first: FrameView, second: FrameView) -> SoftenedDISPair:
        return SoftenedDISPair(first, second, self._ratio_for(first), self._effort)


class SoftenedDISPair(DISPair):
    """Two frames and the flows between them."""

    def motion(self, t: float) -> FrameMotion:
        motion = super().motion(t)
        if self._equal:
            return motion
        return replace(motion, softness=((_SIGMA, self._softness(motion)),), sharpening=0.0)

    def _softness(self, motion: FrameMotion) -> _Map:
        """How far the blend of a motion moves towards its blurred version, (h, w) in [0, 1]."""
        scale = self._scale.ravel()
        a, b = (
            _warp(frame.luma_at(*self._size), flow / scale)
            for frame, flow in zip(self._frames, (motion.flow_t0, motion.flow_t1), strict=True)
        )
        signed = a - b
        if not signed.any():
            return np.zeros_like(signed)
        blend = b + motion.weight * signed
        blurred = cv2.GaussianBlur(blend, (0, 0), _SIGMA / float(scale[0]), sigmaY=_SIGMA / float(scale[1]))
        detail = _mean(np.abs(blurred - blend))
        size = np.abs(signed)
        fading = float(abs(signed.mean()) / size.mean())
        difference = np.maximum(_mean(size) - fading**2 * np.abs(_mean(signed)), 0)
        # A frame without weight cannot spoil the blend: the factor is 1 where both have half, 0 where one has all.
        difference *= 4 * motion.weight * (1 - motion.weight)
        start, full = _RATIO
        amount = np.clip((difference / (detail + 1) - start) / (full - start), 0, 1)
        amount[cv2.dilate(size, np.ones((3, 3), np.uint8)) == 0] = 0  # static parts stay as they are
        return np.asarray(amount, np.float32)


def _warp(luma: NDArray[np.uint8], flow: _Map) -> _Map:
    flags = cv2.INTER_CUBIC | cv2.WARP_RELATIVE_MAP
    source = luma.astype(np.float32)
    return np.asarray(cv2.remap(source, flow[..., 0], flow[..., 1], flags, borderMode=cv2.BORDER_REPLICATE))


def _mean(values: _Map) -> _Map:
    """The mean over the window around each pixel."""
    return np.asarray(cv2.blur(values, (_WINDOW, _WINDOW), borderType=cv2.BORDER_REPLICATE))
