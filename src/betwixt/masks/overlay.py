"""Masks to look at: a frame in the colours of its labels, with their edges."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.layers.label_maps import MAX_LABELS, LabelMap

__all__ = ["COLOURS", "overlay_labels"]


def _colours() -> NDArray[np.uint8]:
    # Hues a golden section apart: neighbours in number are far apart in colour.
    rows = [
        colorsys.hsv_to_rgb((0.61803399 * i) % 1, 0.85 if i % 3 else 0.55, 0.95 if i % 2 else 0.7)
        for i in range(MAX_LABELS)
    ]
    colours: NDArray[np.uint8] = np.rint(255 * np.array(rows)).astype(np.uint8)
    return colours


COLOURS: NDArray[np.uint8] = _colours()
"""Of each label, (64, 3) RGB."""


def overlay_labels(frame: NDArray[np.uint8], labels: LabelMap) -> NDArray[np.uint8]:
    """A frame (H, W, 3) uint8 RGB with its labels (H, W) laid over it."""
    mixed = cv2.addWeighted(np.ascontiguousarray(frame), 0.5, COLOURS[labels], 0.5, 0)
    edge = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    result = np.asarray(mixed, np.uint8)
    result[edge] = 255
    return result
