"""Hyper-parameters of `compact` and `compact-large`, and the initial motion that their networks refine.

Nothing here imports PyTorch, so that a compiled network runs without loading it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.layers.motion import FrameMotion
from betwixt.models.dis.interpolator import DIS, Effort

__all__ = ["CONFIGS", "SOFTNESS", "CompactConfig", "initial_motion", "network_size", "resize_map", "search"]

_LARGEST = 864 * 480
"""Pixels of the working size at most: frames of 480 lines are seen as they are, 720 lines at half size."""

SOFTNESS = 1.0, 2.5
"""Standard deviations of the two blurs, in pixels of the working size."""


@dataclass(frozen=True)
class CompactConfig:
    """Hyper-parameters; the defaults are those of the shipped weights.

    Attributes:
        flow: Channels of the flow network at 1/4, 1/8 and 1/16; the first is also the width of the state.
        detail: Channels of the detail network at 1/2 and 1/4; with four, at 1/2 to 1/16, it is a `DeepDetailNetwork`.
        search: The effort of the search, as of `dis.DIS`;
        searched: and how many of the lines that the networks see it sees; never fewer than `dis` does.
    """

    flow: tuple[int, int, int] = (48, 64, 96)
    detail: tuple[int, int] | tuple[int, int, int, int] = (32, 48)
    search: Effort = "quick"
    searched: float = 0.75


CONFIGS = {
    "compact": CompactConfig(),
    "compact-large": CompactConfig(flow=(64, 96, 128), detail=(48, 96, 128, 128), search="thorough", searched=1.0),
}
"""By the names of `betwixt models`."""


def network_size(height: int, width: int) -> tuple[int, int]:
    """The size at which the networks see a frame: as it is, or shrunk by a half, a third, .. to 480 lines or so."""
    factor = 1
    while (height // factor) * (width // factor) > _LARGEST:
        factor += 1
    return -(-height // factor), -(-width // factor)


def search(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    t: float,
    ratio: float | None = None,
    effort: Effort = CompactConfig.search,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the network starts from: the motion and visibility that `dis` finds between two pictures.

    Args:
        first: (H, W, 3) RGB, 0 to 255.
        second: The same.
        t: The time, in (0, 1).
        ratio: See `dis.DIS`.
        effort: Likewise.

    Returns:
        u (H, W, 2) in pixels, and the logit (H, W, 1) of the weight of the first frame.
    """
    grey = [cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY) for picture in (first, second)]
    found = DIS(ratio, effort).prepare_luma(*(np.asarray(g, np.uint8) for g in grey)).motion(t)
    return initial_motion(found, first.shape[0], first.shape[1])


def initial_motion(motion: FrameMotion, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """u (height, width, 2) and the logit (height, width, 1) of a motion whose maps may be coarser."""
    u = resize_map(motion.flow_t1 - motion.flow_t0, height, width)
    weight = np.clip(resize_map(motion.weight, height, width), 0.01, 0.99)
    return u, np.log(weight / (1 - weight)).astype(np.float32)[..., None]


def resize_map(coarse: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A map (h, w, ..) on (height, width); its values stay."""
    if coarse.shape[:2] != (height, width):
        coarse = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.asarray(coarse, np.float32)
