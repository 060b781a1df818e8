"""Two images of one scene, the second shifted by a few pixels."""

from __future__ import annotations

import cv2
import numpy as np


def shifted_images(height: int = 96, width: int = 128, shift: int = 3) -> list[np.ndarray]:
    """Two uint8 images: pixel x of the first is pixel x - `shift` of the second."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4 + 8, 3), dtype=np.uint8)
    scene = cv2.resize(noise, (width + 32, height), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(scene[:, s : s + width]) for s in (0, shift)]


def to_float(image: np.ndarray) -> np.ndarray:
    """A uint8 image as float32 in [0, 1]."""
    return image.astype(np.float32) / np.float32(255)
