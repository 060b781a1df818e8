"""Hyper-parameters of `compact` and `compact-large`. Nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from betwixt.models.dis.interpolator import SHARPENING, Effort

BLUR_SIGMAS = 1.0, 2.5
"""Standard deviations of the two blurs of the blend, in pixels of the network size."""


@dataclass(frozen=True)
class CompactConfig:
    """Hyper-parameters; the defaults are those of the embedded weights of `compact`.

    Attributes:
        flow: Channels of the flow network at 1/4, 1/8 and 1/16; the first is also the width of the state.
        detail: Channels of the detail network at 1/2 and 1/4; with four, at 1/2 to 1/16, it is a `DeepDetailNetwork`.
        search_effort: The effort of the motion search, `effort` of `DIS`.
        search_scale: The height at which motion is searched, as a part of the network height. The search never uses
            fewer lines than `dis` does.
        softness: Whether uncertain detail is blurred: a higher PSNR, and a frame that looks soft.
        sharpening: As in `FrameMotion`.
    """

    flow: tuple[int, int, int] = (48, 64, 96)
    detail: tuple[int, int] | tuple[int, int, int, int] = (32, 48)
    search_effort: Effort = "plain"
    search_scale: float = 0.75
    softness: bool = False
    sharpening: float = SHARPENING


CONFIGS = {
    "compact": CompactConfig(),
    "compact-psnr": CompactConfig(softness=True, sharpening=0.0),
    "compact-large": CompactConfig(
        flow=(64, 96, 128), detail=(48, 96, 128, 128), search_effort="thorough", search_scale=1.0
    ),
}
"""By the names of the models."""
