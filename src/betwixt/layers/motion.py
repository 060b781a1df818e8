"""What a frame in between is made of: where its pixels come from, and which of the two frames to trust."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FrameMotion"]


@dataclass(frozen=True)
class FrameMotion:
    """How frame t is made.

        blend = w * warp(frame 0, flow_t0) + (1 - w) * warp(frame 1, flow_t1)
        frame = blend + sum of s * (blend blurred - blend) + colours

    A second opinion, `other`, has a blend of its own; the blend is then share * blend + (1 - share) * other blend.

    The maps may be coarser than the frame (h <= H, w <= W); the flows are in pixels of the frame all the same.

    Attributes:
        flow_t0: (h, w, 2) float32, F_{t->0}.
        flow_t1: (h, w, 2) float32, F_{t->1}.
        weight: (h, w) float32 in [0, 1], the weight of warped frame 0.
        colours: (h', w', 3) float32, RGB in units of the full range, to be added to the blend; None for nothing.
        softness: For each blur its standard deviation in pixels of the frame and how far the blend is moved towards the
            blurred blend, s (h', w') float32. None if that is to be found from how the two warped frames disagree.
        other: Another motion, of which flows and weight count; it needs `share`, and `softness` that is not None.
        share: (h, w) float32 in [0, 1], how far this motion is followed, not the other.
    """

    flow_t0: NDArray[np.float32]
    flow_t1: NDArray[np.float32]
    weight: NDArray[np.float32]
    colours: NDArray[np.float32] | None = None
    softness: tuple[tuple[float, NDArray[np.float32]], ...] | None = None
    other: FrameMotion | None = None
    share: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.other is not None and (self.share is None or self.softness is None):
            raise ValueError("A motion with another beside it needs a share and a softness.")

    def displacement(self) -> NDArray[np.float32]:
        """From frame 0 to frame 1, (h, w, 2) in pixels of the frame; of two motions, their mean by the share."""
        own = self.flow_t1 - self.flow_t0
        if self.other is None or self.share is None:
            return own
        beside = self.other.displacement()
        return np.asarray(beside + self.share[..., None] * (own - beside), np.float32)
