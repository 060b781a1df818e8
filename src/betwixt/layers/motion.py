"""The description of an interpolated frame: two flows, a blending weight and optional corrections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FrameMotion:
    """How the frame at time t is made from frames 0 and 1.

        blend = w * warp(frame 0, flow_t0) + (1 - w) * warp(frame 1, flow_t1)
        frame = blend + sum of s * (blur(blend) - blend) + colour residual

    With an `other` motion, which has a blend of its own, the blend is share * blend + (1 - share) * other blend.

    The maps may be coarser than the frame (h <= H, w <= W); the flows are in pixels of the frame all the same.

    Attributes:
        flow_t0: (h, w, 2) float32, F_{t->0}.
        flow_t1: (h, w, 2) float32, F_{t->1}.
        weight: (h, w) float32 in [0, 1], w, the weight of warped frame 0.
        colour_residual: (h', w', 3) float32, RGB in units of the full range, added to the blend; None for none.
        softness: For each blur, its standard deviation in pixels of the frame and s, a map (h', w') float32 of how far
            the blend moves towards its blurred version.
        other: A second motion, of which only the flows and the weight are used. It needs `share`.
        share: (h, w) float32 in [0, 1], the weight of this motion's blend against that of `other`.
        sampling: "bicubic" or "bilinear", which takes half the time and blurs.
        sharpening: How much of the difference from a slightly blurred version is added where something moves.
    """

    flow_t0: NDArray[np.float32]
    flow_t1: NDArray[np.float32]
    weight: NDArray[np.float32]
    colour_residual: NDArray[np.float32] | None = None
    softness: tuple[tuple[float, NDArray[np.float32]], ...] = ()
    other: FrameMotion | None = None
    share: NDArray[np.float32] | None = None
    sampling: Literal["bicubic", "bilinear"] = "bicubic"
    sharpening: float = 0.0

    def __post_init__(self) -> None:
        if self.other is not None and self.share is None:
            raise ValueError("A motion with another one beside it needs `share`.")

    def displacement(self) -> NDArray[np.float32]:
        """The flow from frame 0 to frame 1, (h, w, 2) in pixels of the frame; of two motions, their weighted mean."""
        displacement = self.flow_t1 - self.flow_t0
        if self.other is None or self.share is None:
            return displacement
        other = self.other.displacement()
        return np.asarray(other + self.share[..., None] * (displacement - other), np.float32)
