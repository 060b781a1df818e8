"""Hyper-parameters of `hybrid`. Nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from betwixt.models.dis.interpolator import SHARPENING, Effort

MULTIPLE = 32
"""The sides of the images that RIFE and the fusion networks see are multiples of this."""

APART_WINDOW = 5
"""The side of the window over which the distance of the two motions is averaged, in pixels of the network size."""


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
        rife_scales: The heights at which RIFE sees the frames, as parts of the network height; motions are averaged.
            More lines give more exact motion of smaller things, in proportionally more time. Every second time the
            frames are turned by 180 degrees: RIFE finds another motion then, with other errors.
        share_offset: Added to the logit of the weight of motion A where the two motions are a pixel or more apart, in
            proportion below that. Without softness, one motion as a whole looks better than a blend of two; where the
            two differ, RIFE's is right more often: chosen on davis_dev.
        sharpening: As in `FrameMotion`.
    """

    flow: tuple[int, int, int] = (48, 64, 96)
    detail: tuple[int, int] = (32, 48)
    search_effort: Effort = "plain"
    search_scale: float = 0.75
    softness: bool = False
    symmetric_blocks: int = 3
    rife_scales: tuple[float, ...] = (1.25,)
    share_offset: float = -4.5
    sharpening: float = SHARPENING


CONFIGS = {
    "hybrid": HybridConfig(),
    "hybrid-psnr": HybridConfig(softness=True, share_offset=0.0, sharpening=0.0),
    "hybrid-large": HybridConfig(rife_scales=(1.25, 1.5, 2.0), symmetric_blocks=4),
}
"""By the names of the models."""


def rife_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """The size at which RIFE sees images of the network size (height, width): about `scale` times as large.

    The sides are multiples of 32, so that nothing is padded. It also avoids simple ratios such as 5 to 4, at which the
    resized images have a pattern of sharper and softer pixels that RIFE takes for something that does not move.
    """
    height, width = (max(MULTIPLE, round(scale * side / MULTIPLE) * MULTIPLE) for side in (height, width))
    return height, width
