"""Frames with text that stays, or moves, over a texture that moves."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from betwixt.media.frames import planes

Luma = NDArray[np.uint8]

SIZE = 160, 256
"""(height, width)"""


@cache
def _texture() -> Luma:
    noise = np.random.default_rng(0).random((SIZE[0], 1000)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip(110 + (smooth - smooth.mean()) * 45 / smooth.std(), 30, 200).astype(np.uint8)


def pan(number: float, speed: float = 9.0) -> Luma:
    """The frame `number` of a pan over a texture, by `speed` pixels per frame."""
    left = round(number * speed)
    return _texture()[:, left : left + SIZE[1]].copy()


def text_mask(shift: int = 0) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where two words have their fill, and where their fill or outline."""
    fill = np.zeros(SIZE, np.uint8)
    cv2.putText(fill, "Keep whole", (30 + shift, 90), cv2.FONT_HERSHEY_SIMPLEX, 1.1, 255, 3, cv2.LINE_8)
    return fill > 127, cv2.dilate(fill, np.ones((5, 5), np.uint8)) > 127


def write(luma: Luma, shift: int = 0) -> Luma:
    """Write the words onto a frame, in white with a black outline."""
    fill, whole = text_mask(shift)
    luma[whole], luma[fill] = 16, 235
    return luma


def save(path: Path, lumas: Sequence[Luma], pixel_format: str = "yuv420p", codec: str = "ffv1") -> Path:
    """Write frames of the given luma and grey chroma as a video of 25 frames per second."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *lumas[0].shape, pixel_format
        for number, luma in enumerate(lumas):
            frame = av.VideoFrame(luma.shape[1], luma.shape[0], pixel_format)
            shift = 2 if "10" in pixel_format else 0
            for k, plane in enumerate(planes(frame)):
                plane[...] = luma.astype(plane.dtype) << shift if k == 0 else 128 << shift
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path
