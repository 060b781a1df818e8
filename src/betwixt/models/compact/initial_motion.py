"""What the networks of `compact` and `hybrid` start from: the motion that `dis` finds, at the network size.

Nothing here imports PyTorch, so that a compiled network runs without loading it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.layers.motion import FrameMotion
from betwixt.models.compact.config import CompactConfig
from betwixt.models.dis.interpolator import DIS, Effort

_MOST_PIXELS = 864 * 480
"""The largest network size: frames of 480 lines keep theirs, frames of 720 lines are halved."""


def network_size(height: int, width: int) -> tuple[int, int]:
    """The size at which the networks see a frame: its own, or a half, a third, .. of it, about 480 lines at most."""
    factor = 1
    while (height // factor) * (width // factor) > _MOST_PIXELS:
        factor += 1
    return -(-height // factor), -(-width // factor)


def search_motion(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    t: float,
    ratio: float | None = None,
    effort: Effort = CompactConfig.search_effort,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Search the motion between two images with `dis`.

    Args:
        first: (H, W, 3) RGB, 0 to 255.
        second: (H, W, 3) RGB, 0 to 255.
        t: The time, in (0, 1).
        ratio: The size of the search as a part of the image's, as for `DIS`.
        effort: The effort of the search, as for `DIS`.

    Returns:
        u (H, W, 2), the motion from frame 0 to frame 1 in pixels, and the logit (H, W, 1) of the weight of frame 0.
    """
    luma = [cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in (first, second)]
    motion = DIS(ratio, effort).prepare_luma(*(np.asarray(x, np.uint8) for x in luma)).motion(t)
    return initial_motion(motion, first.shape[0], first.shape[1])


def initial_motion(motion: FrameMotion, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """u (height, width, 2) and the logit (height, width, 1) of a motion whose maps may be coarser."""
    u = resize_map(motion.flow_t1 - motion.flow_t0, height, width)
    weight = np.clip(resize_map(motion.weight, height, width), 0.01, 0.99)
    return u, np.log(weight / (1 - weight)).astype(np.float32)[..., None]


def resize_map(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A map (h, w, ..) resized to (height, width) by bilinear interpolation; flow values are not scaled."""
    if values.shape[:2] != (height, width):
        values = np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.asarray(values, np.float32)
