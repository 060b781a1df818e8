"""Frames in the forms that models look at, each made when it is first asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["FrameView", "FullFrameView", "Image", "ImageView", "Luma", "LumaView", "downscale_luma"]

Image = NDArray[np.float32]
"""A picture: (H, W, 3), RGB, float32 in [0, 1]."""

Luma = NDArray[np.uint8]
"""A grey picture: (H, W), uint8, full range or limited as the source has it."""


class FrameView(Protocol):
    """A frame of any kind, as a model may want to see it."""

    @property
    def luma(self) -> Luma:
        """In grey, (H, W)."""

    def luma_at(self, height: int, width: int) -> Luma:
        """In grey, (height, width), no larger than it is: each pixel the mean of what it covers."""

    @property
    def picture(self) -> Image:
        """In colour, (H, W, 3)."""

    def image_at(self, height: int, width: int) -> Image:
        """In colour, (height, width, 3), no larger than it is: each pixel the mean of what it covers."""


class FullFrameView:
    """A frame that has both its luma and its picture at full size, and is shrunk from these."""

    luma: Luma
    picture: Image

    def luma_at(self, height: int, width: int) -> Luma:
        """In grey, (height, width)."""
        return downscale_luma(self.luma, height, width)

    def image_at(self, height: int, width: int) -> Image:
        """In colour, (height, width, 3)."""
        if self.picture.shape[:2] == (height, width):
            return self.picture
        return np.asarray(cv2.resize(self.picture, (width, height), interpolation=cv2.INTER_AREA), np.float32)


class ImageView(FullFrameView):
    """A picture that is given as such.

    Args:
        picture: (H, W, 3), RGB, float32 in [0, 1].
    """

    def __init__(self, picture: Image) -> None:
        self.picture = picture

    @cached_property
    def luma(self) -> Luma:  # type: ignore[override]
        """In grey, (H, W)."""
        grey = cv2.cvtColor(np.ascontiguousarray(self.picture, np.float32), cv2.COLOR_RGB2GRAY)
        luma: Luma = np.rint(np.clip(grey, 0, 1) * np.float32(255)).astype(np.uint8)
        return luma


class LumaView(FullFrameView):
    """A frame of which only the luma is given: in colour it is grey.

    Args:
        luma: (H, W), uint8.
    """

    def __init__(self, luma: Luma) -> None:
        self.luma = luma

    @cached_property
    def picture(self) -> Image:  # type: ignore[override]
        """In colour, (H, W, 3)."""
        return np.repeat((self.luma.astype(np.float32) / np.float32(255))[..., None], 3, axis=2)


def downscale_luma(luma: Luma, height: int, width: int) -> Luma:
    """A grey picture on (height, width), no larger than it is: each pixel the mean of what it covers."""
    if luma.shape == (height, width):
        return luma
    return np.asarray(cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
