"""fast: the method of `dis` with a coarser search, coarser maps, and bilinear warps.

    luma, 2/9 of the frame ──► DIS, both directions ──► flows, 1/9 ──► dis, steps 2 to 4 ──► F_t0, F_t1, weight
    planes ──► bilinear warps ──► blend ──► sharpen where something moves ──► frame t

Most of the time of `dis` goes into the finest scale of its search and into bicubic warps. `fast` searches at two ninths
of the frame size (160 lines of 720), and makes all maps at half of that: nine pixels of the frame are one of the map.
The path of a point is curved where the neighbouring pairs are known, as in `dis`, which is worth more than the finest
scale is.

Bilinear interpolation, and the average of two frames that do not meet exactly, take fine detail. What is left of it is
amplified: the difference of the frame from its slightly blurred version (3x3) is added `_SHARPENING` times, in luma or
RGB. It costs 0.2 dB, and without it the new frames of a video would be visibly softer than the source frames between
them. Static parts are copied bit by bit.

Frames after the second one are made by `dis`.

Shapes: as in `models.dis.interpolator`. Reference: as there.
"""

from __future__ import annotations

from dataclasses import replace

from betwixt.layers.motion import FrameMotion
from betwixt.models.dis.interpolator import DIS, DISPair
from betwixt.models.frame_view import FrameView

_SHARPENING = 0.6
"""Chosen so that new frames have three quarters of the fine detail of true ones (`sharpness` in `betwixt evaluate`)."""


class Fast(DIS):
    """Interpolation like `dis` in less than half of the time. It has no weights and needs no PyTorch."""

    name = "fast"

    def __init__(self) -> None:
        super().__init__(effort="fast")

    def prepare_views(self, first: FrameView, second: FrameView) -> FastPair:
        return FastPair(first, second, self._ratio_for(first), self._effort)


class FastPair(DISPair):
    """Two frames and the flows between them, at a lower resolution."""

    def motion(self, t: float) -> FrameMotion:
        return replace(super().motion(t), sampling="bilinear", sharpening=_SHARPENING)
