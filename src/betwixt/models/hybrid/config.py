"""Hyper-parameters of `hybrid`. Nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from betwixt.models.dis.interpolator import Effort


@dataclass(frozen=True)
class HybridConfig:
    """Hyper-parameters; the defaults are those of the embedded weights.

    Attributes:
        flow: Channels of the flow network at 1/4, 1/8 and 1/16; the first is also the width of the state.
        detail: Channels of the detail network at 1/2 and 1/4.
        search_effort: The effort of the motion search, `effort` of `DIS`.
        search_scale: The height at which motion is searched, as a part of the network height.
        softness: Whether uncertain detail is blurred: a higher PSNR, and a frame that looks soft.
        symmetric_blocks: How many of RIFE's blocks, from the coarsest, also run from frame 1 to frame 0; the flows of
            both directions are averaged.
        share_offset: Added to the logit of the weight of motion A. Without softness, one motion as a whole looks better
            than a blend of two, and where the two differ, RIFE's is right more often: chosen on davis_dev.
    """

    flow: tuple[int, int, int] = (48, 64, 96)
    detail: tuple[int, int] = (32, 48)
    search_effort: Effort = "plain"
    search_scale: float = 0.75
    softness: bool = False
    symmetric_blocks: int = 3
    share_offset: float = -1.5


CONFIGS = {"hybrid": HybridConfig(), "hybrid-psnr": HybridConfig(softness=True, share_offset=0.0)}
"""By the names of the models."""
