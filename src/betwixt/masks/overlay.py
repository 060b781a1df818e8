"""Visualization of masks: an image overlaid with the colours and the edges of its labels."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.layers.label_maps import MAX_LABELS, LabelMap


def _colours() -> NDArray[np.uint8]:
    # Hues are spaced by the golden ratio, so that labels with close numbers get distant colours.
    rows = [
        colorsys.hsv_to_rgb((0.61803399 * i) % 1, 0.85 if i % 3 else 0.55, 0.95 if i % 2 else 0.7)
        for i in range(MAX_LABELS)
    ]
    colours: NDArray[np.uint8] = np.rint(255 * np.array(rows)).astype(np.uint8)
    return colours


COLOURS: NDArray[np.uint8] = _colours()
"""The colour of each label, (64, 3) RGB."""


def overlay_labels(image: NDArray[np.uint8], labels: LabelMap) -> NDArray[np.uint8]:
    """Overlay an image (H, W, 3) uint8 RGB with its labels (H, W)."""
    mixed = cv2.addWeighted(np.ascontiguousarray(image), 0.5, COLOURS[labels], 0.5, 0)
    edge = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    result = np.asarray(mixed, np.uint8)
    result[edge] = 255
    return result
