"""Two pictures of one world, the second a few pixels further on."""

from __future__ import annotations

import cv2
import numpy as np


def pictures(height: int = 96, width: int = 128, shift: int = 3) -> list[np.ndarray]:
    """What is at x in the first is at x - `shift` in the second; bytes."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4 + 8, 3), dtype=np.uint8)
    world = cv2.resize(noise, (width + 32, height), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(world[:, s : s + width]) for s in (0, shift)]


def as_float(picture: np.ndarray) -> np.ndarray:
    """The same from 0 to 1."""
    return picture.astype(np.float32) / np.float32(255)
