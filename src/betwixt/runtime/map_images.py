"""Pictures of maps: flows in the Middlebury colour code, weights in grey, errors as heat, labels in colours."""

from __future__ import annotations

import colorsys
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.layers.label_maps import MAX_LABELS, LabelMap
from betwixt.models.maps import IntermediateMap

Image8 = NDArray[np.uint8]
"""An RGB image, (h, w, 3) uint8."""


def map_to_image(map_: IntermediateMap) -> Image8:
    """The picture of a map, of the map's own size.

    - Images are shown as they are, residuals around middle grey.
    - Flows: the hue is the direction, the saturation the length, up to the longest in the map.
    - Weights go from black (0) to white (1); lengths and differences from black (0) to yellow, the largest in the map.
    """
    values = map_.values
    if map_.kind == "flow":
        return flow_to_colours(values)
    if map_.kind == "labels":
        return np.asarray(_label_colours()[values])
    if map_.kind in ("length", "difference"):
        largest = max(float(np.nan_to_num(values).max()), 1e-6)
        heat = cv2.applyColorMap(_to_8_bit(values / largest), cv2.COLORMAP_INFERNO)
        return np.asarray(cv2.cvtColor(heat, cv2.COLOR_BGR2RGB), np.uint8)
    if map_.kind == "residual":
        return _to_8_bit(values + np.float32(0.5))
    image = _to_8_bit(values)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def describe_range(map_: IntermediateMap) -> str:
    """What the brightest or most saturated colour of a map's picture stands for; "" where the kind says it."""
    if map_.kind == "flow":
        unit = "px of its level" if map_.unit else "px"
        return f"up to {float(np.hypot(map_.values[..., 0], map_.values[..., 1]).max()):.1f} {unit}"
    if map_.kind == "length":
        return f"up to {float(map_.values.max()):.1f} px"
    if map_.kind == "difference":
        return f"up to {float(map_.values.max()):.2f} of 1"
    return ""


def flow_to_colours(flow: NDArray[np.float32]) -> Image8:
    """A flow (h, w, 2), pixels, in the Middlebury colour code: the hue is the direction, the saturation the length."""
    length = np.hypot(flow[..., 0], flow[..., 1]).astype(np.float64)
    saturation = np.nan_to_num(length / max(float(length.max()), 1e-6))[..., None]
    wheel = _colour_wheel()
    angle = np.arctan2(-flow[..., 1], -flow[..., 0]) / np.pi
    position = np.nan_to_num((angle + 1) / 2 * (len(wheel) - 1))
    low = np.floor(position).astype(int)
    fraction = (position - low)[..., None]
    hue = (1 - fraction) * wheel[low] + fraction * wheel[(low + 1) % len(wheel)]
    image: Image8 = np.floor(255 * (1 - saturation * (1 - hue))).astype(np.uint8)
    return image


def overlay_labels(image: Image8, labels: LabelMap) -> Image8:
    """Overlay an image (H, W, 3) uint8 RGB with its labels (H, W)."""
    mixed = cv2.addWeighted(np.ascontiguousarray(image), 0.5, _label_colours()[labels], 0.5, 0)
    edge = cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    result = np.asarray(mixed, np.uint8)
    result[edge] = 255
    return result


@lru_cache(maxsize=1)
def _colour_wheel() -> NDArray[np.float64]:
    """The 55 hues of the Middlebury colour wheel, (55, 3) in 0 to 1, red first (Baker et al., IJCV 2011)."""
    steps = (("ry", 15), ("yg", 6), ("gc", 4), ("cb", 11), ("bm", 13), ("mr", 6))
    corner = {"r": (1, 0, 0), "y": (1, 1, 0), "g": (0, 1, 0), "c": (0, 1, 1), "b": (0, 0, 1), "m": (1, 0, 1)}
    hues = []
    for pair, count in steps:
        a, b = (np.array(corner[letter], float) for letter in pair)
        hues += [a + (b - a) * i / count for i in range(count)]
    return np.stack(hues)


@lru_cache(maxsize=1)
def _label_colours() -> Image8:
    """The colour of each label, (64, 3) RGB."""
    # Hues are spaced by the golden ratio, so that labels with close numbers get distant colours.
    rows = [
        colorsys.hsv_to_rgb((0.61803399 * i) % 1, 0.85 if i % 3 else 0.55, 0.95 if i % 2 else 0.7)
        for i in range(MAX_LABELS)
    ]
    colours: Image8 = np.rint(255 * np.array(rows)).astype(np.uint8)
    return colours


def _to_8_bit(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values in [0, 1] as bytes; others are clipped, NaN is 0."""
    return np.asarray(np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255), np.uint8)
