"""Lazy views of a frame: luma, RGB, and downscaled versions of both, each computed on first access."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""An RGB image: (H, W, 3) float32 in [0, 1]."""

Luma = NDArray[np.uint8]
"""A luma plane: (H, W) uint8, in the source's range, full or limited."""


class FrameView(Protocol):
    """A frame as models read it."""

    @property
    def luma(self) -> Luma:
        """The luma, (H, W)."""

    def luma_at(self, height: int, width: int) -> Luma:
        """The luma downscaled to (height, width) by area averaging; that size is at most the frame's."""

    @property
    def rgb(self) -> Image:
        """The RGB image, (H, W, 3)."""

    def rgb_at(self, height: int, width: int) -> Image:
        """The RGB image downscaled to (height, width, 3) by area averaging; that size is at most the frame's."""


class FullFrameView:
    """A frame whose luma and RGB image are known at full size, and are downscaled from there."""

    luma: Luma
    rgb: Image

    def luma_at(self, height: int, width: int) -> Luma:
        return downscale_luma(self.luma, height, width)

    def rgb_at(self, height: int, width: int) -> Image:
        if self.rgb.shape[:2] == (height, width):
            return self.rgb
        return np.asarray(cv2.resize(self.rgb, (width, height), interpolation=cv2.INTER_AREA), np.float32)


class ImageView(FullFrameView):
    """The view of an RGB image."""

    def __init__(self, image: Image) -> None:
        self.rgb = image

    @cached_property
    def luma(self) -> Luma:  # type: ignore[override]
        """The luma of the image, (H, W), full range."""
        grey = cv2.cvtColor(np.ascontiguousarray(self.rgb, np.float32), cv2.COLOR_RGB2GRAY)
        luma: Luma = np.rint(np.clip(grey, 0, 1) * np.float32(255)).astype(np.uint8)
        return luma


class LumaView(FullFrameView):
    """The view of a frame of which only the luma is known; its RGB image is grey."""

    def __init__(self, luma: Luma) -> None:
        self.luma = luma

    @cached_property
    def rgb(self) -> Image:  # type: ignore[override]
        """The luma as a grey RGB image, (H, W, 3)."""
        return np.repeat((self.luma.astype(np.float32) / np.float32(255))[..., None], 3, axis=2)


def downscale_luma(luma: Luma, height: int, width: int) -> Luma:
    """Luma downscaled to (height, width) by area averaging; that size is at most its own."""
    while min(luma.shape[0] / height, luma.shape[1] / width) >= 2 and not any(side % 2 for side in luma.shape):
        # By two, averaging takes a twentieth of the time.
        luma = np.asarray(cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    if luma.shape == (height, width):
        return luma
    return np.asarray(cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
